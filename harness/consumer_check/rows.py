"""The rows of a check's table: a trial of one consumer with all of its repeats, and what they come to together.

    FAIL       one repeat fails
    PASS       all that were tried pass, and at least one was
    UNKNOWN    else: one is undecided, or none was tried

A check comes to the worst of its rows. A trial that need not apply to a consumer, and did not, does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from harness.check.checkers import worst_of
from harness.consumer_check.result import Check, Played
from harness.consumer_check.trials import Trial
from harness.record.run import Status


def is_tried(played: Played) -> bool:
    """Whether the thing was done to the consumer, or something fails all the same."""
    return not played.not_tried or played.outcome == "FAIL"


class Row(Struct, frozen=True, kw_only=True):
    """A trial of one consumer with all of its repeats.

    Attributes:
        trial: what was done.
        side: to which consumer.
        played: each repeat.
        status: FAIL where one fails; PASS where all that were tried pass, and one was; else UNKNOWN.
    """

    trial: Trial
    side: int
    played: tuple[Played, ...]
    status: Status

    @property
    def tried(self) -> tuple[Played, ...]:
        """The repeats in which the thing was done, or something fails."""
        return tuple(filter(is_tried, self.played))

    @property
    def count(self) -> int:
        """Of `tried`, how many have the status of the row."""
        return sum(each.outcome == self.status for each in self.tried)

    @property
    def does_not_apply(self) -> bool:
        """Whether it could not be done to this consumer, and need not be."""
        return self.trial.may_not_apply and not self.tried


def rows_of(check: Check) -> list[Row]:
    """The rows of a check's table: trial by trial, and for each of them the consumers one after the other."""
    rows = []
    for trial in check.trials:
        for side in range(len(check.settings.sides)):
            played = tuple(
                sorted(
                    (each for each in check.played if each.trial == trial.name and each.side == side),
                    key=lambda each: each.repeat,
                )
            )
            if played:
                rows.append(Row(trial=trial, side=side, played=played, status=row_status(played)))
    return rows


def row_status(played: Sequence[Played]) -> Status:
    """FAIL where one fails; PASS where all that were tried pass, and at least one was; else UNKNOWN."""
    if any(each.outcome == "FAIL" for each in played):
        return "FAIL"
    tried = [each for each in played if not each.not_tried]
    return "PASS" if tried and all(each.outcome == "PASS" for each in tried) else "UNKNOWN"


def side_status(check: Check, side: int) -> Status:
    """What a consumer's check comes to: the worst of its rows; UNKNOWN where it did not come to its end."""
    found: list[Status] = [row.status for row in rows_of(check) if row.side == side and not row.does_not_apply]
    if check.status != "complete" or side in check.ended_early or not found:
        found.append("UNKNOWN")
    return worst_of(found)


def status_of(check: Check) -> Status:
    """What the check comes to: that of its first consumer, the one that was asked about."""
    return side_status(check, 0)
