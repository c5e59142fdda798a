"""Measured once more: what fell behind is repeated at the end, both are kept, and the valid one judges."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
import report_runs

from harness.check.judge import Checker
from harness.check.loads import send_lag_checker
from harness.conduct.conduct import (
    Findings,
    Interrupted,
    Scenario,
    ScenarioError,
    Stage,
    conduct,
    conduct_suite,
)
from harness.conduct.repeating import measured_again, parts_behind
from harness.host.clock import VirtualClock
from harness.load.settings import PumpResult
from harness.measure.recorder import Recorder
from harness.measure.timeline import FaultWindow, Mark
from harness.record.run import Figure, Record, Run, Status, Verdict, load
from reports import terminal
from reports.conclusion import conclusion
from reports.findings import overall, repeats
from reports.render import render
from reports.summaries import markdown

S = 1_000_000_000
Plan = Mapping[str, Sequence[float | BaseException]]


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    durability: Literal["all", "always", "none"] = "all"
    send_lag_budget_ms: float = 10


class Lines:
    """A scenario of two parts; each time that one is measured, its send lag is the next of its plan, in ms."""

    name = "tiny"
    summary = "Nothing much."
    parameters = Parameters
    profiles: Mapping[str, Mapping[str, Any]] = {}

    def __init__(self, plan: Plan, failing: str = "") -> None:
        self._plan = {part: iter(lags) for part, lags in plan.items()}
        self._failing = failing
        self.asked: list[str] = []

    def alone(self, parameters: Parameters, part: str) -> Parameters:
        return msgspec.structs.replace(parameters, durability=part.removeprefix(f"{self.name}."))

    def headline(self, parameters: Parameters, record: Record) -> str:
        return self._said(parameters, record.run.figures)

    def _said(self, parameters: Parameters, figures: Sequence[Figure]) -> str:
        values = {figure.name: figure.value for figure in figures}
        return "; ".join(
            f"{part} {values[f'{self.name}.{part}.send_lag.max']:.0f}" for part in self._parts(parameters)
        )

    def _parts(self, parameters: Parameters) -> list[str]:
        return [part for part in self._plan if parameters.durability in {"all", part}]

    def run(self, stage: Stage, parameters: Parameters, findings: Findings) -> None:
        origin_ns = stage.clock.now_ns()
        findings.open_loop(connections=1, arrivals="constant", producer=1)
        for part in self._parts(parameters):
            self.asked.append(part)
            lag_ms = next(self._plan[part])
            if isinstance(lag_ms, BaseException):
                raise lag_ms
            measured(stage, findings, part, lag_ms, stage.clock.now_ns() - origin_ns)
            findings.evidence.add_json(f"failing.{part}", part == self._failing)
            findings.concluded(part)

    def checkers(self, parameters: Parameters, record: Record) -> list[Checker]:
        return [checker for part in self._parts(parameters) for checker in self._of_part(part)]

    def _of_part(self, part: str) -> list[Checker]:
        name, section = f"{self.name}.{part}.answered", f"failing.{part}"

        def check(record: Record) -> Verdict:
            is_failing = record.evidence.value(section, bool)
            return Verdict(name=name, status="FAIL" if is_failing else "PASS", detail="")

        answered = Checker(name, check, reads=(section,), part=part)
        return [send_lag_checker(self.name, f"tiny_{part}", part), answered]


def measured(stage: Stage, findings: Findings, part: str, lag_ms: float, at_ns: int) -> None:
    """Ten operations in a second, each sent so late."""
    due = np.arange(10) * 100_000_000
    start = due + int(lag_ms * 1e6)
    recorder = Recorder()
    recorder.record(f"tiny_{part}", due, start, start + 50_000)
    result = PumpResult(
        arrivals=10, ok=10, failed=0, unknown=0, dropped=0, errors={}, reconnects=0,
        intervals=recorder.intervals(), slowest=recorder.slowest(), outcomes=None, cpu_share=0.1, wall_ns=S,
    )  # fmt: skip
    findings.pumped(f"tiny_{part}", result, offset_ns=at_ns, name=part)
    findings.history.add(Mark(t_ns=at_ns, name=part))
    findings.history.add(FaultWindow(name="kill", target="crm", start_ns=at_ns, end_ns=at_ns + S // 2))
    stage.clock.sleep_ns(2 * S)


class Whole(Lines):
    """The same, and nothing that could be measured alone."""

    alone = None  # type: ignore[assignment]
    headline = Lines.headline

    def __init__(self, *lags: float | BaseException) -> None:
        super().__init__({"one": lags})


def stages(clock: VirtualClock) -> Callable[[Path], Stage]:
    def stage_for(where: Path) -> Stage:
        where.mkdir(parents=True, exist_ok=True)
        return Stage(
            server="embedded", port=None, profile="smoke", seed=7, directory=where, clock=clock,
            progress=lambda *_: None,
        )  # fmt: skip

    return stage_for


def run_twice(
    scenario: Scenario, where: Path, parameters: Parameters | None = None
) -> tuple[Record, BaseException | None]:
    """A run, and what is measured once more of it."""
    chosen, stage_for = parameters or Parameters(), stages(VirtualClock(epoch_s=1_795_435_200.0))
    first, _ = conduct(scenario, chosen, stage_for(where / "tiny"), command=["shopbench", "run", "tiny"])
    return measured_again(scenario, chosen, first, stage_for, command=["shopbench", "run", "tiny"])


def us(milliseconds: float) -> float:
    """A time as histograms have it, in microseconds within 0.1 %."""
    return pytest.approx(milliseconds * 1_000, rel=0.001)  # type: ignore[no-any-return]


def statuses(run: Run) -> dict[str, Status]:
    return {verdict.name: verdict.status for verdict in run.verdicts}


LAG = "tiny.always.send_lag"


def test_what_held_its_schedule_is_not_repeated(tmp_path: Path) -> None:
    """A valid measurement stays alone, with nothing beside it."""
    scenario = Lines({"always": [1], "none": [0.5]})
    record, ended = run_twice(scenario, tmp_path)
    assert (scenario.asked, record.run.repeats, ended) == (["always", "none"], [], None)
    assert not (record.directory / "first").exists()


def test_a_part_that_fell_behind_is_measured_alone(tmp_path: Path) -> None:
    """Only the part is measured again, after all the others; the second one judges, the first is beside it."""
    scenario = Lines({"always": [40, 1], "none": [0.5]})
    record, _ = run_twice(scenario, tmp_path)
    assert scenario.asked == ["always", "none", "always"]
    assert set(statuses(record.run).values()) == {"PASS"}
    assert overall(record.run) == "PASS"
    assert [record.run.figure(f"{name}.max") for name in (LAG, "tiny.always.first.send_lag")] == [1_000, us(40)]
    assert record.run.headline == "always 1000; none 500"
    [repeat] = record.run.repeats
    assert (repeat.part, repeat.is_judged, repeat.again) == ("tiny.always", True, "again-always")
    assert [v.status for v in repeat.verdicts if v.name == LAG] == ["UNKNOWN"]


def test_both_records_are_kept_whole(tmp_path: Path) -> None:
    """The first one is below the run as it was, and so is the second; each can be reported by itself."""
    record, _ = run_twice(Lines({"always": [40, 1], "none": [0.5]}), tmp_path)
    first, again = (load(record.directory / name) for name in ("first", "again-always"))
    assert first.run.figure(f"{LAG}.max") == first.latency.total("tiny_always.send_lag").max_us == us(40)
    assert (statuses(first.run)[LAG], statuses(again.run)[LAG]) == ("UNKNOWN", "PASS")
    assert again.run.parameters["durability"] == "always"
    assert "No evidence" not in str(terminal(first))


def test_all_figures_of_both_stand_in_the_record(tmp_path: Path) -> None:
    """Nothing that was measured is missing from the record that is judged."""
    record, _ = run_twice(Lines({"always": [40, 1], "none": [0.5]}), tmp_path)
    first, again = (load(record.directory / name).run for name in ("first", "again-always"))
    known = {figure.name: figure.value for figure in record.run.figures}
    for figure in first.figures:
        name = figure.name.replace("tiny.always.", "tiny.always.first.")
        assert known.pop(name) == figure.value
    for figure in again.figures:
        assert known.pop(figure.name) == figure.value
    assert known == {}


def test_the_second_measurement_stands_where_it_was(tmp_path: Path) -> None:
    """On the timeline of the run the second measurement is at its end, and the first one's latencies are gone."""
    record, _ = run_twice(Lines({"always": [40, 1], "none": [0.5]}), tmp_path)
    assert record.latency.total("tiny_always.send_lag").max_us == 1_000
    assert [i.start_s for i in record.latency.of("tiny_always.response")] == [pytest.approx(4, abs=0.01)]
    assert [i.start_s for i in record.latency.of("tiny_none.response")] == [2.0]
    assert [round(mark.t_ns / S) for mark in record.history.marks] == [0, 2, 4]
    assert round((record.history.faults[-1].end_ns or 0) / S, 1) == 4.5
    assert [s.response_ns for s in record.history.slowest if s.operation == "tiny_always"] == [1_050_000] * 10
    assert record.run.duration_s == pytest.approx(6, abs=0.01)


