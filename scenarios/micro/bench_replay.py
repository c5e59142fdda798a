"""Replaying to typed entities: beside a client library and a JSON decoder, and in how much memory.

The peer is what one would write without a store: XRANGE by pages through redis-py, each entity decoded by orjson
into a dict. Where orjson is not installed, msgspec decodes, and the benchmark's `decoder` says so.

Memory is that of a process of its own, at its highest, less what it had before the replay. The events are updates
of as many entities, however many there are, so that a replay that keeps pages, or events, would show.
"""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from harness.host.own_python import own_environment
from harness.server.server import Server
from ordershop.entities import Customer
from ordershop.event_store import EventStore
from ordershop.events import ACTIONS, Event
from ordershop.supervisor import STORE_VARIABLE
from scenarios.micro.conftest import PROFILE

EVENTS = 20_000 if PROFILE == "smoke" else 200_000
ENTITIES = 10_000
ROUNDS = 3
PAGE = 1_000


def _decoder() -> tuple[str, Callable[[bytes], Any]]:
    if importlib.util.find_spec("orjson"):
        import orjson

        return "orjson", orjson.loads
    return "msgspec", msgspec.json.decode


def life(count: int) -> Iterator[Event]:
    """Customers that are created, changed three times each, and of which every other one is deleted."""
    written = 0
    while written < count:
        customer_id = str(uuid.uuid4())
        actions = ["created", "updated", "updated", "updated", "deleted"][: 4 + written // 9 % 2]
        for action in actions[: count - written]:
            written += 1
            yield Event.new(action, Customer(customer_id, "Ada Lovelace", f"ada{written}@example.org"))  # type: ignore[arg-type]


def bench_replay_three_streams(benchmark: Any, store: EventStore) -> None:
    """A topic's three streams, merged in the order of events, to entities."""
    store.append_many(life(EVENTS))
    benchmark.extra_info["events"] = EVENTS
    assert benchmark.pedantic(store.replay, args=("customer",), rounds=ROUNDS)


def bench_bare_replay_three_streams(benchmark: Any, store: EventStore) -> None:
    """The same streams read by redis-py and decoded into a dict, one after the other, which is not their order."""
    store.append_many(life(EVENTS))
    name, decode = _decoder()

    def replay() -> dict[str, Any]:
        state: dict[str, Any] = {}
        for action in ACTIONS:
            stream, start = store.keys.stream("customer", action), "-"
            while True:
                entries: Any = store.client.xrange(stream, start, "+", count=PAGE)
                if not entries:
                    break
                for _, fields in entries:
                    entity = decode(fields[b"entity"])
                    if action == "deleted":
                        state.pop(entity["id"], None)
                    else:
                        state[entity["id"]] = entity
                start = f"({entries[-1][0].decode()}"
        return state

    benchmark.extra_info["events"] = EVENTS
    benchmark.extra_info["decoder"] = name
    assert benchmark.pedantic(replay, rounds=ROUNDS)


_REPLAY = """
import os, pathlib, re, resource, sys
from ordershop.event_store import EventStore, connect

def highest_bytes():
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # Linux tells in getrusage what the parent had, too
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

store = EventStore(connect(os.environ["ORDERSHOP_SERVER"], timeout_s=60.0), sys.argv[1])
store.find_one("customer", "nobody")
before = highest_bytes()
store.replay("customer")
print(highest_bytes() - before)
"""


def _replay_memory(benchmark: Any, server: Server, store: EventStore, events: int) -> None:
    ids = [str(uuid.uuid4()) for _ in range(ENTITIES)]
    actions = itertools.chain(itertools.repeat("created", ENTITIES), itertools.repeat("updated"))
    store.append_many(
        Event.new(action, Customer(ids[at % ENTITIES], "Ada Lovelace", "ada@example.org"))  # type: ignore[arg-type]
        for at, action in zip(range(events), actions, strict=False)
    )

    def replay() -> int:
        command = [sys.executable, "-P", "-c", _REPLAY, store.keys.namespace]
        environment = {**own_environment(), STORE_VARIABLE: server.url.unmasked}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return int(done.stdout)

    benchmark.extra_info["peak_bytes"] = benchmark.pedantic(replay, rounds=1)


@pytest.mark.skipif(PROFILE != "full", reason="fills a server with a million events")
@pytest.mark.parametrize("events", [100_000, 1_000_000])
def bench_replay_memory(benchmark: Any, server: Server, store: EventStore, events: int) -> None:
    """The highest memory of a process that replays so many events of the same entities."""
    _replay_memory(benchmark, server, store, events)
