"""What waited when a fault had healed, and how soon it had its effect: on times that were written by hand."""

from __future__ import annotations

import numpy as np

from harness.check.promises import Recovered
from harness.measure.timeline import FaultWindow
from scenarios.line.recovered import NEVER, first_effects_ns, recoveries

S = 1_000_000_000


def fault(start_s: float, end_s: float | None, name: str = "kill") -> FaultWindow:
    end_ns = None if end_s is None else int(end_s * S)
    return FaultWindow(name=name, target="consumer", start_ns=int(start_s * S), end_ns=end_ns)


def found(
    *faults: FaultWindow, due_s: list[float], had_s: list[float | None], until_s: float = 60
) -> list[Recovered]:
    due_ns = np.array([int(at * S) for at in due_s], np.int64)
    had_ns = np.array([NEVER if at is None else int(at * S) for at in had_s], np.int64)
    return recoveries(faults, due_ns=due_ns, had_ns=had_ns, until_ns=int(until_s * S))


def test_the_last_that_waited_counts() -> None:
    """Due before the healing, and had after it: two of five; what came later is no part of it."""
    [one] = found(fault(1, 3), due_s=[0, 1, 2, 3, 4], had_s=[0.1, 4.5, 3.5, 9, 9])
    assert (one.waiting, one.without_effect, one.took_s, one.watched_s) == (2, 0, 1.5, 57.0)
    assert (one.fault, one.target, one.healed_ns) == ("kill", "consumer", 3 * S)


def test_what_had_no_effect_is_told() -> None:
    """It has waited since; the others had theirs."""
    [one] = found(fault(1, 3), due_s=[1, 2], had_s=[4, None], until_s=10)
    assert (one.waiting, one.without_effect, one.took_s, one.watched_s) == (2, 1, 1.0, 7.0)


def test_a_fault_within_the_recovery_puts_it_off() -> None:
    """The second fault begins before what waited had had its effect: only its own healing can be told."""
    [one] = found(fault(1, 2), fault(2.5, 4, "cut"), due_s=[1.5], had_s=[4.7])
    assert (one.fault, one.took_s) == ("cut", 0.7)
    # One that began after that does not.
    both = found(fault(1, 2), fault(2.5, 4, "cut"), due_s=[1.5, 3], had_s=[2.2, 4.7])
    assert [(each.fault, each.took_s) for each in both] == [("kill", 0.2), ("cut", 0.7)]


def test_a_fault_that_is_open_tells_nothing() -> None:
    """What has not healed has no recovery, and covers what heals meanwhile."""
    assert found(fault(1, None), due_s=[1], had_s=[2]) == []
    assert found(fault(0, 9, "freeze"), fault(1, 2), due_s=[1], had_s=[8])[0].fault == "freeze"


def test_nothing_waited() -> None:
    """A fault that nobody noticed has recovered at once."""
    [one] = found(fault(1, 3), due_s=[0, 2], had_s=[0.1, 2.1])
    assert (one.waiting, one.took_s) == (0, 0.0)


def test_when_an_event_had_its_first_effect() -> None:
    """By the look that saw as many different events; a repeated effect is no first one."""
    seen = np.array([3, 1, 3, 0, 1, 2], np.int64)
    had = first_effects_ns(seen, [(10, 1), (20, 3), (30, 4)], 6)
    assert had.tolist() == [20, 20, 30, 10, NEVER, NEVER]
    assert first_effects_ns(np.zeros(0, np.int64), [], 2).tolist() == [NEVER, NEVER]
    # The clock of looks has not told of the last yet.
    assert first_effects_ns(seen, [(10, 1), (20, 3)], 4).tolist() == [20, 20, NEVER, 10]
