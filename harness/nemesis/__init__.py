"""What is broken, when, and what was done."""
