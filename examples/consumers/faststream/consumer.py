"""A consumer with FastStream 0.7.8, as its documentation shows it; what it is given says which of its pages.

    python -m pip install -r requirements.txt
    python consumer.py [default | from_0 | claiming]

    default     Redis Stream Consumer Groups, https://faststream.ag2.ai/latest/redis/streams/groups/:
                `StreamSub(name, group=..., consumer=...)` and nothing else
    from_0      the same with `last_id="0"`, "an Entry ID, which uses to pick up from where it left off after it is
                restarted", as the description of `StreamSub` says
    claiming    Redis Stream Message Claiming, https://faststream.ag2.ai/latest/redis/streams/claiming/,
                "Pattern 1: Dedicated Claiming Worker": a second subscriber with `min_idle_time`

Of those programs only the names, the server, and what the handler does are ours: it works for 30 ms before it has
its effect, so that it has events in hand most of the time. FastStream makes one object of the fields of an entry,
which a model of pydantic checks, as its pages show it: events need no shape of their own.
"""

from __future__ import annotations

import asyncio
import os
import sys

import aiohttp
from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel

GROUP, CONSUMER = os.environ["SHOPBENCH_GROUP"], os.environ["SHOPBENCH_CONSUMER"]
EFFECTS, CLAIM_MS = os.environ["SHOPBENCH_EFFECTS"], int(os.environ["SHOPBENCH_CLAIM_MS"])

WORK_S = 0.03

broker = RedisBroker(os.environ["SHOPBENCH_REDIS_URL"])
app = FastStream(broker)


def subscriptions(stream: str, kind: str) -> list[StreamSub]:
    """What a stream is subscribed to with."""
    if kind == "from_0":
        return [StreamSub(stream, group=GROUP, consumer=CONSUMER, last_id="0")]
    main = StreamSub(stream, group=GROUP, consumer=CONSUMER)
    if kind == "claiming":
        return [main, StreamSub(stream, group=GROUP, consumer=f"{CONSUMER}-claimer", min_idle_time=CLAIM_MS)]
    return [main]


class Event(BaseModel):
    """What an entry has to have; what it has besides is not looked at."""

    event_id: str


async def handle(event: Event) -> None:
    """Have an effect; what is raised here is FastStream's to deal with."""
    session: aiohttp.ClientSession = app.context.get("session")
    await asyncio.sleep(WORK_S)
    async with session.post(EFFECTS, json=[event.event_id]) as answer:
        answer.raise_for_status()


async def main(kind: str) -> None:
    """Run until SIGTERM."""
    for stream in os.environ["SHOPBENCH_STREAMS"].split():
        for subscription in subscriptions(stream, kind):
            broker.subscriber(stream=subscription)(handle)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        app.context.set_global("session", session)
        await app.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "default"))
