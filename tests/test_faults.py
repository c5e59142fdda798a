"""Faults: plans are played in their order and stand on the timeline, and whatever happens the target is healed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from harness.clock import SystemClock, VirtualClock
from harness.faults import Fault, FaultName, Nemesis, heal, inject
from harness.history import FaultWindow, History, Mark

S = 1_000_000_000
HOUR_NS = 3_600 * S


class FakeTarget:
    """A target that notes what is done to it; on its clock, each doing takes a fixed time."""

    name = "crm"

    def __init__(self, clock: VirtualClock | None = None, *, fails: Sequence[str] = ()) -> None:
        self.done: list[str] = []
        self.hurt = threading.Event()
        self.healed = threading.Semaphore(0)
        self._clock = clock
        self._fails = fails

    def _do(self, what: str, takes_ns: int) -> None:
        self.done.append(what)
        if self._clock is not None:
            self._clock.sleep_ns(takes_ns)
        if what in self._fails:
            raise RuntimeError(f"{what} went wrong")

    def stop(self) -> None:
        self._do("stop", 2 * S)
        self.hurt.set()

    def kill(self) -> None:
        self._do("kill", 2 * S)
        self.hurt.set()

    def freeze(self) -> None:
        self._do("freeze", 2 * S)
        self.hurt.set()

    def thaw(self) -> None:
        self._do("thaw", S)
        self.healed.release()

    def start(self) -> None:
        self._do("start", S)
        self.healed.release()


def nemesis(
    target: FakeTarget,
    plan: Sequence[Fault],
    history: History,
    errors: list[str],
    clock: VirtualClock | None = None,
) -> Nemesis:
    """A nemesis on a virtual clock, or on the machine's, from now on."""
    used = clock or SystemClock()
    origin_ns = 0 if clock else used.now_ns()
    return Nemesis(target, plan, clock=used, origin_ns=origin_ns, history=history, on_error=errors.append)


@pytest.mark.parametrize(("fault", "undone_by"), [("stop", "start"), ("kill", "start"), ("freeze", "thaw")])
def test_each_fault_has_its_cure(fault: FaultName, undone_by: str) -> None:
    """What was stopped or killed is started again; what was frozen is thawed."""
    target = FakeTarget()
    inject(fault, target)
    heal(fault, target)

    assert [fault, undone_by] == target.done


def test_a_plan_is_played_in_its_order() -> None:
    """Each fault of a plan is done and undone, one after the other."""
    target, history, errors = FakeTarget(), History(), list[str]()
    plan = [Fault(name=name, at_ns=at, for_ns=1) for at, name in enumerate(("freeze", "kill", "stop"))]
    with nemesis(target, plan, history, errors):
        for _ in plan:
            assert target.healed.acquire(timeout=10)

    assert target.done == ["freeze", "thaw", "kill", "start", "stop", "start"]
    assert [fault.name for fault in history.faults] == ["freeze", "kill", "stop"]
    assert errors == []


def test_windows_and_marks() -> None:
    """A window lasts from before the injection to the moment at which the target is asked to come back."""
    clock = VirtualClock(now_ns=5 * S)
    target, history, errors = FakeTarget(clock), History(), list[str]()
    plan = [Fault(name="kill", at_ns=5 * S, for_ns=2 * S), Fault(name="freeze", at_ns=8 * S, for_ns=2 * S)]
    with nemesis(target, plan, history, errors, clock):
        for _ in plan:
            assert target.healed.acquire(timeout=10)

    # A kill takes 2 s, a start 1 s, a freeze 2 s; the plan is met at once each time.
    assert history.entries == [
        Mark(t_ns=7 * S, name="restart"),
        FaultWindow(name="kill", target="crm", start_ns=5 * S, end_ns=7 * S),
        Mark(t_ns=10 * S, name="restart"),
        FaultWindow(name="freeze", target="crm", start_ns=8 * S, end_ns=10 * S),
    ]


