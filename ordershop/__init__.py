"""OrderShop: a small shop whose services share no database and call nobody to share state.

They append events to an event store, which is Redis Streams, and listen to the streams that concern them.
Commands travel over HTTP, queries over RESP, straight from Redis:

    client --HTTP--> gateway --HTTP--> customers, products, billing, orders --HTTP--> inventory
                        |                              |
                        | find_one, find_all           | append.lua: one atomic step
                        v                              v
                      Redis: entity cache  <---  events:{customer}_created, ...
                                                       |
                                        crm  <---------+  consumer group
                                         |
                                         +--HTTP--> mail

Five entities (`entities.py`), an event for each that is created, updated or deleted (`events.py`), one write
path (`append.lua`, called by `event_store.py`, and by `async_store.py` in services), a cache that the same step
writes (`entity_cache.py`), and consumer groups that lose nothing (`subscription/`).

Nothing here knows that it is measured.
"""
