"""The verdicts that a test can hold a run to, on whatever machine it runs.

Whether a load reached its server in time, and whether it was sent in time, a busy machine may leave open: the run
then says UNKNOWN, as it should. What these verdicts decide has tests of its own, on histories written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.run import Verdict

_OF_THE_MACHINE = ("load_reached", "send_lag")


def settled(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """All but those that a busy machine has left open."""
    return [v for v in verdicts if not (v.status == "UNKNOWN" and v.name.endswith(_OF_THE_MACHINE))]
