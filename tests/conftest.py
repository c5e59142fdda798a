"""What all tests share: real servers, and event stores on them that do not disturb one another.

server       an embedded Valkey, one for the session; never flushed, never stopped
store        an event store on it, in a namespace of its own
open_store   makes more of them:  open_store(dedup_window_s=1), open_store(like=store)
own_server   an embedded Valkey for one test, which may kill, flush and configure it
any_server   as `server`, and in turn every other server that is found here (see `stores.py`)
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from harness.load.settings import SPIN_VARIABLE
from harness.server.own import OwnServer
from ordershop.event_store import EventStore
from tests.resuming import (
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_configure_node,
    pytest_sessionstart,
)
from tests.stores import PROGRAMS, OpenStore, open_own, stores_on

__all__ = [
    "pytest_addoption", "pytest_collection_modifyitems", "pytest_configure", "pytest_configure_node",
    "pytest_sessionstart",
]  # fmt: skip

# Programs that tests start leave the cores to one another: what is asked of them is not how late they are by some
# microseconds. What measures that says so itself.
os.environ.setdefault(SPIN_VARIABLE, "0")


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


@pytest.fixture
def open_store(server: OwnServer) -> Iterator[OpenStore]:
    """Makes event stores on the session's embedded server."""
    yield from stores_on(server.url)


@pytest.fixture
def store(open_store: OpenStore) -> EventStore:
    """An event store on the session's embedded server, in a namespace of its own."""
    return open_store()
