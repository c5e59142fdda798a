"""Rounds: turns, ratios, sides that cannot be measured; the gate's loop; the check of the gate."""

from __future__ import annotations

import itertools
import json
import math
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness import gate, gate_selfcheck, gating
from harness.clock import SystemClock, VirtualClock
from harness.cores import Cores, core_of
from harness.gate_rounds import (
    CONTROLS,
    METRICS,
    Measure,
    Round,
    Rounds,
    Side,
    SideError,
    first_of,
    measured,
    turns,
)
from harness.gate_selfcheck import Ended, Kind, Recorded, SelfCheckError
from harness.target import OpenTarget
from harness.target_contract import TargetContract
from scenarios.gate_target import ordershop

SEEDS = range(400)


class TestOrderShopAsATarget(TargetContract):
    """What the gate measures keeps the contract of all targets."""

    @staticmethod
    def open_target() -> OpenTarget:
        """The shop's event store."""
        return ordershop


# Turns and ratios ------------------------------------------------------------------------------------------


def test_turns_begin_abba_baab() -> None:
    """Each four turns are mirrored, and so are each eight."""
    assert turns(8) == [0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0]


@pytest.mark.parametrize(("count", "degree"), [(2, 1), (4, 2), (8, 3), (16, 4)])
def test_turns_cancel_drift(count: int, degree: int) -> None:
    """A drift that is a polynomial of the turn falls on both sides alike, up to a degree that grows with them."""
    places = np.arange(2 * count, dtype=float)
    sign = np.array([1 if turn else -1 for turn in turns(count)])
    drift = [float((sign * places**power).sum()) for power in range(degree)]
    assert drift == pytest.approx([0.0] * degree, abs=1e-6)


def test_a_coin_says_who_is_first() -> None:
    """It comes from seed and round alone, and falls either way about as often."""
    firsts = [first_of(3, number) for number in SEEDS]
    assert firsts == [first_of(3, number) for number in SEEDS]
    assert firsts != [first_of(4, number) for number in SEEDS]
    assert 150 < firsts.count("baseline") < 250


TURNS = st.lists(st.lists(st.integers(1, 10**6), min_size=1, max_size=9), min_size=4, max_size=4)


@given(TURNS, TURNS)
def test_ratios_are_those_of_neighbouring_turns(baseline: list[list[int]], candidate: list[list[int]]) -> None:
    """Of p50 the median over pairs of turns, of p99 the mean; values are quantiles over all operations."""
    taken: dict[Side, dict[str, list[Any]]] = {
        "baseline": {"append": [np.array(turn) for turn in baseline]},
        "candidate": {"append": [np.array(turn) for turn in candidate]},
    }
    ratios, values = measured(taken)
    pairs = list(zip(baseline, candidate, strict=True))
    p50 = median(math.log(median(c) / median(b)) for b, c in pairs)
    p99 = sum(math.log(np.quantile(c, 0.99) / np.quantile(b, 0.99)) for b, c in pairs) / 4
    assert {"append.p50": pytest.approx(p50), "append.p99": pytest.approx(p99)} == ratios
    assert values["append.p50"] == (median(itertools.chain(*baseline)), median(itertools.chain(*candidate)))


# Sides -----------------------------------------------------------------------------------------------------

STORE = """
    class Store:
        def __init__(self, url):
            self.events = []

        def event(self, number):
            return number

        def append(self, event):
            self.events.append(event)
            return len(self.events)

        def replay(self):
            return self.events

        def close(self):
            pass


    target = Store
"""


def package(directory: Path, source: str) -> Path:
    """A directory with a package `toy` of that source."""
    (directory / "toy").mkdir(parents=True)
    (directory / "toy" / "__init__.py").write_text(textwrap.dedent(source))
    return directory


def toys(tmp_path: Path, baseline: str = STORE, candidate: str = STORE, target: str = "toy:target") -> Measure:
    """What measures two packages `toy` against each other."""
    return Measure(
        target=target,
        packages=("toy",),
        sources={
            "baseline": package(tmp_path / "baseline", baseline),
            "candidate": package(tmp_path / "candidate", candidate),
        },
        names={"baseline": "the baseline", "candidate": "the candidate"},
    )