def test_two_parts_are_repeated_each(tmp_path: Path) -> None:
    """Each part that fell behind has a second measurement of its own, and its own judgement."""
    record, _ = run_twice(Lines({"always": [40, 1], "none": [50, 60]}), tmp_path)
    assert [(repeat.part, repeat.is_judged) for repeat in record.run.repeats] == [
        ("tiny.always", True),
        ("tiny.none", False),
    ]
    assert (statuses(record.run)[LAG], statuses(record.run)["tiny.none.send_lag"]) == ("PASS", "UNKNOWN")
    assert record.run.figure("tiny.none.send_lag.max") == us(50)
    assert record.run.figure("tiny.none.again.send_lag.max") == us(60)


def test_a_second_one_that_is_not_valid_replaces_nothing(tmp_path: Path) -> None:
    """Where the instrument falls behind again, also by less, the first one stays, and is UNKNOWN."""
    record, _ = run_twice(Lines({"always": [40, 20]}), tmp_path)
    assert statuses(record.run)[LAG] == "UNKNOWN"
    assert record.run.figure(f"{LAG}.max") == us(40)
    assert record.run.figure("tiny.always.again.send_lag.max") == us(20)
    assert not record.run.repeats[0].is_judged


@pytest.mark.parametrize("lags", [(40, 1), (40, 20)])
def test_a_scenario_without_parts_is_repeated_as_a_whole(tmp_path: Path, lags: tuple[int, int]) -> None:
    """Of it the second record is judged, timeline and all; the first one's figures are beside it."""
    record, _ = run_twice(Whole(*lags), tmp_path)
    [repeat] = record.run.repeats
    assert (repeat.part, repeat.again, repeat.is_judged) == ("tiny", "again", lags[1] == 1)
    beside = "tiny.first.one" if repeat.is_judged else "tiny.again.one"
    assert record.run.figure(f"{beside}.send_lag.max") == us(40 if repeat.is_judged else 20)
    assert [i.start_s for i in record.latency.of("tiny_one.response")] == [0.0]
    assert len(record.history.marks) == 1


