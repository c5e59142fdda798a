"""Everything that happened in a run, on one timeline.

All times are nanoseconds since the run's origin, taken from one monotonic clock. Four things stand on the
timeline:

    Reading       a number that a probe took:         lag.events = 812 {group: crm}
    FaultWindow   a fault, from injection to healing: kill crm, 8.00 s to 16.00 s
    Phase         a part of the load:                 burst, 4.00 s to 8.00 s
    Mark          a moment with a name:               drained, 18.73 s
    ServerEvent   what the server did by itself:      fork for a snapshot, 12.3 s, 38 ms long

A `History` is what checkers, figures and reports read. It is pure: no clock, no server. On disk it is
`timeline.jsonl`, one object a line, the kind of each in the field `type`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec


class HistoryError(Exception):
    """A timeline that cannot be read."""


class Reading(msgspec.Struct, frozen=True, kw_only=True, tag="reading", omit_defaults=True):
    """A number that a probe took at a moment. `value` is None where the probe had no answer."""

    t_ns: int
    name: str
    value: float | None
    unit: str
    labels: dict[str, str] = {}


class FaultWindow(msgspec.Struct, frozen=True, kw_only=True, tag="fault", omit_defaults=True):
    """A fault, from its injection to its healing.

    Attributes:
        end_ns: None where it never healed.
        by_hand: whether somebody has done it meanwhile, as with a button, where no plan had it.
        seen: what was seen as it was done and healed, such as how many events its target had in hand.
    """

    name: str
    target: str
    start_ns: int
    end_ns: int | None
    by_hand: bool = False
    seen: dict[str, float] = {}


class Phase(msgspec.Struct, frozen=True, kw_only=True, tag="phase"):
    """A part of the load that has a name, such as a burst, from its start to its end."""

    name: str
    start_ns: int
    end_ns: int


class Mark(msgspec.Struct, frozen=True, kw_only=True, tag="mark"):
    """A moment that has a name, such as the first effect after a restart."""

    t_ns: int
    name: str


class SlowMark(msgspec.Struct, frozen=True, kw_only=True, tag="slow"):
    """One of the slowest operations: when it was due, and how long its response took."""

    operation: str
    due_ns: int
    response_ns: int


class ServerEvent(msgspec.Struct, frozen=True, kw_only=True, tag="server", omit_defaults=True):
    """Something that the server did by itself: a fork, an eviction, a change of its role, its end.

    Attributes:
        t_ns: when it was seen.
        within_ns: how long before that it may have begun: since the look before.
        name: what it is.
        detail: what there is to be said of it.
        lasted_ns: how long it took, where the server says so.
        count: how many of them were seen as one.
    """

    t_ns: int
    within_ns: int
    name: str
    detail: str = ""
    lasted_ns: int = 0
    count: int = 1


Entry = Reading | FaultWindow | Mark | SlowMark | ServerEvent | Phase


class History:
    """The entries of a timeline, in the order in which they were added."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: list[Entry] = list(entries)

    def add(self, entry: Entry) -> None:
        """Put one more entry on the timeline."""
        self.entries.append(entry)

    def readings(self, name: str, **labels: str) -> Iterator[Reading]:
        """The readings of a name that carry all of the given labels."""
        for entry in self.entries:
            if isinstance(entry, Reading) and entry.name == name and labels.items() <= entry.labels.items():
                yield entry

    @property
    def reading_names(self) -> list[str]:
        """The name of every reading on the timeline, sorted."""
        return sorted({entry.name for entry in self.entries if isinstance(entry, Reading)})

    @property
    def faults(self) -> list[FaultWindow]:
        """The fault windows, in the order of their start."""
        return sorted((e for e in self.entries if isinstance(e, FaultWindow)), key=lambda f: f.start_ns)

    @property
    def phases(self) -> list[Phase]:
        """The parts of the load that have a name, in the order of their start."""
        return sorted((e for e in self.entries if isinstance(e, Phase)), key=lambda p: p.start_ns)

    @property
    def marks(self) -> list[Mark]:
        """The named moments, in the order of time."""
        return sorted((e for e in self.entries if isinstance(e, Mark)), key=lambda m: m.t_ns)

    def mark(self, name: str) -> int | None:
        """The time of the first mark of that name in nanoseconds, or None where there is none."""
        return next((m.t_ns for m in self.marks if m.name == name), None)

    @property
    def server_events(self) -> list[ServerEvent]:
        """What the server did by itself, in the order of time."""
        return sorted((e for e in self.entries if isinstance(e, ServerEvent)), key=lambda e: e.t_ns)

    @property
    def slowest(self) -> list[SlowMark]:
        """The slowest operations, slowest first."""
        return sorted((e for e in self.entries if isinstance(e, SlowMark)), key=lambda s: -s.response_ns)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Entry)


def write_timeline(path: Path, history: History) -> None:
    """Write a history as `timeline.jsonl`."""
    path.write_bytes(_ENCODER.encode_lines(history.entries))


def read_timeline(path: Path, on_broken: Callable[[str], None] | None = None) -> History:
    """Read what `write_timeline` wrote.

    Args:
        on_broken: told of each line that is no entry, which is then left out; None: one is an error.

    Raises:
        HistoryError: a line that is no entry of a timeline.
    """
    try:
        content = path.read_bytes()
        if on_broken is None:
            return History(_DECODER.decode_lines(content))
    except (OSError, UnicodeDecodeError, RecursionError, msgspec.MsgspecError) as error:
        raise HistoryError(f"{path.name}: {error}") from error
    history = History()
    for number, line in enumerate(content.splitlines(), 1):
        try:
            if line.strip():
                history.add(_DECODER.decode(line))
        except (UnicodeDecodeError, RecursionError, msgspec.MsgspecError) as error:
            on_broken(f"{path.name}, line {number}: {error}")
    return history
