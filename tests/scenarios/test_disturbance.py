"""A load is disturbed by a rewrite of the log or a snapshot: that it was so is seen, and said."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from harness.conduct.findings import Findings
from harness.conduct.scenario import parameters_of
from harness.host.clock import SystemClock
from harness.measure.timeline import History, Phase
from harness.record.run import Run, Status
from harness.server.foreign import ForeignServer
from harness.server.own import OwnServer
from harness.server.server import Server
from scenarios.append import scenario
from scenarios.disturbance import Disturbed, Disturbing, add_disturbance, disturbed, due_ns, fill, seconds_around
from tests.histories import S, latencies
from tests.lines import assert_declared, stage_in
from tests.stores import PROGRAMS
from tests.verdicts import judged
from tests.waiting import until

What = Literal["rewrite", "snapshot"]
DONE = Disturbed(
    what="rewrite",
    load_ns=9 * S,
    began_ns=3 * S,
    ended_ns=4 * S,
    forks=1,
    status="ok",
    fork_us=800,
    copied_bytes=4e6,
)


def watched(server: Server, what: What) -> Disturbed:
    """What is seen of a disturbance that begins at once."""
    clock = SystemClock()
    disturbing = Disturbing(server, what, clock=clock, origin_ns=clock.now_ns(), load_ns=1)
    with disturbing.working():
        until(lambda: disturbing.seen.ended_ns is not None or disturbing.seen.refused, f"the end of the {what}")
    return disturbing.seen


@pytest.mark.parametrize("what", ["rewrite", "snapshot"])
def test_it_is_seen_from_its_fork_to_its_end(any_server: OwnServer, what: What) -> None:
    """The server forks once, says how long that took, and that its child has done well."""
    seen = watched(any_server, what)
    assert (seen.forks, seen.status, seen.refused) == (1, "ok", "")
    assert seen.began_ns is not None
    assert seen.ended_ns is not None
    assert seen.ended_ns > seen.began_ns
    assert seen.fork_us is not None
    assert seen.fork_us > 0
    assert disturbed("x", replace(seen, load_ns=seen.ended_ns)).status == "PASS"


def test_a_snapshot_that_fails_is_a_failure(own_server: OwnServer) -> None:
    """Where the server's child cannot write, the verdict says so, whatever the latencies were."""
    (own_server.directory / "dump.rdb").mkdir()
    seen = watched(own_server, "snapshot")
    assert seen.status == "err"
    verdict = disturbed("x", replace(seen, load_ns=60 * S))
    assert (verdict.status, "failed: the server says err" in verdict.detail) == ("FAIL", True)


def test_a_user_who_may_not_ask_for_it(own_server: OwnServer) -> None:
    """A server at a URL that refuses it was not disturbed, and nothing is known of one that was."""
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "ada", "on", ">secret", "~*", "&*", "+@all", "-bgsave")
    with contextlib.closing(ForeignServer(f"redis://ada:secret@127.0.0.1:{own_server.port}")) as server:
        seen = watched(server, "snapshot")
    verdict = disturbed("x", seen)
    assert verdict.status == "UNKNOWN"
    assert "the server refuses BGSAVE" in verdict.detail
    assert "secret" not in verdict.detail


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({}, "PASS", "began 3.00 s after the load, forked in 0.80 ms, and was done 1.00 s later"),
        ({"fork_us": None}, "PASS", "after the load, and was done"),
        ({"ended_ns": 9 * S}, "PASS", "done 6.00 s later"),
        ({"ended_ns": 9 * S + 1}, "UNKNOWN", "give it a longer `duration_s`"),
        ({"ended_ns": None}, "UNKNOWN", "had not ended with it: give it a longer `duration_s`"),
        ({"began_ns": None, "ended_ns": None}, "UNKNOWN", "ended before a rewrite of the log was asked for"),
        ({"status": "err"}, "FAIL", "failed: the server says err"),
        ({"status": ""}, "UNKNOWN", "does not say"),
        ({"forks": None}, "UNKNOWN", "does not say"),
        ({"refused": "it is away"}, "UNKNOWN", "could not be had: it is away"),
    ],
)
def test_whether_a_load_was_disturbed(changed: dict[str, Any], status: Status, words: str) -> None:
    """From beginning to end within the load, or it is not known; a child that failed is a failure."""
    verdict = disturbed("x", replace(DONE, **changed))
    assert (verdict.status, words in verdict.detail) == (status, True), verdict.detail


