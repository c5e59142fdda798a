"""A scenario from its parameters to its record."""
