"""A consumer of the plain store: `consumer.py STREAM GROUP EFFECTS PAGE`, with the server in STORE_URL.

What was delivered and not acknowledged comes first after a start, so that a kill loses nothing. An effect that was
had before the acknowledgement would come twice; so the effects that are in the file already are left out.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import redis


def main(stream: str, group: str, path: str, page: int) -> None:
    """Read, have effects, acknowledge, until SIGTERM."""
    client = redis.Redis.from_url(os.environ["STORE_URL"], protocol=2)
    effect_s = float(os.environ.get("EFFECT_MS", "0")) / 1000
    try:
        client.xgroup_create(stream, group, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    # Unbuffered: a line is written as a whole, or not at all.
    with Path(path).open("a+b", buffering=0) as effects:
        effects.seek(0)
        done = set(effects.read().decode().split())
        start = "0"
        while not stopping:
            try:
                answer: Any = client.xreadgroup(group, "one", {stream: start}, count=page, block=100)
            except (redis.ConnectionError, redis.TimeoutError):
                time.sleep(0.05)
                continue
            entries = answer[0][1] if answer else []
            if not entries:
                start = ">"  # all that was left over has been handled
                continue
            for _, fields in entries:
                event_id = fields[b"event_id"].decode()
                if event_id in done:
                    continue
                time.sleep(effect_s)
                effects.write(f"{event_id}\n".encode())
                done.add(event_id)
            client.xack(stream, group, *(entry_id for entry_id, _ in entries))
            if start != ">":
                start = entries[-1][0].decode()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
