"""What rounds of a comparison say: figures, verdicts, headline, page; found again from the record."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.capacity.pairs import Pairs, SideLoad, VersusRound
from harness.capacity.versus import Versus
from harness.capacity.versus_judged import ROUNDS, SideParameters, VersusParameters
from harness.conduct.conduct import conduct
from harness.conduct.judging import judged_run
from harness.conduct.scenario import Stage
from harness.gate.rounds import Round
from harness.gate.side import SideError
from harness.host.clock import VirtualClock
from harness.record.run import Record, load
from reports.gates import WIDTH, gate_table
from reports.render import render
from reports.summaries import junit, markdown
from tests.reports.test_render import Page

VALUES = {
    "append.p50": (100e3, 110e3),
    "append.p99": (300e3, 300e3),
    "control.ping": (20e3, 20e3),
    "control.python": (9e3, 9e3),
}
PAIR = "Valkey 9.1.2 against Redis 7.0.15"


class Told:
    """A pair whose rounds are known beforehand, on a clock that each moves.

    Args:
        effects: of each metric.
        spread: of its rounds.
        took_s: by each round.
    """

    def __init__(
        self,
        clock: VirtualClock,
        effects: dict[str, float],
        *,
        spread: float = 0.01,
        took_s: float = 2.0,
        **of_each: Any,
    ) -> None:
        self._clock, self._effects, self._spread, self._took_s = clock, effects, spread, took_s
        self._loads = of_each.pop("loads", None)
        self._of_each = of_each

    def measure(self, number: int) -> tuple[Round, Any]:
        """A round whose ratios are about the effects."""
        self._clock.sleep_ns(int(self._took_s * 1e9))
        drawn = np.random.default_rng(number).uniform(-1, 1)
        ratios = {
            name: self._effects.get(name, 0.0) + drawn * (self._spread if "control" not in name else 1e-4)
            for name in self._effects | dict.fromkeys(n for n in VALUES if "control" in n)
        }
        values = {name: VALUES.get(name, (50e3, 55e3)) for name in ratios}
        made = Round(
            number=number,
            at_s=0.0,
            took_s=self._took_s,
            first="baseline",
            ratios=ratios,
            values_ns=values,
            **self._of_each,
        )
        return made, self._loads


def conducted(directory: Path, *pairs: Told, clock: VirtualClock, **changed: Any) -> Record:
    """The record of a comparison of such pairs."""
    directory.mkdir(exist_ok=True)
    names = ["Redis 7.0.15", "Valkey 9.1.2", "Redis 8.2.0"][: len(pairs) + 1]
    parameters = VersusParameters(
        sides=[SideParameters(name=name, server="embedded", durability="none") for name in names],
        **({"minutes": 2.0} | changed),
    )
    bench = Pairs(dict(zip("bc", pairs, strict=False)), server={"name": "Redis"}, seed=1, clock=clock)
    stage = Stage(
        server="embedded",
        port=None,
        profile="quick",
        seed=1,
        directory=directory,
        clock=clock,
        progress=lambda *_: None,
    )
    record, ended = conduct(
        Versus(lambda _: nullcontext(bench)), parameters, stage, command=["shopbench", "versus"]
    )
    assert ended is None
    return record


def one(directory: Path, effects: dict[str, float], **how: Any) -> Record:
    """A comparison of two sides."""
    clock = VirtualClock()
    changed = how.pop("changed", {})
    return conducted(directory, Told(clock, effects, **how), clock=clock, **changed)


def test_a_comparison_in_words(tmp_path: Path) -> None:
    """The headline says of whose time, how many times, how sure, and in which word."""
    run = one(tmp_path / "r", {"append.p50": -0.07, "append.p99": 0.0}).run
    assert run.headline.startswith("Valkey 9.1.2 takes 0.93")
    assert "of Redis 7.0.15's time for an append at the median: faster." in run.headline
    assert "The same within 10 %: append.p99 1.0" in run.headline
    assert run.headline.endswith("one operation after the other, all on one core.")
    assert {v.name: v.status for v in run.verdicts} == {
        "versus.append.p50": "PASS",
        "versus.append.p99": "PASS",
        "versus.control.ping": "PASS",
        "versus.control.python": "PASS",
    }
    low, ratio, high = (run.figure(f"versus.append.p50.{end}") or 0 for end in ("low", "ratio", "high"))
    assert 0.92 < low < ratio < high < 0.95
    assert (run.figure("versus.append.p50.first"), run.figure("versus.append.p50.other")) == (100.0, 110.0)


@pytest.mark.parametrize(
    ("effects", "how", "begins", "statuses"),
    [
        ({"append.p50": 0.10}, {}, "Valkey 9.1.2 takes 1.10", "PASS PASS PASS"),
        ({"append.p50": 0.025}, {"spread": 0.005}, "Valkey 9.1.2 takes 1.02", "PASS PASS PASS"),
        ({"append.p50": 0.0}, {"spread": 1.0}, "Valkey 9.1.2 takes ", "UNKNOWN PASS PASS"),
        ({"append.p50": 0.1, "control.ping": 0.05}, {}, f"Contaminated, {PAIR}", "UNKNOWN " * 2 + "PASS"),
        (
            {"append.p50": 0.1},
            {"took_s": 50.0},
            f"Not decided, {PAIR}: too few rounds: 2 rounds, where",
            "UNKNOWN",
        ),
        (
            {"append.p50": 0.1},
            {"background": {"baseline": 0.01, "candidate": 0.3}},
            "Valkey 9.1.2 takes",
            "PASS PASS PASS UNKNOWN",
        ),
    ],
)
def test_outcomes(
    tmp_path: Path, effects: dict[str, float], how: dict[str, Any], begins: str, statuses: str
) -> None:
    """Faster and slower are answers, and so is the same; without one the verdict is UNKNOWN, and never FAIL."""
    run = one(tmp_path / "r", effects, **how).run
    assert run.headline.startswith(begins)
    assert [verdict.status for verdict in run.verdicts] == statuses.split()


def test_small_differences_are_called_small(tmp_path: Path) -> None:
    """Slower, and yet by less than what matters: both are said."""
    run = one(tmp_path / "r", {"append.p50": 0.025}, spread=0.005).run
    assert "at the median: slower, by less than 5 %." in run.headline


def test_several_sides(tmp_path: Path) -> None:
    """Each of the others against the first, by name."""
    clock = VirtualClock()
    pairs = Told(clock, {"append.p50": -0.07}), Told(clock, {"append.p50": 0.2})
    record = conducted(tmp_path / "r", *pairs, clock=clock)
    assert record.run.headline.startswith("Valkey 9.1.2 takes 0.93")
    assert " Redis 8.2.0 takes 1.22" in record.run.headline
    names = [verdict.name for verdict in record.run.verdicts]
    assert names[:2] == ["versus.b.append.p50", "versus.c.append.p50"]
    assert "versus.c.control.ping" in names
    table = gate_table(record.run)
    assert table is not None
    assert [row.name for row in table.rows][:2] == ["Valkey 9.1.2: append.p50", "Valkey 9.1.2: control.ping"]
    assert table.title == "Valkey 9.1.2, Redis 8.2.0 against Redis 7.0.15"


def load_of(**changed: Any) -> SideLoad:
    """A side's load of a round, all of it answered in time."""
    usual: dict[str, Any] = {"due": 1000, "ok": 1000, "failed": 0, "unknown": 0, "dropped": 0, "due_s": 1.0}
    usual |= {
        "took_s": 1.0,
        "send_lag_us": {"p50": 9.0, "p99": 50.0, "max": 90.0},
        "response_us": {"p50": 90.0, "p99": 400.0},
    }
    return SideLoad(**(usual | changed))


