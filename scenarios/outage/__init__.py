"""What an outage was: the fault, what it hit, the drain after it, and what producers noticed."""
