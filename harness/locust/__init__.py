"""Locust conducts a scenario: it decides how many users there are and where, and shows what is measured.

locustfile    the last line of a scenario's file, and its options; the rest is loaded only with Locust
hooks         Locust's events: what each means for a run
session       a test of Locust as a run: begun, ended, recorded
spread        a load on all workers, from the master;  shares: what they did, as one result
worker        a worker's end of it;  stats: what Locust's own statistics are told
users, pool   who acts, and when;  what became of it
view          what can be seen of a run while it lasts;  snapshot: as it is told
form          what the start form offers, and takes;  start_form: at work
web, static/  tabs, charts, buttons;  access, login: who may ask
"""
