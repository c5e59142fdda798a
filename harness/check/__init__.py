"""Pure functions of a record: what it proves, and what it does not."""
