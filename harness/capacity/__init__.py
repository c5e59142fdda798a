"""How much a system can take, and which of two takes more."""
