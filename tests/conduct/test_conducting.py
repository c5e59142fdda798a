"""Conducting: whatever becomes of a scenario, its record is there and says so."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
import redis

from harness.conduct.conduct import (
    Findings,
    Interrupted,
    ParameterError,
    Scenario,
    ScenarioError,
    Stage,
    conduct,
    conduct_suite,
    heed_ctrl_c,
    interruptible,
    parameters_of,
)
from harness.host.clock import VirtualClock
from harness.host.neighbors import snapshot
from harness.load.settings import PumpError, PumpResult
from harness.measure.recorder import Recorder, SlowOperation
from harness.measure.timeline import Entry, History, Mark
from harness.record.run import Figure, Record, Verdict, load
from harness.server.server import ServerError
from tests.waiting import in_threads

S = 1_000_000_000
EPOCH_S = 1_795_435_200.0  # 2026-11-23, noon
PASSED = Verdict(name="tiny.fine", status="PASS", detail="as it should be")


class TinyParameters(msgspec.Struct, frozen=True, kw_only=True):
    rate_per_s: Annotated[int, msgspec.Meta(gt=0, le=1000)] = 10
    pacing: str = "constant"
    is_long: bool = False


Body = Callable[[Stage, Findings], None]


def measure(stage: Stage, findings: Findings) -> None:
    """What a scenario finds before it ends in one way or another: one of everything, in 2.5 s."""
    recorder = Recorder()
    recorder.record("append", np.array([5]), np.array([6]), np.array([70_005]))
    findings.intervals += recorder.intervals()
    findings.slowest += recorder.slowest()
    findings.history.add(Mark(t_ns=7, name="drained"))
    findings.figure("rate", 10.0, "1/s")
    findings.verdicts.append(PASSED)
    findings.headline = "All is well."
    findings.server = {"name": "none"}
    stage.clock.sleep_ns(2_500_000_000)


class Tiny:
    """A scenario whose body a test gives."""

    summary = "Nothing much."
    parameters = TinyParameters
    profiles: Mapping[str, Mapping[str, Any]] = {"smoke": {"rate_per_s": 5}, "full": {"pacing": "poisson"}}

    def __init__(self, body: Body = measure, name: str = "tiny") -> None:
        self.name = name
        self._body = body

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        self._body(stage, findings)


def ending_with(error: BaseException) -> Body:
    """A body that measures, and then ends with an error."""

    def body(stage: Stage, findings: Findings) -> None:
        measure(stage, findings)
        raise error

    return body


def stage_in(directory: Path, clock: VirtualClock | None = None) -> Stage:
    return Stage(
        server="embedded",
        port=None,
        profile="smoke",
        seed=7,
        directory=directory,
        clock=clock or VirtualClock(epoch_s=EPOCH_S),
        progress=lambda *_: None,
    )


def conducted(body: Body, directory: Path) -> tuple[Record, BaseException | None]:
    return conduct(Tiny(body), TinyParameters(), stage_in(directory), command=["shopbench", "run", "tiny"])


def finished(detail: str, name: str = "tiny") -> Verdict:
    return Verdict(name=f"{name}.finished", status="UNKNOWN", detail=detail)


# Parameters.


@pytest.mark.parametrize(
    ("profile", "given", "expected"),
    [
        ("quick", {}, TinyParameters()),
        ("smoke", {}, TinyParameters(rate_per_s=5)),
        ("full", {"rate_per_s": "20"}, TinyParameters(rate_per_s=20, pacing="poisson")),
        ("smoke", {"rate_per_s": "20", "is_long": "true"}, TinyParameters(rate_per_s=20, is_long=True)),
    ],
)
def test_parameters(profile: str, given: dict[str, str], expected: TinyParameters) -> None:
    """Defaults, in their place the profile's, and in theirs what was given, read from text."""
    assert expected == parameters_of(Tiny(), profile, given)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rat": "5"}, "tiny has no parameter 'rat'; did you mean rate_per_s? it has is_long, pacing, rate_per_s"),
        ({"rate_per_s": "0"}, "tiny: rate_per_s is at least 1 and at most 1,000 events a second, not 0"),
        ({"rate_per_s": "1001"}, "tiny: rate_per_s is at least 1 and at most 1,000 events a second, not 1001"),
        ({"rate_per_s": "fast"}, "tiny: rate_per_s is a whole number of events a second, not 'fast'"),
        ({"rate_per_s": ""}, "tiny: rate_per_s is a whole number of events a second, not ''"),
        ({"is_long": "perhaps"}, "tiny: is_long is true or false, not 'perhaps'"),
    ],
)
def test_parameters_that_cannot_be(given: dict[str, str], reason: str) -> None:
    """A parameter that does not exist, is of another type or out of range is refused by its name."""
    with pytest.raises(ParameterError) as refused:
        parameters_of(Tiny(), "smoke", given)

    assert reason == str(refused.value)


