"""This machine and its processes, as far as the instrument depends on them."""
