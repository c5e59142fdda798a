"""One lost event of each class, as a library's author needs it: its entry, and what was told of it, in time.

    pending   entry 1795868818748-0 of events:2

       -1.69 s  connection 0  XGROUP CREATE events:2 shopbench 0 MKSTREAM: OK
        0.96 s  connection 0  handed out to consumer
        1.02 s                kill consumer
        3.05 s                kill consumer is over
        3.37 s  connection 1  XGROUP CREATE events:2 shopbench 0 MKSTREAM: BUSYGROUP ...

Faults stand between the commands, since what was told before one and after it are two different things. A run
tells what it has seen in the section `examples` of its evidence; what is not told there is not said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from harness.consumer_check.result import Played
from reports.consumer_words import WHERE

# How what an example tells of its entry begins where somebody got it: first from `>`, then from what is pending.
HANDED = ("handed out to", "handed out again to", "claimed by")
NOBODY_CAME = (
    "After that nobody was given it again: no reading of pending entries (XREADGROUP with an ID in place of >) "
    "and no claim (XAUTOCLAIM, XCLAIM) was answered with it."
)


class ExampleView(Struct, frozen=True, kw_only=True):
    """One lost event.

    Attributes:
        where: the class of its loss, in words.
        event_id: of the event.
        entry: where its entry is, in words.
        lines: what was told, in time.
        not_seen: what would have handed it over once more, and did not; empty: not all was seen, or it is lost.
    """

    where: str
    event_id: str
    entry: str
    lines: list[str]
    not_seen: str = ""


def examples_of(played: Played) -> list[ExampleView]:
    """One lost event of each class of a trial; none where its run tells none."""
    told = played.examples if isinstance(played.examples, list) else []
    return [_view(each, played) for each in told if isinstance(each, Mapping)]


def _view(example: Mapping[str, Any], played: Played) -> ExampleView:
    where = str(example.get("where", ""))
    entry, stream = (str(example.get(name, "")) for name in ("entry_id", "stream"))
    rows = [*_rows(example.get("group")), *_rows(example.get("entry")), *_faults(played)]
    return ExampleView(
        where=WHERE.get(where, where.replace("_", " ")),
        event_id=str(example.get("event_id", "")),
        entry=f"entry {entry} of {stream}" if entry and stream else "in no stream",
        lines=[line for _, line in sorted(rows, key=lambda row: row[0])],
        not_seen=NOBODY_CAME if played.is_followed and _was_left(where, example.get("entry")) else "",
    )


def _was_left(where: str, told: Any) -> bool:
    """Whether an entry is pending that was handed out once, and to nobody after that."""
    said = [str(each.get("what", "")) for each in told] if isinstance(told, list) else []
    handed = [what for what in said if what.startswith(HANDED)]
    return where == "pending" and len(handed) == 1 and handed[0].startswith(HANDED[0])


def _rows(commands: Any) -> Iterator[tuple[float, str]]:
    """Commands as lines, each with its time."""
    for each in commands if isinstance(commands, list) else []:
        t_s = float(each.get("t_s", 0.0))
        reply = f": {each['reply']}" if each.get("reply") else ""
        yield t_s, f"{t_s:9.2f} s  connection {each.get('connection', '?')!s:>2}  {each.get('what', '')}{reply}"


def _faults(played: Played) -> Iterator[tuple[float, str]]:
    """Faults as lines, each with its time."""
    for each in played.faults:
        what = f"{each.name} {each.target}"
        yield each.start_s, f"{each.start_s:9.2f} s  {'':13}  {what}"
        if each.end_s is not None:
            yield each.end_s, f"{each.end_s:9.2f} s  {'':13}  {what}: over"
