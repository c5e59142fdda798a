"""The port: what is measured, and its contract."""