# Findings.


def test_figures_carry_the_name_of_their_scenario() -> None:
    """A figure's name begins with its scenario's."""
    findings = Findings("append")
    findings.figure("response.p99", None, "µs")

    assert [Figure(name="append.response.p99", value=None, unit="µs")] == findings.figures


def test_a_run_whose_probe_failed_is_not_complete(tmp_path: Path) -> None:
    """However many probes fail, there is one verdict of it, UNKNOWN, that names them all."""

    def body(stage: Stage, findings: Findings) -> None:
        for reason in ("GroupLag failed once: KeyError: 'lag'", "HostLoad failed 2 times: OSError: gone"):
            findings.probe_failed(reason)
        measure(stage, findings)

    detail = "GroupLag failed once: KeyError: 'lag'; HostLoad failed 2 times: OSError: gone"
    record, _ = conducted(body, tmp_path)
    assert [(verdict.name, verdict.status, verdict.detail) for verdict in record.run.verdicts] == [
        ("tiny.probes", "UNKNOWN", detail),
        ("tiny.fine", "PASS", "as it should be"),
    ]


def pump_result(**changed: Any) -> PumpResult:
    recorder = Recorder()
    due = np.arange(4) * (S // 2)
    recorder.record("append", due, due + 10_000, due + np.array([1, 2, 3, -9]) * 1_000_000)
    usual: dict[str, Any] = {
        "arrivals": 8,
        "ok": 4,
        "failed": 1,
        "unknown": 2,
        "dropped": 1,
        "errors": {"OOM": 1},
        "reconnects": 0,
        "intervals": recorder.intervals(),
        "slowest": recorder.slowest(),
        "outcomes": None,
        "cpu_share": 0.25,
        "wall_ns": 2 * S,
    }
    return PumpResult(**(usual | changed))


def test_what_a_pump_measured_becomes_figures() -> None:
    """Rates over the wall time, every outcome, quantiles of three kinds, and what was out of range."""
    findings = Findings("lag")
    findings.pumped("append", pump_result(), name="base")
    found = {figure.name: (figure.value, figure.unit) for figure in findings.figures}
    units = {name.removeprefix("lag.base.") for name in found}

    assert found["lag.base.offered_per_s"] == (4.0, "1/s")
    assert found["lag.base.achieved_per_s"] == (2.0, "1/s")
    assert [found[f"lag.base.{name}"][0] for name in ("ok", "failed", "unknown", "dropped")] == [4, 1, 2, 1]
    assert found["lag.base.response.p50"] == (2000, "µs")
    assert found["lag.base.response.max"] == (3001, "µs")
    assert found["lag.base.send_lag.max"] == (10, "µs")
    assert found["lag.base.out_of_range"] == (2, "values")
    assert found["lag.base.instrument_cpu_share"] == (0.25, "cores")
    assert {f"{kind}.p99.9" for kind in ("response", "service", "send_lag")} <= units


def test_rates_are_those_of_the_time_in_which_arrivals_were_due() -> None:
    """Waiting for the last reply lowers what was achieved, and not what was offered; replies that end early do not
    raise what was achieved."""
    rates = []
    for wall_s, scheduled_s in ((4, 2), (1, 2)):
        findings = Findings("lag")
        findings.pumped("append", pump_result(wall_ns=wall_s * S, scheduled_ns=scheduled_s * S))
        found = {figure.name: figure.value for figure in findings.figures}
        rates.append((found["lag.offered_per_s"], found["lag.achieved_per_s"]))

    assert rates == [(4.0, 1.0), (4.0, 2.0)]


def test_what_a_pump_measured_stands_on_the_time_of_the_run() -> None:
    """Intervals and slowest operations of a pump that began 90 s into the run are moved by so much."""
    findings = Findings("lag")
    log = findings.pumped("append", pump_result(), offset_ns=90 * S)

    assert {interval.start_s for interval in log.intervals} == {90.0, 91.0}
    assert log.intervals == findings.intervals
    assert findings.slowest[0] == SlowOperation(operation="append", due_ns=91 * S, response_ns=3_000_000)


def test_a_pump_that_was_never_answered_has_no_quantile() -> None:
    """Without a reply the quantiles are None, and the outcomes say what happened."""
    findings = Findings("lag")
    findings.pumped("append", pump_result(ok=0, unknown=6, intervals=[], slowest=[]))
    found = {figure.name: figure.value for figure in findings.figures}

    assert (found["lag.response.p99"], found["lag.ok"], found["lag.unknown"]) == (None, 0, 6)


# One scenario.


def test_complete(tmp_path: Path) -> None:
    """A scenario that ends has a complete record: how it was run, and all that it found."""
    record, ended = conducted(measure, tmp_path / "run")
    run = record.run

    assert (ended, run.status, run.reason) == (None, "complete", "")
    assert run.started_at == "2026-11-23T12:00:00.000+00:00"
    assert (run.duration_s, run.seed, run.command) == (2.5, 7, ["shopbench", "run", "tiny"])
    assert run.parameters == {"profile": "smoke", "rate_per_s": 10, "pacing": "constant", "is_long": False}
    assert run.environment["server"] == {"name": "none"}
    assert run.environment["host"]
    assert (run.headline, run.verdicts) == ("All is well.", [PASSED])
    assert run.figures == [Figure(name="tiny.rate", value=10.0, unit="1/s")]
    assert record.latency.total("append.response").total == 1
    assert record.latency.started_epoch_s == EPOCH_S
    assert record.history.mark("drained") == 7
    assert [slow.response_ns for slow in record.history.slowest] == [70_000]


def test_the_record_is_there_from_the_beginning(tmp_path: Path) -> None:
    """While a scenario runs its record is on disk and says so."""
    seen: list[str] = []
    conducted(lambda stage, _: seen.append(load(stage.directory).run.status), tmp_path)

    assert seen == ["running"]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ServerError("no server there"), "failed", "no server there"),
        (PumpError("connection refused"), "failed", "connection refused"),
        (ScenarioError("the CRM did not come back"), "failed", "the CRM did not come back"),
        (redis.ConnectionError("Connection refused."), "failed", "the server: Connection refused."),
        (redis.ResponseError("OOM command not\nallowed"), "failed", "the server: OOM command not allowed"),
        (redis.TimeoutError(), "failed", "the server: TimeoutError"),
        (Interrupted("SIGTERM"), "interrupted", "interrupted by SIGTERM"),
    ],
)
def test_ended_early(tmp_path: Path, error: BaseException, status: str, reason: str) -> None:
    """A run that ends early keeps what it had found, has a verdict UNKNOWN, and says why."""
    record, ended = conducted(ending_with(error), tmp_path)

    # What the client library says of a server is told in one line, as every error of a server is.
    assert isinstance(ended, ServerError) if isinstance(error, redis.RedisError) else ended is error
    assert str(ended) in reason
    assert (record.run.status, record.run.reason) == (status, reason)
    assert record.run.verdicts == [PASSED, finished(reason)]
    assert record.run.figure("tiny.rate") == 10.0
    assert record.latency.total("append.response").total == 1
    assert record.run.duration_s == 2.5


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), KeyboardInterrupt("^C"), SystemExit("enough")])
def test_crashed(tmp_path: Path, error: BaseException) -> None:
    """What nothing can explain is raised, and the record is there all the same, failed."""
    with pytest.raises(type(error)):
        conducted(ending_with(error), tmp_path)
    run = load(tmp_path).run
    reason = f"{type(error).__name__}: {error}"

    assert (run.status, run.reason) == ("failed", reason)
    assert run.verdicts == [PASSED, finished(reason)]


