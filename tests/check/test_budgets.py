"""Budgets: limits that apply, hold, fail, or cannot be decided; and the history that figures are appended to."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.check import trend
from harness.check.budgets import Budget, BudgetError, budget_verdicts, read_budgets
from harness.cli.recorded import held_to, offers, remember
from harness.cli.shopbench import main
from harness.record.run import SCHEMA, Figure, Run, RunError, Verdict, load, save

ROOT = Path(__file__).parents[2]


def run_of(*figures: Figure, scenario: str = "append", **what: Any) -> Run:
    """A record with some figures."""
    whole: dict[str, Any] = {
        "schema": SCHEMA,
        "scenario": scenario,
        "status": "complete",
        "started_at": "2026-11-23T14:15:02.000+00:00",
        "duration_s": 10.0,
        "seed": 1,
        "command": [],
        "parameters": {"rate_per_s": 2_000.0},
        "environment": {"host": {"revision": "abc", "host": "here"}},
        "figures": list(figures),
        "verdicts": [],
    }
    return msgspec.convert({**whole, **what}, Run)


WORDS = {"at_most": "at most", "at_least": "at least", "equals": "exactly"}


def p99(value: float | None) -> Figure:
    return Figure(name="append.response.p99", value=value, unit="µs")


def judged(run: Run, **limit: Any) -> Verdict:
    """The verdict of one budget on `append.response.p99`."""
    [verdict] = budget_verdicts([Budget(figure="append.response.p99", **limit)], [run])
    assert verdict.name == "budget.append.response.p99"
    return verdict


@pytest.mark.parametrize(
    ("value", "limit", "status"),
    [
        (4_999.0, {"at_most": "5 ms"}, "PASS"),
        (5_000.0, {"at_most": "5 ms"}, "PASS"),
        (5_001.0, {"at_most": "5 ms"}, "FAIL"),
        (5_001.0, {"at_most": 5_000}, "FAIL"),
        (5_001.0, {"at_least": "0.005 s"}, "PASS"),
        (4_999.0, {"at_least": "5_000 µs"}, "FAIL"),
        (5_000.0, {"equals": "5 ms"}, "PASS"),
        (5_000.0, {"at_least": "5 ms"}, "PASS"),
        (7.0, {"equals": 7}, "PASS"),
        (8.0, {"equals": 7}, "FAIL"),
    ],
)
def test_a_limit_on_a_figure(value: float, limit: dict[str, Any], status: str) -> None:
    """A limit may have any unit of the figure's kind; without one it has the figure's own."""
    assert judged(run_of(p99(value)), **limit).status == status


def bounded(low: float | None, high: float | None, samples: int = 20_000) -> Figure:
    """A p99 of 5 ms with an interval."""
    return Figure(
        name="append.response.p99", value=5_000, unit="µs", samples=samples, low=low, high=high, bound_by="blocks"
    )


@pytest.mark.parametrize(
    ("figure", "limit", "status", "told"),
    [
        (bounded(4_500, 6_000), {"at_most": "7 ms"}, "PASS", "5 ms, upper bound 6 ms"),
        (bounded(4_500, 6_000), {"at_most": "6 ms"}, "PASS", "5 ms, upper bound 6 ms"),
        (bounded(4_500, 6_000), {"at_most": "5.5 ms"}, "UNKNOWN", "5 ms, between 4.5 ms and 6 ms"),
        (bounded(4_500, 6_000), {"at_most": "4.8 ms"}, "UNKNOWN", "5 ms, between 4.5 ms and 6 ms"),
        (bounded(4_500, 6_000), {"at_most": "4 ms"}, "FAIL", "5 ms, lower bound 4.5 ms"),
        (bounded(None, 6_000), {"at_most": "7 ms"}, "PASS", "5 ms, upper bound 6 ms"),
        (bounded(None, 6_000), {"at_most": "5.5 ms"}, "UNKNOWN", "5 ms, between 5 ms and 6 ms"),
        (bounded(None, 6_000), {"at_most": "4.8 ms"}, "FAIL", "5 ms"),
        (bounded(4_500, None), {"at_most": "9 ms"}, "UNKNOWN", "5 ms, without an upper bound (too few seconds"),
        (bounded(4_500, None, 45), {"at_most": "9 ms"}, "UNKNOWN", "(of 45 values only: p99 wants 368)"),
        (bounded(4_500, None), {"at_most": "4 ms"}, "FAIL", "5 ms, lower bound 4.5 ms"),
        (bounded(None, None), {"at_most": "4 ms"}, "FAIL", "5 ms"),
        (bounded(4_500, 6_000), {"at_least": "4 ms"}, "PASS", "5 ms, lower bound 4.5 ms"),
        (bounded(4_500, 6_000), {"at_least": "5.5 ms"}, "UNKNOWN", "5 ms, between 4.5 ms and 6 ms"),
        (bounded(4_500, 6_000), {"at_least": "7 ms"}, "FAIL", "5 ms, upper bound 6 ms"),
        (bounded(None, 6_000), {"at_least": "4 ms"}, "UNKNOWN", "5 ms, without a lower bound (too few seconds"),
        (bounded(4_500, None), {"at_least": "6 ms"}, "FAIL", "5 ms"),
        (bounded(4_500, 6_000), {"equals": "5 ms"}, "PASS", "5 ms"),
        (bounded(4_500, 6_000), {"equals": "6 ms"}, "FAIL", "5 ms"),
    ],
)
def test_a_limit_on_an_interval(figure: Figure, limit: dict[str, Any], status: str, told: str) -> None:
    """What passes does so by the far end of the interval, what fails by the near one; between is UNKNOWN."""
    verdict = judged(run_of(figure), **limit)
    assert verdict.status == status
    assert told in verdict.detail
    [(bound, wanted)] = limit.items()
    assert verdict.detail.endswith(f"; the budget is {WORDS[bound]} {wanted}")


@given(st.floats(1, 1e6), st.floats(1, 1e6), st.floats(1, 1e6), st.floats(1, 1e6))
def test_an_interval_never_decides_against_its_point(a: float, b: float, c: float, limit: float) -> None:
    """What passes by the interval passes by the point, and what fails by it fails by the point, both ways."""
    low, value, high = sorted((a, b, c))
    by_point = run_of(p99(value))
    by_interval = run_of(replace(p99(value), low=low, high=high, bound_by="order", samples=10_000))
    for bound in ("at_most", "at_least"):
        status = judged(by_interval, **{bound: limit}).status
        assert status in {judged(by_point, **{bound: limit}).status, "UNKNOWN"}


def test_a_verdict_names_the_value_and_the_limit() -> None:
    """Both stand in the sentence, in the limit's unit."""
    assert judged(run_of(p99(7_250.0)), at_most="5 ms").detail == "7.25 ms; the budget is at most 5 ms"


