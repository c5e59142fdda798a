"""Begins, runs and ends a record."""