@pytest.mark.parametrize(("load_s", "due_s"), [(0.9, 0.3), (2.0, 1.0), (5.0, 1.0), (9.0, 3.0), (10.0, 3.0)])
def test_when_it_is_asked_for(load_s: float, due_s: float) -> None:
    """When a third of the load is over, with a whole second, so that those before it are undisturbed."""
    assert due_ns(int(load_s * S)) == pytest.approx(due_s * S, abs=1)


@pytest.mark.parametrize(
    ("began_s", "ended_s", "before", "during"),
    [
        (3.0, 3.2, (1, 3), (3, 4)),
        (3.9, 4.1, (1, 3), (3, 5)),
        (3.0, 4.0, (1, 3), (3, 4)),
        (1.0, 1.1, (0, 1), (1, 2)),
        (0.3, 0.4, (0, 0), (0, 1)),
    ],
)
def test_the_seconds_around_it(
    began_s: float, ended_s: float, before: tuple[int, int], during: tuple[int, int]
) -> None:
    """Those it was in, and the whole ones before; the first of the load only where there is no other."""
    found = seconds_around(int(began_s * S), int(ended_s * S))
    assert found == {"before": (before[0] * S, before[1] * S), "during": (during[0] * S, during[1] * S)}


def test_latencies_before_and_during() -> None:
    """Each is of its own seconds, also where the load did not begin with the run."""
    findings, history = Findings("append"), History()
    findings.intervals += [
        replace(each, start_s=each.start_s + 20) for each in latencies("append_always", [(0, 1)] * 3 + [(0, 7)])
    ]
    seen = replace(DONE, ended_ns=3 * S + S // 2, load_ns=4 * S)
    add_disturbance(findings, history, seen, "append_always", offset_ns=20 * S, name="always")
    values = {figure.name.removeprefix("append.always."): figure.value for figure in findings.figures}
    assert (values["before.answered"], values["during.answered"]) == (200, 100)
    before, during = values["before.response.p50"], values["during.response.p50"]
    assert before is not None
    assert during is not None
    assert during > 2 * before
    assert (values["disturbance.began_s"], values["disturbance.lasted_s"]) == (3.0, 0.5)
    phase = Phase(name="rewrite of the log", start_ns=23 * S, end_ns=23 * S + S // 2)
    assert history.entries == [phase]


def test_a_server_is_filled(own_server: OwnServer) -> None:
    """It holds so many bytes of other keys, none of which is like another."""
    fill(own_server, 1.5, seed=3)
    with own_server.client() as client:
        values = client.mget(client.keys("filler:*"))
    assert sum(map(len, values)) == 1_500_000
    assert len(set(values)) == len(values) == 1_500


# Whole programs ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("what", ["rewrite", "snapshot"])
def test_a_run_that_was_disturbed(tmp_path: Path, program: str, what: What) -> None:
    """The verdict passes on each server; latencies before it and during it are told, also in the sentence."""
    server = PROGRAMS[program]
    if server is None:
        pytest.skip(f"no {program} here")
    run = appended(tmp_path, server, disturb=what, durability="everysec", duration_s="4", filled_mb="3")
    [verdict] = [each for each in run.verdicts if each.name == "append.everysec.disturbed"]
    assert verdict.status == "PASS", verdict.detail
    values = {figure.name.removeprefix("append.everysec."): figure.value for figure in run.figures}
    assert values["before.answered"] == 500
    assert (values["during.answered"] or 0) >= 500
    assert (values["disturbance.fork"] or 0) > 0
    assert "ms at p99 before a" in run.headline


@pytest.mark.slow
def test_a_run_that_was_too_short(tmp_path: Path) -> None:
    """A rewrite that takes longer than the load leaves open what a disturbed load is like."""
    run = appended(tmp_path, "embedded", disturb="rewrite", durability="none", duration_s="0.3", filled_mb="300")
    [verdict] = [each for each in run.verdicts if each.name == "append.none.disturbed"]
    assert verdict.status == "UNKNOWN", verdict.detail


def appended(directory: Path, server: str, **given: str) -> Run:
    findings = Findings("append")
    chosen = parameters_of(scenario, "smoke", given)
    scenario.run(replace(stage_in(directory), server=server), chosen, findings)
    run = judged(scenario, chosen, findings)
    assert_declared(scenario, run)
    return run
