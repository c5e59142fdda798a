"""How trials are played: in their order, some at a time, again where they did not end, no more than is of use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from harness.conduct.interrupt import Interrupted
from harness.consumer_check.playing import Work, jobs_of, play
from harness.consumer_check.result import Check, Played, Settings, Side, load
from harness.host.clock import Clock, SystemClock
from reports.consumer_words import waiting_line
from tests.consumer_check.played import ENTRY
from tests.consumer_checks import check_of, played, trial
from tests.waiting import until

NAMES = ("undisturbed", "kill", "stop", "cut")


def asked(*consumers: str, repeat: int = 1, names: tuple[str, ...] = NAMES) -> Check:
    """A check of consumers that has not begun."""
    sides = tuple(Side(consumer=each, label=each) for each in consumers)
    return check_of(
        trials=[trial(name) for name in names],
        settings=Settings(sides=sides, repeat=repeat),
        status="running",
        played=[],
        log_heads={},
    )


def work(
    directory: Path, told: list[Played] | None = None, *, at_once: int = 2, clock: Clock | None = None
) -> Work:
    return Work(
        directory=directory,
        entry=ENTRY,
        at_once=at_once,
        most_s=lambda _: 60.0,
        clock=clock or SystemClock(),
        told=lambda _, each: None if told is None else told.append(each),
    )


def children() -> list[psutil.Process]:
    """The processes that trials are played in."""
    return [each for each in psutil.Process().children() if "harness.host.child" in " ".join(each.cmdline())]


def test_every_trial_is_played(tmp_path: Path) -> None:
    """Each is told as it ends and kept in the file; each has its own hash seed, directory and command."""
    told: list[Played] = []
    check = play(asked("good", repeat=2), work(tmp_path, told))
    assert {(each.trial, each.repeat) for each in check.played} == {(n, r) for n in NAMES for r in (1, 2)}
    assert all(each.outcome == "PASS" for each in check.played)
    assert told == check.played == load(tmp_path).played
    assert told[0].trial == "undisturbed"
    assert len({each.directory for each in told}) == len(told)
    for each in told:
        assert each.hash_seed == each.repeat
        assert each.command.startswith(f"PYTHONHASHSEED={each.repeat} shopbench run ")
        assert (
            f"'PYTHONHASHSEED': '{each.repeat}'"
            in (tmp_path / each.directory).parent.joinpath("shopbench.log").read_text()
        )
    assert check.log_heads == {0: ["good 1.0"]}
    assert children() == []


def test_two_consumers_are_played_side_by_side() -> None:
    """In turns, repeat after repeat: what the machine does meanwhile meets both."""
    jobs = jobs_of(asked("good", "stuck", repeat=2, names=("undisturbed", "kill")))
    assert [(job.repeat, job.trial.name, job.side) for job in jobs] == [
        (1, "undisturbed", 0), (1, "undisturbed", 1), (1, "kill", 0), (1, "kill", 1),
        (2, "undisturbed", 0), (2, "undisturbed", 1), (2, "kill", 0), (2, "kill", 1),
    ]  # fmt: skip


def test_one_fails_and_one_passes(tmp_path: Path) -> None:
    """Each is told by its own record."""
    check = play(asked("stuck", "good", names=("undisturbed", "kill")), work(tmp_path))
    assert {(each.side, each.outcome) for each in check.played} == {(0, "FAIL"), (1, "PASS")}
    assert {each.counts.stuck for each in check.played if each.side == 0} == {32}


def test_repeats_that_a_probe_does_not_see_are_not_none(tmp_path: Path) -> None:
    """Behind a unique key each effect is seen but once: how often it was had is not known."""
    begun = asked("good", names=("undisturbed",))
    probed = check_of(**kept(begun) | {"settings": replace(begun.settings, probe="cat effects.txt")})
    assert [each.counts.repeated for each in play(probed, work(tmp_path)).played] == [None]


@pytest.mark.parametrize(
    ("consumer", "said"),
    [
        ("refused", "it has ended 3 times"),
        ("silent", "there is no such server"),
        ("killed", "it left no record; its log ends with: {'PYTHONHASHSEED': '1'}"),
        ("floods", "10,000 effects came from events that nobody sent, and only 600 were sent"),
        ("deaf", "none of 600 events had an effect, though nothing was done to the consumer"),
    ],
)
def test_what_does_nothing_right_ends_a_check(tmp_path: Path, consumer: str, said: str) -> None:
    """After the first trial, with the reason; what it left is kept."""
    check = play(asked(consumer), work(tmp_path))
    assert [each.trial for each in check.played] == ["undisturbed"]
    assert check.ended_early == {0: said}


def test_the_other_one_goes_on(tmp_path: Path) -> None:
    """Of two consumers only the one that does nothing right is left alone."""
    check = play(asked("refused", "good", names=("undisturbed", "kill")), work(tmp_path))
    assert [each.trial for each in check.played if each.side == 0] == ["undisturbed"]
    assert len([each for each in check.played if each.side == 1]) == 2


def test_two_in_a_row_are_enough(tmp_path: Path) -> None:
    """One that was not carried out may be the machine's doing; two one after the other are not."""
    begun = asked("refused", names=("undisturbed", "kill", "stop", "cut"))
    check = play(check_of(*[played("undisturbed")], **kept(begun)), work(tmp_path, at_once=1))
    assert [each.trial for each in check.played] == ["undisturbed", "kill", "stop"]
    assert check.ended_early == {0: "it has ended 3 times"}