def test_a_round_of_what_a_target_can_do(tmp_path: Path) -> None:
    """A target that only appends and replays has the metrics of these, and the controls."""
    with Rounds(toys(tmp_path), SystemClock()) as rounds:
        found = rounds.measure(0)
    assert set(found.ratios) == {"append.p50", "append.p99", "replay.per_event", *CONTROLS}
    assert set(found.values_ns) == set(found.ratios)
    assert all(value >= 0 for pair in found.values_ns.values() for value in pair)


def test_a_round_of_the_shop() -> None:
    """The shop's store has every metric."""
    root = Path(ordershop.__code__.co_filename).parents[1]
    measure = Measure(
        target="scenarios.gate_target:ordershop",
        packages=("ordershop",),
        sources={"baseline": root, "candidate": root},
        names={"baseline": "the baseline", "candidate": "the candidate"},
    )
    with Rounds(measure, SystemClock()) as rounds:
        found = rounds.measure(1)
    assert set(found.ratios) == {*METRICS, *CONTROLS}
    assert found.first == first_of(1, 1)


# Notes with each append which cores it may use, and its server, and who measures it.
WATCHFUL_STORE = """
    import os
    import redis

    class Store:
        def __init__(self, url):
            self.server = redis.Redis.from_url(url).info("server")["process_id"]

        def event(self, number):
            return number

        def append(self, event):
            seen = [sorted(os.sched_getaffinity(process)) for process in (0, self.server, os.getppid())]
            with open({file!r}, "a") as file:
                print(seen, file=file)

        def close(self):
            pass


    target = Store
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system lets nobody choose")
@pytest.mark.parametrize("cores", ["one", "all"])
def test_a_round_takes_turns_on_one_core(tmp_path: Path, cores: Cores) -> None:
    """Sides, their servers and who measures them are on the core that the round has drawn, if it draws one."""
    ours = os.sched_getaffinity(0)
    file = tmp_path / "seen"
    measure = toys(tmp_path, baseline=WATCHFUL_STORE.format(file=str(file)))
    measure = msgspec.structs.replace(measure, cores=cores, metrics=("append.p50",))
    with Rounds(measure, SystemClock()) as rounds:
        rounds.measure(3)
    drawn = core_of(cores, measure.seed, 3)
    expected = sorted(ours) if drawn is None else [drawn]
    assert set(file.read_text().splitlines()) == {repr([expected] * 3)}
    assert os.sched_getaffinity(0) == ours


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (
            "import nowhere_to_be_found",
            "toy:target",
            "does not build: ModuleNotFoundError: No module named 'nowhere",
        ),
        ("raise SystemExit('no\\nmore')", "toy:target", "does not build: SystemExit: no more"),
        ("x = (", "toy:target", "does not build: SyntaxError"),
        (STORE, "toy:other", "does not build: ImportError: toy has no other"),
        (STORE, "toy.deeper:target", "does not build: ModuleNotFoundError"),
        ("def target(url): raise OSError('no server')", "toy:target", "cannot be opened: OSError: no server"),
        (STORE.replace("return self.events", "return []"), "toy:target", "failed in replay: ValueError: a replay"),
        (STORE.replace("self.events.append", "self.nothing.append"), "toy:target", "failed in append: Attribute"),
        ("import os; os._exit(3)", "toy:target", "does not build: its process ended"),
    ],
)
def test_a_side_that_cannot_be_measured_says_why(tmp_path: Path, source: str, target: str, words: str) -> None:
    """The error names the side, what it was doing and what its code has raised, in one line."""
    measure = toys(tmp_path, baseline=source, target=target)
    with Rounds(measure, SystemClock()) as rounds, pytest.raises(SideError) as caught:
        rounds.measure(0)
    text = str(caught.value)
    assert words in text
    assert "\n" not in text
    assert text.startswith("the baseline") or target != "toy:target"


def test_a_package_that_hides_the_one_under_test(tmp_path: Path) -> None:
    """A module that was loaded from elsewhere is not measured in its place."""
    measure = toys(tmp_path, baseline="import sys; sys.modules['toy'].__file__ = '/elsewhere/toy.py'")
    with (
        Rounds(measure, SystemClock()) as rounds,
        pytest.raises(SideError, match="not from the revision under test"),
    ):
        rounds.measure(0)


def test_a_source_without_the_package(tmp_path: Path) -> None:
    """It is said before a server is started."""
    measure = toys(tmp_path)
    (tmp_path / "baseline" / "toy").rename(tmp_path / "baseline" / "renamed")
    with pytest.raises(SideError, match="the baseline has another layout: it has no package toy"):
        Rounds(measure, SystemClock())


# The loop --------------------------------------------------------------------------------------------------


# About as many above what is relevant as below, and far from it.
NOISE = np.random.default_rng(5).permutation(np.linspace(-2.0, 2.1, 150)).tolist()


class Scripted:
    """Rounds as they are given, each of some seconds on a virtual clock."""

    server: Mapping[str, Any] = {}

    def __init__(self, clock: VirtualClock, ratios: Sequence[float], took_s: float = 2.0) -> None:
        self.clock = clock
        self.ratios = ratios
        self.took_s = took_s

    def measure(self, number: int) -> Round:
        self.clock.sleep_ns(int(self.took_s * 1e9))
        ratio = self.ratios[number % len(self.ratios)]
        return Round(
            number=number,
            at_s=0.0,
            took_s=self.took_s,
            first="baseline",
            ratios={"append.p50": ratio, "control.ping": 0.001 * (-1) ** number},
            values_ns={},
        )


def gated(ratios: Sequence[float], *, limit_s: float = 300.0, **how: Any) -> gate.Gated:
    """A gate of scripted rounds of two seconds."""
    clock = VirtualClock()
    return gate.conduct_rounds(
        Scripted(clock, ratios, **how),
        clock=clock,
        limit_s=limit_s,
        relevant={},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("ratios", "outcome", "looks"),
    [
        ([0.30, 0.31, 0.29], "fail", [23]),
        ([0.00, 0.01, -0.01], "pass", [23]),
        (NOISE, "inconclusive", [23, 45, 75, 113, 150]),
    ],
)
def test_a_gate_stops_as_soon_as_a_look_decides(ratios: list[float], outcome: str, looks: list[int]) -> None:
    """Looks come at the planned shares of the time, and the first that can tell is the last."""
    found = gated(ratios)
    assert (outcome, looks) == (found.decision.outcome, found.looks)


def test_a_gate_keeps_to_its_time() -> None:
    """It begins no round that would end too late, and looks at what it has with all that is left to spend."""
    found = gated([0.3, 0.31], limit_s=47.0)
    assert (len(gated([0.4, -0.4], limit_s=47.0).rounds), found.looks) == (23, [9])


def test_a_gate_with_three_rounds_knows_little() -> None:
    """Of three rounds it says that they are too few; it does not wait for more."""
    found = gated([0.3, 0.31], limit_s=7.0)
    assert (len(found.rounds), found.decision.outcome) == (3, "inconclusive")


def test_a_metric_that_was_not_measured() -> None:
    """It is said which ones there are."""
    clock = VirtualClock()
    with pytest.raises(SideError, match=r"there is no metric 'append\.p50000'; there are append\.p50"):
        gate.conduct_rounds(
            Scripted(clock, [0.0]),
            clock=clock,
            limit_s=60,
            relevant={},
            metrics=["append.p50000"],  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(
    ("metric", "given", "relevant", "margin"),
    [
        ("append.p50", {}, 0.05, 0.01),
        ("append.p99", {}, 0.10, 0.02),
        ("append.p99", {"append.p50": 0.3}, 0.10, 0.02),
        ("append.p50", {"append.p50": 0.30}, 0.30, 0.01),
        ("append.p50", {"append.p50": 0.02}, 0.02, 0.004),
    ],
)
def test_sizes(metric: str, given: dict[str, float], relevant: float, margin: float) -> None:
    """A size that was set replaces its kind's default; the margin stays well below it."""
    size = gate.size_of(metric, given)
    assert (pytest.approx(relevant), pytest.approx(margin)) == (size.relevant, size.margin)


