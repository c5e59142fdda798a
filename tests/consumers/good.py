"""A consumer that does all as it should: its own pending first, a claim now and then, and then what is new.

Effects are posted under one Idempotency-Key, so that the sink knows an event that comes again. As it comes back
with a back-off of some milliseconds, tests wait for it as little as they can.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

STREAMS = os.environ["SHOPBENCH_STREAMS"].split()
GROUP, ME = os.environ["SHOPBENCH_GROUP"], os.environ["SHOPBENCH_CONSUMER"]
CLAIM_MS, PAGE = int(os.environ["SHOPBENCH_CLAIM_MS"]), int(os.environ["SHOPBENCH_PAGE"])
EFFECTS = urlsplit(os.environ["SHOPBENCH_EFFECTS"])


def had(stream: str, entries: list[Any], client: Any) -> None:
    """Have the effects of some entries, and acknowledge them, also those that are refused for good."""
    if not entries:
        return
    connection = http.client.HTTPConnection(EFFECTS.netloc, timeout=5)
    for each in [entries] if post(connection, entries) == 200 else [[entry] for entry in entries]:
        if each is not entries and post(connection, each) not in {200, 422}:
            raise OSError("refused")
    connection.close()
    client.xack(stream, GROUP, *(entry_id for entry_id, _ in entries))


def post(connection: http.client.HTTPConnection, entries: list[Any]) -> int:
    """Post the IDs of some entries."""
    body = json.dumps([fields["event_id"] for _, fields in entries])
    connection.request("POST", "/", body, {"Content-Type": "application/json", "Idempotency-Key": "effects"})
    response = connection.getresponse()
    response.read()
    return response.status


def work(client: Any) -> None:
    """Work until something goes wrong."""
    for stream in STREAMS:
        try:
            client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        while own := client.xreadgroup(GROUP, ME, {stream: "0"}, PAGE)[0][1]:
            had(stream, own, client)
    claim_at = 0.0
    while True:
        if time.monotonic() > claim_at:
            claim_at = time.monotonic() + CLAIM_MS / 2000
            for stream in STREAMS:
                had(stream, client.xautoclaim(stream, GROUP, ME, CLAIM_MS, "0-0", PAGE)[1], client)
        for stream, entries in client.xreadgroup(GROUP, ME, dict.fromkeys(STREAMS, ">"), PAGE, 100) or []:
            had(stream, entries, client)


def main() -> None:
    """Work for ever, whatever goes wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    # A command that is sent again may have been carried out already.
    client = redis.Redis.from_url(
        os.environ["SHOPBENCH_REDIS_URL"], decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0)
    )
    while True:
        try:
            work(client)
        except (redis.RedisError, OSError, http.client.HTTPException) as error:
            print("again:", error, file=sys.stderr, flush=True)  # noqa: T201 - its log
            time.sleep(0.05)


if __name__ == "__main__":
    main()
