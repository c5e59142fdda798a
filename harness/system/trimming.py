"""Removes from a stream's front what every group on it has acknowledged: any stream, by plain commands.

    XINFO GROUPS, XPENDING  -->  the oldest entry that a group needs still  -->  XTRIM MINID

A group needs what is pending, and what comes after its last-delivered ID. A stream without a group stays whole.
"""

from __future__ import annotations

from typing import Any

import redis

from harness.system.port import NotStartedError

_Id = tuple[int, int]


def trim_acknowledged(client: Any, stream: str, *, keep: int = 0) -> int:
    """Remove what every group has acknowledged; answer how many entries that were.

    Args:
        client: of the server.
        stream: its name.
        keep: so many of the newest entries stay.

    Raises:
        OSError: the server is away.
        NotStartedError: it refuses.
    """
    try:
        needed = _oldest_needed(client, stream, keep)
        return 0 if needed is None else int(client.execute_command("XTRIM", stream, "MINID", "=", _text(needed)))
    except redis.ResponseError as error:
        if "no such key" in str(error):
            return 0
        raise NotStartedError(str(error)) from error
    except redis.RedisError as error:
        raise OSError(str(error)) from error


def _oldest_needed(client: Any, stream: str, keep: int) -> _Id | None:
    """The ID before which nothing is needed any more; None: all of it is."""
    needed: list[_Id] = []
    for group in client.xinfo_groups(stream):
        last = _id(group["last-delivered-id"])
        needed.append((last[0], last[1] + 1))
        if group["pending"] and (oldest := client.xpending(stream, group["name"])["min"]) is not None:
            needed.append(_id(oldest))
    if not needed:
        return None
    if keep:
        kept = client.xrevrange(stream, count=keep)
        needed += [_id(kept[-1][0])] if len(kept) == keep else [(0, 0)]
    return min(needed)


def _id(raw: bytes) -> _Id:
    milliseconds, _, number = raw.decode().partition("-")
    return int(milliseconds), int(number or 0)


def _text(entry: _Id) -> str:
    return f"{entry[0]}-{entry[1]}"
