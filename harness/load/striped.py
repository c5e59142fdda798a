"""The share of one of several workers of a load: every n-th command, under its own number.

    command        0    1    2    3    4    5
    worker 0       0         1         2         its own numbers
    worker 1            0         1         2

What is sent, and under which number, does not depend on how many workers send it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.load.kinds import Kinds, kinds_of
from harness.load.workload import Source


class StripedKinds:
    """The kinds of one worker's share of the commands, by the worker's own numbers.

    Args:
        whole: of all commands.
        worker: this worker's number, from 0.
        workers: how many there are.
    """

    def __init__(self, whole: Kinds, worker: int, workers: int) -> None:
        self._whole = whole
        self._worker = worker
        self._workers = workers

    @property
    def names(self) -> Sequence[str]:
        """What the kinds are called."""
        return self._whole.names

    def of(self, first: int, count: int, step: int = 1) -> Sequence[int]:
        """The kind of each of this worker's commands."""
        return self._whole.of(first * self._workers + self._worker, count, step * self._workers)

    def fault(self, number: int, kind: int, reply: Any) -> str:
        """What is wrong with a reply to this worker's command of that number."""
        return self._whole.fault(number * self._workers + self._worker, kind, reply)


class StripedSource:
    """The share of one of n workers: every n-th command, as `pacing.Stripe` has every n-th arrival.

    Args:
        whole: the source.
        worker: this worker's number, from 0.
        workers: how many there are.
    """

    def __init__(self, whole: Source, worker: int, workers: int) -> None:
        self._whole = whole
        self._worker = worker
        self._workers = workers

    @property
    def operation(self) -> str:
        """What the commands are called in the record."""
        return self._whole.operation

    @property
    def reply(self) -> type | None:
        """Of what type a reply to them is that is no error."""
        return self._whole.reply

    @property
    def kinds(self) -> Kinds | None:
        """Of which kinds they are, by this worker's numbers."""
        whole = kinds_of(self._whole)
        return None if whole is None else StripedKinds(whole, self._worker, self._workers)

    def pack(self, first: int, count: int, step: int = 1) -> bytes:
        """`count` of this worker's commands from its number `first` on, each `step`-th of them, in RESP."""
        return self._whole.pack(first * self._workers + self._worker, count, step * self._workers)