@pytest.mark.parametrize(
    ("of_other", "name", "status", "words"),
    [
        ({}, "versus.answered.b", "PASS", "48,000 of 48,000 were answered well"),
        ({"ok": 990, "dropped": 10}, "versus.answered.b", "UNKNOWN", "480 dropped"),
        ({"took_s": 1.3}, "versus.answered.b", "UNKNOWN", "Valkey 9.1.2 does not keep up with this rate"),
        ({"send_lag_us": {"p99": 2_000.0}}, "versus.b.send_lag", "UNKNOWN", "the instrument fell behind"),
        ({"send_lag_us": {"p99": 300.0}}, "versus.b.send_lag", "PASS", "sent 0.30 ms late"),
    ],
)
def test_a_load_that_was_not_borne(
    tmp_path: Path, of_other: dict[str, Any], name: str, status: str, words: str
) -> None:
    """At a rate it is said whether all was answered, and sent in time."""
    loads = (load_of(), load_of(**of_other))
    run = one(
        tmp_path / "r",
        {"response.p50": 0.0},
        spread=1.0,
        loads=loads,
        changed={"rate_per_s": 1000.0, "minutes": 1.62},
    ).run
    [verdict] = [each for each in run.verdicts if each.name == name]
    assert verdict.status == status
    assert words in verdict.detail
    assert run.headline.endswith("at 1,000/s, counted from when each append was due.")


