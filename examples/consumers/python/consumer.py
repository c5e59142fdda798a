"""A consumer of Redis Streams that loses nothing: copy it, and put what your service does into `has_effects`.

    pip install redis
    SHOPBENCH_REDIS_URL=redis://127.0.0.1 SHOPBENCH_STREAMS='orders returns' SHOPBENCH_GROUP=mail \
    SHOPBENCH_CONSUMER=mail-1 SHOPBENCH_CLAIM_MS=30000 SHOPBENCH_PAGE=100 \
    SHOPBENCH_EFFECTS=http://127.0.0.1:8080/ python consumer.py

What it keeps to, and what would be lost or stuck otherwise:

    the group begins at 0, not at $               what was published before it was there
    its own pending entries come first            what it had in hand when it was killed
    it claims what others leave, also in silence  what they had in hand and did not come back for
    the effect, then the acknowledgement          what it had acknowledged and not done
    after any error all of that begins anew       a page whose reply was lost; a group that is gone
    SIGTERM: it ends when its pages are done      nothing, but nothing need be done again either
    what is refused for good (422, three times)   everything behind it
      is parked in `<stream>:parked`

So each event has its effect at least once. It comes twice where a kill falls between effect and acknowledgement;
where that matters, the receiver has to know the event's ID. A page must take less than a third of
SHOPBENCH_CLAIM_MS, else others take it over while it is being worked on.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

STREAMS = os.environ["SHOPBENCH_STREAMS"].split()
GROUP, CONSUMER = os.environ["SHOPBENCH_GROUP"], os.environ["SHOPBENCH_CONSUMER"]
CLAIM_MS, PAGE = int(os.environ["SHOPBENCH_CLAIM_MS"]), int(os.environ["SHOPBENCH_PAGE"])
SINK = urlsplit(os.environ["SHOPBENCH_EFFECTS"])
BLOCK_MS, TIMEOUT_S, ATTEMPTS, LONGEST_PAUSE_S = 200, 5, 3, 1.0

sink = http.client.HTTPConnection(SINK.netloc, timeout=TIMEOUT_S)
stopping: list[int] = []


def has_effects(ids: list[str]) -> bool:
    """Have the effects of some events; False: one of them is refused for good. Anything else is an error."""
    try:
        sink.request("POST", SINK.path or "/", json.dumps(ids), {"Content-Type": "application/json"})
        answer = sink.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        sink.close()  # the next request opens it again
        raise
    if answer.status not in {200, 422}:
        raise OSError(f"the sink answers {answer.status}")
    return answer.status == 200


def handle(client: redis.Redis, stream: str, entries: list[Any]) -> None:
    """Have the effects of a page, and then acknowledge it; if one is refused, go one by one."""
    there = [fields["event_id"] for _, fields in entries if fields]  # none: trimmed while it was pending
    if there and not has_effects(there):
        for entry_id, fields in entries:
            if fields and not any(has_effects([fields["event_id"]]) for _ in range(ATTEMPTS)):
                client.pipeline().xadd(f"{stream}:parked", fields).xack(stream, GROUP, entry_id).execute()
    client.xack(stream, GROUP, *(entry_id for entry_id, _ in entries))


def pages(client: redis.Redis) -> Iterator[tuple[str, list[Any]]]:
    """What is to be done, page by page: own pending entries, then new ones and, now and then, what others left."""
    for stream in STREAMS:
        while not stopping and (own := client.xreadgroup(GROUP, CONSUMER, {stream: "0"}, PAGE)[0][1]):
            yield stream, own
    claim_at = 0.0
    while not stopping:
        if time.monotonic() >= claim_at:
            for stream in STREAMS:
                cursor = ""
                while cursor != "0-0" and not stopping:
                    cursor, left, *_ = client.xautoclaim(stream, GROUP, CONSUMER, CLAIM_MS, cursor or "0-0", PAGE)
                    yield stream, left
            claim_at = time.monotonic() + CLAIM_MS / 2000
        yield from client.xreadgroup(GROUP, CONSUMER, dict.fromkeys(STREAMS, ">"), PAGE, BLOCK_MS) or []


def main() -> None:
    """Consume until SIGTERM, which lets it finish what it has in hand."""
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    client = redis.Redis.from_url(
        os.environ["SHOPBENCH_REDIS_URL"],
        protocol=2,
        decode_responses=True,
        socket_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),  # a read that is sent again skips the page whose reply was lost
    )
    pause_s = 0.05
    while not stopping:
        try:
            for stream in STREAMS:
                try:
                    client.xgroup_create(stream, GROUP, id="0", mkstream=True)
                except redis.ResponseError as error:
                    if "BUSYGROUP" not in str(error):
                        raise
            for stream, entries in pages(client):
                if entries:
                    handle(client, stream, entries)
                pause_s = 0.05
        except (redis.RedisError, OSError, http.client.HTTPException) as error:
            logging.warning("again in %g s: %s", pause_s, error)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


if __name__ == "__main__":
    main()
