"""A plain loop that reads what is new and has effects one by one; what else it does, its arguments say.

own        begins with what it has pending             claim    takes what others, or it, have pending for long
slow       takes 20 ms for each effect                 block    tries one that is refused for ever, for ever
batch      posts a page at once, and again from its    park     puts one that is refused aside, and says so
           first pending event when that is refused    twice    posts each twice, and says under which key
first      acknowledges before it has the effect
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import redis

DOES = set(sys.argv[1:])
STREAMS = os.environ["SHOPBENCH_STREAMS"].split()
GROUP, ME = os.environ["SHOPBENCH_GROUP"], os.environ["SHOPBENCH_CONSUMER"]
CLAIM_MS, PAGE = int(os.environ["SHOPBENCH_CLAIM_MS"]), int(os.environ["SHOPBENCH_PAGE"])
FACTS = Path(os.environ["SHOPBENCH_FACTS"]).open("ab", buffering=0)  # noqa: SIM115 - to its end


def post(ids: list[str]) -> int:
    """Ask for effects."""
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": "plain"} if "twice" in DOES else {})}
    request = urllib.request.Request(os.environ["SHOPBENCH_EFFECTS"], json.dumps(ids).encode(), headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - an address of ours
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def had(event_id: str) -> bool:
    """Have an effect; whether the event may be acknowledged."""
    time.sleep(0.02 if "slow" in DOES else 0)
    while (status := post([event_id])) != 200:
        if status == 422 and "block" not in DOES:
            if "park" in DOES:
                FACTS.write(json.dumps({"fact": "parked", "event_id": event_id}).encode() + b"\n")
            return "park" in DOES
        time.sleep(0.05)
    if "twice" in DOES:
        post([event_id])
    return True


def handle(client: Any, stream: str, entries: list[Any]) -> None:
    """Have the effects of a page."""
    if "batch" in DOES:
        # So that a page has many.
        time.sleep(0.1)
        while entries and post([fields["event_id"] for _, fields in entries]) != 200:
            time.sleep(0.05)
            # From its own first pending event: that counts as a delivery of each.
            entries = client.xreadgroup(GROUP, ME, {stream: "0"}, PAGE)[0][1]
        if entries:
            client.xack(stream, GROUP, *(entry for entry, _ in entries))
        return
    for entry, fields in entries:
        if "first" in DOES:
            client.xack(stream, GROUP, entry)
        if had(fields["event_id"]):
            client.xack(stream, GROUP, entry)


def main() -> None:
    """Work for ever."""
    client = redis.Redis.from_url(os.environ["SHOPBENCH_REDIS_URL"], decode_responses=True, protocol=2)
    for stream in STREAMS:
        try:
            client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        while "own" in DOES and (pending := client.xreadgroup(GROUP, ME, {stream: "0"}, PAGE)[0][1]):
            handle(client, stream, pending)
    while True:
        if "claim" in DOES:
            for stream in STREAMS:
                handle(client, stream, client.xautoclaim(stream, GROUP, ME, CLAIM_MS, "0-0", PAGE)[1])
        for stream, entries in client.xreadgroup(GROUP, ME, dict.fromkeys(STREAMS, ">"), PAGE, 100) or []:
            handle(client, stream, entries)


if __name__ == "__main__":
    main()
