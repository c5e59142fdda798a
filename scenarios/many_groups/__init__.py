"""Many groups on one stream, beside one on another: the turns of the load, who reads, what was there."""
