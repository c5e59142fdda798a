"""What was refused, by kind, with the words of whoever refused it.

A kind is the first word of an error, which is what the server calls it: OOM, NOPERM, READONLY. Of each kind one
example is kept whole, with when it was seen first and last: "8,355 failed" tells nobody what to do, and
"OOM command not allowed when used memory > 'maxmemory'" does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

_LONGEST_KIND, _LONGEST_TEXT = 40, 2_000
# In a sentence an example is cut; the record has it whole.
_LONGEST_TOLD = 200
# Who answers another word each time is counted under one.
_MOST_KINDS, OTHER = 50, "other kinds"
# More kinds than these are not told one by one in a sentence.
_MOST_TOLD = 3


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What a server, or a connection, has refused, by kind.

    Attributes:
        kind: the first word of the error, which is what the server calls it.
        count: how often.
        text: one example, whole.
        first_s, last_s: when it was first and last answered, from the schedule's origin.
    """

    kind: str
    count: int
    text: str
    first_s: float
    last_s: float


def kind_of(text: str) -> str:
    """The server's own word for an error: its first."""
    return text.partition(" ")[0][:_LONGEST_KIND]


class Failures:
    """Counts failures by kind."""

    def __init__(self) -> None:
        self._by_kind: dict[str, Failure] = {}

    def note(self, text: str, at_s: float, *, kind: str | None = None) -> None:
        """Note one more.

        Args:
            text: of the error.
            at_s: when, from the schedule's origin.
            kind: by which it is counted; its first word unless given.
        """
        kind = kind_of(text) if kind is None else kind[:_LONGEST_KIND]
        if kind not in self._by_kind and len(self._by_kind) >= _MOST_KINDS:
            kind = OTHER
        known = self._by_kind.get(kind)
        self._by_kind[kind] = Failure(
            kind=kind,
            count=known.count + 1 if known else 1,
            text=known.text if known else text[:_LONGEST_TEXT],
            first_s=known.first_s if known else at_s,
            last_s=at_s,
        )

    def all(self) -> list[Failure]:
        """All kinds, in the order in which they were first seen."""
        return list(self._by_kind.values())


def together(failures: Iterable[Failure]) -> list[Failure]:
    """What several were refused, by kind: the counts of a kind added up, with the first example."""
    whole: dict[str, Failure] = {}
    for each in sorted(failures, key=lambda failure: failure.first_s):
        known = whole.setdefault(each.kind, each)
        if known is not each:
            last_s = max(known.last_s, each.last_s)
            whole[each.kind] = msgspec.structs.replace(known, count=known.count + each.count, last_s=last_s)
    return list(whole.values())


def in_words(failures: Sequence[Failure]) -> str:
    """The commonest failures as a part of a sentence, each with its example; empty where there are none."""
    commonest = sorted(failures, key=lambda failure: -failure.count)
    told = [
        f"{each.count:,} × {_shortened(each.text) or 'an error without a word'}{seen_at(each)}"
        for each in commonest[:_MOST_TOLD]
    ]
    rest = len(commonest) - _MOST_TOLD
    return "; ".join([*told, *([f"{rest} more kind{'s' if rest > 1 else ''}"] if rest > 0 else [])])


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST_TOLD else f"{words[:_LONGEST_TOLD]}…"


def seen_at(failure: Failure) -> str:
    """When a kind was seen, in brackets, with a space in front."""
    if failure.count == 1 or failure.last_s - failure.first_s < 0.1:
        return f" (at {failure.first_s:.1f} s)"
    return f" (from {failure.first_s:.1f} to {failure.last_s:.1f} s)"
