"""The file of a matrix: TOML, read and checked as a whole before anything starts.

    scenario = "append"                   what each cell is a run of; a load may name another
    profile = "quick"                     as of `shopbench run`
    repeat = 3                            how often each cell is measured
    parameters = { duration_s = 10 }      of every cell

    [[server]]                            left out: the embedded one
    name = "Valkey 9"                     left out: what `server` says
    server = "embedded"                   as of `shopbench run --server`

    [[configuration]]                     left out: one, of which nothing is said
    name = "always"
    parameters = { durability = "always" }
    config = ["io-threads 4"]             directives with which the server is started

    [[load]]
    parameters = { rate_per_s = 2_000 }

    [[capacity]]                          searched for each of these; left out: each is run
    p99 = "5 ms"

Servers, configurations, loads and what is asked are multiplied. Whoever says the most has the last word about a
parameter: the load, then the configuration, then what is said of every cell.

What is wrong is said in one line, with the file, the line of the entry, and the entry itself.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from harness.capacity.matrix import BESIDES_S, Cell, Matrix, MatrixError
from harness.check.figures import unit_of
from harness.conduct.scenario import ParameterError, Scenario, parameters_of
from harness.record.parameters import nearest, told
from harness.server.open import kind_of, parsed
from harness.server.url import ServerUrl, UrlError, without_secrets

# A matrix is written by hand, and somebody waits for it.
MOST_BYTES, MOST_CELLS = 1 << 20, 1_000
Scalar = bool | int | float | str
Words = Annotated[str, Meta(min_length=1, max_length=80)]
E = TypeVar("E", bound="_Entry")


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of a list: each has a name, or gets one."""

    name: str = ""