# The check of the gate ---------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A package with an event store whose append takes a while."""
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "event_store.py").write_text(
        textwrap.dedent("""
            import time

            class EventStore:
                took = []

                def append(self, event):
                    began = time.perf_counter_ns()
                    until = began + event
                    while time.perf_counter_ns() < until:
                        pass
                    self.took.append(time.perf_counter_ns() - began)
                    return event
        """)
    )
    return directory


def loaded(directory: Path, package: Path, kind: Kind) -> Any:
    """A slowed copy's store."""
    gate_selfcheck.slowed_copy(package, directory, kind)
    names: dict[str, Any] = {}
    exec((directory / package.name / "event_store.py").read_text(), names)  # noqa: S102 - our own text
    return names["EventStore"]()


def timed_appends(store: Any, lengths_ns: Sequence[int]) -> list[int]:
    """What each append takes, seen from outside."""
    now_ns = SystemClock().now_ns
    taken = []
    for length_ns in lengths_ns:
        before_ns = now_ns()
        assert store.append(length_ns) == length_ns
        taken.append(now_ns() - before_ns)
    return taken


def test_a_slowdown_takes_its_share_of_each_call(tmp_path: Path, shop: Path) -> None:
    """No call is shorter than what the original took, and half of that; its answer is the original's."""
    store = loaded(tmp_path / "copy", shop, Kind(name="half", slowdown=0.5))
    taken = timed_appends(store, [50_000] * 20)
    assert all(whole >= 1.5 * own for whole, own in zip(taken, store.took, strict=True))