def test_what_fails_is_not_repeated(tmp_path: Path) -> None:
    """A loss is a loss, however late the instrument was: no second try takes it back."""
    scenario = Lines({"always": [40], "none": [0.5]}, failing="always")
    record, _ = run_twice(scenario, tmp_path)
    assert (scenario.asked, record.run.repeats) == (["always", "none"], [])
    assert overall(record.run) == "FAIL"


def test_a_second_one_that_fails_is_judged(tmp_path: Path) -> None:
    """A valid second measurement judges, whatever it says."""
    scenario = Lines({"always": [40, 1]})
    first, _ = conduct(scenario, Parameters(), stages(VirtualClock())(tmp_path / "tiny"), command=[])
    scenario._failing = "always"
    record, _ = measured_again(scenario, Parameters(), first, stages(VirtualClock(1)), command=[])
    assert overall(record.run) == "FAIL"


@pytest.mark.parametrize("error", [ScenarioError("the shop is closed"), Interrupted(signal.SIGINT.name)])
def test_a_second_one_that_is_cut_short_replaces_nothing(tmp_path: Path, error: BaseException) -> None:
    """It is told why there is no second measurement, and the first one stays."""
    record, ended = run_twice(Lines({"always": [40, error]}), tmp_path)
    assert ended is error
    assert (record.run.status, statuses(record.run)[LAG]) == ("complete", "UNKNOWN")
    assert str(error) in record.run.repeats[0].detail


