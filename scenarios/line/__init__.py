"""Events from their append to their effect, under load: what the outage scenarios have in common."""