def test_a_slow_tail_leaves_most_calls_alone(tmp_path: Path, shop: Path) -> None:
    """The slowest calls become slower, by their share; those that are quick are not held up."""
    store = loaded(tmp_path / "copy", shop, Kind(name="tail", slowdown=1.0, is_tail=True))
    lengths = [20_000 if number % 20 else 400_000 for number in range(1_200)]
    taken = timed_appends(store, lengths)
    is_slow = [whole >= 2 * own for whole, own in zip(taken, store.took, strict=True)]
    late = range(600, 1_200)
    assert all(is_slow[number] for number in late if number % 20 == 0)
    assert sum(is_slow[number] for number in late if number % 20) < 200


def test_no_slowdown_changes_nothing(tmp_path: Path, shop: Path) -> None:
    """A copy without one has the same text."""
    gate_selfcheck.slowed_copy(shop, tmp_path / "copy", Kind(name="nothing"))
    assert (tmp_path / "copy" / "shop" / "event_store.py").read_text() == (shop / "event_store.py").read_text()


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    """The interval of a share is that of SciPy."""
    expected = stats.binomtest(*counts).proportion_ci(0.95, "wilson")
    assert gate_selfcheck.wilson(*counts) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_rounds_are_drawn_in_blocks() -> None:
    """Within a block rounds follow one another on a circle; blocks begin anywhere."""
    order: Iterator[int] = gate_selfcheck.block_order(30, np.random.default_rng(1))
    drawn = [next(order) for _ in range(800)]
    blocks = [drawn[at : at + 8] for at in range(0, 800, 8)]
    assert all([(block[0] + offset) % 30 for offset in range(8)] == block for block in blocks)
    assert len({block[0] for block in blocks}) > 25


def recorded(kind: str, ratios: Sequence[float]) -> list[Recorded]:
    """Rounds of two seconds in a file."""
    return [
        Recorded(kind=kind, gate=0, at_s=2.0 * at, took_s=2.0, ratios={"append.p50": ratio, "append.p99": ratio})
        for at, ratio in enumerate(ratios)
    ]


