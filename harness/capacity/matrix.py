"""A matrix: servers x configurations x loads x what is asked of each, every cell measured several times.

    servers           embedded, redis-server                    |
    configurations    everysec; always; always, io-threads 4    |--  cells, in the order of the file
    loads             2,000 a second; 10,000 a second           |
    asked             a run; capacity at p99 within 5 ms        |

    round 1    cell 3, cell 1, cell 4, cell 2        every cell once, in an order that the seed permutes
    round 2    cell 2, cell 4, cell 1, cell 3        then every cell again, in another order

A machine drifts: it gets warmer, a disk fills, a neighbour comes. With every cell once before any twice, what
drifts from round to round falls on all cells alike, and within a round on no cell in particular. The spread of a
cell's repeats is what the machine did to it. All cells of a round have one seed, so they differ in what they are
about.

Rejected: one cell after the other, each with all of its repeats. They would be alike because they are neighbours,
and the difference to the next cell would also be that of the hour.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from harness.conduct.interrupt import Interrupted, written
from harness.record.run import Record, Run, RunError, load, write_atomically

SCHEMA = 1
MATRIX, CELLS = "matrix.json", "cells"
# What a run takes besides its load: Python, a server, a floor before, a record and its page after.
BESIDES_S = 3.0


class MatrixError(Exception):
    """A matrix that cannot be measured; its text is one clear line."""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """A search for capacity (`harness.capacity.matrix_search`).

    Attributes:
        limits: a duration in words for each statistic that has a budget: `p99` to `5 ms`.
        minutes: that it may take.
        precision: by what share its two rates may differ.
        seconds: that a probe is judged for on the way; at the edge twice as many.
    """

    limits: dict[str, str]
    minutes: float = 3
    precision: float = 0.05
    seconds: float = 5


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be measured.

    Attributes:
        number: from 1, in the order of the file.
        server, configuration, load, asked: what each of these is called; the last is empty for a run.
        which: the server: `embedded`, a program, or an address.
        scenario: whose run it is.
        parameters: of that run, besides the profile's, as a command line has them.
        config: directives with which the server is started.
        search: for capacity; None: it is a run.
        expected_s: how long it takes once, as far as is known beforehand.
    """

    number: int
    server: str
    configuration: str
    load: str
    asked: str
    which: str
    scenario: str
    parameters: dict[str, str]
    config: tuple[str, ...] = ()
    search: Search | None = None
    expected_s: float = 0.0

    @property
    def name(self) -> str:
        """What it is called, where it stands alone."""
        return ", ".join(each for each in (self.server, self.configuration, self.load, self.asked) if each)

    @property
    def doing(self) -> str:
        """What is done to the server, and what is asked of that."""
        return ", ".join(each for each in (self.load, self.asked) if each) or self.scenario

    @property
    def directory(self) -> str:
        """Where its runs lie, below the matrix's `cells`."""
        words = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:60].strip("-")
        return f"{self.number:02}-{words}" if words else f"{self.number:02}"


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """All that is to be measured, as it stands in `matrix.json`.

    Attributes:
        name: the file's, without its ending.
        title: what the page is called.
        repeat: how often each cell is measured.
        figures: what is shown, by the names of figures; the words for each.
        command: that has begun it.
        started_at: when that was.
    """

    schema: int = SCHEMA
    name: str
    title: str
    profile: str
    seed: int
    repeat: int
    figures: dict[str, str]
    cells: list[Cell]
    command: list[str] = []
    started_at: str = ""

    def measures_as(self, other: Matrix) -> bool:
        """Whether what another one has measured can stand for this one's: all is the same but what is shown."""
        return (self.profile, self.seed, self.cells) == (other.profile, other.seed, other.cells)


class Measurement(msgspec.Struct, frozen=True):
    """A cell, measured for the how-manieth time.

    Attributes:
        repeat: from 1.
    """

    cell: Cell
    repeat: int

    def below(self, directory: Path) -> Path:
        """Where its record lies in the matrix's directory."""
        return directory / CELLS / self.cell.directory / str(self.repeat)


# What measures one, into a directory: the record, and what ended it early, or None.
Measure = Callable[[Measurement, Path], tuple[Record, BaseException | None]]


def in_order(matrix: Matrix) -> list[Measurement]:
    """All measurements in the order in which they are made: every cell once before any twice."""
    found = []
    for repeat in range(1, matrix.repeat + 1):
        places = np.random.default_rng([matrix.seed, repeat]).permutation(len(matrix.cells))
        found += [Measurement(matrix.cells[place], repeat) for place in places.tolist()]
    return found


def seed_of(matrix: Matrix, repeat: int) -> int:
    """The seed of all cells of a round."""
    return matrix.seed + repeat - 1


def measured(directory: Path) -> Run | None:
    """The run of a directory that came to its end; None where there is none."""
    with contextlib.suppress(RunError):
        found = load(directory).run
        return found if found.status == "complete" else None
    return None


