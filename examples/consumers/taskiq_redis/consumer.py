"""A consumer with taskiq-redis 1.2.4, as its README shows it under "Usage".

    python -m pip install -r requirements.txt
    taskiq worker --workers 1 --app-dir DIRECTORY-OF-THIS-FILE consumer:broker

https://pypi.org/project/taskiq-redis/1.2.4/: `RedisStreamBroker`, of which it says: "This broker supports
acknowledgements and therefore is fine to use in cases when data durability is required." Of its program only the
names, the server, the time after which it claims (`idle_timeout`; 10 minutes if it is not said), and what the task
does are ours. It works for 100 ms before it has its effect: one that is killed meanwhile has had none. A task is
JSON in a field of its own: `shape.toml` beside this file says how it looks.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiohttp
from taskiq import Context, TaskiqDepends, TaskiqEvents
from taskiq_redis import RedisStreamBroker

WORK_S = 0.1

first, *others = os.environ["SHOPBENCH_STREAMS"].split()
broker = RedisStreamBroker(
    url=os.environ["SHOPBENCH_REDIS_URL"],
    queue_name=first,
    additional_streams=dict.fromkeys(others, ">"),
    consumer_group_name=os.environ["SHOPBENCH_GROUP"],
    consumer_name=os.environ["SHOPBENCH_CONSUMER"],
    idle_timeout=int(os.environ["SHOPBENCH_CLAIM_MS"]),
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_session(state: Any) -> None:
    """One session for all requests."""
    state.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_session(state: Any) -> None:
    """At the end."""
    await state.session.close()


@broker.task(task_name="effect")
async def effect(event_id: str, context: Context = TaskiqDepends()) -> None:  # noqa: B008 - as taskiq wants it
    """Have an effect; what is raised here is taskiq's to deal with."""
    await asyncio.sleep(WORK_S)
    async with context.state.session.post(os.environ["SHOPBENCH_EFFECTS"], json=[event_id]) as answer:
        answer.raise_for_status()