@pytest.mark.parametrize("status", ["interrupted", "failed", "running"])
def test_a_run_that_did_not_come_to_its_end_is_not_repeated(status: Any) -> None:
    """Who interrupts a run does not want another one."""
    verdicts = [Verdict(name="tiny.send_lag", status="UNKNOWN", detail="")]
    figures = [Figure(name="tiny.send_lag.p99", value=1.0, unit="µs")]
    run = report_runs.run_of("tiny", status=status, verdicts=verdicts, figures=figures)
    assert parts_behind(Whole(), run) == []
    assert parts_behind(Whole(), msgspec.structs.replace(run, status="complete")) == ["tiny"]


def test_nothing_sent_is_not_repeated() -> None:
    """A load that has sent nothing was not disturbed by anybody."""
    verdicts = [Verdict(name="tiny.send_lag", status="UNKNOWN", detail="nothing was sent")]
    assert parts_behind(Whole(), report_runs.run_of("tiny", verdicts=verdicts)) == []


def test_a_suite_repeats_at_its_end(tmp_path: Path) -> None:
    """Members are repeated when all have been measured, and the suite is judged by what they are then."""
    stage_for = stages(VirtualClock(epoch_s=1_795_435_200.0))
    members = [Lines({"always": [40, 1]}), Lines({"always": [0.5]})]
    members[1].name = "other"
    order: list[str] = []

    def staged(scenario: Scenario, where: Path) -> Stage:
        order.append(where.relative_to(tmp_path).as_posix())
        return stage_for(where)

    suite, ended = conduct_suite(
        [(member, Parameters()) for member in members],
        staged,
        tmp_path,
        clock=VirtualClock(),
        command=["shopbench", "run"],
        profile="smoke",
        seed=1,
        once_more=lambda scenario, parameters, record: measured_again(
            scenario, parameters, record, lambda where: staged(scenario, where), command=[]
        ),
    )
    assert ended is None
    assert order == ["tiny", "other", "tiny/again"]
    assert (suite.run.status, suite.run.members) == ("complete", ["tiny", "other"])
    assert overall(suite.run, [member.run for member in suite.members()]) == "PASS"
    assert suite.run.headline == "4 of 4 verdicts pass, in 2 scenarios."
    assert [repeat.part for repeat in suite.run.repeats] == ["tiny.always"]
    assert suite.run.figure("tiny.always.first.send_lag.max") == us(40)


def test_the_summary_says_so(tmp_path: Path) -> None:
    """Terminal, Markdown and page say what was measured once more, why, and which one is judged."""
    record, _ = run_twice(Lines({"always": [40, 1], "none": [50, 60]}), tmp_path)
    told = repeats(record.run)
    assert told[0].startswith("tiny.always was measured once more, at the end. The first time the instrument fell")
    assert told[0].endswith("The second is judged; the first stands beside it, as tiny.always.first.")
    assert told[1].endswith("stands beside it, as tiny.none.again.")
    for text in (" ".join(str(terminal(record)).split()), markdown(record), render(record)):
        assert "was measured once more, at the end." in text