def to_measure(matrix: Matrix, directory: Path) -> list[Measurement]:
    """What is still to be measured, in its order."""
    return [each for each in in_order(matrix) if measured(each.below(directory)) is None]


def expected_s(matrix: Matrix, directory: Path, left: Sequence[Measurement]) -> float:
    """How long it takes to measure what is left, in seconds: as long as it took before, where it was.

    Args:
        directory: the matrix's.
        left: what is to be measured.
    """
    took: dict[int, float] = {}
    for each in in_order(matrix):
        if found := measured(each.below(directory)):
            took.setdefault(each.cell.number, found.duration_s + BESIDES_S / 2)
    return sum(took.get(each.cell.number, each.cell.expected_s) for each in left)


def read_matrix(directory: Path) -> Matrix | None:
    """What a directory is the matrix of; None where there is none.

    Raises:
        RunError: it cannot be read, or a newer shopbench has written it.
    """
    path = directory / MATRIX
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from error
    try:
        schema = msgspec.json.decode(content, type=_SchemaOnly).schema
        if schema > SCHEMA:
            raise RunError(f"{path}: written by a newer shopbench (schema {schema}; this one reads {SCHEMA})")
        return msgspec.json.decode(content, type=Matrix)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"{path}: not a matrix ({error})") from error


class _SchemaOnly(msgspec.Struct):
    schema: int


def directory_for(matrix: Matrix, runs: Path, *, anew: bool = False) -> tuple[Path, str]:
    """Where a matrix is measured: where it was begun, if it was; else a new directory beside the others.

    Args:
        runs: below which it lies.
        anew: whether it begins again in any case.

    Returns:
        The directory, and why it is not that of the last matrix of this name; empty where it is, or there is none.

    Raises:
        RunError: what is there cannot be read.
    """
    last: Path | None = None
    for number in itertools.count(1):
        place = runs / (f"matrix-{matrix.name}" if number == 1 else f"matrix-{matrix.name}-{number}")
        if not place.exists():
            break
        last = place
    if last is None:
        return place, ""
    before = read_matrix(last)
    if before is None and not any(last.iterdir()):
        return last, ""
    if before is not None and before.measures_as(matrix) and not anew:
        return last, ""
    if anew:
        return place, f"{last} stays as it is"
    told = "it is no matrix's" if before is None else changed(before, matrix)
    return place, f"{last} stays as it is: {told}"


def changed(before: Matrix, now: Matrix) -> str:
    """What is not the same in two matrices of one name, in a few words."""
    for name in ("profile", "seed"):
        if getattr(before, name) != getattr(now, name):
            return f"its {name} was {getattr(before, name)}, and is {getattr(now, name)} now"
    if len(before.cells) != len(now.cells):
        return f"it had {len(before.cells)} cells, and has {len(now.cells)} now"
    old, new = next(pair for pair in zip(before.cells, now.cells, strict=True) if pair[0] != pair[1])
    return f"the file has changed: cell {old.number} was {old.name!r}, and is {_told(old, new)} now"


def _told(old: Cell, new: Cell) -> str:
    if old.name != new.name:
        return repr(new.name)
    for field in msgspec.structs.fields(Cell):
        if getattr(old, field.name) != getattr(new, field.name):
            return f"another in its {field.name}"
    return "the same"


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Nobody else measures this matrix meanwhile.

    Raises:
        MatrixError: somebody does; or the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("wb")
    except OSError as error:
        raise MatrixError(f"{directory}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MatrixError(f"{directory}: another shopbench is measuring this matrix") from error
        yield


def begin(matrix: Matrix, directory: Path) -> Matrix:
    """Write down what is measured here; the beginning stays that of the first time."""
    before = read_matrix(directory)
    if before is not None:
        matrix = msgspec.structs.replace(matrix, started_at=before.started_at, command=before.command)
    content = msgspec.json.format(msgspec.json.encode(matrix), indent=2) + b"\n"
    write_atomically(directory / MATRIX, content)
    return matrix


def conduct_matrix(
    matrix: Matrix,
    directory: Path,
    measure: Measure,
    *,
    each_done: Callable[[Measurement, Record], None] = lambda *_: None,
) -> Mapping[str, BaseException]:
    """Measure what is still to be measured; what is complete stays as it is.

    Args:
        directory: the matrix's.
        measure: measures one cell once.
        each_done: told of each that was measured, also of one that did not come to its end.

    Returns:
        What could not be carried out, by the name of its cell.

    Raises:
        Interrupted: somebody wants it to end; it goes on from here the next time.
    """
    failed: dict[str, BaseException] = {}
    for each in to_measure(matrix, directory):
        where = each.below(directory)
        if where.exists():
            # It did not come to its end, and is measured again as a whole.
            shutil.rmtree(where)
        where.mkdir(parents=True)
        record, ended = measure(each, where)
        # A run that is complete has its page, also where the interrupt comes when that is written.
        late = written(functools.partial(each_done, each, record))
        ended = ended or late
        if isinstance(ended, Interrupted):
            raise ended
        if ended is not None:
            failed.setdefault(each.cell.name, ended)
    return failed
