"""The evidence of a run: what was seen of each event, kept so that the run can be judged again without a server.

`evidence.zip` lies beside `run.json`. Each section of it is a member, and `sections.json` says what each is:

    sections.json            {"schema": 1, "sections": {"load.acknowledged": {"kind": "set", "version": 1}, ...}}
    load.acknowledged        a set of event numbers, as a Roaring bitmap in its portable format
    load.effects             event numbers in an order that matters, such as that of their effects
    values.json              anything small, by the names of its sections, together: a member has its price

It is a zip archive: every language reads one, a reader takes only the sections that it needs, and each section
has a checksum, so that a file that was cut is no evidence, and says so. A section has a version of its own, since
more kinds will come. A reader that does not know a kind or a version of a section does not have that section.

Event numbers in order are stored as differences, since events mostly follow each other. The four bytes of each
difference are stored apart, so that the upper three are runs of zeros, which deflate to almost nothing:

    7 8 9 11        ->    7 1 1 2        ->    07 01 01 02 | 00 00 00 00 | 00 00 00 00 | 00 00 00 00

The differences are made in blocks, so that a long order is never held twice.

A scenario puts what it has seen into `Sections`, which hold references and make no copies; when the run ends they
are saved. Sections and the `Evidence` of a directory are read alike, so a checker does not know which it has.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import msgspec
import numpy as np
from pyroaring import AbstractBitMap, BitMap, FrozenBitMap

from harness.arrays import Int32s, Int64s

Kind = Literal["set", "order", "json"]
T = TypeVar("T")

FILE = "evidence.zip"
# Schema 1, 2026-11-28: the first.
SCHEMA = 1
_SECTIONS, _VALUES = "sections.json", "values.json"
_BLOCK = 1 << 16
VERSIONS: dict[Kind, int] = {"set": 1, "order": 1, "json": 1}
_LEVEL = 6


class EvidenceError(Exception):
    """Evidence that is missing, cut, or of a kind that this version does not know; its text is one clear line."""


class Section(msgspec.Struct, frozen=True):
    """What a section is: how it is read, and in which version of that."""

    kind: str
    version: int


class _Sections(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    sections: dict[str, Section]


class EvidenceWriter:
    """Writes the evidence of a run, section by section, as they become known.

    The file appears under its name when the writer is closed: a reader sees all of it, or none.

    Args:
        directory: of the run.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._partial = directory / f".{FILE}.{os.getpid()}"
        self._sections: dict[str, Section] = {}
        self._values: dict[str, Any] = {}
        self._zip = zipfile.ZipFile(self._partial, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)

    def add_set(self, name: str, events: AbstractBitMap) -> None:
        """Add a set of event numbers.

        Args:
            name: of the section.
            events: at most 2 ** 32 different ones.

        Raises:
            ValueError: there is a section of that name.
        """
        packed = BitMap(events)
        packed.run_optimize()
        with self._open(name, "set") as member:
            member.write(packed.serialize())

    def add_order(self, name: str, parts: Iterable[Int64s | Int32s]) -> None:
        """Add event numbers in an order that matters.

        Args:
            name: of the section.
            parts: one after the other, each of shape (n,), values from 0 to 2 ** 31 - 1.

        Raises:
            ValueError: there is a section of that name, or a value is out of range.
        """
        with self._open(name, "order") as member:
            before = 0
            for values in _blocks(parts):
                if values.min() < 0 or values.max() > np.iinfo(np.int32).max:
                    raise ValueError(f"{name}: event numbers from {values.min()} to {values.max()}")
                differences = np.diff(values, prepend=before).astype("<i4")
                before = int(values[-1])
                member.write(differences.view(np.uint8).reshape(-1, 4).T.tobytes())

    def add_json(self, name: str, value: Any) -> None:
        """Add a small value.

        Args:
            name: of the section.
            value: what msgspec can encode.

        Raises:
            ValueError: there is a section of that name.
        """
        self._name(name, "json")
        self._values[name] = value

    def close(self) -> None:
        """Finish the file, and put it in its place.

        Raises:
            OSError: it cannot be written.
        """
        sections = _Sections(schema=SCHEMA, sections=self._sections)
        if self._values:
            with self._member(_VALUES) as member:
                member.write(msgspec.json.encode(self._values))
        with self._member(_SECTIONS) as member:
            member.write(msgspec.json.encode(sections))
        self._zip.close()
        self._partial.replace(self._path)

    def discard(self) -> None:
        """Leave no file: there was nothing to be kept, or it could not be."""
        self._zip.close()
        self._partial.unlink(missing_ok=True)

    def _open(self, name: str, kind: Kind) -> IO[bytes]:
        self._name(name, kind)
        # How long it will be is not known yet.
        return self._member(name, force_zip64=True)

    def _name(self, name: str, kind: Kind) -> None:
        if name in self._sections or name in {_SECTIONS, _VALUES}:
            raise ValueError(f"there is a section {name!r} already")
        self._sections[name] = Section(kind, VERSIONS[kind])

    def _member(self, name: str, *, force_zip64: bool = False) -> IO[bytes]:
        # Not the time of day: the same evidence is the same bytes.
        member = zipfile.ZipInfo(name)
        member.compress_type = zipfile.ZIP_DEFLATED
        return self._zip.open(member, "w", force_zip64=force_zip64)


