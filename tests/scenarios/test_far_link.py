"""A link on which a round trip takes so long: it does, and where it does not, the run says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harness.conduct.findings import Findings
from harness.conduct.scenario import ScenarioError, parameters_of
from harness.host.clock import SystemClock
from harness.record.run import Run, Status
from harness.server.own import OwnServer
from harness.server.url import ServerUrl
from scenarios.append import scenario
from scenarios.far_link import ROUND_TRIP_US, FarLink, RoundTrips, far_link, is_far, pings_us
from tests.lines import assert_declared, stage_in
from tests.stores import PROGRAMS
from tests.verdicts import judged

KNOWN = FarLink(
    round_trip_ms=1,
    one_way_ms=0.4,
    direct_us=40,
    pass_us=100,
    delayed_us=1_000,
    offset_ns=0,
    load_ns=1,
    floor_us=1_020,
)


@pytest.mark.parametrize("round_trip_ms", [1, 20])
def test_a_round_trip_takes_as_long_as_the_link_waits(
    tmp_path: Path, any_server: OwnServer, round_trip_ms: float
) -> None:
    """Each way waits, so no PING is quicker than both; the wait is what the proxy itself leaves of it."""
    with far_link(stage_in(tmp_path), any_server, round_trip_ms) as link:
        assert link is not None
        known = link.known
        took_us = pings_us(link.url, SystemClock())
        trips = RoundTrips(link.url, any_server.url, SystemClock(), "always")
        sample, direct = trips.read()
        trips.close()
    assert took_us[0] >= 2_000 * known.one_way_ms
    assert sample.value is not None
    assert sample.value >= 2_000 * known.one_way_ms
    assert (sample.name, sample.labels) == (ROUND_TRIP_US, {"load": "always", "way": "link"})
    assert (direct.name, direct.labels) == (ROUND_TRIP_US, {"load": "always", "way": "direct"})
    assert 0 <= 2 * known.one_way_ms <= round_trip_ms
    assert 0 < known.direct_us < 1_000 * round_trip_ms
    assert known.delayed_us > known.direct_us


def test_without_a_round_trip_there_is_no_link(tmp_path: Path, server: OwnServer) -> None:
    """What nobody asked for costs nothing."""
    with far_link(stage_in(tmp_path), server, 0) as link:
        assert link is None


def test_a_server_behind_a_unix_socket(tmp_path: Path) -> None:
    """A link is of TCP; it is said what to give in its place."""
    here = server_at("unix:///tmp/redis.sock")
    with pytest.raises(ScenarioError, match="give its TCP address"), far_link(stage_in(tmp_path), here, 1):
        pass


@pytest.mark.parametrize(
    ("changed", "meanwhile_us", "direct_us", "status", "words"),
    [
        ({}, 1_100, 40, "PASS", "1.02 ms before the load and 1.10 ms during it"),
        ({}, 1_100, 40, "PASS", "the proxy's own 60 µs are in it"),
        # A server that lets wait for 8 ms lets wait on both ways.
        ({}, 9_100, 8_040, "PASS", "1.10 ms during it"),
        ({}, 9_100, 40, "UNKNOWN", "another load"),
        ({}, 1_100, 1_040, "UNKNOWN", "another load"),
        ({"round_trip_ms": 20.0, "floor_us": 21_900.0}, 18_100, 40, "PASS", "20 ms were asked for"),
        ({"round_trip_ms": 20.0, "floor_us": 22_100.0}, 20_000, 40, "UNKNOWN", "another load"),
        ({"floor_us": 840.0}, 1_000, 40, "UNKNOWN", "0.15 ms more or less are allowed"),
        ({}, None, 40, "UNKNOWN", "no PING was seen during the load"),
        ({}, 1_000, None, "UNKNOWN", "no PING was seen during the load"),
        ({"floor_us": None}, 1_000, 40, "UNKNOWN", "no PING was seen before the load"),
    ],
)
def test_whether_a_link_was_far(
    changed: dict[str, Any], meanwhile_us: float | None, direct_us: float | None, status: Status, words: str
) -> None:
    """Both medians are near what was asked for, or what was measured is another load."""
    verdict = is_far("x", replace(KNOWN, **changed), meanwhile_us, direct_us)
    assert (verdict.status, words in verdict.detail) == (status, True), verdict.detail


# Whole programs ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_run_over_a_link(tmp_path: Path, program: str) -> None:
    """Every append takes the link's time at least, and one connection carries many at once."""
    server = PROGRAMS[program]
    if server is None:
        pytest.skip(f"no {program} here")
    findings = Findings("append")
    given = {"durability": "none", "round_trip_ms": "20", "rate_per_s": "2000", "duration_s": "2"}
    chosen = parameters_of(scenario, "smoke", given)
    scenario.run(replace(stage_in(tmp_path), server=server), chosen, findings)
    run = judged(scenario, chosen, findings)
    assert_declared(scenario, run)
    values = values_of(run)
    way_us = 2_000 * values["link.one_way_ms"]
    assert values["service.p50"] >= way_us
    assert values["floor.ping.service.p50"] >= way_us
    # Of a connection on which one waits for the other only 50 a second would get through.
    assert values["ok"] == 4_000
    statuses = {each.name.removeprefix("append.none."): each.status for each in run.verdicts}
    assert statuses["far_link"] in {"PASS", "UNKNOWN"}
    assert values["link.meanwhile_us"] >= way_us
    assert f"over a link of {values['link.meanwhile_us'] / 1000:.2f} ms" in run.headline


def values_of(run: Run) -> dict[str, float]:
    return {f.name.removeprefix("append.none."): f.value for f in run.figures if f.value is not None}


def server_at(url: str) -> Any:
    """A server of which only the address is known."""

    class There:
        owned = True

        def __init__(self) -> None:
            self.url = ServerUrl(url)

    return There()