# Interrupts.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_ends_the_run(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C ends a scenario; while it tidies up more of them are ignored; its record says it was interrupted."""
    tidied: list[str] = []

    def body(stage: Stage, findings: Findings) -> None:
        measure(stage, findings)
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            tidied.append("services stopped")

    with interruptible():
        record, ended = conducted(body, tmp_path)

    assert isinstance(ended, Interrupted)
    assert (record.run.status, record.run.reason) == ("interrupted", f"interrupted by {number.name}")
    assert record.run.verdicts == [PASSED, finished(f"interrupted by {number.name}")]
    assert tidied == ["services stopped"]


def test_signals_are_handled_as_before_afterwards() -> None:
    """After the run, interrupted or not, Ctrl-C and SIGTERM do what they did before it."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with interruptible():
        during = [signal.getsignal(number) for number in numbers]
    with pytest.raises(Interrupted), interruptible():
        signal.raise_signal(signal.SIGINT)

    assert before == [signal.getsignal(number) for number in numbers]
    assert not set(before) & set(during)


class Interrupting(History):
    """A timeline that sends a signal whenever it is read, as it is when the record is written."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number
        self._entries: list[Entry] = []

    @property
    def entries(self) -> list[Entry]:  # type: ignore[override]
        signal.raise_signal(self._number)
        return self._entries


