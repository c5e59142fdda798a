"""What scenarios say of themselves: parameters in words, figures by name, and how long they take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from harness.check.figures import FigureName, figure_names, unit_of
from harness.cli.list import duration, figures_of, overview
from harness.cli.shopbench import main
from harness.conduct.conduct import conduct
from harness.conduct.scenario import Stage, parameters_of
from harness.gate.loop import Gate, GateParameters
from harness.host.clock import SystemClock
from harness.record.parameters import described, formerly, nearest, refused, renamed
from scenarios.catalog import SCENARIOS
from tests.lines import ASLEEP

# The smallest load with which a scenario makes all that it makes.
TINY = {
    "append": {"duration_s": "0.3"},
    "replay": {"events": "300"},
    "lag": {"before_s": "0.3", "peak_s": "0.3", "after_s": "0.3"},
    "crm_outage": {"before_s": "0.3", "outage_s": "0.7", "after_s": "0.5", "fault": "kill_in_batch"},
    "random_faults": {"outages": "1"},
    "journey": {"duration_s": "1"},
    "contention": {"duration_s": "0.3"},
    "mix": {"duration_s": "0.3"},
}
# Their own tests run them whole, and ask the same of each run.
ELSEWHERE = {"micro", "consumers", "retention", "groups", "redis_crash", "soak"}


class Base(Struct):
    """What is chosen of something.

    Attributes:
        size_bytes: of each.
    """

    size_bytes: Annotated[int, Meta(ge=1, le=1_048_576)] = 10


class Parameters(Base):
    """What is chosen of something more.

    Attributes:
        rate_per_s: where most
            are due: at noon.
        wait_ms, rest_ms (milliseconds of silence): one after
            the other.
        way: how it goes.

    Raises:
        ValueError: never.
    """

    rate_per_s: Annotated[float, Meta(gt=0, lt=5)] = 2.5
    wait_ms: float = 1
    rest_ms: float = 2
    way: Annotated[Literal["up", "down"], formerly(high="up")] = "up"
    is_long: bool = False
    name: str = ""


def test_meaning_and_unit_come_from_the_docstring() -> None:
    """Of base and class; the unit from brackets, or from the name's end."""
    found = described(Parameters)
    assert list(found) == ["size_bytes", "rate_per_s", "wait_ms", "rest_ms", "way", "is_long", "name"]
    assert {name: (each.unit, each.meaning) for name, each in found.items() if each.meaning} == {
        "size_bytes": ("bytes", "of each."),
        "rate_per_s": ("events a second", "where most are due: at noon."),
        "wait_ms": ("milliseconds of silence", "one after the other."),
        "rest_ms": ("milliseconds of silence", "one after the other."),
        "way": ("", "how it goes."),
    }
    assert (found["way"].choices, found["rate_per_s"].default) == (("up", "down"), 2.5)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("rate_per_s", "2", ""),
        ("rate_per_s", "fast", "rate_per_s is a number of events a second, not 'fast'"),
        ("rate_per_s", "5", "rate_per_s is more than 0 and less than 5 events a second, not 5"),
        ("rate_per_s", "nan", "rate_per_s is a number of events a second, not 'nan'"),
        ("size_bytes", "1.5", "size_bytes is a whole number of bytes, not '1.5'"),
        ("size_bytes", "0", "size_bytes is at least 1 and at most 1,048,576 bytes, not 0"),
        ("way", "dwon", "way is one of up, down, not 'dwon'; did you mean down?"),
        ("is_long", "perhaps", "is_long is true or false, not 'perhaps'"),
        ("name", "anything", ""),
    ],
)
def test_a_value_that_cannot_be(name: str, value: str, why: str) -> None:
    """It is said what the parameter is, what was given, and what may have been meant."""
    assert refused(Parameters, name, value) == why


@pytest.mark.parametrize(
    ("name", "value", "now"), [("way", "high", "up"), ("way", "down", "down"), ("name", "high", "high")]
)
def test_a_choice_that_got_another_name(name: str, value: str, now: str) -> None:
    """Its old name stands for the new one, in that parameter alone."""
    assert renamed(Parameters, name, value) == now


@pytest.mark.parametrize("name", ["lag", "crm_outage", "random_faults", "redis_crash", "retention", "consumers"])
def test_the_old_word_for_from_now(name: str) -> None:
    """`delivery=seed` is still understood, and recorded as what it is called now."""
    assert parameters_of(SCENARIOS[name], "smoke", {"delivery": "seed"}).delivery == "from_now"