@pytest.mark.parametrize(
    ("run", "limit", "words"),
    [
        (run_of(), {"at_most": 1}, "the run has no such figure"),
        (run_of(p99(None)), {"at_most": 1}, "it could not be measured"),
        (run_of(p99(1.0), status="interrupted"), {"at_most": 5}, "the run is interrupted"),
        (run_of(p99(1.0), status="failed"), {"at_most": 5}, "the run is failed"),
        (run_of(p99(1.0)), {"at_most": "5 events"}, "the figure is in µs, and the budget in events"),
        (run_of(p99(1.0)), {"at_most": 5, "when": {"rate_per_s": 1_000}}, "this run had 2000"),
        (run_of(p99(1.0)), {"at_most": 5, "when": {"speed": 1}}, "the run has no such parameter"),
    ],
)
def test_what_cannot_be_decided_is_unknown(run: Run, limit: dict[str, Any], words: str) -> None:
    """Missing data is never passed, and a promise for another load says nothing of this one."""
    verdict = judged(run, **limit)
    assert verdict.status == "UNKNOWN"
    assert words in verdict.detail


def test_a_promise_for_this_load() -> None:
    """Where the parameters are those of the promise it is checked."""
    assert judged(run_of(p99(1.0)), at_most=5, when={"rate_per_s": 2_000}).status == "PASS"


