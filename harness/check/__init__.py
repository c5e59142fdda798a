"""Pure functions of what a run has recorded."""
