"""What a run leaves on disk, and what is known of one that was cut off."""
