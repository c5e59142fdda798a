"""Effects that a command tells of."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from harness.account.event_ids import event_id
from harness.host.clock import VirtualClock
from harness.system.probed import LEAST_PAUSE_NS, ProbedEffects

FIRST, SECOND, THIRD = (event_id(7, number) for number in (0, 1, 2))


def probed(tmp_path: Path, code: str = "print(open('ids').read())") -> tuple[ProbedEffects, VirtualClock]:
    """Effects that a program prints, and the time."""
    clock = VirtualClock()
    (tmp_path / "ids").touch()
    arguments = [sys.executable, "-S", "-c", code]
    return ProbedEffects(arguments, 7, clock, environment={"SHOPBENCH_GROUP": "g"}, directory=tmp_path), clock


def test_what_was_not_printed_before_is_new(tmp_path: Path) -> None:
    """In whatever order it is printed; what is no event's ID is told as it is."""
    probe, clock = probed(tmp_path)
    assert probe.effects(0) == []
    for printed, expected in (
        ([SECOND], [SECOND]),
        ([FIRST, SECOND, "other"], [SECOND, FIRST, "other"]),
        ([SECOND, SECOND, "other", "other"], [SECOND, FIRST, "other", SECOND, "other"]),
        ([THIRD], [SECOND, FIRST, "other", SECOND, "other", THIRD]),
    ):
        (tmp_path / "ids").write_text("\n".join(printed))
        clock.sleep_ns(LEAST_PAUSE_NS)
        assert probe.effects(0) == expected
    assert probe.effects(4) == ["other", THIRD]


def test_what_is_of_earlier_runs_is_left_out(tmp_path: Path) -> None:
    """Unless it is printed once more often."""
    probe, clock = probed(tmp_path)
    (tmp_path / "ids").write_text(f"{FIRST} other")
    probe.skip()
    (tmp_path / "ids").write_text(f"{FIRST} other {SECOND} other")
    clock.sleep_ns(LEAST_PAUSE_NS)
    assert probe.effects(0) == [SECOND, "other"]


def test_it_rests(tmp_path: Path) -> None:
    """Before its time is come it is not run again."""
    probe, clock = probed(tmp_path)
    assert probe.effects(0) == []
    (tmp_path / "ids").write_text(FIRST)
    clock.sleep_ns(LEAST_PAUSE_NS - 1)
    assert probe.effects(0) == []
    clock.sleep_ns(1)
    assert probe.effects(0) == [FIRST]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "import sys; sys.exit('no table\\nredis://:secret@h/0 is away')",
            r"has ended with 1: redis://\*\*\*@h:6379/0 is away",
        ),
        ("print(4); raise SystemExit(5)", "has ended with 5: it has written no error$"),
    ],
)
def test_a_command_that_fails(tmp_path: Path, code: str, says: str) -> None:
    """Nobody can tell at the moment; it says why."""
    probe, _ = probed(tmp_path, code)
    with pytest.raises(OSError, match=says):
        probe.effects(0)


def test_a_command_that_there_is_not(tmp_path: Path) -> None:
    """As the system says it."""
    probe = ProbedEffects(shlex.split("no-such-probe"), 7, VirtualClock(), environment={}, directory=tmp_path)
    with pytest.raises(OSError, match="no-such-probe"):
        probe.effects(0)


def test_what_cannot_be_run_is_told_at_once(tmp_path: Path) -> None:
    """A program that there is not will not come; one that fails may have nothing to tell yet."""
    nowhere = ProbedEffects(["no-such-probe"], 7, VirtualClock(), environment={}, directory=tmp_path)
    with pytest.raises(OSError, match=r"^the probe no-such-probe cannot be run \(No such file or directory\)$"):
        nowhere.skip()
    probed(tmp_path, "raise SystemExit(5)")[0].skip()