def test_a_promise_for_one_durability() -> None:
    """Of a run of all of them the figure of that one is judged; of a run of another one nothing is."""
    always = Figure(name="append.always.response.p99", value=7_000.0, unit="µs")
    promise = {"at_most": "5 ms", "when": {"durability": "always"}}
    of_all = run_of(p99(1.0), always, parameters={"durability": "all"})
    assert judged(of_all, **promise).status == "FAIL"
    assert judged(run_of(p99(1.0), parameters={"durability": "always"}), **promise).status == "PASS"
    assert judged(run_of(always, parameters={"durability": "always"}), **promise).status == "FAIL"
    assert judged(run_of(p99(1.0), parameters={"durability": "none"}), **promise).status == "UNKNOWN"
    assert judged(run_of(p99(1.0), parameters={"durability": "all"}), **promise).status == "UNKNOWN"


def test_a_figure_that_names_its_durability() -> None:
    """Said twice, in the name and as a parameter, it is the same promise, also in a run of all."""
    always = Figure(name="append.always.response.p99", value=7_000.0, unit="µs")
    budget = Budget(figure=always.name, at_most="10 ms", when={"durability": "always"})
    for durability, status in (("all", "PASS"), ("always", "PASS"), ("none", "UNKNOWN")):
        [verdict] = budget_verdicts([budget], [run_of(always, parameters={"durability": durability})])
        assert (verdict.name, verdict.status) == ("budget.append.always.response.p99", status)


