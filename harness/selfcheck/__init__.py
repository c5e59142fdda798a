"""Does the instrument tell the truth on this machine?"""
