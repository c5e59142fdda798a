"""What is shown of a run while it lasts: cursors, percentiles, the account; and what the web UI refuses."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.account.event_ids import event_id
from harness.account.ledger import Account, Ledger
from harness.conduct.findings import Findings
from harness.conduct.scenario import ParameterError
from harness.host.clock import VirtualClock
from harness.locust import view
from harness.locust.form import check_server, options_after
from harness.locust.locustfile import command_of
from harness.locust.snapshot import MOST_POINTS, Cursor, Progress, Snapshot, percentiles, standing, thinned
from harness.locust.view import Measured, View
from harness.locust.web import table_rows
from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.measure.outcomes import Counts
from harness.measure.recorder import Interval, Recorder
from harness.measure.timeline import FaultWindow, History, Mark, Reading
from harness.nemesis.nemesis import Nemesis
from harness.nemesis.targets import LINE, Part
from scenarios import append, lag
from tests import locust_web_client
from tests.nemesis.test_nemesis import FakeTarget

SECOND_NS = 1_000_000_000


def findings_with(*readings: tuple[float, float | None], name: str = "lag.events") -> Findings:
    findings = Findings("lag")
    findings.origin_ns = 0
    for t_s, value in readings:
        t_ns = int(t_s * 1e9)
        findings.history.add(Reading(t_ns=t_ns, name=name, value=value, unit="events", labels={"group": "crm"}))
    return findings


def recorded(seed: int, due_ns: Sequence[int]) -> list[Interval]:
    """Intervals of an operation with latencies from a seed."""
    due = np.array(due_ns, np.int64)
    recorder = Recorder()
    late, long = np.random.default_rng(seed).integers(1_000, 50_000_000, (2, due.size))
    recorder.record("append", due, due + late, due + late + long)
    return recorder.intervals()


def seen(view: View, measured: Sequence[Measured] = ()) -> list[Snapshot]:
    """All answers from the beginning until there is no more."""
    answers: list[Snapshot] = []
    while not answers or answers[-1].more:
        view.absorb(measured)
        since = Cursor.parse(answers[-1].next) if answers else Cursor()
        answers.append(view.snapshot(since, 0))
        assert len(answers) < 1_000
    return answers


# Cursors and series


def test_each_answer_brings_what_is_new() -> None:
    """Answers put together are the whole series, each reading once."""
    findings = findings_with((0.1, 1), (0.2, None))
    view = View(findings, 1)
    first = seen(view)[-1]
    findings.history.add(
        Reading(t_ns=300_000_000, name="lag.events", value=3, unit="events", labels={"group": "crm"})
    )
    view.absorb([])
    second = view.snapshot(Cursor.parse(first.next), 0)
    third = view.snapshot(Cursor.parse(second.next), 0)
    assert [first.is_whole, second.is_whole, third.is_whole] == [True, False, False]
    assert [(s.name, s.group, s.t_s, s.values) for s in first.series] == [
        ("lag.events", "crm", [0.1, 0.2], [1, None])
    ]
    assert [(s.t_s, s.values) for s in second.series] == [([0.3], [3])]
    assert third.series == []


def test_a_cursor_of_another_run_begins_from_the_beginning() -> None:
    """Whoever has seen the run before is told to forget it."""
    answer = View(findings_with((0.1, 1)), 2)
    answer.absorb([])
    assert answer.snapshot(Cursor(1, 1, 0), 0).is_whole
    assert answer.snapshot(Cursor(2, 7, 0), 0).is_whole, "a cursor from the future"
    assert not answer.snapshot(Cursor(2, 1, 0), 0).is_whole


@pytest.mark.parametrize("text", ["x", "1.2", "1.2.-3", "1.2.3.4", "1" * 99 + ".1.1", "1.1.1\n"])
def test_no_cursor(text: str) -> None:
    """What no answer has given is refused."""
    with pytest.raises(ValueError, match="is no cursor"):
        Cursor.parse(text)


@given(st.lists(st.one_of(st.none(), st.integers(0, 1000)), max_size=300), st.integers(1, 50))
def test_thinning_keeps_the_highest(values: list[int | None], most: int) -> None:
    """Thinned, a series has no more points than asked for, all its own, the highest among them, in order."""
    t_s = [float(i) for i in range(len(values))]
    times, thin = thinned(t_s, values, most)
    assert len(thin) <= most
    assert times == sorted(set(times))
    assert [values[int(t)] for t in times] == thin
    known = [value for value in values if value is not None]
    assert max((v for v in thin if v is not None), default=None) == max(known, default=None)


def test_one_answer_is_bounded() -> None:
    """However much there is, an answer takes a part of it, says so, and all of them together are everything."""
    readings = [(i / 10, float(i)) for i in range(view.MOST_ENTRIES * 2 + 5)]
    findings = findings_with(*readings)
    findings.history.add(Reading(t_ns=0, name="host.cpu_share", value=1, unit="of all cores"))
    parts = [Measured((1, "a"), 0, recorded(1, [i * SECOND_NS for i in range(view.MOST_SECONDS)]))]
    answers = seen(View(findings, 1), parts)
    assert len(answers) >= 3
    assert max(len(answer.seconds) for answer in answers) <= view.MOST_SECONDS
    assert max(len(s.t_s) for answer in answers for s in answer.series) <= MOST_POINTS
    assert len({(row.kind, row.t_s) for answer in answers for row in answer.seconds}) == 3 * view.MOST_SECONDS
    assert {s.name for answer in answers for s in answer.series} == {"lag.events"}
    assert max(v for a in answers for s in a.series for v in s.values if v is not None) == readings[-1][1]


# Percentiles


def test_percentiles_are_those_of_the_record() -> None:
    """Two workers, intervals as they come: percentiles of the run and of each second are those of the log."""
    first, second = (recorded(seed, range(0, 3 * SECOND_NS, 7_000_000)) for seed in (1, 2))
    log = LatencyLog([*first, *second])
    parts = [Measured((1, "a"), 0, first), Measured((1, "b"), 0, second)]
    answers = seen(View(findings_with(), 1), parts)
    rows = {row.kind: row for row in answers[-1].percentiles}
    assert list(rows) == ["response", "service", "send_lag"]
    seconds = {(row.kind, row.t_s): row for answer in answers for row in answer.seconds}
    for kind, row in rows.items():
        for expected, shown in [
            (log.total(f"append.{kind}"), row),
            (log.total(f"append.{kind}", 1.0, 2.0), seconds[kind, 1.0]),
        ]:
            values = (shown.p50_us, shown.p90_us, shown.p99_us, shown.p99_9_us, shown.p99_99_us, shown.max_us)
            assert expected.quantiles_us([0.5, 0.9, 0.99, 0.999, 0.9999, 1]) == list(values)
            assert expected.total == shown.count


def test_a_second_that_changes_is_told_again() -> None:
    """An answer that comes after a stall belongs to the second in which it was due: that one is told anew."""
    intervals = recorded(1, [0, SECOND_NS])
    view = View(findings_with(), 1)
    first = seen(view, [Measured((1, "a"), 0, intervals)])[-1]
    view.absorb([Measured((1, "a"), 0, [*intervals, *recorded(2, [500])])])
    rows = view.snapshot(Cursor.parse(first.next), 0).seconds
    assert [(row.kind, row.t_s, row.count) for row in rows] == [
        ("response", 0, 2),
        ("service", 0, 2),
        ("send_lag", 0, 2),
    ]


def test_loads_stand_where_they_were() -> None:
    """A load that begins later than the run stands later on its time."""
    findings = findings_with()
    findings.origin_ns = 5 * SECOND_NS
    [answer] = seen(View(findings, 1), [Measured((1, "a"), 7 * SECOND_NS, recorded(1, [0]))])
    assert {row.t_s for row in answer.seconds} == {2.0}


def test_locusts_table_gets_numbers() -> None:
    """Milliseconds to the microsecond, and None where nothing was measured."""
    histogram = Histogram()
    histogram.record(np.array([1234], np.int64))
    rows = [percentiles("append", "send_lag", None, each) for each in (histogram, Histogram())]
    first, second = table_rows(rows)
    assert (first["kind"], first["count"], first["p50"], first["max"]) == ("send lag", 1, 1.234, 1.234)
    assert (second["count"], second["p9999"]) == (0, None)


# Faults and the account


def test_faults_are_windows() -> None:
    """Healed ones have an end, marks a time."""
    findings = findings_with()
    findings.history.add(FaultWindow(name="kill", target="crm", start_ns=SECOND_NS, end_ns=2 * SECOND_NS))
    findings.history.add(Mark(t_ns=2 * SECOND_NS, name="restart"))
    [answer] = seen(View(findings, 1))
    assert [(f.name, f.target, f.start_s, f.end_s) for f in answer.faults] == [("kill", "crm", 1.0, 2.0)]
    assert [(m.name, m.t_s) for m in answer.marks] == [("restart", 2.0)]
    assert answer.can_break is False


def test_an_open_fault_of_a_later_load_stands_on_the_runs_time() -> None:
    """Its nemesis counts from its load's origin, what is shown from the run's, while it is open, too."""
    findings, clock = findings_with(), VirtualClock(now_ns=9 * SECOND_NS)
    findings.origin_ns = 5 * SECOND_NS
    with Nemesis(
        FakeTarget(), clock=clock, origin_ns=7 * SECOND_NS, history=History(), on_error=pytest.fail
    ) as findings.nemesis:
        findings.nemesis.inject_now("kill")
        [answer] = seen(View(findings, 1))
    assert [(f.name, f.start_s, f.end_s) for f in answer.faults] == [("kill", 4.0, None)]


def test_buttons_are_what_faults_say() -> None:
    """For each target those that it knows and that have one, and one that heals; they stay when no load is on."""
    findings = findings_with()
    view = View(findings, 1)
    line = Part("link", dict.fromkeys(LINE, lambda: None))
    with Nemesis(
        [FakeTarget(), line], clock=VirtualClock(), origin_ns=0, history=History(), on_error=pytest.fail
    ) as findings.nemesis:
        [during] = seen(view)
    findings.nemesis = None
    [after] = seen(view)
    assert (during.can_break, after.can_break) == (True, False)
    assert after.buttons == during.buttons
    words = [(each.target, each.action, each.words, each.heals) for each in during.buttons]
    assert words == [
        ("crm", "stop", "Stop CRM", False),
        ("crm", "kill", "Kill CRM", False),
        ("crm", "freeze", "Freeze CRM", False),
        ("crm", "start", "Start CRM", True),
    ]


NOTHING = Account(
    attempted=0, acknowledged=0, unknown=0, applied=0, lost=0, duplicated=0, unexpected=0, recovered=0
)
COUNTS = Progress(arrivals=100, ok=90, failed=2, unknown=1, dropped=3, unanswered=4)


@pytest.mark.parametrize(
    ("account", "has_drained", "shown"),
    [
        # While the load is on, the ledger knows of effects only.
        ({"applied": 70, "unexpected": 70}, None, (97, 90, 70, 20, None, None)),
        # An effect may be seen before its answer is told.
        ({"applied": 91, "unexpected": 91}, None, (97, 90, 91, 0, None, None)),
        # The load has ended, and what waits is not lost yet.
        ({"attempted": 96, "acknowledged": 93, "applied": 70, "lost": 23}, None, (96, 93, 70, 23, 0, None)),
        ({"attempted": 96, "acknowledged": 93, "applied": 90, "lost": 3}, False, (96, 93, 90, 3, 0, None)),
        ({"attempted": 96, "acknowledged": 93, "applied": 90, "lost": 3}, True, (96, 93, 90, 3, 0, 3)),
    ],
)
def test_what_waits_is_not_lost(
    account: dict[str, int], has_drained: bool | None, shown: tuple[int | None, ...]
) -> None:
    """Lost is open until everything has drained, unexpected until the load has ended."""
    stands = standing(msgspec.structs.replace(NOTHING, **account), COUNTS, has_drained=has_drained)
    assert shown == (
        stands.attempted,
        stands.acknowledged,
        stands.applied,
        stands.waiting,
        stands.unexpected,
        stands.lost,
    )


def test_each_arrival_has_a_place() -> None:
    """What was due is acknowledged, failed, unknown, dropped, or not answered yet; while the load lasts, too."""
    findings = findings_with()
    findings.progress, findings.account = lambda: Counts(60_000, 42_573, 3, 2, 1), lambda: NOTHING
    [answer] = seen(View(findings, 1))
    stands = answer.account
    assert stands is not None
    assert (stands.due, stands.unanswered) == (60_000, 17_421)
    places = (stands.acknowledged, stands.failed, stands.unknown, stands.dropped, stands.unanswered)
    assert stands.due == sum(place or 0 for place in places)


def test_the_scenario_says_whether_it_has_drained() -> None:
    """The ledger's own numbers, and the verdict on the drain."""
    findings = findings_with()
    ledger = Ledger(7, 10)
    ledger.acknowledge(np.arange(4))
    ledger.apply([event_id(7, 0), event_id(7, 0), event_id(7, 1)])
    findings.account, findings.progress = ledger.account, lambda: Counts(4, 4)
    [before] = seen(View(findings, 1))
    findings.closed.append(True)
    [after] = seen(View(findings, 1))
    assert before.account is not None
    assert after.account is not None
    assert (before.has_drained, before.account.lost, before.account.duplicated) == (None, None, 1)
    assert (after.has_drained, after.account.lost, after.account.waiting) == (True, 2, 2)