def test_times_count_from_the_origin() -> None:
    """The windows of a run that began late on the clock count from its origin."""
    clock = VirtualClock(now_ns=100 * S)
    target, history = FakeTarget(clock), History()
    plan = [Fault(name="kill", at_ns=0, for_ns=1)]
    with Nemesis(target, plan, clock=clock, origin_ns=90 * S, history=history, on_error=pytest.fail):
        assert target.healed.acquire(timeout=10)

    assert history.faults == [FaultWindow(name="kill", target="crm", start_ns=10 * S, end_ns=12 * S)]


def test_left_before_the_fault_nothing_is_done() -> None:
    """A nemesis that is left before its first fault leaves the target alone."""
    target, history, errors = FakeTarget(), History(), list[str]()
    with nemesis(target, [Fault(name="kill", at_ns=HOUR_NS, for_ns=S)], history, errors):
        pass

    assert (target.done, history.entries, errors) == ([], [], [])


def test_left_during_a_fault_the_target_is_healed() -> None:
    """A nemesis that is left while a fault lasts heals at once and plays no more of its plan."""
    target, history, errors = FakeTarget(), History(), list[str]()
    plan = [Fault(name="freeze", at_ns=0, for_ns=HOUR_NS), Fault(name="kill", at_ns=HOUR_NS, for_ns=S)]
    with nemesis(target, plan, history, errors):
        assert target.hurt.wait(timeout=10)

    (window,) = history.faults
    assert target.done == ["freeze", "thaw"]
    assert window.end_ns is not None
    assert window.end_ns < HOUR_NS


def test_a_run_that_crashes_leaves_the_target_healed() -> None:
    """An error in the run beside a fault passes through, and the target is healed."""
    target, history, errors = FakeTarget(), History(), list[str]()

    def run() -> None:
        with nemesis(target, [Fault(name="kill", at_ns=0, for_ns=HOUR_NS)], history, errors):
            assert target.hurt.wait(timeout=10)
            raise LookupError("the run went wrong")

    with pytest.raises(LookupError):
        run()
    assert target.done == ["kill", "start"]


def test_a_fault_that_cannot_be_done_is_told_and_healed() -> None:
    """An injection that fails is told, healed in case half of it was done, and ends the plan."""
    target, history, errors = FakeTarget(fails=["kill"]), History(), list[str]()
    plan = [Fault(name="kill", at_ns=0, for_ns=1), Fault(name="freeze", at_ns=1, for_ns=1)]
    with nemesis(target, plan, history, errors):
        assert target.healed.acquire(timeout=10)

    assert target.done == ["kill", "start"]
    assert errors == ["kill could not be done to crm: kill went wrong"]


def test_a_target_that_does_not_come_back_is_told() -> None:
    """A healing that fails is told; the window stays open and there is no mark of a restart."""
    clock = VirtualClock()
    target, history, errors = FakeTarget(clock, fails=["start"]), History(), list[str]()
    with nemesis(target, [Fault(name="kill", at_ns=0, for_ns=1)], history, errors, clock):
        assert target.hurt.wait(timeout=10)

    assert history.entries == [FaultWindow(name="kill", target="crm", start_ns=0, end_ns=None)]
    assert errors == ["crm did not come back after kill: start went wrong"]


def test_faults_that_overlap_are_refused() -> None:
    """A plan in which a fault begins before the one before it has healed is refused."""
    plan = [Fault(name="kill", at_ns=1 * S, for_ns=2 * S), Fault(name="freeze", at_ns=2_500_000_000, for_ns=S)]

    with pytest.raises(ValueError, match=r"the fault at 2\.5 s begins before the one before it has healed"):
        nemesis(FakeTarget(), plan, History(), [])


def test_faults_may_follow_each_other_at_once() -> None:
    """A fault may begin at the very moment at which the one before it heals."""
    plan = [Fault(name="kill", at_ns=0, for_ns=HOUR_NS), Fault(name="kill", at_ns=HOUR_NS, for_ns=1)]

    assert nemesis(FakeTarget(), plan, History(), []) is not None


def test_a_plan_of_nothing() -> None:
    """A nemesis without a plan does nothing at all."""
    target, history, errors = FakeTarget(), History(), list[str]()
    with nemesis(target, [], history, errors):
        pass

    assert (target.done, history.entries) == ([], [])
