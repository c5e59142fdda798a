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

    [[capacity]]                          a search for each load that does not say its rate; left out: runs only
    p99 = "5 ms"

Servers, configurations and loads are multiplied. A load that says its rate is run at it. One that does not is
searched for each capacity, or run where there is none. Where every load says its rate, what is searched is the
load that the head of the file describes. Whoever says the most has the last word about a parameter: the load, then
the configuration, then what is said of every cell.

What is wrong is said in one line, with the file, the line of the entry, and the entry itself.
"""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.capacity.capacity import Capacity
from harness.capacity.matrix import BESIDES_S, Cell, Matrix, MatrixError
from harness.capacity.matrix_entries import (
    CapacityEntry,
    Configuration,
    Load,
    MatrixFile,
    Place,
    Said,
    ServerEntry,
    Top,
    word,
    words_of,
)
from harness.capacity.matrix_search import load_of, refused_by
from harness.check.figures import unit_of
from harness.conduct.scenario import ParameterError, Scenario, parameters_of
from harness.record.parameters import nearest
from harness.server.directives import DirectiveError, directives_of
from harness.server.open import kind_of, parsed
from harness.server.url import ServerUrl, UrlError, without_secrets

# Somebody waits for them.
MOST_CELLS = 1_000


def matrix_of(path: Path, catalog: Mapping[str, Scenario], asked: Said | None = None) -> Matrix:
    """The matrix of a file.

    Args:
        path: of the file.
        catalog: all scenarios by name.
        asked: what the command line says.

    Raises:
        MatrixError: the file cannot be read, or something in it cannot be measured.
    """
    file = MatrixFile(path)
    servers = file.entries("server", ServerEntry) or [ServerEntry(server="embedded")]
    configurations = file.entries("configuration", Configuration) or [Configuration()]
    loads = file.entries("load", Load) or [Load()]
    capacities = file.entries("capacity", CapacityEntry)
    top = _top_of(file, catalog, asked or Said())
    for number, server in enumerate(servers):
        try:
            address = parsed(server.server)
        except UrlError as error:
            raise file.wrong("server", number, str(error)) from error
        if isinstance(address, ServerUrl) and str(address) != address.unmasked:
            raise file.wrong("server", number, "a file like this is no place for a password")
    file.loads = loads
    asked_of = _asked_of(loads, capacities, lambda load: _scenario_of(file, catalog, load, top))
    cells = [
        _cell(number, file, catalog, top, Place(server, configuration, *both))
        for number, (server, configuration, both) in enumerate(
            itertools.product(enumerate(servers), enumerate(configurations), asked_of), 1
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


def _asked_of(
    loads: Sequence[Load], capacities: Sequence[CapacityEntry], scenario_of: Callable[[Load], Scenario]
) -> list[tuple[tuple[int, Load], tuple[int, CapacityEntry] | None]]:
    """Each load, with what is asked of it."""

    def says_its_rate(load: Load) -> bool:
        probing = getattr(scenario_of(load), "probing", None)
        return probing is not None and probing.rate in load.parameters

    numbered = list(enumerate(loads))
    runs = [(place, None) for place in numbered if not capacities or says_its_rate(place[1])]
    searched = [place for place in numbered if not says_its_rate(place[1])] or [(len(loads), Load())]
    return [*runs, *itertools.product(searched, enumerate(capacities))]


def _top_of(file: MatrixFile, catalog: Mapping[str, Scenario], asked: Said) -> Top:
    """What is said of all cells, with what the command line says in its place.

    Raises:
        MatrixError: something in it cannot be.
    """
    given = {key: value for key, value in msgspec.to_builtins(asked).items() if value is not None}
    try:
        top = msgspec.convert({**file.found, **given}, Top)
    except msgspec.ValidationError as error:
        raise MatrixError(f"{file.path}: {words_of(error)}") from error
    profiles = dict.fromkeys(name for each in catalog.values() for name in each.profiles)
    if top.profile not in profiles:
        raise MatrixError(f"{file.path}: there is no profile {top.profile!r}; {_there_are(top.profile, profiles)}")
    for figure in top.figures:
        made_by: Any = {**catalog, Capacity.name: Capacity()}.get(figure.partition(".")[0])
        if made_by is None:
            raise MatrixError(f"{file.path}: figures: {figure!r} begins with no scenario's name")
        names = getattr(made_by, "figures", ())
        if not any(fnmatch.fnmatchcase(each.name, figure) for each in names) and unit_of(names, figure) is None:
            near = nearest(figure, [each.name for each in names])
            meant = f"; did you mean {near}?" if near else ""
            raise MatrixError(f"{file.path}: figures: {made_by.name} has no figure {figure!r}{meant}")
    return top


def _cell(number: int, file: MatrixFile, catalog: Mapping[str, Scenario], top: Top, place: Place) -> Cell:
    """The cell of a server, a configuration, a load and what is asked.

    Raises:
        MatrixError: there is no such run.
    """
    (_, server), (at_configuration, configuration), (_, load), asked = place
    scenario = _scenario_of(file, catalog, load, top)
    given = {**top.parameters, **configuration.parameters, **load.parameters}
    words = {name: word(value) for name, value in given.items()}
    if asked is not None and (why := refused_by(scenario, asked[1].search)):
        raise file.wrong("capacity", asked[0], why)
    try:
        parameters = parameters_of(scenario, top.profile, words)
        if asked is not None:
            load_of(scenario, words)
    except ParameterError as error:
        raise _blamed(file, scenario, top, place, str(error)) from error
    config = _directives(file, place)
    if config and "configure" not in kind_of(server.server).can:
        why = f"{without_secrets(server.server)} is not started by us, so it cannot be given directives"
        raise file.wrong("configuration", at_configuration, why)
    return Cell(
        number=number,
        server=server.called,
        configuration=configuration.called,
        load=load.called,
        asked="" if asked is None else asked[1].called,
        which=server.server,
        scenario=scenario.name,
        parameters=words,
        config=config,
        search=None if asked is None else asked[1].search,
        expected_s=BESIDES_S + (_scheduled_s(scenario, parameters) if asked is None else asked[1].minutes * 60),
    )


def _directives(file: MatrixFile, place: Place) -> tuple[str, ...]:
    """The directives of a configuration, each written in one way.

    Raises:
        MatrixError: one is none.
    """
    at, configuration = place.configuration
    try:
        return directives_of(configuration.config)
    except DirectiveError as error:
        raise file.wrong("configuration", at, str(error)) from error


def _scheduled_s(scenario: Scenario, parameters: msgspec.Struct) -> float:
    """How long a scenario's load is, where it says so."""
    scheduled_s = getattr(scenario, "scheduled_s", None)
    return 0.0 if scheduled_s is None else float(scheduled_s(parameters))


