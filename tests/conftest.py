"""What all tests share: real servers, and event stores on them that do not disturb one another.

server       an embedded Valkey, one for the session; never flushed, never stopped
store        an event store on it, in a namespace of its own
open_store   makes more of them:  open_store(dedup_window_s=1), open_store(like=store)
own_server   an embedded Valkey for one test, which may kill, flush and configure it
any_server   as `server`, and in turn every other server that is found here (see `stores.py`)
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from harness.load.settings import SPIN_VARIABLE
from harness.server.own import OwnServer
from ordershop.event_store import EventStore
from tests import resuming
from tests.stores import PROGRAMS, OpenStore, open_own, stores_on

# Programs that tests start leave the cores to one another: what is asked of them is not how late they are by some
# microseconds. What measures that says so itself.
os.environ.setdefault(SPIN_VARIABLE, "0")

# Of a law that has no number of its own; `pytest --hypothesis-profile=many` looks further.
settings.register_profile("few", max_examples=30, deadline=None)
settings.register_profile("many", max_examples=3_000, deadline=None)
settings.load_profile("few")


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add what tells long tests from others."""
    pluginmanager.register(resuming)


@functools.cache
def _shares(module: Path) -> bool:
    """Whether tests of a module share what was made for all of them."""
    text = module.read_text()
    return 'scope="module"' in text or "tests.browser import" in text


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope`: what a module shares is made once, by one worker; else each test goes by itself.

    xdist's own `loadgroup` would say so by marks; with pytest 9.2 it does not see them.
    """
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return module if _shares(config.rootpath / module) else nodeid.partition("[")[0]

    return Together(config, log)


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
