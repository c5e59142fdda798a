"""The IDs of entries as one number each, in the order of the IDs: 8 bytes an entry instead of some 70.

    1690000000000-3   ->   1690000000000 << 22 | 3

So it is as long as the first half has 41 bits, which milliseconds have until 2039, and the second 22. Any other ID
gets a number below 0, by a table; these numbers have no order.
"""

from __future__ import annotations

import numpy as np

from harness.arrays import Int64s

_LOW_BITS = 22
_HIGH_LIMIT, _LOW_LIMIT = 1 << 41, 1 << _LOW_BITS
_MOST_OTHERS = 1 << 20
_NO_KEY = np.iinfo(np.int64).min


class EntryKeys:
    """Numbers for IDs; those of one object only can be compared.

    Attributes:
        is_full: whether there were more IDs than can be told apart.
    """

    def __init__(self) -> None:
        self._others: dict[tuple[int, int], int] = {}
        self.is_full = False

    def of_text(self, ids: bytes) -> Int64s:
        """The numbers of IDs, shape (n,).

        Args:
            ids: whole ones, with commas between them.

        Raises:
            ValueError: it is something else.
        """
        if not ids:
            return np.zeros(0, np.int64)
        halves = np.fromstring(ids.replace(b"-", b","), np.uint64, sep=",")
        if halves.size != 2 * (ids.count(b",") + 1):
            raise ValueError("what should be IDs of entries is something else")
        high, low = halves[::2], halves[1::2]
        keys: Int64s = (high << np.uint64(_LOW_BITS) | low).astype(np.int64)
        for at in np.flatnonzero((high >= _HIGH_LIMIT) | (low >= _LOW_LIMIT)).tolist():
            keys[at] = self._other(int(high[at]), int(low[at]))
        return keys

    def of(self, entry_id: bytes) -> int:
        """The number of one ID; its second half may be left out, and is 0 then.

        Raises:
            ValueError: it is no ID.
        """
        return int(self.of_text(entry_id if b"-" in entry_id else entry_id + b"-0")[0])

    def text(self, key: int) -> str:
        """The ID that a number stands for."""
        if key >= 0:
            return f"{key >> _LOW_BITS}-{key & (_LOW_LIMIT - 1)}"
        found = next((halves for halves, other in self._others.items() if other == key), None)
        return "" if found is None else f"{found[0]}-{found[1]}"

    def _other(self, high: int, low: int) -> int:
        if len(self._others) >= _MOST_OTHERS and (high, low) not in self._others:
            self.is_full = True
            return int(_NO_KEY)
        return self._others.setdefault((high, low), -1 - len(self._others))


class KeySet:
    """A set of keys that grows, 8 bytes each."""

    def __init__(self) -> None:
        self._keys = np.zeros(0, np.int64)
        self._parts: list[Int64s] = []
        self._size = 0

    def add(self, keys: Int64s) -> None:
        """Add keys, in any order and with repeats."""
        if not keys.size:
            return
        self._parts.append(keys)
        self._size += keys.size
        if self._size > max(1 << 19, self._keys.size // 4):
            self.keys()

    def keys(self) -> Int64s:
        """All of them, rising, shape (n,)."""
        if self._parts:
            merged = np.concatenate([self._keys, *self._parts])
            self._keys, self._parts, self._size = merged, [], 0
            # Not `np.unique`, which needs three times the memory. They come nearly in order, which is soon sorted.
            merged.sort(kind="stable")
            is_first = np.append(True, merged[1:] != merged[:-1])
            if not is_first.all():
                self._keys = merged[is_first]
        return self._keys


def among(keys: Int64s, rising: Int64s) -> np.ndarray:
    """Whether each key is one of some others that rise, shape as `keys`."""
    if not rising.size:
        return np.zeros(keys.shape, np.bool_)
    at = np.minimum(np.searchsorted(rising, keys), rising.size - 1)
    found: np.ndarray = rising[at] == keys
    return found