def _scenario_of(file: MatrixFile, catalog: Mapping[str, Scenario], load: Load, top: Top) -> Scenario:
    """The scenario of a load, or else that of the file.

    Raises:
        MatrixError: there is none of that name.
    """
    name = load.scenario or top.scenario
    if name in catalog:
        return catalog[name]
    why = f"there is no scenario {name!r}; {_there_are(name, catalog)}"
    raise file.wrong("load", file.loads.index(load), why) if load.scenario else MatrixError(f"{file.path}: {why}")


def _blamed(file: MatrixFile, scenario: Scenario, top: Top, place: Place, why: str) -> MatrixError:
    """What is wrong with the parameters of a cell, said of the entry that brings it."""
    _, (at_configuration, configuration), (at_load, load), _ = place
    so_far: dict[str, str] = {}
    for name, number, given in (
        ("", 0, top.parameters),
        ("configuration", at_configuration, configuration.parameters),
        ("load", at_load, load.parameters),
    ):
        so_far |= {key: word(value) for key, value in given.items()}
        try:
            parameters_of(scenario, top.profile, so_far)
        except ParameterError:
            return file.wrong(name, number, why) if name else MatrixError(f"{file.path}: parameters: {why}")
    # As a run it could be; so it is the search that cannot have them.
    return (
        MatrixError(f"{file.path}: {why}") if place.asked is None else file.wrong("capacity", place.asked[0], why)
    )


def _there_are(name: str, names: Collection[str]) -> str:
    near = nearest(name, names)
    return f"{f'did you mean {near}? ' if near else ''}there are {', '.join(names)}"
