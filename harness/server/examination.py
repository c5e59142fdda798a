"""What a user may do on a server, and whether its clock can be trusted: asked, not guessed.

    MULTI
    XADD ordershop-bench:doctor ...    +QUEUED      allowed
    XGROUP CREATE ...                  -NOPERM      missing: this user may not
    CLIENT LIST                        -ERR unknown command     missing: renamed, or a proxy that lacks it
    DISCARD

A server checks the right to run a command when it is put into a transaction, and one that is discarded does
nothing. So nothing is written, also on Redis 6, and also beside somebody else's keys. (`ACL DRYRUN` says the
same from Redis 7 on, to administrators.) A user who may not run MULTI is asked to run each command itself, on keys
of ours, in a form that does nothing or makes a key that is removed; only in a database that we hold.

The clock of a server stamps the IDs of a stream. `largest_jump_ns` compares its steps with those of this host's
monotonic clock, between the bounds that the way there and back sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import redis
from msgspec import Struct

from harness.host.clock import Clock
from harness.server.lock import is_refused
from harness.server.namespace import NAMESPACE

Allowed = Literal["allowed", "missing", "not tried"]

# Which commands every run sends to a server at a URL, besides its scenario's: to see that nobody else's keys are
# there, and to remove its own.
ALWAYS = frozenset(("scan", "exists", "unlink"))
# What is left out where a user may not run them: a run goes on without.
LEFT_OUT: Mapping[str, str] = {
    "info": "the server's memory and load, and what it did meanwhile (forks, evictions, restarts)",
    "config|get": "the server's configuration",
    "set": "the lock: two runs at once would not notice each other",
    "get": "the lock: two runs at once would not notice each other",
    "expire": "the lock: two runs at once would not notice each other",
    "memory|usage": "how large the streams are",
}
_KEY = NAMESPACE + "doctor"
_NO_SCRIPT = "0" * 40
# Each in a form that does nothing, or makes a key that is removed afterwards; `KEY` has the command's name.
_FORMS: Mapping[str, tuple[str, ...]] = {
    "config|get": ("CONFIG", "GET", "maxmemory"),
    "del": ("DEL", "KEY"),
    "eval": ("EVAL", "return 0", "0"),
    "evalsha": ("EVALSHA", _NO_SCRIPT, "0"),
    "exists": ("EXISTS", "KEY"),
    "expire": ("EXPIRE", "KEY", "1"),
    "get": ("GET", "KEY"),
    "hdel": ("HDEL", "KEY", "f"),
    "hexists": ("HEXISTS", "KEY", "f"),
    "hget": ("HGET", "KEY", "f"),
    "hgetall": ("HGETALL", "KEY"),
    "hincrby": ("HINCRBY", "KEY", "f", "1"),
    "hmget": ("HMGET", "KEY", "f"),
    "hset": ("HSET", "KEY", "f", "v"),
    "info": ("INFO", "server"),
    "lrange": ("LRANGE", "KEY", "0", "0"),
    "lrem": ("LREM", "KEY", "0", "v"),
    "memory|usage": ("MEMORY", "USAGE", "KEY"),
    "mset": ("MSET", "KEY", "v"),
    "rpush": ("RPUSH", "KEY", "v"),
    "sadd": ("SADD", "KEY", "v"),
    "scan": ("SCAN", "0", "COUNT", "1"),
    "script|load": ("SCRIPT", "LOAD", "return 0"),
    "set": ("SET", "KEY", "v", "EX", "10"),
    "sismember": ("SISMEMBER", "KEY", "v"),
    "srem": ("SREM", "KEY", "v"),
    "sscan": ("SSCAN", "KEY", "0"),
    "time": ("TIME",),
    "unlink": ("UNLINK", "KEY"),
    "xack": ("XACK", "KEY", "g", "1-1"),
    "xadd": ("XADD", "KEY", "*", "f", "v"),
    "xautoclaim": ("XAUTOCLAIM", "KEY", "g", "c", "1", "0"),
    "xclaim": ("XCLAIM", "KEY", "g", "c", "1", "1-1"),
    "xgroup|create": ("XGROUP", "CREATE", "KEY", "g", "$"),
    "xgroup|delconsumer": ("XGROUP", "DELCONSUMER", "KEY", "g", "c"),
    "xinfo|consumers": ("XINFO", "CONSUMERS", "KEY", "g"),
    "xinfo|groups": ("XINFO", "GROUPS", "KEY"),
    "xinfo|stream": ("XINFO", "STREAM", "KEY"),
    "xlen": ("XLEN", "KEY"),
    "xpending": ("XPENDING", "KEY", "g"),
    "xrange": ("XRANGE", "KEY", "-", "+", "COUNT", "1"),
    "xreadgroup": ("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "KEY", ">"),
    "xrevrange": ("XREVRANGE", "KEY", "+", "-", "COUNT", "1"),
    "xtrim": ("XTRIM", "KEY", "MAXLEN", "0"),
}


class ClockLook(Struct, frozen=True):
    """A server's time of day, and between which two moments of this host it was read; nanoseconds."""

    before_ns: int
    server_ns: int
    after_ns: int


