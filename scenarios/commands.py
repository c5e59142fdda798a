"""Which commands the shop needs of a server, by what it does there; each scenario says which of these it does.

    commands = PRODUCERS | CONSUMERS

The names are those of the server's own count (`INFO commandstats`): `xgroup|create` is XGROUP CREATE. A test runs
scenarios and compares. What runs inside a script needs the same rights as outside of one.
"""

from __future__ import annotations

# `append.lua`: the ID, the idempotency, the stream entry, the entity cache.
PRODUCERS = frozenset(
    (
        *("evalsha", "script|load", "time", "xadd", "xlen", "xinfo|stream", "del", "unlink"),
        *("hget", "hmget", "hset", "hdel", "hexists", "hincrby", "sadd", "srem", "sismember"),
        *("lrange", "lrem", "rpush"),
    )
)
# The streams read back, and the entity cache.
READERS = frozenset(("eval", "xrange", "xrevrange", "sscan", "hgetall"))
# A subscription with a group, the probes that look at it, and the account afterwards.
CONSUMERS = frozenset(
    ("exists", "time", "xgroup|create", "xreadgroup", "xack", "xpending", "xinfo|groups", "xrange")
)
