"""What a group had pending over time, entry by entry, played again from what it was told.

    handed out --> pending of a consumer --acknowledged--> no more
                        |-- its consumer deleted, with all it has pending: XGROUP DELCONSUMER answers how many
                        |-- its group destroyed
                        `-- claimed: of another consumer

A server says of a group's past only the last ID that it handed out. Played again, its commands say what became of
what it had pending when a consumer was deleted. It is believed only where the server's own number is the same.

Entries that a group made or moved has left behind it: it was set to an ID that is theirs or beyond; or to `$`, and
they are before the first entry that it handed out afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from harness.account.entry_keys import KeySet
from harness.account.told_log import Kind
from harness.arrays import Int64s

KINDS: tuple[Kind, ...] = (
    "new",
    "noack",
    "again",
    "claimed",
    "deleted",
    "acked",
    "ack_none",
    "ack_part",
    "ack_sent",
    "xdel",
)
CODE = {kind: code for code, kind in enumerate(KINDS)}
_HANDED = [CODE[kind] for kind in ("new", "noack", "again", "claimed")]
_HELD = [CODE[kind] for kind in ("new", "again", "claimed")]
_LET_GO = [CODE[kind] for kind in ("noack", "deleted", "acked", "ack_none")]
_FIRST = [CODE["new"], CODE["noack"]]


class Told(msgspec.Struct, frozen=True):
    """What was told of one stream's entries between two moments, an entry a row, in any order.

    Attributes:
        keys, ticks, codes, consumers: each of shape (n,): the entry, when, the kind's code, the consumer's number.
    """

    keys: Int64s
    ticks: Int64s
    codes: Int64s
    consumers: Int64s

    def where(self, chosen: np.ndarray) -> Told:
        """Some of the rows."""
        return Told(self.keys[chosen], self.ticks[chosen], self.codes[chosen], self.consumers[chosen])


class Moved(msgspec.Struct, kw_only=True):
    """A group made anew or set to a place.

    Attributes:
        tick: when.
        wall_ns: the same, in nanoseconds since 1970.
        to: the key of the ID; None: `$`, the stream's end then.
        first_after: the key of the first entry that was handed out afterwards.
    """

    tick: int
    wall_ns: int
    to: int | None
    first_after: int | None = None


class GroupHistory:
    """A group on one stream, played again.

    Attributes:
        handed: entries that consumers got.
        acked: entries of which an XACK was answered as done.
        unkept: entries that were read with NOACK, and so were never pending.
        moves: where the group was made or set to.
        is_certain: whether each number of the server's was what was expected.
    """

    def __init__(self) -> None:
        self.handed, self.acked, self.unkept = KeySet(), KeySet(), KeySet()
        self.moves: list[Moved] = []
        self.is_certain = True
        self._pending: dict[int, int] = {}
        self._dropped: dict[int, bool] = {}

    @property
    def dropped_with_consumer(self) -> Int64s:
        """Entries that were pending of a consumer when it was deleted, and were not handed out again; rising."""
        return self._dropped_with(is_group=False)

    @property
    def dropped_with_group(self) -> Int64s:
        """Entries that were pending when the group was destroyed, and were not handed out again; rising."""
        return self._dropped_with(is_group=True)

    def _dropped_with(self, *, is_group: bool) -> Int64s:
        return np.array(sorted(key for key, of_group in self._dropped.items() if of_group == is_group), np.int64)

    def play(self, told: Told) -> None:
        """Go on with what was told next, in the time between two commands on the group."""
        if not told.keys.size:
            return
        is_handed = np.isin(told.codes, _HANDED)
        handed = told.keys[is_handed]
        self.handed.add(handed)
        self.acked.add(told.keys[told.codes == CODE["acked"]])
        self.unkept.add(told.keys[told.codes == CODE["noack"]])
        for key in handed.tolist() if self._dropped else ():
            self._dropped.pop(key, None)
        if self.moves and self.moves[-1].first_after is None:
            first = told.keys[np.isin(told.codes, _FIRST)]
            self.moves[-1].first_after = int(first.min()) if first.size else None
        self._hold(told)

    def _hold(self, told: Told) -> None:
        """What is pending after all of it: of each entry the last word counts."""
        told = told.where(np.isin(told.codes, [*_HELD, *_LET_GO]))
        order = np.lexsort((told.ticks, told.keys))
        keys = told.keys[order]
        last = order[np.append(keys[1:] != keys[:-1], True)] if keys.size else order
        is_held = np.isin(told.codes[last], _HELD)
        self._pending.update(
            zip(told.keys[last[is_held]].tolist(), told.consumers[last[is_held]].tolist(), strict=True)
        )
        for key in told.keys[last[~is_held]].tolist():
            self._pending.pop(key, None)

    def acknowledge_some(self, keys: Iterable[int], count: int) -> None:
        """Go on with an XACK of which it is known only how many entries were pending.

        Args:
            keys: of the entries.
            count: how many of them.
        """
        found = [key for key in dict.fromkeys(keys) if key in self._pending]
        if len(found) != count:
            self.is_certain = False
            return
        self.acked.add(np.array(found, np.int64))
        for key in found:
            del self._pending[key]

    def delete_consumer(self, consumer: int, count: int) -> None:
        """Go on with a consumer that was deleted, with so many pending entries as the server said."""
        found = [key for key, of in self._pending.items() if of == consumer]
        for key in found:
            del self._pending[key]
        if len(found) != count:
            self.is_certain = False
            return
        self._dropped.update(dict.fromkeys(found, False))

    def destroy(self) -> None:
        """Go on with the group destroyed."""
        self._dropped.update(dict.fromkeys(self._pending, True))
        self._pending.clear()

    def move(self, moved: Moved, *, is_new: bool) -> None:
        """Go on with the group made, or set to a place."""
        if is_new:
            # Nobody saw that it was destroyed, as by a server that was emptied.
            self._pending.clear()
        self.moves.append(moved)

    def skipped(self, keys: Int64s, appended_ns: Int64s) -> list[tuple[int, Moved]]:
        """Entries that were never handed out and that a move has left behind, each with the first such move.

        Args:
            keys: of entries that the group is not before any more, shape (n,).
            appended_ns: when they were appended, in nanoseconds since 1970, shape (n,).
        """
        handed = self.handed.keys()
        found = []
        for key, at_ns in zip(keys.tolist(), appended_ns.tolist(), strict=True):
            place = int(np.searchsorted(handed, key))
            if key < 0 or (place < handed.size and handed[place] == key):
                continue
            move = next((each for each in self.moves if _leaves_behind(each, key, at_ns)), None)
            if move is not None:
                found.append((key, move))
        return found


def _leaves_behind(move: Moved, key: int, appended_ns: int) -> bool:
    if move.to is not None:
        return 0 <= key <= move.to
    return appended_ns <= move.wall_ns and (move.first_after is None or key < move.first_after)
