"""A round whose sides have servers, configurations, loads and systems of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.capacity.sides import Side
from harness.capacity.versus_prepare import setup_of
from harness.gate.controls import CONTROLS
from harness.gate.metrics import METRICS
from harness.gate.parts import LEAST_APPENDS, PARTS, parts_of
from harness.gate.rounds import Measure, Rounds
from harness.gate.setup import Setup
from harness.gate.side import Side as Place
from harness.gate.side import SideError
from harness.host.clock import SystemClock
from harness.server.open import open_server
from scenarios.versus_load import ShopLoads

ROOT = Path(__file__).parents[2]


def measure(first: Side, other: Side, metrics: tuple[str, ...] = ()) -> Measure:
    """What measures two sides beside each other."""
    setups: dict[Place, Setup] = {
        "baseline": setup_of(first, ShopLoads()),
        "candidate": setup_of(other, ShopLoads()),
    }
    names: dict[Place, str] = {"baseline": "the first", "candidate": "the other"}
    return Measure(
        target="", packages=(), sources={}, names=names, setups=setups, only_common=True, metrics=metrics
    )


def test_each_side_has_a_server_of_its_own(tmp_path: Path) -> None:
    """Started with its own directives and durability, and what only one side can do is left out, and said."""
    first = Side(config=("hz 20",))
    other = Side(durability="everysec", load={"path": "xadd", "payload_bytes": "400"})
    with Rounds(measure(first, other), SystemClock()) as rounds:
        found = rounds.measure(0)
    assert set(found.ratios) == {"append.p50", "append.p99", "append_many.per_event", *CONTROLS}
    assert found.new == ("replay", "drain", "find_one")


def test_a_setup_opens_its_server() -> None:
    """As it is configured."""
    setup = setup_of(Side(config=("hz 20",), durability="everysec"), ShopLoads())
    with setup.opened(SystemClock()) as server:
        facts = server.describe()
    assert (facts["hz"], facts["appendonly"], facts["appendfsync"]) == ("20", "yes", "everysec")


def test_a_system_of_somebodys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its store is opened by its name, in a process that finds it where the command was given."""
    monkeypatch.chdir(ROOT / "examples")
    system = Side(system="plain_store.system:system")
    with Rounds(measure(Side(), system, ("append.p50",)), SystemClock()) as rounds:
        found = rounds.measure(1)
    assert {"append.p50", "append.p99"} <= set(found.ratios)


def test_a_side_that_fails_is_named() -> None:
    """With what its store has raised."""
    broken = Side(config=("maxmemory 1mb", "maxmemory-policy noeviction"))
    with (
        Rounds(measure(Side(), broken), SystemClock()) as rounds,
        pytest.raises(SideError, match=r"^the other failed in append.*(maxmemory|full|memory)"),
    ):
        rounds.measure(0)


@pytest.mark.parametrize(
    ("turn_s", "append_ns", "count"),
    [(float("inf"), 1e9, 250), (0.1, 40e3, 250), (0.1, 800e3, 125), (0.1, 3e6, LEAST_APPENDS), (0.1, 0.0, 250)],
)
def test_slow_appends_are_fewer(turn_s: float, append_ns: float, count: int) -> None:
    """So that a round of what is synced to a disk does not take half a minute; other parts stay as they are."""
    parts = parts_of(append_ns, turn_s)
    assert [part.count for part in parts] == [count, *(part.count for part in PARTS[1:])]


@pytest.mark.parametrize("load", [{}, {"payload_bytes": "700"}, {"path": "xadd", "payload_bytes": "700"}])
def test_what_is_appended(load: dict[str, str]) -> None:
    """Each load has its own path, and events of the size that was asked for."""
    setup = setup_of(Side(load=load), ShopLoads())
    module, _, factory = setup.target.partition(":")
    with open_server("embedded", SystemClock()) as server, server.client() as client:
        target = getattr(__import__(module, fromlist=[factory]), factory)(
            server.url.unmasked, **dict(setup.options)
        )
        assert target.append(target.event(3)) is not None
        assert len(target.append_many([target.event(n) for n in (4, 5)])) == 2
        streams = [key for key in client.keys("*") if client.type(key) == b"stream" and client.xlen(key) == 3]
        assert len(streams) == 1
        [[_, fields], *_] = client.xrange(streams[0])
        sizes = [len(value) for value in fields.values()]
        assert (max(sizes) == 700) == bool(load)
        target.close()
    assert set(METRICS) >= {"append.p50"}
