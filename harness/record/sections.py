"""Evidence while it is gathered: sections in memory, that are read like those of a run's directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from pyroaring import AbstractBitMap

from harness.arrays import Int32s, Int64s
from harness.record.evidence import FILE, VERSIONS, Evidence, EvidenceError, EvidenceWriter, Kind, Section

T = TypeVar("T")


class Sections:
    """Evidence that is being gathered, in memory; what is added is kept as it is, and must not change any more."""

    def __init__(self) -> None:
        self._sets: dict[str, AbstractBitMap] = {}
        self._orders: dict[str, Sequence[Int64s | Int32s]] = {}
        self._values: dict[str, Any] = {}

    @property
    def exists(self) -> bool:
        """Whether there is any."""
        return bool(self._sets or self._orders or self._values)

    def has(self, name: str) -> bool:
        """Whether there is a section of that name."""
        return name in self.sections()

    def sections(self) -> dict[str, Section]:
        """What there is, by name."""
        kinds: dict[Kind, Mapping[str, Any]] = {"set": self._sets, "order": self._orders, "json": self._values}
        return {name: Section(kind, VERSIONS[kind]) for kind, of_kind in kinds.items() for name in of_kind}

    def add_set(self, name: str, events: AbstractBitMap) -> None:
        """Add a set of event numbers, in the place of one of that name."""
        self._sets[name] = events

    def add_order(self, name: str, parts: Sequence[Int64s | Int32s]) -> None:
        """Add event numbers in an order that matters, in the place of those of that name.

        Args:
            name: of the section.
            parts: one after the other, each of shape (n,), values from 0 to 2 ** 31 - 1.
        """
        self._orders[name] = parts

    def add_json(self, name: str, value: Any) -> None:
        """Add a small value, in the place of one of that name.

        Args:
            name: of the section.
            value: what msgspec can encode.
        """
        self._values[name] = value

    def events(self, name: str) -> AbstractBitMap:
        """A set of event numbers.

        Raises:
            EvidenceError: it is not there.
        """
        return _there(self._sets, name)

    def order(self, name: str) -> Int32s:
        """Event numbers in their order, shape (n,).

        Raises:
            EvidenceError: they are not there.
        """
        parts = _there(self._orders, name)
        return np.concatenate(parts).astype(np.int32) if parts else np.zeros(0, np.int32)

    def value(self, name: str, kind: type[T]) -> T:
        """A small value.

        Args:
            name: of the section.
            kind: its type.

        Raises:
            EvidenceError: it is not there.
        """
        return msgspec.convert(msgspec.to_builtins(_there(self._values, name)), kind)

    def check(self, name: str) -> None:
        """See whether a section is there.

        Raises:
            EvidenceError: it is not.
        """
        _there(self.sections(), name)

    def add_all(self, other: Sections | Evidence, renamed: Callable[[str], str | None]) -> None:
        """Add all sections of others.

        Args:
            other: whose.
            renamed: gives the name of each here; None: it is left out.

        Raises:
            EvidenceError: they cannot be read.
        """
        for name, section in other.sections().items():
            new = renamed(name)
            if new is None:
                continue
            if section.kind == "set":
                self._sets[new] = other.events(name)
            elif section.kind == "order":
                self._orders[new] = [other.order(name)]
            else:
                self._values[new] = other.value(name, object)

    def save(self, directory: Path) -> None:
        """Write them to a run's directory; none, where there are none.

        Raises:
            OSError: they cannot be written.
            ValueError: an order has a value that is out of range.
        """
        if not self.exists:
            (directory / FILE).unlink(missing_ok=True)
            return
        writer = EvidenceWriter(directory)
        try:
            for name, events in self._sets.items():
                writer.add_set(name, events)
            for name, parts in self._orders.items():
                writer.add_order(name, parts)
            for name, value in self._values.items():
                writer.add_json(name, value)
        except BaseException:
            writer.discard()
            raise
        writer.close()


def _there(sections: Mapping[str, T], name: str) -> T:
    if name not in sections:
        raise EvidenceError(f"this run has no evidence {name!r}")
    return sections[name]