def interrupted_while_written(number: signal.Signals) -> Body:
    """A body that comes to its end, and whose record is interrupted while it is written."""

    def body(stage: Stage, findings: Findings) -> None:
        measure(stage, findings)
        findings.history = Interrupting(number)

    return body


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_waits_until_the_record_is_written(tmp_path: Path, number: signal.Signals) -> None:
    """Who presses Ctrl-C while the record is written has a complete one, and the command ends as interrupted."""
    with interruptible():
        record, ended = conducted(interrupted_while_written(number), tmp_path)

    assert isinstance(ended, Interrupted)
    assert str(ended) == number.name
    assert (record.run.status, record.run.verdicts) == ("complete", [PASSED])
    assert record.latency.total("append.response").total == 1


def test_an_interrupt_waits_until_it_is_known_who_had_the_machine(tmp_path: Path) -> None:
    """One that comes while the processes of the machine are looked at does not cost the record."""

    def interrupt_as_they_are_looked_at(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is snapshot.__code__:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)

    def body(stage: Stage, findings: Findings) -> None:
        measure(stage, findings)
        sys.setprofile(interrupt_as_they_are_looked_at)

    with interruptible():
        record, ended = conducted(body, tmp_path)

    assert isinstance(ended, Interrupted)
    assert (record.run.status, record.run.verdicts) == ("complete", [PASSED])


