"""The verdicts that a test can hold a run to, on whatever machine it runs.

Whether a load reached its server in time, and whether it was sent in time, a busy machine may leave open: the run
then says UNKNOWN, as it should. What these verdicts decide has tests of its own, on histories written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.check import checkers as checking
from harness.record.run import Record, Verdict

_OF_THE_MACHINE = ("load_reached", "send_lag")


def settled(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """All but those that a busy machine has left open."""
    return [v for v in verdicts if not (v.status == "UNKNOWN" and v.name.endswith(_OF_THE_MACHINE))]


def is_well(code: int, record: Record) -> bool:
    """Whether a program has ended as its record says, and with nothing but a busy machine against the record.

    Args:
        code: its exit code.
        record: of its run.
    """
    verdicts = record.run.verdicts
    return code == checking.exit_code(verdicts) and checking.exit_code(settled(verdicts)) == checking.EXIT_PASS
