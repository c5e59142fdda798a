"""How much can it take?"""
