"""Consumers with one flaw each, which no plain kill shows: `python flawed.py FLAW`.

none                no flaw
claims_with_news    looks for what is pending, its own included, only when something new arrives
acks_on_stop        SIGTERM: acknowledges what it has in hand, and ends
forgets_backlog     sets its group to the end of its first stream when it starts
never_claims        looks for its own pending entries only
same_name           calls itself as all others do
forks               its first process does nothing: a child does the work
waits_for_ever      asks once for what is new, and waits until something comes
one_effect_a_key    none, and each event has an Idempotency-Key, so that it has no second effect
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

FLAW = sys.argv[1]
STREAMS = os.environ["SHOPBENCH_STREAMS"].split()
GROUP = os.environ["SHOPBENCH_GROUP"]
ME = "all" if FLAW == "same_name" else os.environ["SHOPBENCH_CONSUMER"]
CLAIM_MS, PAGE = int(os.environ["SHOPBENCH_CLAIM_MS"]), int(os.environ["SHOPBENCH_PAGE"])
BLOCK_MS = 0 if FLAW == "waits_for_ever" else 100
EFFECTS = urlsplit(os.environ["SHOPBENCH_EFFECTS"])
in_hand: list[tuple[str, str]] = []


class StoppedError(Exception):
    """SIGTERM has come."""


def post(ids: list[str]) -> None:
    """Post the IDs of some events; OSError where they are refused."""
    key = {"Idempotency-Key": "effects"} if FLAW == "one_effect_a_key" else {}
    connection = http.client.HTTPConnection(EFFECTS.netloc, timeout=5)
    try:
        connection.request("POST", "/", json.dumps(ids), {"Content-Type": "application/json", **key})
        if connection.getresponse().status != 200:
            raise OSError("refused")
    finally:
        connection.close()


def had(client: Any, stream: str, entries: list[Any]) -> None:
    """Have the effects of some entries, and acknowledge them."""
    if not entries:
        return
    in_hand[:] = [(stream, entry_id) for entry_id, _ in entries]
    post([fields["event_id"] for _, fields in entries])
    client.xack(stream, GROUP, *(entry_id for entry_id, _ in entries))
    in_hand.clear()


def pending(client: Any) -> None:
    """Have the effects of what is pending: its own, and of others what is old enough."""
    for stream in STREAMS:
        while own := client.xreadgroup(GROUP, ME, {stream: "0"}, PAGE)[0][1]:
            had(client, stream, own)
        if FLAW != "never_claims":
            had(client, stream, client.xautoclaim(stream, GROUP, ME, CLAIM_MS, "0-0", PAGE)[1])


def begin(client: Any) -> None:
    """Make the group where there is none; one flaw sets one that there is to the end of its stream."""
    for number, stream in enumerate(STREAMS):
        try:
            client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
            if FLAW == "forgets_backlog" and number == 0:
                client.xgroup_setid(stream, GROUP, "$")


def work(client: Any) -> None:
    """Work until something goes wrong."""
    begin(client)
    if FLAW != "claims_with_news":
        pending(client)
    look_at = time.monotonic() + CLAIM_MS / 2000
    while True:
        news = client.xreadgroup(GROUP, ME, dict.fromkeys(STREAMS, ">"), PAGE, BLOCK_MS) or []
        for stream, entries in news:
            had(client, stream, entries)
        if time.monotonic() > look_at and (news or FLAW != "claims_with_news"):
            pending(client)
            look_at = time.monotonic() + CLAIM_MS / 2000


def stop(*_: object) -> None:
    """SIGTERM."""
    raise StoppedError


def main() -> None:
    """Work until SIGTERM, whatever goes wrong."""
    if FLAW == "forks":
        sys.exit(subprocess.call([sys.executable, __file__, "none"]))
    signal.signal(signal.SIGTERM, stop)
    client = redis.Redis.from_url(
        os.environ["SHOPBENCH_REDIS_URL"],
        decode_responses=True,
        socket_timeout=5 if BLOCK_MS else None,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        while True:
            try:
                work(client)
            except (redis.RedisError, OSError, http.client.HTTPException):
                time.sleep(0.05)
    except StoppedError:
        for stream, entry_id in in_hand if FLAW == "acks_on_stop" else ():
            client.xack(stream, GROUP, entry_id)


if __name__ == "__main__":
    main()