def test_of_several_loads_the_last_ones_drain_counts() -> None:
    """An account is open until its own load has drained, whatever was said of the loads before it."""
    findings = Findings("redis_crash")
    view = View(findings, 1)
    shown = []
    for load, has_drained in enumerate([True, False, True], 1):
        parts = [Measured((load, worker), SECOND_NS, []) for worker in ("a", "b")]
        shown.append(seen(view, parts)[-1].has_drained)
        findings.closed.append(has_drained)
        shown.append(seen(view, parts)[-1].has_drained)
    assert shown == [None, True, None, False, None, True]


# What is refused


OPTIONS = Namespace(base_per_s="", profile=None, host=None, num_users=None, spawn_rate=None, run_time=30, seed="1")
FORM = {
    "user_count": "2",
    "spawn_rate": "0.5",
    "base_per_s": "300",
    "profile": "smoke",
}


def test_a_form_becomes_options() -> None:
    """A form's fields stand where Locust will put them; what it does not have is not kept from the run before."""
    chosen = options_after(OPTIONS, FORM, int)
    assert (chosen.num_users, chosen.spawn_rate, chosen.base_per_s, chosen.profile) == (2, 0.5, "300", "smoke")
    assert chosen.run_time is None
    assert options_after(OPTIONS, {**FORM, "run_time": "7"}, int).run_time == 7
    assert (OPTIONS.run_time, OPTIONS.num_users) == (30, None)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"user_count": "0"}, "the number of users is a whole number 1 or more, not '0'"),
        ({"user_count": "two"}, "the number of users is a whole number 1 or more, not 'two'"),
        ({"spawn_rate": "nan"}, "the ramp up is a number above 0, not 'nan'"),
        ({"spawn_rate": "0"}, "the ramp up is a number above 0, not '0'"),
        ({"run_time": "soon"}, "a run time is written as 20, 20s, 3m, 2h or 1h20m, not 'soon'"),
        ({"run_time": "0"}, "a run time is 1 second or more"),
    ],
)
def test_a_form_that_cannot_be(fields: dict[str, str], says: str) -> None:
    """The message names the field and what it may be."""
    with pytest.raises(ParameterError, match=re.escape(says)):
        options_after(OPTIONS, {**FORM, **fields}, int)