def test_it_is_judged_again_from_its_rounds(tmp_path: Path) -> None:
    """The same verdicts and the same headline, from the record alone; none where its rounds are gone."""
    record = one(tmp_path / "r", {"append.p50": -0.07, "append.p99": 0.0})
    again = judged_run(Versus(), load(tmp_path / "r"))
    assert (again.verdicts, again.headline) == (record.run.verdicts, record.run.headline)
    rounds = record.evidence.value(ROUNDS, list[VersusRound])
    assert (
        len(rounds)
        == record.run.figure("versus.rounds")
        == len((tmp_path / "r" / "rounds.jsonl").read_text().splitlines())
    )
    (tmp_path / "r" / "evidence.zip").unlink()
    gone = judged_run(Versus(), load(tmp_path / "r"))
    assert {verdict.status for verdict in gone.verdicts} == {"UNKNOWN"}


@pytest.mark.parametrize("metric", ["append.p50", "response.p50"])
def test_its_page(tmp_path: Path, metric: str) -> None:
    """The table has both sides by name, a bar a metric, and a line on either side from where it matters."""
    record = one(tmp_path / "r", {metric: -0.07, "append.p99": 0.0})
    page = Page(render(record))
    assert page.errors == []
    assert "Valkey 9.1.2 against Redis 7.0.15" in page.words
    assert "No evidence" not in page.words
    table = gate_table(record.run)
    assert table is not None
    assert (table.first, table.other) == ("Redis 7.0.15", "Valkey 9.1.2")
    row = table.rows[0]
    assert row.low <= row.at <= row.high < WIDTH / 2
    assert [place < WIDTH / 2 for place in row.relevant] == [True, False]
    assert f"versus.{metric}" in markdown(record)
    assert f'name="versus.{metric}"' in junit(record)


def test_a_round_that_cannot_be_measured(tmp_path: Path) -> None:
    """The run has failed, with the side's own words, and has no verdict of its own."""

    class Broken:
        def measure(self, number: int) -> tuple[Round, Any]:
            raise SideError(f"Valkey 9.1.2 failed in append in round {number}")

    clock = VirtualClock()
    bench = Pairs({"b": Broken()}, server={}, seed=1, clock=clock)
    parameters = VersusParameters(
        sides=[SideParameters(name=n, server="x", durability="none") for n in "ab"], minutes=1
    )
    stage = Stage(
        server="embedded",
        port=None,
        profile="quick",
        seed=1,
        directory=tmp_path,
        clock=clock,
        progress=lambda *_: None,
    )
    opened = functools.partial(nullcontext, bench)
    record, ended = conduct(Versus(lambda _: opened()), parameters, stage, command=[])
    assert str(ended) == "Valkey 9.1.2 failed in append in round 0"
    assert (record.run.status, record.run.headline) == ("failed", "")
    assert [verdict.name for verdict in record.run.verdicts] == ["versus.finished"]


@pytest.mark.parametrize("took_s", [9.0, 10.0, 11.0, 12.5])
def test_few_rounds_are_not_looked_at_too_late(tmp_path: Path, took_s: float) -> None:
    """A look that comes late would spend what the last one needs: with rounds enough the last one can tell."""
    run = one(tmp_path / "r", {"append.p50": 0.10}, took_s=took_s).run
    assert (run.figure("versus.rounds") or 0) >= 9
    assert run.figure("versus.append.p50.low") is not None
    assert run.verdicts[0].status == "PASS"