class ServerEntry(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server."""

    server: Words

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or without_secrets(self.server)


class Configuration(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server is set: parameters of the scenario, and directives of the server."""

    parameters: dict[str, Scalar] = {}
    config: list[str] = []

    @property
    def called(self) -> str:
        """Its name, or else what it sets."""
        return self.name or ", ".join([*_pairs(self.parameters), *self.config])


class Load(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done to a server."""

    scenario: str = ""
    parameters: dict[str, Scalar] = {}

    @property
    def called(self) -> str:
        """Its name, or else what it sets."""
        return self.name or ", ".join([*([self.scenario] if self.scenario else []), *_pairs(self.parameters)])


class _Top(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of all cells."""

    scenario: str = "append"
    title: Annotated[str, Meta(max_length=120)] = ""
    profile: str = "quick"
    repeat: Annotated[int, Meta(ge=1, le=100)] = 1
    seed: Annotated[int, Meta(ge=0)] = 1
    parameters: dict[str, Scalar] = {}
    figures: list[str] | dict[str, str] = []


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says in the place of the file."""

    repeat: int | None = None
    seed: int | None = None
    profile: str | None = None


class _File:
    """A file, its lists by name, and where their entries stand."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
        if not isinstance(given, list):
            raise MatrixError(f"{self.path}: {name} is a list: write [[{name}]]")
        found = []
        for number, each in enumerate(given):
            try:
                found.append(msgspec.convert(each, kind))
            except msgspec.ValidationError as error:
                raise self.wrong(name, number, _words_of(error)) from error
        names = [getattr(each, "called", "") for each in found]
        for number, called in enumerate(names):
            if called in names[:number]:
                raise self.wrong(name, number, f"there is another one called {called!r}: give it a name")
        return found

    def wrong(self, name: str, number: int, why: str) -> MatrixError:
        """What is wrong with an entry of a list, in one line.

        Args:
            name: of the list.
            number: of the entry, from 0.
        """
        header = re.compile(rf"^[ \t]*\[\[[ \t]*{name}[ \t]*\]\]", re.MULTILINE)
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


def matrix_of(path: Path, catalog: Mapping[str, Scenario], asked: Asked | None = None) -> Matrix:
    """The matrix of a file.

    Args:
        path: of the file.
        catalog: all scenarios by name.
        asked: what the command line says.

    Raises:
        MatrixError: the file cannot be read, or something in it cannot be measured.
    """
    file = _File(path)
    servers = file.entries("server", ServerEntry) or [ServerEntry(server="embedded")]
    configurations = file.entries("configuration", Configuration) or [Configuration()]
    loads = file.entries("load", Load) or [Load()]
    top = _top_of(file, catalog, asked or Asked())
    for number, server in enumerate(servers):
        try:
            address = parsed(server.server)
        except UrlError as error:
            raise file.wrong("server", number, str(error)) from error
        if isinstance(address, ServerUrl) and str(address) != address.unmasked:
            raise file.wrong("server", number, "a file like this is no place for a password")
    cells = [
        _cell(number, file, catalog, top, places)
        for number, places in enumerate(
            itertools.product(enumerate(servers), enumerate(configurations), enumerate(loads)), 1
        )
    ]
    if len(cells) > MOST_CELLS:
        raise MatrixError(f"{path}: {len(cells):,} cells are more than the {MOST_CELLS:,} that a matrix may have")
    return Matrix(
        name=path.stem,
        title=top.title or path.stem,
        profile=top.profile,
        seed=top.seed,
        repeat=top.repeat,
        figures=top.figures if isinstance(top.figures, dict) else dict.fromkeys(top.figures, ""),
        cells=cells,
    )


def _top_of(file: _File, catalog: Mapping[str, Scenario], asked: Asked) -> _Top:
    """What is said of all cells, with what the command line says in its place.

    Raises:
        MatrixError: something in it cannot be.
    """
    given = {key: value for key, value in msgspec.to_builtins(asked).items() if value is not None}
    try:
        top = msgspec.convert({**file.found, **given}, _Top)
    except msgspec.ValidationError as error:
        raise MatrixError(f"{file.path}: {_words_of(error)}") from error
    profiles = dict.fromkeys(name for each in catalog.values() for name in each.profiles)
    if top.profile not in profiles:
        raise MatrixError(f"{file.path}: there is no profile {top.profile!r}; {_there_are(top.profile, profiles)}")
    for figure in top.figures:
        made_by = catalog.get(figure.partition(".")[0])
        if made_by is None:
            raise MatrixError(f"{file.path}: figures: {figure!r} begins with no scenario's name")
        names = getattr(made_by, "figures", ())
        if not any(fnmatch.fnmatchcase(each.name, figure) for each in names) and unit_of(names, figure) is None:
            near = nearest(figure, [each.name for each in names])
            meant = f"; did you mean {near}?" if near else ""
            raise MatrixError(f"{file.path}: figures: {made_by.name} has no figure {figure!r}{meant}")
    return top


def _cell(
    number: int,
    file: _File,
    catalog: Mapping[str, Scenario],
    top: _Top,
    places: tuple[tuple[int, ServerEntry], tuple[int, Configuration], tuple[int, Load]],
) -> Cell:
    """The cell of a server, a configuration and a load, each with its place in its list.

    Raises:
        MatrixError: there is no such run.
    """
    (_, server), (at_configuration, configuration), (at_load, load) = places
    scenario = _scenario_of(file, catalog, load.scenario or top.scenario, at_load if load.scenario else None)
    given = {**top.parameters, **configuration.parameters, **load.parameters}
    words = {name: _word(value) for name, value in given.items()}
    try:
        parameters = parameters_of(scenario, top.profile, words)
    except ParameterError as error:
        # Whose parameter it is says where it stands: the one who has the last word about the first wrong one.
        raise _blamed(file, scenario, top, places, str(error)) from error
    if configuration.config and "configure" not in kind_of(server.server).can:
        why = f"{without_secrets(server.server)} is not started by us, so it cannot be given directives"
        raise file.wrong("configuration", at_configuration, why)
    scheduled_s = getattr(scenario, "scheduled_s", None)
    return Cell(
        number=number,
        server=server.called,
        configuration=configuration.called,
        load=load.called,
        asked="",
        which=server.server,
        scenario=scenario.name,
        parameters=words,
        config=tuple(configuration.config),
        expected_s=BESIDES_S + (0.0 if scheduled_s is None else float(scheduled_s(parameters))),
    )


def _scenario_of(file: _File, catalog: Mapping[str, Scenario], name: str, at_load: int | None) -> Scenario:
    if name in catalog:
        return catalog[name]
    why = f"there is no scenario {name!r}; {_there_are(name, catalog)}"
    raise MatrixError(f"{file.path}: {why}") if at_load is None else file.wrong("load", at_load, why)


def _blamed(
    file: _File,
    scenario: Scenario,
    top: _Top,
    places: tuple[tuple[int, ServerEntry], tuple[int, Configuration], tuple[int, Load]],
    why: str,
) -> MatrixError:
    """What is wrong with the parameters of a cell, said of the entry that brings it."""
    _, (at_configuration, configuration), (at_load, load) = places
    so_far: dict[str, str] = {}
    for name, number, given in (
        ("", 0, top.parameters),
        ("configuration", at_configuration, configuration.parameters),
        ("load", at_load, load.parameters),
    ):
        so_far |= {key: _word(value) for key, value in given.items()}
        try:
            parameters_of(scenario, top.profile, so_far)
        except ParameterError:
            return file.wrong(name, number, why) if name else MatrixError(f"{file.path}: parameters: {why}")
    return MatrixError(f"{file.path}: {why}")


def _word(value: Scalar) -> str:
    """A value as it is given on a command line."""
    return value if isinstance(value, str) else told(value).replace(",", "")


def _pairs(parameters: Mapping[str, Scalar]) -> list[str]:
    return [f"{name}={_word(value)}" for name, value in parameters.items()]


def _there_are(name: str, names: Collection[str]) -> str:
    near = nearest(name, names)
    return f"{f'did you mean {near}? ' if near else ''}there are {', '.join(names)}"


def _words_of(error: msgspec.ValidationError) -> str:
    """What msgspec finds wrong, in the words of a file: `repeat: Expected `int` >= 1`."""
    what, _, where = str(error).partition(" - at `")
    place = where.rstrip("`").removeprefix("$").lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.+)`", what)
    if unknown:
        return f"there is no {unknown[1]!r}"
    return f"{place}: {what}" if place else what