class Evidence:
    """The evidence of a run, read section by section.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._known: dict[str, Section] | None = None
        self._whole: set[str] = set()

    @property
    def exists(self) -> bool:
        """Whether the run has any; older ones have none."""
        return self._path.exists()

    def sections(self) -> dict[str, Section]:
        """What there is, by name.

        Raises:
            EvidenceError: there is no evidence, or it cannot be read.
        """
        if self._known is None:
            content = self._content(_SECTIONS)
            try:
                found = msgspec.json.decode(content, type=_Sections)
            except msgspec.MsgspecError as error:
                raise EvidenceError(f"{FILE}: its list of sections cannot be read ({error})") from error
            if found.schema > SCHEMA:
                raise EvidenceError(f"{FILE}: written by a newer shopbench (schema {found.schema})")
            self._known = found.sections
        return self._known

    def events(self, name: str) -> FrozenBitMap:
        """A set of event numbers.

        Raises:
            EvidenceError: it is not there, or cannot be read.
        """
        try:
            return FrozenBitMap(BitMap.deserialize(self._section(name, "set")))
        except (ValueError, IndexError) as error:
            raise EvidenceError(f"{FILE}: {name} is no set of events ({error})") from error

    def order(self, name: str) -> Int32s:
        """Event numbers in their order, shape (n,).

        Raises:
            EvidenceError: they are not there, or cannot be read.
        """
        content = np.frombuffer(self._section(name, "order"), np.uint8)
        if content.size % 4:
            raise EvidenceError(f"{FILE}: {name} is no order of events")
        values = np.empty(content.size // 4, np.int32)
        before = 0
        for at in range(0, values.size, _BLOCK):
            size = min(_BLOCK, values.size - at)
            apart = content[4 * at : 4 * (at + size)].reshape(4, size)
            differences = np.ascontiguousarray(apart.T).view("<i4").reshape(size)
            np.cumsum(differences, out=values[at : at + size])
            values[at : at + size] += before
            before = int(values[at + size - 1])
        return values

    def has(self, name: str) -> bool:
        """Whether there is a section of that name; False where nobody can read what there is.

        Who needs to know why asks `check`.
        """
        try:
            return name in self.sections()
        except EvidenceError:
            return False

    def check(self, name: str) -> None:
        """See whether a section is there, as a whole.

        Raises:
            EvidenceError: it is not, or cannot be read.
        """
        section = self.sections().get(name)
        if section is None:
            raise EvidenceError(f"this run has no evidence {name!r}")
        member = _VALUES if section.kind == "json" else name
        if member not in self._whole:
            self._content(member)
            self._whole.add(member)

    def value(self, name: str, kind: type[T]) -> T:
        """A small value.

        Args:
            name: of the section.
            kind: its type.

        Raises:
            EvidenceError: it is not there, or is no such value.
        """
        try:
            values = msgspec.json.decode(self._section(name, "json"), type=dict[str, msgspec.Raw])
            return msgspec.json.decode(values[name], type=kind)
        except KeyError as error:
            raise EvidenceError(f"{FILE}: {name} is missing") from error
        except msgspec.MsgspecError as error:
            raise EvidenceError(f"{FILE}: {name} cannot be read ({error})") from error

    def _section(self, name: str, kind: Kind) -> bytes:
        section = self.sections().get(name)
        if section is None:
            raise EvidenceError(f"this run has no evidence {name!r}")
        if (section.kind, section.version) != (kind, VERSIONS[kind]):
            raise EvidenceError(
                f"{FILE}: {name} is a {section.kind} of version {section.version}, "
                f"and this shopbench reads a {kind} of version {VERSIONS[kind]}"
            )
        return self._content(_VALUES if kind == "json" else name)

    def _content(self, name: str) -> bytes:
        if not self.exists:
            raise EvidenceError(f"{FILE} is not there: an older shopbench made this run, or somebody removed it")
        try:
            with zipfile.ZipFile(self._path) as archive:
                return archive.read(name)
        except KeyError as error:
            raise EvidenceError(f"{FILE}: {name} is missing") from error
        except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
            raise EvidenceError(f"{FILE}: {name} cannot be read ({error})") from error


def _blocks(parts: Iterable[Int64s | Int32s]) -> Iterator[Int64s]:
    """The same values in blocks of `_BLOCK`, the last one of what is left."""
    held: list[Int64s] = []
    size = 0
    for part in parts:
        at = 0
        while at < part.size:
            taken = part[at : at + _BLOCK - size].astype(np.int64)
            held.append(taken)
            size += taken.size
            at += taken.size
            if size == _BLOCK:
                yield np.concatenate(held)
                held, size = [], 0
    if size:
        yield np.concatenate(held)
