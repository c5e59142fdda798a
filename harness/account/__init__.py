"""What became of every event."""
