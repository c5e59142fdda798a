"""Locust's side of a run: who may ask its web UI, what the form of it may choose."""