@contextlib.contextmanager
def sigint_does(handler: Any) -> Iterator[None]:
    """Handle SIGINT so, however these tests were started: in the background of a script it is ignored."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_handler_of_ours_it_waits_too(tmp_path: Path) -> None:
    """Python's own KeyboardInterrupt comes when the record is there."""
    with sigint_does(signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        conducted(interrupted_while_written(signal.SIGINT), tmp_path)

    assert load(tmp_path).run.status == "complete"


def test_ctrl_c_is_heeded_where_it_was_ignored() -> None:
    """A program that a script has started in its background, with SIGINT ignored, is ended by one all the same."""
    with sigint_does(signal.SIG_IGN):
        heed_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_handler_of_somebody_else_stays() -> None:
    """Only what ignores SIGINT is replaced."""
    came: list[int] = []
    with sigint_does(lambda number, _: came.append(number)):
        heed_ctrl_c()
        signal.raise_signal(signal.SIGINT)

    assert came == [signal.SIGINT]


def test_in_another_thread_signals_are_left_alone(tmp_path: Path) -> None:
    """A scenario may be conducted in any thread, of which only the main one may handle signals."""
    before = signal.getsignal(signal.SIGINT)
    in_threads(1, lambda _: None if conducted(measure, tmp_path)[1] is None else pytest.fail("it ended early"))

    assert load(tmp_path).run.status == "complete"
    assert before is signal.getsignal(signal.SIGINT)


# Suites.


def suite_of(*scenarios: Tiny, directory: Path) -> tuple[Record, BaseException | None]:
    clock = VirtualClock(epoch_s=EPOCH_S)

    def stage_for(scenario: Scenario, below: Path) -> Stage:
        return stage_in(below, clock)

    return conduct_suite(
        [(scenario, TinyParameters()) for scenario in scenarios],
        stage_for,
        directory,
        clock=clock,
        command=["shopbench", "run", "all"],
        profile="smoke",
        seed=7,
    )


def test_a_suite(tmp_path: Path) -> None:
    """A suite runs one after the other, and repeats what its members found under their names."""
    suite, ended = suite_of(Tiny(name="a"), Tiny(name="b"), directory=tmp_path)

    assert (ended, suite.run.status, suite.run.scenario) == (None, "complete", "suite")
    assert suite.run.parameters == {"profile": "smoke", "scenarios": ["a", "b"]}
    assert [figure.name for figure in suite.run.figures] == ["a.rate", "b.rate"]
    assert suite.run.verdicts == [PASSED, PASSED]
    assert (suite.run.duration_s, suite.run.environment["server"]) == (5.0, {"name": "none"})
    assert suite.run.headline == "2 of 2 verdicts pass, in 2 scenarios."
    assert [member.run.scenario for member in suite.members()] == ["a", "b"]


def test_a_suite_is_written_after_each_member(tmp_path: Path) -> None:
    """When the second scenario begins the suite on disk has the first one's figures, and still runs."""
    seen: list[tuple[str, list[str], list[str]]] = []

    def look(stage: Stage, findings: Findings) -> None:
        run = load(tmp_path).run
        seen.append((run.status, run.members, [figure.name for figure in run.figures]))

    suite_of(Tiny(look, "a"), Tiny(name="b"), Tiny(look, "c"), directory=tmp_path)

    assert seen == [("running", [], []), ("running", ["a", "b"], ["b.rate"])]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ScenarioError("no room"), "failed", "no room"),
        (Interrupted("SIGINT"), "interrupted", "interrupted by SIGINT"),
    ],
)
def test_a_suite_ends_with_the_first_that_ends_early(
    tmp_path: Path, error: BaseException, status: str, reason: str
) -> None:
    """A member that ends early ends the suite with its status and reason; what follows is not run."""
    suite, ended = suite_of(Tiny(name="a"), Tiny(ending_with(error), "b"), Tiny(name="c"), directory=tmp_path)

    assert ended is error
    assert (suite.run.status, suite.run.reason, suite.run.members) == (status, reason, ["a", "b"])
    assert suite.run.verdicts == [PASSED, PASSED, finished(reason, "b")]
    assert not (tmp_path / "c").exists()


def test_a_suite_ends_with_a_record_that_was_interrupted_when_written(tmp_path: Path) -> None:
    """The member whose record was being written is complete and in the suite, and what follows is not run."""
    scenarios = Tiny(interrupted_while_written(signal.SIGINT), "a"), Tiny(name="b")
    with interruptible():
        suite, ended = suite_of(*scenarios, directory=tmp_path)

    assert isinstance(ended, Interrupted)
    assert (suite.run.status, suite.run.reason, suite.run.members) == (
        "interrupted",
        "interrupted by SIGINT",
        ["a"],
    )
    assert [member.run.status for member in suite.members()] == ["complete"]
    assert not (tmp_path / "b").exists()


def test_a_suite_whose_member_crashes_has_failed(tmp_path: Path) -> None:
    """A crash is raised, and the suite's record has its members up to it and says that it failed."""
    with pytest.raises(ZeroDivisionError):
        suite_of(Tiny(name="a"), Tiny(ending_with(ZeroDivisionError("by zero")), "b"), directory=tmp_path)
    run = load(tmp_path).run

    assert (run.status, run.reason, run.members) == ("failed", "ZeroDivisionError: by zero", ["a", "b"])
    assert run.verdicts == [PASSED, PASSED, finished("ZeroDivisionError: by zero", "b")]


def test_a_load_that_was_cut_short_is_interrupted(tmp_path: Path) -> None:
    """A run whose load somebody ended early keeps what it had, and says nothing of the whole."""

    def body(stage: Stage, findings: Findings) -> None:
        measure(stage, findings)
        findings.cut_short = "interrupted by SIGINT before the end of its schedule"

    record, ended = conducted(body, tmp_path / "run")
    assert isinstance(ended, Interrupted)
    assert (record.run.status, record.run.headline) == ("interrupted", "")
    assert record.run.verdicts == [PASSED, finished("interrupted by SIGINT before the end of its schedule")]
    assert record.run.figures == [Figure(name="tiny.rate", value=10.0, unit="1/s")]
