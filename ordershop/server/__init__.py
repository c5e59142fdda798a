"""How an event store is addressed and reached; the same files as the instrument has, see `url.py`."""
