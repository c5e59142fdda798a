"""How often the gate is wrong: slowdowns that are put in, gates made of recorded rounds, what is told of them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.gate.decision import LOOKS
from harness.gate.error_rates import BEGIN, END, block_order, figures_table, put_into, simulated, told, wilson
from harness.gate.metrics import METRICS
from harness.gate.slowdowns import KINDS, Ended, ErrorRateError, Kind, Line, Recorded, read_lines, slowed_copy
from harness.host.clock import SystemClock
from tests.forks import shopbench

DOCS = Path(__file__).parents[2] / "docs"


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
    slowed_copy(package, directory, kind)
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
    # On a busy machine some calls are held up by others, and are then among the slowest in place of these.
    assert sum(is_slow[number] for number in late if number % 20 == 0) >= 15
    assert sum(is_slow[number] for number in late if number % 20) < 200


def test_no_slowdown_changes_nothing(tmp_path: Path, shop: Path) -> None:
    """A copy without one has the same text."""
    slowed_copy(shop, tmp_path / "copy", Kind(name="nothing"))
    assert (tmp_path / "copy" / "shop" / "event_store.py").read_text() == (shop / "event_store.py").read_text()


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    """The interval of a share is that of SciPy."""
    expected = stats.binomtest(*counts).proportion_ci(0.95, "wilson")
    assert wilson(*counts) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_rounds_are_drawn_in_blocks() -> None:
    """Within a block rounds follow one another on a circle; blocks begin anywhere."""
    order: Iterator[int] = block_order(30, np.random.default_rng(1))
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
    unchanged = simulated(recorded("nothing", noise.tolist()), gates=10, minutes=5, seed=1)
    slower = simulated(recorded("x", (noise + 0.2).tolist()), gates=10, minutes=5, seed=1)
    assert {"pass"} == {each.decision.outcome for each in unchanged}
    assert {("fail", (23,))} == {(each.decision.outcome, tuple(each.looks)) for each in slower}


def whole_file() -> list[Line]:
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
    table = figures_table(whole_file(), minutes=5, gates=20, seed=1)
    nothing, slower = table.splitlines()[2:]
    assert nothing.startswith("| nothing | FAIL in at most 1 % | 0 of 20 (0.0% to 16.1%) | 20 / 0 / 0 | 0 of 1")
    assert slower.startswith("| append +20 % |  | 20 of 20 (83.9% to 100.0%) | 0 / 0 / 0 | 1 of 1")


def test_what_is_told_goes_between_the_marks(tmp_path: Path) -> None:
    """A document keeps what stands around; writing again replaces what was written."""
    document = tmp_path / "gate.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for text in ("first", "second"):
        put_into(document, text)
    expected = f"before\n{BEGIN}\n\nsecond\n\n{END}\nafter\n"
    assert expected == document.read_text()


def test_a_file_survives_its_way_to_disk(tmp_path: Path) -> None:
    """Lines come back as they were written; one that is none is named."""
    path = tmp_path / "rounds.jsonl"
    lines = whole_file()
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    assert lines == read_lines(path)
    path.write_text(json.dumps({"type": "neither"}) + "\n")
    with pytest.raises(ErrorRateError, match="line 1 is no round of a gate"):
        read_lines(path)


@pytest.mark.parametrize("content", ["", "no marks"])
def test_a_document_without_marks(tmp_path: Path, content: str) -> None:
    """It is not overwritten."""
    document = tmp_path / "gate.md"
    document.write_text(content)
    with pytest.raises(ErrorRateError, match="lacks the marks"):
        put_into(document, "text")
    assert content == document.read_text()


def test_a_file_without_unchanged_code() -> None:
    """Without it there is no false alarm to count."""
    with pytest.raises(ErrorRateError, match="no rounds of unchanged code"):
        told([], minutes=5, simulated_gates=1, curve_gates=1, seed=1, command="")


def test_the_goals_are_about_kinds_that_are_put_in() -> None:
    """Each kind has a name of its own, and names a metric that there is."""
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert {kind.metric for kind in KINDS} <= {"", *METRICS}
    assert LOOKS[-1] == 1.0


def test_the_published_figures_are_of_the_published_rounds() -> None:
    """docs/gate.md counts the rounds and gates of the file beside it, and no real gate there was a false alarm."""
    lines = read_lines(DOCS / "gate-rounds.jsonl")
    gates = [line for line in lines if isinstance(line, Ended)]
    rounds = [line for line in lines if isinstance(line, Recorded)]
    text = (DOCS / "gate.md").read_text()
    assert f"{len(rounds):,} rounds of {len(gates)} real gates" in text
    for kind in KINDS:
        of_kind = [gate for gate in gates if gate.kind == kind.name]
        failed = sum(gate.outcome == "fail" for gate in of_kind)
        [row] = [line for line in text.splitlines() if line.startswith(f"| {kind.name} |") and " of 2,000" in line]
        assert f"| {failed} of {len(of_kind)} (" in row
        assert failed == (len(of_kind) if kind.metric else 0)


def test_the_command_counts_again_what_was_recorded(tmp_path: Path) -> None:
    """`shopbench gate-errors --rounds FILE` needs no server; what it tells goes into a document, too."""
    path, document = tmp_path / "rounds.jsonl", tmp_path / "gate.md"
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in whole_file()))
    document.write_text(f"{BEGIN}\n{END}\n")
    ended = shopbench("gate-errors", "--rounds", str(path), "--simulated", "3", "--into", str(document))
    assert (ended.code, ended.err) == (0, "")
    command = f"shopbench gate-errors --rounds {path} --minutes 5 --simulated 3 --seed 1"
    assert (
        ended.out
        == told(read_lines(path), minutes=5, simulated_gates=3, curve_gates=3, seed=1, command=command) + "\n"
    )
    assert ended.out in document.read_text()


def test_the_old_option_says_what_replaced_it() -> None:
    """`selfcheck --gate` is refused in one line, whatever else is given with it."""
    ended = shopbench("selfcheck", "--gate", "--rounds", "rounds.jsonl")
    assert (ended.code, ended.err) == (
        2,
        "shopbench: selfcheck --gate is a command of its own now: shopbench gate-errors, with the same options\n",
    )