# The last line ------------------------------------------------------------------------------------------------

BEHIND = Verdict(
    name="append.none.send_lag",
    status="UNKNOWN",
    detail="the instrument fell behind: send lag; meanwhile python used 0.93 of a core",
)
FINE = Verdict(name="append.none.answered", status="PASS", detail="")
LATE = Figure(name="append.none.send_lag.p99", value=99_000.0, unit="µs")


def kept(directory: Path, run: Run) -> Record:
    report_runs.save(directory, run)
    return load(directory)


def test_the_last_line_of_a_run_that_was_not_decided(tmp_path: Path) -> None:
    """It counts, names what was disturbed and by whom, and says what to do and where the report is."""
    run = report_runs.run_of(
        "append", verdicts=[FINE, BEHIND], figures=[LATE], command=["shopbench", "run", "append"]
    )
    assert conclusion(kept(tmp_path, run), Path("runs/x/report.html")) == (
        "1 pass, none fails, 1 could not be decided: this machine was too busy for `append` (python used 0.93 of "
        "a core); repeat it with `shopbench run append`; report: runs/x/report.html"
    )


def test_the_last_line_blames_nobody_who_was_not_seen(tmp_path: Path) -> None:
    """Where no cause is known it says that the instrument fell behind, and not that the machine was busy."""
    alone = msgspec.structs.replace(BEHIND, detail="the instrument fell behind: send lag")
    run = report_runs.run_of("append", verdicts=[alone], figures=[LATE], command=["shopbench", "run", "append"])
    assert conclusion(kept(tmp_path, run), Path("r")) == (
        "0 pass, none fails, 1 could not be decided: the instrument fell behind in `append`, and what disturbed "
        "it is not known; repeat it with `shopbench run append`; report: r"
    )


@pytest.mark.parametrize(
    ("place", "parts"),
    [("host", ["tiny.always"]), ("instrument", ["tiny.always"]), ("nobody knows", []), (None, [])],
)
def test_a_load_that_the_machine_kept_from_arriving_is_repeated(place: str | None, parts: list[str]) -> None:
    """Only where the host or the instrument was its limit; where nobody knows, or nobody looked, it is not."""
    verdict = Verdict(name="tiny.always.load_reached", status="UNKNOWN", detail="in 2 of 2 s less than 98%")
    load = {"limited_at": {"always": place}} if place else {}
    run = report_runs.run_of("tiny", verdicts=[verdict], environment={**report_runs.ENVIRONMENT, "load": load})
    assert parts_behind(Lines({}), run) == parts


def test_the_last_line_of_a_suite(tmp_path: Path) -> None:
    """Only the members that were not decided are to be repeated, with the options of the run."""
    other = Verdict(name="lag.drained", status="UNKNOWN", detail="nobody looked")
    kept(tmp_path / "append", report_runs.run_of("append", verdicts=[FINE, BEHIND], figures=[LATE]))
    kept(tmp_path / "lag", report_runs.run_of("lag", verdicts=[other]))
    kept(tmp_path / "replay", report_runs.run_of("replay", verdicts=[FINE]))
    suite = report_runs.run_of(
        "suite",
        verdicts=[FINE, BEHIND, other, FINE],
        members=["append", "lag", "replay"],
        command=["shopbench", "run", "--undecided-is-0", "--profile", "smoke"],
    )
    line = conclusion(kept(tmp_path, suite), Path("report.html"))
    assert line.startswith("2 pass, none fails, 2 could not be decided: this machine was too busy for `append` (")
    assert "; lag.drained (nobody looked); repeat them with `shopbench run append lag --profile smoke`;" in line


@pytest.mark.parametrize(
    "changed",
    [{"verdicts": [FINE]}, {"verdicts": []}, {"verdicts": [BEHIND], "status": "interrupted"}],
)
def test_a_run_that_is_decided_needs_no_last_line(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Nor does one that did not come to its end."""
    assert conclusion(kept(tmp_path, report_runs.run_of("append", **changed)), Path("r")) == ""