@pytest.mark.parametrize("which", ["valkey-sevrer", "http://localhost:6379", "redis://localhost:port", ""])
def test_what_can_name_no_server(which: str) -> None:
    """Neither a program nor a URL of Redis: said before anything starts."""
    with pytest.raises(ParameterError):
        check_server(which)


def test_what_can_name_a_server() -> None:
    """Whether it answers is not asked here."""
    for which in ("embedded", sys.executable, "redis://127.0.0.1:1/15", "unix:///nowhere"):
        check_server(which)


# The command line


def test_parameters_become_options() -> None:
    """Names of parameters on one side, of options on the other."""
    given = {"base_per_s": "300", "peak_s": "-4"}
    command = command_of(lag.scenario, given, host="127.0.0.1", port=8090, others={"users": "2"})
    assert command[:4] == [sys.executable, "-P", "-m", "locust"]
    assert Path(command[command.index("-f") + 1]).name == "lag.py"
    assert command[-4:] == ["--users=2", "--base=300", "--peak-s=-4", "--spawn-rate=2"]
    command = command_of(append.scenario, {"connections": "3"}, host="127.0.0.1", port=8090, others={"users": "2"})
    assert command[-2:] == ["--users=3", "--spawn-rate=3"]
    command = command_of(
        lag.scenario,
        {},
        host="127.0.0.1",
        port=8090,
        others={"users": "2"},
        lists={"allowed-host": ["bench.lan", "b"], "also-server": []},
    )
    assert command[-4:] == ["--allowed-host=bench.lan", "--allowed-host=b", "--users=2", "--spawn-rate=2"]


def shopbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "there is no scenario 'nothing'"),
        (["replay"], "Under Locust, replay has another form, with parameters of its own: locust -f"),
        (["micro"], "Locust cannot drive micro; it can drive append, "),
        (
            ["lag", "-p", "base_per_s=-5"],
            "lag: base_per_s is more than 0 and at most 1,000,000 events a second, not -5",
        ),
        (["lag", "-p", "speed=5"], "lag has no parameter 'speed'"),
        (["lag", "--profile", "fast"], "there is no profile 'fast'"),
        (["lag", "--server", "valkey-sevrer"], "'valkey-sevrer' is neither a server program"),
        (["lag", "--port", "0"], "Invalid value for '--port'"),
        (["lag", "--also-server", "embedded"], "--also-server is given as NAME=WHICH"),
        (["lag", "--also-server", "mine=valkey-sevrer"], "'valkey-sevrer' is neither a server program"),
        (
            ["lag", "--allowed-host", "http://bench.lan"],
            "--allowed-host is a name or an address, such as bench.lan",
        ),
        (["lag", "--allowed-origin", "bench.lan"], "--allowed-origin is written as http://bench.lan or"),
    ],
)
def test_web_bad_input_is_one_line_and_2(arguments: list[str], says: str) -> None:
    """What cannot be is refused before Locust starts, in one line."""
    done = shopbench("web", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"shopbench: {says}")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_web_a_port_that_is_taken() -> None:
    """Said in one line, before Locust starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = shopbench("web", "lag", "--port", str(port))
    assert done.returncode == 2
    assert done.stderr == f"shopbench: the web UI cannot be served on 127.0.0.1:{port} (Address already in use)\n"


# Locust's own app, with ours in it; in a process of its own, since importing Locust would patch this one


@pytest.mark.slow
@pytest.mark.parametrize("check", locust_web_client.CHECKS)
def test_routes(check: str, client_results: dict[str, str]) -> None:
    """A real Environment with a local runner, asked by Flask's test client; each check says what it expects."""
    assert client_results[check] == "as expected"


@pytest.fixture(scope="module")
def client_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each check of `locust_web_client` came to."""
    command = [sys.executable, "-m", "tests.locust_web_client"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*command, str(tmp_path_factory.mktemp("client"))],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=dict[str, str])