def kept(check: Check) -> dict[str, object]:
    """What a check was asked, for one in which something was played already."""
    return {name: getattr(check, name) for name in ("trials", "settings", "status", "log_heads")}


def test_what_was_played_is_not_played_again(tmp_path: Path) -> None:
    """Only what came to its end counts as played."""
    before = check_of(
        played("undisturbed"), played("kill", "UNKNOWN", status="interrupted"), **kept(asked("good"))
    )
    told: list[Played] = []
    check = play(before, work(tmp_path, told))
    assert {each.trial for each in told} == {"kill", "stop", "cut"}
    assert sorted(each.trial for each in check.played) == sorted(NAMES)
    assert all(each.status == "complete" for each in check.played)


class Watching(SystemClock):
    """A clock that looks, whenever somebody sleeps, how many trials are at work.

    Args:
        directory: of the check.
        wanted: so many.
        then: is done when there are.
    """

    def __init__(self, directory: Path, wanted: int, then: Callable[[], object]) -> None:
        super().__init__()
        self.ahead_ns = 0
        self._directory, self._wanted, self._then = directory, wanted, then

    def now_ns(self) -> int:
        return super().now_ns() + self.ahead_ns

    def sleep_ns(self, duration_ns: int) -> None:
        if len(list(self._directory.glob("trials/*/begun"))) == self._wanted:
            self._then()
        super().sleep_ns(duration_ns)


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    """When its time is up; it may write what it has."""
    clock = Watching(tmp_path, 1, lambda: setattr(clock, "ahead_ns", clock.ahead_ns + 25_000_000_000))
    waited: list[str] = []
    how = replace(
        work(tmp_path, clock=clock),
        waits=lambda at_work: waited.extend(
            waiting_line([(job.trial, round(s)) for job, s in at_work]).split(" (")
        ),
    )
    check = play(asked("slow", names=("undisturbed",)), how)
    assert waited[0] == "still at it: nothing was done to it"
    [each] = check.played
    assert (each.status, each.outcome) == ("interrupted", "UNKNOWN")
    assert each.reason == "it was ended after 60 s, in which it had not come to its end"
    assert children() == []


def test_an_interrupt_ends_what_is_at_work(tmp_path: Path) -> None:
    """Nothing is left behind of two that were at work."""

    def interrupt() -> None:
        raise Interrupted("SIGINT")

    before = check_of(played("undisturbed"), **kept(asked("slow", names=("undisturbed", "kill", "stop"))))
    with pytest.raises(Interrupted):
        play(before, work(tmp_path, clock=Watching(tmp_path, 2, interrupt)))
    until(lambda: children() == [], "no trial is at work any more")
