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
from harness.server.servers import OwnServer
from ordershop.event_store import EventStore
from tests import resuming
from tests.stores import PROGRAMS, OpenStore, open_own, stores_on

# Programs that tests start leave the cores to one another: what is asked of them is not how late they are by some
# microseconds. What measures that says so itself.
os.environ.setdefault(SPIN_VARIABLE, "0")


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add what tells long tests from others."""
    pluginmanager.register(resuming)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a fixture of its module: it is made once, by one worker."""
    for item in (each for each in items if isinstance(each, pytest.Function)):
        made = item._fixtureinfo.name2fixturedefs.values()
        if any(each[-1].scope == "module" and each[-1].baseid for each in made):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


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