def test_a_wrong_budget_is_found_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured, and no run directory is made."""
    budget = tmp_path / "slo.toml"
    budget.write_text('[[budget]]\nfigure = "append.responze.p50"\nat_most = "1 ms"\n')
    arguments = ["run", "append", "--profile", "smoke", "--budget", str(budget), "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["shopbench", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert (caught.value.code, (tmp_path / "runs").exists()) == (2, False)


def test_only_the_budgets_of_a_scenario_apply_to_it() -> None:
    """Those of other scenarios make no verdict; where none is left, that is UNKNOWN."""
    budgets = [Budget(figure="lag.lost", equals=0), Budget(figure="append.response.p99", at_most=5)]
    assert [v.name for v in budget_verdicts(budgets, [run_of(p99(1.0))])] == ["budget.append.response.p99"]
    [nothing] = budget_verdicts(budgets, [run_of(scenario="replay")])
    assert (nothing.name, nothing.status) == ("budget", "UNKNOWN")
    [empty] = budget_verdicts([], [run_of(p99(1.0))])
    assert empty.status == "UNKNOWN"


@given(st.floats(1e-3, 1e9), st.floats(1e-3, 1e9))
def test_a_limit_is_met_or_not(value: float, limit: float) -> None:
    """At most and at least cannot both fail; a figure that meets its own value meets all three."""
    run = run_of(p99(value))
    statuses = {judged(run, at_most=limit).status, judged(run, at_least=limit).status}
    assert "PASS" in statuses
    assert all(judged(run, **{bound: value}).status == "PASS" for bound in ("at_most", "at_least", "equals"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[budget]]\nfigure = 'append.everysec.ok'\n", "one of at_most, at_least and equals, not 0"),
        ("[[budget]]\nfigure = 'append.everysec.ok'\nat_most = 1\nequals = 1\n", "not 2"),
        ("[[budget]]\nfigure = 'append.everysec.ok'\nat_most = 'much'\n", "'much' is no limit"),
        ("[[budget]]\nfigure = 'append.everysec.ok'\nat_most = '5_ ms'\n", "'5_ ms' is no limit"),
        ("[[budget]]\nfigure = 'nowhere.ok'\nat_most = 1\n", "there is no scenario 'nowhere'"),
        ("[[budget]]\nfigure = 'append.everysec.ok'\nmax = 1\n", "unknown field `max`"),
        ("[[budget]]\nfigure = 'apend.ok'\nat_most = 1\n", "did you mean append?"),
        (
            "[[budget]]\nfigure = 'append.everysec.response.p9'\nat_most = 1\n",
            "there is no figure 'append.everysec.response.p9'; did you mean append.everysec.response.p99?",
        ),
        (
            "[[budget]]\nfigure = 'crm_outage.drain_s'\nat_most = 1\n",
            "there is no figure 'crm_outage.drain_s'; did you mean crm_outage.drained_s?",
        ),
        (
            "[[budget]]\nfigure = 'append.everysec.response.p99'\nat_most = '5 events'\n",
            "append.everysec.response.p99 is in µs, and the budget in events",
        ),
        (
            "[[budget]]\nfigure = 'append.everysec.ok'\nat_most = 1\nwhen = { rate = 5 }\n",
            "append has no parameter 'rate'; did you mean rate_per_s?",
        ),
        (
            "[[budget]]\nfigure = 'append.everysec.ok'\nat_most = 1\nwhen = { rate_per_s = '5' }\n",
            "when: rate_per_s is a number of events a second, not '5'",
        ),
        (
            "[[budget]]\nfigure = 'append.everysec.ok'\nat_most = 1\nwhen = { durability = 'alwais' }\n",
            "when: durability is one of everysec, always, none, all, not 'alwais'; did you mean always?",
        ),
        ("[[budgets]]\nfigure = 'append.ok'\n", "unknown field `budgets`"),
        ("[[budget]\n", "not a file of budgets"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    """One line names the file and what is wrong in it: a misspelt limit is never one that holds."""
    path = tmp_path / "slo.toml"
    path.write_text(text)
    with pytest.raises(BudgetError) as caught:
        read_budgets(path, offers())
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_the_projects_own_budgets() -> None:
    """The file at the top of the repository can be read, and is about scenarios that there are."""
    assert read_budgets(ROOT / "slo.toml", offers())


@pytest.mark.slow
def test_a_run_is_held_to_its_budgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`shopbench run --budget` fails where a limit is broken, keeps the verdict, and appends to the history."""
    budget, history = tmp_path / "slo.toml", tmp_path / "history" / "runs.jsonl"
    budget.write_text('[[budget]]\nfigure = "append.everysec.response.p50"\nat_most = "1 ns"\n')
    arguments = ["run", "append", "--profile", "smoke", "-p", "duration_s=0.2", "--runs", str(tmp_path / "runs")]
    arguments += ["--budget", str(budget), "--history", str(history)]
    monkeypatch.setattr(sys, "argv", ["shopbench", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert "budget.append.everysec.response.p50" in capsys.readouterr().out
    [directory] = (tmp_path / "runs").glob("*-append")
    assert {v.status for v in load(directory).run.verdicts if v.name.startswith("budget.")} == {"FAIL"}
    [entry] = trend.read_entries(history)
    assert (entry.scenario, entry.status) == ("append", "FAIL")
    assert entry.figures["append.everysec.ok"] > 0


# History -----------------------------------------------------------------------------------------------------


def test_a_history_grows_by_lines(tmp_path: Path) -> None:
    """Runs come back in the order in which they were appended, without what could not be measured."""
    path = tmp_path / "some" / "history.jsonl"
    entries = [trend.entry_of(run_of(p99(value), started_at=f"at {value}")) for value in (1.5, None)]
    for entry in entries:
        trend.append_entry(path, entry)
    first, second = trend.read_entries(path)
    assert first.figures == {"append.response.p99": 1.5}
    assert second.figures == {}
    assert (first.revision, first.host, first.status) == ("abc", "here", "UNKNOWN")


@pytest.mark.parametrize("host", [None, "a name", {"revision": 7, "host": ["x"]}])
def test_a_record_from_elsewhere_is_remembered(host: Any) -> None:
    """What is no revision and no host's name, in a record that somebody else has made, is not taken for one."""
    entry = trend.entry_of(run_of(p99(1.0), environment={"host": host}))
    assert (entry.revision, entry.host, entry.figures) == (None, None, {"append.response.p99": 1.0})


def test_a_history_as_a_table() -> None:
    """A row a run of one scenario, a column a figure; what is missing is empty."""
    runs = [run_of(p99(1.0)), run_of(Figure(name="append.ok", value=3, unit="events")), run_of(scenario="lag")]
    rows = list(csv.DictReader(io.StringIO(trend.as_csv([trend.entry_of(run) for run in runs], "append"))))
    assert [(row["append.response.p99"], row["append.ok"]) for row in rows] == [("1.0", ""), ("", "3")]


@pytest.mark.parametrize("content", [b"not JSON\n", b'{"at": 1}\n', b"\xff\n"])
def test_a_history_with_a_broken_line(tmp_path: Path, content: bytes) -> None:
    """Its number is told."""
    path = tmp_path / "history.jsonl"
    trend.append_entry(path, trend.entry_of(run_of()))
    with path.open("ab") as file:
        file.write(content)
    with pytest.raises(RunError, match="line 2 is no run"):
        trend.read_entries(path)


def test_a_history_that_cannot_be_written(tmp_path: Path) -> None:
    """A directory in its place is told in one line."""
    with pytest.raises(RunError, match="the history cannot be written"):
        trend.append_entry(tmp_path, trend.entry_of(run_of()))
    with pytest.raises(RunError, match="the history cannot be read"):
        trend.read_entries(tmp_path)


def test_a_merged_history_has_each_run_once(tmp_path: Path) -> None:
    """Lines that two branches had in common are there twice after a merge, and count once."""
    path = tmp_path / "history.jsonl"
    for value in (1.0, 2.0, 1.0):
        trend.append_entry(path, trend.entry_of(run_of(p99(value), started_at=f"at {value}")))
    assert [entry.at for entry in trend.read_entries(path)] == ["at 1.0", "at 2.0"]


def test_a_history_without_the_scenario() -> None:
    """A scenario that is not in it is a mistake, not an empty table; the answer says which ones are."""
    with pytest.raises(RunError, match="no run of 'journey'; it has append, lag"):
        trend.as_csv([trend.entry_of(run_of()), trend.entry_of(run_of(scenario="lag"))], "journey")


def test_only_what_came_to_its_end_is_remembered(tmp_path: Path) -> None:
    """Figures of a run that was interrupted are not comparable with anything, and are in no history."""
    for status in ("complete", "interrupted", "failed"):
        save(tmp_path / status, run_of(p99(1.0), status=status))
        remember(load(tmp_path / status), tmp_path / "history.jsonl")
    assert len(trend.read_entries(tmp_path / "history.jsonl")) == 1


def test_a_suite_is_held_to_budgets(tmp_path: Path) -> None:
    """Its record has a verdict for each budget, besides its members' own, and its headline counts them."""
    passed = [{"name": "append.answered", "status": "PASS", "detail": ""}]
    save(tmp_path / "append", run_of(p99(9_000.0), verdicts=passed))
    suite = run_of(scenario="suite", members=["append"], verdicts=passed, headline="1 of 1 verdicts pass.")
    save(tmp_path, suite)
    limits = [Budget(figure="append.response.p99", at_most=limit) for limit in ("5 ms", "10 ms")]
    held = held_to(load(tmp_path), limits).run
    assert [verdict.status for verdict in held.verdicts] == ["PASS", "FAIL", "PASS"]
    assert held.headline == "1 of 1 verdicts pass. 1 of 2 budgets are kept."
    assert load(tmp_path).run == held


def test_an_old_word_is_todays_word(tmp_path: Path) -> None:
    """A budget that was written when the tutorials' way was called `seed` is for it still."""
    path = tmp_path / "slo.toml"
    path.write_text('[[budget]]\nfigure = "crm_outage.drained_s"\nat_most = "5 s"\nwhen = { delivery = "seed" }\n')
    [budget] = read_budgets(path, offers())
    assert budget.when == {"delivery": "from_now"}
