"""Can the measurement be trusted? A sentence and a table, from a record."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import report_runs

from harness.record.run import Figure, Run, Verdict
from reports.render import render
from reports.trust import Row, trust

HELD = "the instrument held its schedule"


def of_load(load: str, **kinds: tuple[float, float, float]) -> list[Figure]:
    """The figures of a load: p50, p99 and max of each kind."""
    return [
        Figure(name=f"{load}.{kind}.{quantile}", value=value, unit="µs")
        for kind, values in kinds.items()
        for quantile, value in zip(("p50", "p99", "max"), values, strict=True)
    ]


def run_with(*figures: Figure, **changed: Any) -> Run:
    verdicts = [Verdict(name="append.always.send_lag", status="PASS", detail="held")]
    return report_runs.run_of("append", **({"figures": list(figures), "verdicts": verdicts} | changed))


ALWAYS = of_load(
    "append.always", response=(812, 7_300, 295_000), service=(790, 7_100, 295_000), send_lag=(22, 730, 1_200)
)
NONE = of_load("append.none", response=(80, 500, 900), service=(70, 450, 800), send_lag=(10, 50, 100))


def test_a_load_stands_beside_its_instrument() -> None:
    """Each load has three rows, with what was measured and what is the instrument's side by side."""
    found = trust(run_with(*ALWAYS, *NONE))
    assert found.columns == ["response", "service", "send lag"]
    assert found.rows[:3] == [
        Row("append.always", "p50", ["812 µs", "790 µs", "22.0 µs"]),
        Row("", "p99", ["7.30 ms", "7.10 ms", "730 µs"]),
        Row("", "max", ["295 ms", "295 ms", "1.20 ms"]),
    ]
    assert [row.name for row in found.rows] == ["append.always", "", "", "append.none", "", ""]


def test_the_floor_has_a_column_of_its_own() -> None:
    """What a bare client takes stands beside each load that it is of, or whose scenario's it is; it is no load."""
    floors = [
        *of_load("append.floor.ping", service=(40, 60, 70), send_lag=(1, 2, 3)),
        *of_load("append.none.floor.xadd", service=(1, 2, 3)),
    ]
    found = trust(run_with(*ALWAYS, *NONE, *floors))
    assert found.columns[-2:] == ["floor: ping", "floor: xadd"]
    assert [row.cells[-2:] for row in found.rows[::3]] == [["40.0 µs", ""], ["40.0 µs", "1.00 µs"]]


def test_the_sentence_sets_the_send_lag_beside_the_response() -> None:
    """Of loads whose instrument held its schedule the highest ratio is told."""
    assert trust(run_with(*ALWAYS, *NONE)).sentence == (
        f"Yes: {HELD} in each of 2 loads; the p99 of its send lag is at most 10.0 % of the response's."
    )
    assert trust(run_with(*NONE)).sentence == (
        f"Yes: {HELD}; the p99 of its send lag is 10.0 % of the response's."
    )


@pytest.mark.parametrize("status", ["UNKNOWN", "FAIL"])
def test_the_sentence_names_what_is_in_doubt(status: str) -> None:
    """What is not valid is named with its reason, and nothing that is."""
    doubt = Verdict(name="append.none.send_lag", status=status, detail="the instrument fell behind")  # type: ignore[arg-type]
    fine = Verdict(name="append.always.send_lag", status="PASS", detail="held")
    found = trust(run_with(*ALWAYS, verdicts=[fine, doubt]))
    assert (found.status, found.sentence) == (
        status,
        "Not all of it. append.none.send_lag: the instrument fell behind.",
    )


def test_how_it_was_measured_is_told() -> None:
    """Who dated the answers, which cores were used, and what disturbed it: the worst of all loads."""
    environment = {"instrument": {"dated_by": "kernel", "cores_plan": "apart"}}
    figures = [
        Figure(name="append.always.gc_pause_max", value=12.0, unit="µs"),
        Figure(name="append.none.gc_pause_max", value=90.0, unit="µs"),
        Figure(name="append.always.host_steal_share", value=0.004, unit="share"),
        Figure(name="append.always.dropped", value=2, unit="events"),
        Figure(name="append.none.dropped", value=1, unit="events"),
    ]
    assert trust(run_with(*figures, environment=environment)).facts == [
        "answers are dated by the kernel, when they arrived",
        "the load had a core of its own",
        "the longest garbage collection of the load took 90.0 µs",
        "0.400 % of the CPU time was taken by the host",
        "3 operations that were due were not sent",
    ]


def test_without_evidence_there_is_no_answer() -> None:
    """A record that says nothing of its instrument is not trusted, and not doubted either."""
    found = trust(report_runs.run_of("replay"))
    assert (found.status, found.sentence, found.rows, found.facts) == (None, "", [], [])


def test_the_page_has_one_sentence_and_one_table(tmp_path: Path) -> None:
    """Where the page asks whether the measurement can be trusted, there are no tiles."""
    page = render(report_runs.append_run(tmp_path, 20, 50))
    [section] = re.findall(r'(?s)<section class="trust">.*?</section>', page)
    assert (section.count("<table"), section.count("<dl")) == (1, 0)
    assert section.count('class="answer"') == 1


def test_who_had_the_machine_is_told_once() -> None:
    """Where all doubts have one cause, it stands at their end."""
    doubts = [
        Verdict(
            name=f"append.{name}.send_lag", status="UNKNOWN", detail=f"{name} was late; meanwhile cc1 used it all"
        )
        for name in ("always", "none")
    ]
    assert trust(run_with(*ALWAYS, verdicts=doubts)).sentence == (
        "Not all of it. append.always.send_lag: always was late; append.none.send_lag: none was late. "
        "Meanwhile cc1 used it all."
    )
