"""Is a revision slower than another one?"""
