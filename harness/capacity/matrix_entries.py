"""The entries of a matrix's file, as they are written; and where in the file each of them stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from harness.capacity.matrix import MatrixError, Search
from harness.capacity.matrix_search import called
from harness.record.parameters import told
from harness.server.url import without_secrets

# A matrix is written by hand.
MOST_BYTES = 1 << 20
Scalar = bool | int | float | str
Words = Annotated[str, Meta(min_length=1, max_length=80)]
E = TypeVar("E", bound="Entry")


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of a list: each has a name, or gets one."""

    name: Annotated[str, Meta(max_length=80)] = ""

    @property
    def called(self) -> str:
        """What it is called."""
        return self.name


class ServerEntry(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server."""

    server: Words

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or without_secrets(self.server)


class Configuration(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server is set: parameters of the scenario, and directives of the server."""

    parameters: dict[str, Scalar] = {}
    config: list[str] = []

    @property
    def called(self) -> str:
        """Its name, or else what it sets."""
        return self.name or ", ".join([*pairs(self.parameters), *self.config])


class Load(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done to a server."""

    scenario: str = ""
    parameters: dict[str, Scalar] = {}

    @property
    def called(self) -> str:
        """Its name, or else what it sets."""
        return self.name or ", ".join([*([self.scenario] if self.scenario else []), *pairs(self.parameters)])


class CapacityEntry(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"p99_9": "p99.9"}):
    """What is searched for."""

    p50: str = ""
    p90: str = ""
    p99: str = ""
    p99_9: str = ""
    lag: str = ""
    minutes: Annotated[float, Meta(ge=0.1, le=600)] = 3
    precision: Annotated[float, Meta(ge=0.005, le=0.5)] = 0.05
    seconds: Annotated[float, Meta(ge=5, le=3600)] = 5

    @property
    def search(self) -> Search:
        """The search."""
        limits = {"p50": self.p50, "p90": self.p90, "p99": self.p99, "p99.9": self.p99_9, "lag": self.lag}
        return Search(
            limits={name: text for name, text in limits.items() if text},
            minutes=self.minutes,
            precision=self.precision,
            seconds=self.seconds,
        )

    @property
    def called(self) -> str:
        """Its name, or else what has to be kept."""
        try:
            return self.name or called(self.search)
        except ValueError:
            return ""  # what it is that cannot be is said where it is looked at


class Place(NamedTuple):
    """An entry of each list, with its place in it; `asked` is None for a run."""

    server: tuple[int, ServerEntry]
    configuration: tuple[int, Configuration]
    load: tuple[int, Load]
    asked: tuple[int, CapacityEntry] | None


class Top(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of all cells."""

    scenario: str = "append"
    title: Annotated[str, Meta(max_length=120)] = ""
    profile: str = "quick"
    repeat: Annotated[int, Meta(ge=1, le=100)] = 1
    seed: Annotated[int, Meta(ge=0)] = 1
    parameters: dict[str, Scalar] = {}
    figures: list[str] | dict[str, str] = []


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says in the place of the file."""

    repeat: int | None = None
    seed: int | None = None
    profile: str | None = None


class MatrixFile:
    """A file, its lists by name, and where their entries stand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loads: list[Load] = []
        self._text = _content(path)
        try:
            self.found: dict[str, Any] = tomllib.loads(self._text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise MatrixError(f"{path}: no TOML ({error})") from error

    def entries(self, name: str, kind: type[E]) -> list[E]:
        """The entries of a list, which is taken out of what was found.

        Raises:
            MatrixError: it is no list, or one of its entries is none; or two have one name.
        """
        given = self.found.pop(name, [])
        if isinstance(given, dict) and name == "capacity":
            given = [given]  # [capacity]: there is but one
        if not isinstance(given, list):
            raise MatrixError(f"{self.path}: {name} is a list: write [[{name}]]")
        found = []
        for number, each in enumerate(given):
            try:
                found.append(msgspec.convert(each, kind))
            except msgspec.ValidationError as error:
                raise self.wrong(name, number, words_of(error)) from error
        names = [each.called for each in found]
        for number, own in enumerate(names):
            if own in names[:number]:
                raise self.wrong(name, number, f"there is another one called {own!r}: give it a name")
        return found

    def wrong(self, name: str, number: int, why: str) -> MatrixError:
        """What is wrong with an entry of a list, in one line.

        Args:
            name: of the list.
            number: of the entry, from 0.
        """
        header = re.compile(rf"^[ \t]*\[\[?[ \t]*{name}[ \t]*\]", re.MULTILINE)
        places = [self._text.count("\n", 0, match.start()) + 1 for match in header.finditer(self._text)]
        line = f", line {places[number]}" if number < len(places) else ""
        return MatrixError(f"{self.path}{line}: [[{name}]] {number + 1}: {why}")


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise MatrixError(f"{path}: a matrix has at most {MOST_BYTES:,} bytes")
        return content.decode()
    except OSError as error:
        raise MatrixError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MatrixError(f"{path}: no TOML, which is in UTF-8 (byte {error.start + 1})") from error


def word(value: Scalar) -> str:
    """A value as it is given on a command line."""
    return value if isinstance(value, str) else told(value).replace(",", "")


def pairs(parameters: Mapping[str, Scalar]) -> list[str]:
    return [f"{name}={word(value)}" for name, value in parameters.items()]


def words_of(error: msgspec.ValidationError) -> str:
    """What msgspec finds wrong, in the words of a file: `repeat: Expected `int` >= 1`."""
    what, _, where = str(error).partition(" - at `")
    place = where.rstrip("`").removeprefix("$").lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.+)`", what)
    if unknown:
        return f"there is no {unknown[1]!r}"
    return f"{place}: {what}" if place else what
