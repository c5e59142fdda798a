"""Kinds of servers: each by what names it, what it can, and those that other packages add."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.host.clock import SystemClock, VirtualClock
from harness.host.plugins import PluginError
from harness.server.foreign import ForeignServer
from harness.server.open import GROUP, kind_of, kinds, open_server, parsed
from harness.server.own import OwnServer
from harness.server.server import Server
from harness.server.url import ServerUrl, UrlError

ADDED = """
from harness.server.own import OwnServer


class Twice(OwnServer):
    schemes = ("twice",)

    @classmethod
    def opened(cls, which, clock, **how):
        return super().opened(which.partition("://")[2], clock, **how)
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A package that adds what the test names to the kinds of servers."""
    module = f"kind_of_{request.node.name.partition('[')[0]}"
    metadata = tmp_path / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\ntwice = {module}:{request.param}\n")
    (tmp_path / f"{module}.py").write_text(ADDED)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("which", "kind"),
    [
        ("embedded", OwnServer),
        ("/usr/bin/redis-server", OwnServer),
        ("redis://127.0.0.1", ForeignServer),
        ("rediss://127.0.0.1", ForeignServer),
        ("unix:///tmp/redis.sock", ForeignServer),
        (ServerUrl("redis://127.0.0.1"), ForeignServer),
        ("http://127.0.0.1", ForeignServer),
    ],
)
def test_a_kind_is_known_by_what_names_it(which: ServerUrl | str, kind: type[Server]) -> None:
    """An address is somebody else's server, whatever its scheme; all else is one that we start."""
    assert kind_of(which) is kind


def test_what_is_parsed_is_an_address_or_stays_as_it_is() -> None:
    """An address becomes one at once, and an error of it comes at once."""
    assert parsed("embedded") == "embedded"
    assert parsed("redis://127.0.0.1") == ServerUrl("redis://127.0.0.1")
    with pytest.raises(UrlError):
        parsed("http://127.0.0.1")


def test_only_what_we_start_is_broken_and_configured() -> None:
    """Nothing is done to somebody else's server."""
    assert OwnServer.can == {"kill", "pause", "configure", "lose_disk"}
    assert ForeignServer.can == frozenset()


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize("added", ["Twice"], indirect=True)
def test_another_package_adds_a_kind() -> None:
    """Its servers are opened by its scheme, and their address is its own affair."""
    assert parsed("twice://embedded") == "twice://embedded"
    with open_server("twice://embedded", SystemClock()) as server:
        assert (type(server).__name__, type(server).schemes) == ("Twice", ("twice",))
        assert server.describe()["owned"]


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize("added", ["OwnServer.opened"], indirect=True)
def test_what_is_no_kind_of_server_is_refused() -> None:
    """An entry point that leads to something else is told in one line."""
    with pytest.raises(PluginError, match="'twice' is no kind of server, but "):
        list(kinds())
    with pytest.raises(PluginError):
        open_server("twice://embedded", VirtualClock())
