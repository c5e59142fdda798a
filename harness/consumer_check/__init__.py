"""A check of somebody else's consumer: a list of trials, each a run of its own, and one result of all of them."""