def test_simulated_gates_decide_as_real_ones() -> None:
    """Gates made of rounds of unchanged code pass, and of slower code fail, at the look that a real one has."""
    noise = np.random.default_rng(2).normal(0, 0.02, 60)
    unchanged = gate_selfcheck.simulated(recorded("nothing", noise.tolist()), gates=10, minutes=5, seed=1)
    slower = gate_selfcheck.simulated(recorded("x", (noise + 0.2).tolist()), gates=10, minutes=5, seed=1)
    assert {"pass"} == {each.decision.outcome for each in unchanged}
    assert {("fail", (23,))} == {(each.decision.outcome, tuple(each.looks)) for each in slower}


def whole_file() -> list[gate_selfcheck.Line]:
    """Rounds of unchanged code and of slower code, and a gate of each."""
    noise = np.random.default_rng(3).normal(0, 0.03, 60)
    ends = [
        Ended(
            kind=kind,
            gate=0,
            minutes=5,
            outcome=outcome,
            failed=failed,
            rounds=60,
            took_s=120,
            revision="abc",
            cpu="a processor",
        )
        for kind, outcome, failed in [("nothing", "pass", []), ("append +20 %", "fail", ["append.p50"])]
    ]
    return [*recorded("nothing", noise.tolist()), *recorded("append +20 %", (noise + 0.18).tolist()), *ends]  # type: ignore[list-item]


def test_the_table_counts_false_alarms_and_detections() -> None:
    """Simulated and real gates stand side by side, with their intervals."""
    table = gate_selfcheck.figures_table(whole_file(), minutes=5, gates=20, seed=1)
    nothing, slower = table.splitlines()[2:]
    assert nothing.startswith("| nothing | FAIL in at most 1 % | 0 of 20 (0.0% to 16.1%) | 20 / 0 / 0 | 0 of 1")
    assert slower.startswith("| append +20 % |  | 20 of 20 (83.9% to 100.0%) | 0 / 0 / 0 | 1 of 1")


def test_what_is_told_goes_between_the_marks(tmp_path: Path) -> None:
    """A document keeps what stands around; writing again replaces what was written."""
    document = tmp_path / "gate.md"
    document.write_text(f"before\n{gate_selfcheck.BEGIN}\nold\n{gate_selfcheck.END}\nafter\n")
    for text in ("first", "second"):
        gate_selfcheck.put_into(document, text)
    expected = f"before\n{gate_selfcheck.BEGIN}\n\nsecond\n\n{gate_selfcheck.END}\nafter\n"
    assert expected == document.read_text()


def test_a_file_survives_its_way_to_disk(tmp_path: Path) -> None:
    """Lines come back as they were written; one that is none is named."""
    path = tmp_path / "rounds.jsonl"
    lines = whole_file()
    path.write_bytes(b"".join(gate_selfcheck.msgspec.json.encode(line) + b"\n" for line in lines))
    assert lines == gate_selfcheck.read_lines(path)
    path.write_text(json.dumps({"type": "neither"}) + "\n")
    with pytest.raises(SelfCheckError, match="line 1 is no round of a gate"):
        gate_selfcheck.read_lines(path)


@pytest.mark.parametrize("content", ["", "no marks"])
def test_a_document_without_marks(tmp_path: Path, content: str) -> None:
    """It is not overwritten."""
    document = tmp_path / "gate.md"
    document.write_text(content)
    with pytest.raises(SelfCheckError, match="lacks the marks"):
        gate_selfcheck.put_into(document, "text")
    assert content == document.read_text()


def test_a_file_without_unchanged_code() -> None:
    """Without it there is no false alarm to count."""
    with pytest.raises(SelfCheckError, match="no rounds of unchanged code"):
        gate_selfcheck.told([], minutes=5, simulated_gates=1, curve_gates=1, seed=1, command="")


def test_the_goals_are_about_kinds_that_are_put_in() -> None:
    """Each kind has a name of its own, and names a metric that there is."""
    assert len({kind.name for kind in gate_selfcheck.KINDS}) == len(gate_selfcheck.KINDS)
    assert {kind.metric for kind in gate_selfcheck.KINDS} <= {"", *METRICS}
    assert gating.LOOKS[-1] == 1.0