def examine(client: redis.Redis, commands: Iterable[str], *, is_held: bool) -> dict[str, Allowed]:
    """Which commands this user may run on this server.

    Args:
        client: of the server.
        commands: by the names of its count, such as `xgroup|create`.
        is_held: whether the database is ours, so that keys may be made in it.

    Raises:
        redis.RedisError: the server does not answer.
    """
    asked = sorted(set(commands))
    # One connection for all of it: a transaction belongs to one.
    with client.client() as one:
        try:
            one.execute_command("MULTI")
        except redis.ResponseError:
            return _by_running(one, asked) if is_held else dict.fromkeys(asked, "not tried")
        try:
            return {command: _answer(one, command) for command in asked}
        finally:
            one.execute_command("DISCARD")


def _by_running(client: redis.Redis, commands: Sequence[str]) -> dict[str, Allowed]:
    found: dict[str, Allowed] = {}
    for command in commands:
        found[command] = _answer(client, command)
        for remove in ("UNLINK", "DEL"):
            try:
                client.execute_command(remove, _key(command))
                break
            except redis.ResponseError:
                continue
    return found


def _key(command: str) -> str:
    return f"{_KEY}:{command}"


def _answer(client: redis.Redis, command: str) -> Allowed:
    form = _FORMS.get(command)
    if form is None:
        return "not tried"
    words = [_key(command) if word == "KEY" else word for word in form]
    # Past the client: it reads answers by the name of a command, and in a transaction these are of another kind.
    try:
        connection: Any = client.connection
        connection.send_command(*words)
        connection.read_response()
    except redis.ResponseError as error:
        # Any other error comes from a command that was begun: such as that there is no such group.
        return "missing" if is_refused(error) else "allowed"
    return "allowed"


def missing_of(needed: Iterable[str], found: Mapping[str, Allowed]) -> list[str]:
    """What of it a run cannot do without, and this user may not run."""
    lacking = {command for command in needed if found.get(command) == "missing"} - LEFT_OUT.keys()
    if found.get("del") == "allowed" and "unlink" not in set(needed) - ALWAYS:
        lacking -= {"unlink"}  # keys are removed by DEL then
    return sorted(lacking)


def left_out_of(found: Mapping[str, Allowed]) -> list[str]:
    """What a record will lack, in words, each with the command that is missing."""
    reasons: dict[str, list[str]] = {}
    for command, what in LEFT_OUT.items():
        if found.get(command) == "missing":
            reasons.setdefault(what, []).append(shown(command))
    return [f"{what} (this user may not run {', '.join(names)})" for what, names in reasons.items()]


def shown(command: str) -> str:
    """A command as it is written: XGROUP CREATE."""
    return command.replace("|", " ").upper()


def clock_looks(client: redis.Redis, clock: Clock, *, count: int, apart_ns: int) -> list[ClockLook]:
    """Read a server's clock some times, so far apart; nothing where this user may not."""
    looks: list[ClockLook] = []
    for at in range(count):
        if at:
            clock.sleep_ns(apart_ns)
        before_ns = clock.now_ns()
        try:
            seconds, micros = client.time()
        except redis.ResponseError:
            return []
        looks.append(ClockLook(before_ns, seconds * 1_000_000_000 + micros * 1000, clock.now_ns()))
    return looks


def largest_jump_ns(looks: Sequence[ClockLook]) -> int:
    """By how much a clock has jumped at least between two looks, back where below 0; 0: no jump is to be seen."""
    largest = 0
    for first, second in itertools.pairwise(looks):
        step = second.server_ns - first.server_ns
        least, most = second.before_ns - first.after_ns, second.after_ns - first.before_ns
        beyond = step - most if step > most else min(0, step - least)
        largest = max(largest, beyond, key=abs)
    return largest
