"""The shortest loop around XREADGROUP: read, do, acknowledge. It loses events; `../python` does it well.

    python -m pip install -r requirements.txt
    python consumer.py

What it leaves out is what the good one does besides:

    its group begins at `$`            what is published while there is no group is skipped
    it reads `>` and nothing else      what it had in hand when it was killed stays pending
    it claims nothing                  so does what others had in hand

It does survive errors: it makes its group where there is none, and begins anew.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request

import redis

STREAMS = os.environ["SHOPBENCH_STREAMS"].split()
GROUP, CONSUMER, EFFECTS = (os.environ[f"SHOPBENCH_{name}"] for name in ("GROUP", "CONSUMER", "EFFECTS"))


def consume(client: redis.Redis) -> None:
    """Read, do, acknowledge; for ever."""
    for stream in STREAMS:
        try:
            client.xgroup_create(stream, GROUP, id="$", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
    while True:
        for stream, entries in client.xreadgroup(GROUP, CONSUMER, dict.fromkeys(STREAMS, ">"), 100, 200) or []:
            for entry_id, fields in entries:
                body = json.dumps([fields["event_id"]]).encode()
                with urllib.request.urlopen(EFFECTS, body, timeout=5):  # noqa: S310 - of our own
                    client.xack(stream, GROUP, entry_id)


def main() -> None:
    """Consume, and begin anew after any error."""
    client = redis.Redis.from_url(os.environ["SHOPBENCH_REDIS_URL"], protocol=2, decode_responses=True)
    while True:
        try:
            consume(client)
        except (redis.RedisError, OSError):
            time.sleep(1)


if __name__ == "__main__":
    main()
