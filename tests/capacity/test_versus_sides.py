"""Sides: what they are called, and when two of them are one."""

from __future__ import annotations

from typing import Any

import pytest

from harness.capacity.pairs import LETTERS
from harness.capacity.sides import Known, Side, is_same, known, names_of, side_of
from harness.capacity.versus_prepare import VersusOptions, checked, cores_of
from harness.conduct.scenario import ParameterError
from harness.host.clock import SystemClock
from harness.server.own import program_of
from harness.server.server import ServerError
from scenarios.versus_load import ShopLoads

VALKEY, REDIS = "Valkey 9.1.2", "Redis 7.0.15"


def told(program: str = VALKEY, **side: Any) -> Known:
    """A side whose server has said what it is."""
    return Known(side=Side(**side), program=program, facts={})


@pytest.mark.parametrize(
    ("sides", "names"),
    [
        ([told(), told(REDIS, server="/r")], [VALKEY, REDIS]),
        ([told(), told(config=("io-threads 4",))], [VALKEY, f"{VALKEY} with io-threads 4"]),
        (
            [told(config=("hz 20", "io-threads 4")), told(config=("hz 20", "appendfsync always"))],
            [f"{VALKEY} with io-threads 4", f"{VALKEY} with appendfsync always"],
        ),
        (
            [told(durability="everysec"), told(durability="always")],
            [f"{VALKEY} with durability everysec", f"{VALKEY} with durability always"],
        ),
        ([told(), told(load={"path": "xadd"})], [VALKEY, f"{VALKEY} with path xadd"]),
        (
            [told(), told(config=("hz 20",), load={"path": "xadd", "payload_bytes": "9"})],
            [VALKEY, f"{VALKEY} with hz 20, path xadd and payload_bytes 9"],
        ),
        ([told(), told(system="a.b:c")], [f"OrderShop on {VALKEY}", f"a.b:c on {VALKEY}"]),
        ([told(server="/a"), told(server="/b")], [f"{VALKEY} (/a)", f"{VALKEY} (/b)"]),
        ([told(), told()], [f"{VALKEY} (A)", f"{VALKEY} (B)"]),
        (
            [told(), told(REDIS, server="/r"), told(REDIS, server="/r", config=("hz 20",))],
            [VALKEY, REDIS, f"{REDIS} with hz 20"],
        ),
    ],
)
def test_what_sides_are_called(sides: list[Known], names: list[str]) -> None:
    """By what the server says it is, and by what differs; no two alike."""
    assert names_of(sides) == names


def test_a_server_says_what_it_is() -> None:
    """It is started as it will be measured, and what a fresh one has anew is left out."""
    found = known(side_of("embedded", durability="none", config=["hz 20"], load={}, system=""), SystemClock())
    assert found.program.startswith("Valkey 9.")
    assert found.facts["hz"] == "20"
    assert "run_id" not in found.facts


def test_a_sync_needs_a_log() -> None:
    """`appendfsync` is nothing to a server without a log: it gets one, unless it is told otherwise."""
    of = {"durability": "none", "load": {}, "system": ""}
    plain = side_of("embedded", config=["appendfsync always"], **of)  # type: ignore[arg-type]
    assert "appendonly yes" in plain.directives
    facts = known(plain, SystemClock()).facts
    assert (facts["appendonly"], facts["appendfsync"]) == ("yes", "always")
    told_so = side_of("embedded", config=["appendfsync always", "appendonly no"], **of)  # type: ignore[arg-type]
    assert told_so.directives == told_so.config


def test_one_side_twice() -> None:
    """However its program is named; with anything that differs there are two."""
    path = str(program_of("embedded"))
    assert is_same(Side(), Side(server=path))
    for other in ({"durability": "always"}, {"config": ("hz 20",)}, {"load": {"path": "xadd"}}, {"system": "a:b"}):
        assert not is_same(Side(), Side(**other))  # type: ignore[arg-type]
    with pytest.raises(ServerError, match="neither a server program"):
        is_same(Side(), Side(server="/no/such/program"))


def options(*sides: Side, **changed: Any) -> VersusOptions:
    """A comparison of them."""
    usual: dict[str, Any] = {"minutes": 1, "relevant": {}, "metrics": ()}
    return VersusOptions(sides=sides, **(usual | changed))


def test_one_side_twice_is_asked_for_by_name() -> None:
    """It measures how often that is called a difference, and nothing else."""
    with pytest.raises(ParameterError, match=r"^A and C are one and the same side; .*--aa$"):
        checked(options(Side(), Side(durability="always"), Side()))
    checked(options(Side(), Side(), aa=True))


def test_a_metric_that_there_is_not() -> None:
    """At a rate there are others than without one."""
    sides = (Side(), Side(durability="always"))
    with pytest.raises(ParameterError, match=r"no metric 'response.p50'; there are append.p50, "):
        checked(options(*sides, metrics=("response.p50",)))
    with pytest.raises(ParameterError, match=r"no metric 'append.p50'; there are response.p50, "):
        checked(options(*sides, relevant={"append.p50": 0.1}, rate_per_s=100.0))
    checked(options(*sides, metrics=("response.p99.9",), rate_per_s=100.0))


@pytest.mark.parametrize(
    ("changed", "cores"),
    [
        ({}, "one"),
        ({"rate_per_s": 100.0}, "apart"),
        ({"cores": "all"}, "all"),
        ({"rate_per_s": 100.0, "cores": "all"}, "all"),
    ],
)
def test_where_rounds_take_place(changed: dict[str, Any], cores: str) -> None:
    """On one core; apart at a rate; as asked for."""
    assert cores_of(options(Side(), Side(), **changed)) == cores


def test_threads_get_cores() -> None:
    """On one core they would have nothing to share out."""
    assert cores_of(options(Side(), Side(config=("io-threads 4",)))) == "all"


def test_loads_as_they_are_told() -> None:
    """Without what is as it would be anyway, so that one side twice is seen; and never what cannot be varied."""
    loads = ShopLoads()
    assert loads.parsed({"path": "store", "payload_bytes": "300"}, has_rate=False) == {"payload_bytes": "300"}
    assert loads.parsed({"rate_per_s": "500.0"}, has_rate=True) == {"rate_per_s": "500"}
    with pytest.raises(ParameterError, match=r"^entities: without --rate"):
        loads.parsed({"entities": "7"}, has_rate=False)
    with pytest.raises(ParameterError, match=r"no parameter 'pth'; did you mean path\?"):
        loads.parsed({"pth": "xadd"}, has_rate=False)
    with pytest.raises(ParameterError, match="payload_bytes"):
        loads.parsed({"payload_bytes": "-3"}, has_rate=False)


def test_letters_are_of_options() -> None:
    """Each side that there may be has options of its own."""
    from harness.cli.versus import Asked

    of_sides = [name for name in Asked.__struct_fields__ if name[1] == "_"]
    assert of_sides == [
        f"{letter}_{name}" for letter in LETTERS for name in ("config", "durability", "param", "system")
    ]