def test_text_is_no_number_in_a_file() -> None:
    """What is written as text where numbers are written as numbers is told to be text."""
    assert (
        refused(Parameters, "wait_ms", "5", strict=True)
        == "wait_ms is a number of milliseconds of silence, not '5'"
    )
    assert not refused(Parameters, "wait_ms", 5, strict=True)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("rate", "rate_per_s"), ("duratoin_s", "duration_s"), ("APPEND", "append"), ("zzz", ""), ("", "")],
)
def test_the_name_that_was_meant(name: str, meant: str) -> None:
    """A slip of the pen, or a part; where nothing is like it, nothing is guessed."""
    assert nearest(name, ["rate_per_s", "duration_s", "append"]) == meant


def test_names_of_figures() -> None:
    """Braces are a choice, a star is what only a run knows; each has its unit, with spaces."""
    names = figure_names("a", "µs {,x.}p50", "event_seconds sum\n  1/s *.rate", "µs p50")
    assert names == (
        FigureName("a.p50", "µs"),
        FigureName("a.x.p50", "µs"),
        FigureName("a.sum", "event seconds"),
        FigureName("a.*.rate", "1/s"),
    )
    assert [unit_of(names, f"a.{name}") for name in ("p50", "y.p50", "z.rate")] == ["µs", None, "1/s"]


def test_no_scenario_is_left_out() -> None:
    """Of each one some test asks whether its figures are declared."""
    assert set(SCENARIOS) == TINY.keys() | ELSEWHERE


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_parameter_has_a_meaning(name: str) -> None:
    """Nothing can be chosen of which `shopbench list` does not say what it is."""
    assert [each.name for each in described(SCENARIOS[name].parameters).values() if not each.meaning] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_figure_is_declared(name: str, tmp_path: Path) -> None:
    """Each figure of a run is one that the scenario has said it can make, in the unit that it said.

    Of the others it is asked where they are run anyway.
    """
    scenario = SCENARIOS[name]
    parameters = parameters_of(scenario, "smoke", TINY[name])
    stage = Stage(
        server="embedded",
        port=None,
        profile="smoke",
        seed=1,
        directory=tmp_path,
        clock=SystemClock(),
        progress=lambda *_: None,
        driver=ASLEEP,
        spin_share=0.0,
    )
    record, ended = conduct(scenario, parameters, stage, command=[])
    assert (ended, record.run.status) == (None, "complete")
    names = scenario.figures  # type: ignore[attr-defined]
    assert [f for f in record.run.figures if unit_of(names, f.name) != f.unit] == []


def test_a_gate_says_its_figures() -> None:
    """Of a metric that a target or a file of benchmarks brings, too."""
    units = [unit_of(Gate.figures, f"gate.{name}") for name in ("append.p99.candidate", "x.ratio", "rounds")]
    assert units == ["µs", "×", "1"]
    assert described(GateParameters)["minutes"].meaning == "that the gate may take."


def test_a_listing() -> None:
    """A parameter has its default, meaning, unit, bounds and other profiles' values; the load its length."""
    lines = list(overview(SCENARIOS["append"]))
    assert lines[0] == f"append: {SCENARIOS['append'].summary}"
    text = " ".join(" ".join(lines).split())
    assert "load 6 s in smoke, 30 s in quick, 3 min in standard, 30 min in full" in text
    assert (
        "rate_per_s=2000 events a second: where most are due (more than 0 and at most 1,000,000; smoke 500)"
        in text
    )
    assert "arrivals=constant evenly, or independently" in text
    assert max(map(len, lines)) <= 115
    assert "    append.everysec.response.p99  (µs)" in list(figures_of(SCENARIOS["append"]))


@pytest.mark.parametrize(("seconds", "text"), [(4, "4 s"), (119.5, "120 s"), (180, "3 min"), (7_200, "2 h")])
def test_a_time_is_said_as_one_says_it(seconds: float, text: str) -> None:
    """Seconds, minutes, hours."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        (["--version"], 0, "shopbench ", ""),
        (["-h"], 0, "Usage: shopbench", ""),
        (["run", "-h"], 0, "--budget", ""),
        (["list", "lag"], 0, "lag: how far", ""),
        (["list", "lag", "--figures"], 0, "lag.drain_s  (s)", ""),
        (["list", "lga"], 2, "", "there is no scenario 'lga'; did you mean lag? there are append"),
        (["run", "append", "--profile", "smok"], 2, "", "did you mean smoke? there are smoke"),
    ],
)
def test_what_a_newcomer_tries_first(
    arguments: list[str],
    code: int,
    out: str,
    err: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Version, help, and a list are there under the names that everybody tries."""
    monkeypatch.setattr(sys, "argv", ["shopbench", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    captured = capsys.readouterr()
    assert ((caught.value.code or 0), out in captured.out, err in captured.err) == (code, True, True)
