"""A matrix: its file, its order, going on after an interrupt, and what its page says; with scripted runs."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import report_runs

from harness.capacity.matrix import (
    Cell,
    Matrix,
    MatrixError,
    Measurement,
    Search,
    begin,
    conduct_matrix,
    directory_for,
    expected_s,
    held,
    in_order,
    read_matrix,
    seed_of,
    to_measure,
)
from harness.capacity.matrix_entries import Said
from harness.capacity.matrix_file import matrix_of
from harness.capacity.matrix_table import Value, table_of
from harness.conduct.interrupt import Interrupted
from harness.record.run import Figure, Record, RunError, Verdict, load, save
from harness.server.server import ServerError
from reports.index import entries
from reports.matrix_page import STEPS, map_of, matrix_markdown, matrix_page, sentence, terminal_lines, write_matrix
from scenarios.catalog import SCENARIOS
from tests.reports.test_render import Page

EXAMPLE = Path(__file__).parents[2] / "examples" / "matrix" / "durability.toml"


def cell(number: int, configuration: str, load_name: str = "slow", **more: Any) -> Cell:
    """A cell of a matrix."""
    return Cell(
        number=number,
        server="embedded",
        configuration=configuration,
        load=load_name,
        asked="",
        which="embedded",
        scenario="append",
        parameters={"durability": configuration},
        expected_s=5.0,
        **more,
    )


def matrix(count: int = 4, repeat: int = 3, **more: Any) -> Matrix:
    """A matrix of so many cells."""
    return Matrix(
        name="toy",
        title="A toy",
        profile="smoke",
        seed=more.pop("seed", 1),
        repeat=repeat,
        figures={"append.*.response.p99": ""},
        cells=[cell(n, f"c{n}") for n in range(1, count + 1)],
        **more,
    )


# The order ---------------------------------------------------------------------------------------------------


def test_every_cell_once_before_any_twice() -> None:
    """Each round has every cell, in an order of its own that the seed decides."""
    order = in_order(matrix(count=12, repeat=4))
    rounds = [list(each) for _, each in itertools.groupby(order, lambda each: each.repeat)]
    numbers = [[each.cell.number for each in of_round] for of_round in rounds]
    assert [sorted(each) for each in numbers] == [list(range(1, 13))] * 4
    assert len({tuple(each) for each in numbers}) == 4
    assert order == in_order(matrix(count=12, repeat=4))
    assert order != in_order(matrix(count=12, repeat=4, seed=2))


def test_no_cell_has_a_place_of_its_own() -> None:
    """Over many rounds each cell is first about as often as any other."""
    order = in_order(matrix(count=4, repeat=400))
    firsts = Counter(order[at].cell.number for at in range(0, len(order), 4))
    assert all(60 < firsts[number] < 140 for number in range(1, 5))


def test_a_round_has_one_seed() -> None:
    """Cells differ in what they are about, and repeats in what is drawn."""
    assert [seed_of(matrix(seed=5), repeat) for repeat in (1, 2, 3)] == [5, 6, 7]


# Measured, interrupted, and gone on ------------------------------------------------------------------------------


class Script:
    """Measures as it is told, and notes what it has measured.

    Args:
        ends: how the measurement of that place in the order ends, in the place of well.
    """

    def __init__(self, ends: dict[int, BaseException] | None = None) -> None:
        self.ends = ends or {}
        self.measured: list[tuple[int, int]] = []

    def __call__(self, each: Measurement, where: Path) -> tuple[Record, BaseException | None]:
        ended = self.ends.get(len(self.measured))
        self.measured.append((each.cell.number, each.repeat))
        status = "complete" if ended is None else "interrupted" if isinstance(ended, Interrupted) else "failed"
        value = 1_000.0 * each.cell.number + 10 * each.repeat
        run = report_runs.run_of(
            "append",
            status=status,
            duration_s=7.0,
            figures=[Figure(name="append.always.response.p99", value=value, unit="µs")],
            verdicts=[Verdict(name="append.answered", status="PASS", detail="all were")],
        )
        save(where, run)
        return load(where), ended


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    """What is complete is not measured again; what was interrupted is, as a whole; the order is the same."""
    of = matrix()
    script = Script({5: Interrupted("SIGINT")})
    with pytest.raises(Interrupted):
        conduct_matrix(of, tmp_path, script)
    assert len(script.measured) == 6
    half = Measurement(of.cells[script.measured[-1][0] - 1], script.measured[-1][1]).below(tmp_path)
    (half / "half.txt").write_text("left behind")
    again = Script()
    assert conduct_matrix(of, tmp_path, again) == {}
    assert [*script.measured[:5], *again.measured] == [(e.cell.number, e.repeat) for e in in_order(of)]
    assert not (half / "half.txt").exists()
    assert to_measure(of, tmp_path) == []
    last = Script()
    conduct_matrix(of, tmp_path, last)
    assert last.measured == []


def test_more_repeats_go_on(tmp_path: Path) -> None:
    """Who asks for more has what is there already."""
    conduct_matrix(matrix(repeat=1), tmp_path, Script())
    more = Script()
    conduct_matrix(matrix(repeat=2), tmp_path, more)
    assert {repeat for _, repeat in more.measured} == {2}
    assert len(more.measured) == 4


def test_one_that_fails_does_not_end_the_others(tmp_path: Path) -> None:
    """It is told, by the name of its cell, and measured again the next time."""
    script = Script({0: ServerError("no such program")})
    failed = conduct_matrix(matrix(repeat=1), tmp_path, script)
    [(name, error)] = failed.items()
    assert name == f"embedded, c{script.measured[0][0]}, slow"
    assert str(error) == "no such program"
    assert len(script.measured) == 4
    assert len(to_measure(matrix(repeat=1), tmp_path)) == 1


def test_how_long_it_takes(tmp_path: Path) -> None:
    """As long as is known beforehand; where it was measured, as long as it took."""
    of = matrix(count=2, repeat=2)
    assert expected_s(of, tmp_path, to_measure(of, tmp_path)) == 20.0
    with pytest.raises(Interrupted):
        conduct_matrix(of, tmp_path, Script({2: Interrupted("SIGINT")}))
    assert expected_s(of, tmp_path, to_measure(of, tmp_path)) == 2 * (7.0 + 1.5)


def test_where_it_is_measured(tmp_path: Path) -> None:
    """In one directory as long as the matrix is the same; else in a new one, and it is said why."""
    first, why = directory_for(matrix(), tmp_path)
    assert (first.name, why) == ("matrix-toy", "")
    first.mkdir()
    begun = begin(msgspec.structs.replace(matrix(), command=["shopbench", "matrix"], started_at="then"), first)
    assert read_matrix(first) == begun
    shown_otherwise = msgspec.structs.replace(matrix(repeat=9), title="Another", figures={})
    assert directory_for(shown_otherwise, tmp_path) == (first, "")
    assert begin(shown_otherwise, first).started_at == "then"
    second, why = directory_for(matrix(count=5), tmp_path)
    assert second.name == "matrix-toy-2"
    assert "matrix-toy stays as it is: it had 4 cells, and has 5 now" in why
    second.mkdir()
    begin(matrix(count=5), second)
    assert directory_for(matrix(count=5), tmp_path) == (second, "")
    anew, _ = directory_for(matrix(count=5), tmp_path, anew=True)
    assert anew.name == "matrix-toy-3"


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (matrix(seed=2), "its seed was 1, and is 2 now"),
        (
            msgspec.structs.replace(matrix(count=1), cells=[cell(1, "other")]),
            "cell 1 was 'embedded, c1, slow', and is 'embedded, other, slow' now",
        ),
        (
            msgspec.structs.replace(matrix(count=1), cells=[cell(1, "c1", config=("io-threads 4",))]),
            "cell 1 was 'embedded, c1, slow', and is another in its config now",
        ),
    ],
)
def test_what_has_changed(tmp_path: Path, now: Matrix, words: str) -> None:
    """It is said in a few words."""
    (tmp_path / "matrix-toy").mkdir()
    begin(matrix(count=len(now.cells)), tmp_path / "matrix-toy")
    place, why = directory_for(now, tmp_path)
    assert place.name == "matrix-toy-2"
    assert words in why


def test_two_at_once(tmp_path: Path) -> None:
    """The second one is refused."""
    with (
        held(tmp_path),
        pytest.raises(MatrixError, match="another shopbench is measuring this matrix"),
        held(tmp_path),
    ):
        pass
    with held(tmp_path):
        pass


def test_a_directory_that_is_no_matrix(tmp_path: Path) -> None:
    """It stays as it is; one that cannot be read is told of."""
    (tmp_path / "matrix-toy").mkdir()
    (tmp_path / "matrix-toy" / "notes.txt").write_text("mine")
    place, why = directory_for(matrix(), tmp_path)
    assert (place.name, why) == ("matrix-toy-2", f"{tmp_path}/matrix-toy stays as it is: it is no matrix's")
    (tmp_path / "matrix-toy" / "matrix.json").write_text("{")
    with pytest.raises(RunError, match="not a matrix"):
        directory_for(matrix(), tmp_path)
    (tmp_path / "matrix-toy" / "matrix.json").write_text('{"schema": 99}')
    with pytest.raises(RunError, match="written by a newer shopbench"):
        directory_for(matrix(), tmp_path)


# The file --------------------------------------------------------------------------------------------------------


def of_text(tmp_path: Path, text: str, **asked: Any) -> Matrix:
    """The matrix of a file with that text."""
    path = tmp_path / "toy.toml"
    path.write_text(text)
    return matrix_of(path, SCENARIOS, Said(**asked))


FILE = """
profile = "smoke"
repeat = 2
parameters = { duration_s = 1, rate_per_s = 100, durability = "none" }
[[server]]
server = "embedded"
[[server]]
name = "by path"
server = "/usr/bin/valkey-server"
[[configuration]]
parameters = { durability = "always" }
config = ["io-threads 4"]
[[configuration]]
name = "in memory"
[[load]]
parameters = { rate_per_s = 2_000 }
[[load]]
name = "as is"
"""


DURABLE = "parameters = { durability = 'always' }\n"


def test_a_file_is_multiplied(tmp_path: Path) -> None:
    """Servers, configurations and loads; who says the most has the last word about a parameter."""
    found = of_text(tmp_path, FILE)
    assert [(each.server, each.configuration, each.load) for each in found.cells] == list(
        itertools.product(
            ["embedded", "by path"], ["durability=always, io-threads 4", "in memory"], ["rate_per_s=2000", "as is"]
        )
    )
    first, last = found.cells[0], found.cells[-1]
    assert first.parameters == {"duration_s": "1", "rate_per_s": "2000", "durability": "always"}
    assert first.config == ("io-threads 4",)
    assert first.directory == "01-embedded-durability-always-io-threads-4-rate-per-s-2000"
    assert last.parameters == {"duration_s": "1", "rate_per_s": "100", "durability": "none"}
    assert last.which == "/usr/bin/valkey-server"
    assert (found.repeat, found.profile, found.name, found.title) == (2, "smoke", "toy", "toy")
    assert found.cells[0].expected_s == 4.0


def test_what_is_run_and_what_is_searched(tmp_path: Path) -> None:
    """A load that says its rate is run; others are searched for each capacity, or run where there is none."""
    loads = "[[load]]\nname = 'at'\nparameters = { rate_per_s = 5 }\n"
    open_ones = "[[load]]\nname = 'one'\n[[load]]\nname = 'two'\nparameters = { connections = 2 }\n"
    capacities = (
        "[[capacity]]\np99 = '5 ms'\n'p99.9' = '1 s'\n[[capacity]]\nname = 'median'\np50 = '1ms'\nminutes = 2\n"
    )

    def asked(text: str) -> list[tuple[str, str]]:
        return [(each.load, each.asked) for each in of_text(tmp_path, f"{DURABLE}{text}").cells]

    both = "capacity at p99 <= 5 ms and p99.9 <= 1 s"
    assert asked(loads + open_ones) == [("at", ""), ("one", ""), ("two", "")]
    assert asked(loads + capacities) == [("at", ""), ("", both), ("", "median")]
    assert asked(loads + open_ones + capacities) == [
        *[("at", ""), ("one", both), ("one", "median"), ("two", both), ("two", "median")]
    ]
    assert asked(capacities) == [("", both), ("", "median")]
    found = of_text(tmp_path, f"{DURABLE}{capacities}").cells[1]
    assert found.search == Search(limits={"p50": "1ms"}, minutes=2)
    assert found.expected_s == 123.0


def test_a_file_that_says_nothing(tmp_path: Path) -> None:
    """It is one cell: an append on the embedded server."""
    found = of_text(tmp_path, "")
    [only] = found.cells
    assert (only.scenario, only.which, only.name, found.repeat) == ("append", "embedded", "embedded", 1)


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    """About repeats, seed and profile."""
    found = of_text(tmp_path, "repeat = 2\nseed = 3", repeat=5, seed=8, profile="smoke")
    assert (found.repeat, found.seed, found.profile) == (5, 8, "smoke")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("repeat = ", "toy.toml: no TOML (Invalid value (at end of document))"),
        ("repeat = 0", "toy.toml: repeat: Expected `int` >= 1"),
        ("repeats = 2", "toy.toml: there is no 'repeats'"),
        ("profile = 'quik'", "toy.toml: there is no profile 'quik'; did you mean quick? there are smoke, quick"),
        ("scenario = 'apend'", "toy.toml: there is no scenario 'apend'; did you mean append? there are"),
        ("server = 'embedded'", "toy.toml: server is a list: write [[server]]"),
        ("[[server]]\nname = 'x'", "toy.toml, line 1: [[server]] 1: Object missing required field `server`"),
        ("\n[[server]]\nserver = 'embedded'\nport = 1", "toy.toml, line 2: [[server]] 1: there is no 'port'"),
        ("[[server]]\nserver = 'redis://:secret@host'", "line 1: [[server]] 1: a file like this is no place for"),
        ("[[server]]\nserver = 'redis://host:x'", "line 1: [[server]] 1: "),
        (
            "[[load]]\nname = 'a'\n[[load]]\nname = 'a'",
            "line 3: [[load]] 2: there is another one called 'a': give it a name",
        ),
        (
            "[[load]]\n[[load]]\nname = 'a'\nscenario = 'apend'",
            "line 2: [[load]] 2: there is no scenario 'apend'; did you mean append?",
        ),
        ("[parameters]\nrate_per_s = -1", "toy.toml: parameters: append: rate_per_s is more than 0"),
        (
            "[[configuration]]\n[[configuration]]\nname = 'x'\nparameters = { durability = 'alway' }",
            "line 2: [[configuration]] 2: append: durability is one of everysec, always, none, all, not 'alway'; "
            "did you mean always?",
        ),
        (
            "[[configuration]]\nparameters = { durability = 'none' }\n[[load]]\nparameters = { rate = 1 }",
            "line 3: [[load]] 1: append has no parameter 'rate'; did you mean rate_per_s?",
        ),
        ("[[load]]\nparameters = { rate_per_s = [1] }", "line 1: [[load]] 1: parameters"),
        (
            "[[server]]\nserver = 'redis://host'\n[[configuration]]\nconfig = ['io-threads 4']",
            "line 3: [[configuration]] 1: redis://host:6379 is not started by us",
        ),
        ("figures = ['append.*.response.p98']", "toy.toml: figures: append has no figure 'append.*.response.p98'"),
        ("[[capacity]]\np99 = '5 parsecs'", "line 1: [[capacity]] 1: p99: '5 parsecs' is no duration"),
        ("[capacity]\nminutes = 1", "[[capacity]] 1: say what has to be kept, such as p99"),
        ("[capacity]\nlag = '1 s'", "[[capacity]] 1: lag: append measures no lag"),
        ("scenario = 'replay'\n[capacity]\np99 = '1 s'", "[[capacity]] 1: replay has no one load at one rate"),
        ("[capacity]\np98 = '1 s'", "[[capacity]] 1: there is no 'p98'"),
        ("parameters = { durability = 'all' }\n[capacity]\np99 = '1 s'", "line 2: [[capacity]] 1: append: each"),
        (
            "[[configuration]]\nconfig = ['hz']",
            "line 1: [[configuration]] 1: a directive is a name and its",
        ),
        ("[[configuration]]\nconfig = ['port 5']", "line 1: [[configuration]] 1: port: ordershop-bench itself"),
        ("figures = ['response.p99']", "toy.toml: figures: 'response.p99' begins with no scenario's name"),
    ],
)
def test_what_a_file_cannot_say(tmp_path: Path, text: str, words: str) -> None:
    """One line says it, with the file, the line of the entry, and the entry."""
    with pytest.raises(MatrixError) as caught:
        of_text(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    """What is not there, a directory, and what is no text."""
    with pytest.raises(MatrixError, match=r"none\.toml: No such file or directory"):
        matrix_of(tmp_path / "none.toml", SCENARIOS)
    with pytest.raises(MatrixError, match="Is a directory"):
        matrix_of(tmp_path, SCENARIOS)
    (tmp_path / "x.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(MatrixError, match=r"x\.toml: no TOML, which is in UTF-8 \(byte 6\)"):
        matrix_of(tmp_path / "x.toml", SCENARIOS)


def test_the_ready_one_is_right() -> None:
    """It has each durability at each rate, and its capacity."""
    found = matrix_of(EXAMPLE, SCENARIOS)
    durabilities = ["none", "everysec", "always"]
    runs = [each for each in found.cells if each.search is None]
    assert [each.parameters["durability"] for each in runs] == [each for each in durabilities for _ in range(3)]
    searches = [each for each in found.cells if each.search is not None]
    assert [each.parameters["durability"] for each in searches] == durabilities
    assert {each.name for each in searches} == {
        f"embedded, {each.configuration}, capacity at p99 <= 5 ms" for each in searches
    }


@pytest.mark.parametrize(("page", "cells"), [("matrix.md", 12), ("command-line.md", 2)])
def test_the_files_in_the_docs_are_right(tmp_path: Path, page: str, cells: int) -> None:
    """What the pages show can be measured as it stands there."""
    blocks = re.findall(r"```toml\n(.*?)```", (EXAMPLE.parents[2] / "docs" / page).read_text(), re.DOTALL)
    [block] = [each for each in blocks if "[[load]]" in each]
    assert len(of_text(tmp_path, block).cells) == cells


# The page --------------------------------------------------------------------------------------------------------


def test_a_value_of_repeats() -> None:
    """Its median, and between what they lie."""
    found = Value(unit="µs", values=(30.0, 10.0, 20.0))
    assert (found.low, found.middle, found.high) == (10.0, 20.0, 30.0)


def test_a_map_and_a_table(tmp_path: Path) -> None:
    """Each cell has its median, how it compares with the first row, its spread, and links to its runs."""
    of = matrix(count=3)
    conduct_matrix(of, tmp_path, Script())
    table = table_of(of, tmp_path)
    assert (table.done, table.wanted, table.status) == (9, 9, "PASS")
    found = map_of(table.columns[0], table)
    assert [head for head, _ in found.rows] == ["c1", "c2", "c3"]
    assert found.columns == ["slow"]
    cells = [cells[0] for _, cells in found.rows]
    assert all(each is not None for each in cells)
    assert [(each.value, each.ratio, each.step) for each in cells if each] == [
        ("1.02 ms", "", 1),
        ("2.02 ms", "1.98 ×", 4),
        ("3.02 ms", "2.96 ×", STEPS),
    ]
    assert cells[0] is not None
    assert cells[0].spread == "1.01 ms to 1.03 ms"
    assert cells[0].links[1] == ("2", "cells/01-embedded-c1-slow/2/report.html")
    write_matrix(of, table, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert page.errors == []
    assert "from 1.02 ms (c1) to 3.02 ms (c3)" in page.words
    assert "| c2 | 2.02 ms (2.01 ms to 2.03 ms) | ✅ PASS |" in matrix_markdown(of, table)
    assert any("c3" in line and "3.02 ms" in line for line in terminal_lines(of, table, 100))
    narrow = list(terminal_lines(of, table, 22))
    assert narrow[narrow.index("PASS  c3") + 1 :] == ["    Response, p99 3.02", "    ms"]


def test_the_index_lists_a_matrix(tmp_path: Path) -> None:
    """With its verdict, its sentence, and a link to its page; one that cannot be read, with the reason."""
    directory = tmp_path / "matrix-toy"
    directory.mkdir()
    of = begin(msgspec.structs.replace(matrix(), started_at="2026-11-23T14:15:02+00:00"), directory)
    conduct_matrix(of, directory, Script())
    write_matrix(of, table_of(of, directory), directory)
    [entry] = entries(tmp_path)
    assert (entry.kind, entry.status, entry.link) == ("matrix", "PASS", "matrix-toy/report.html")
    assert entry.reason.startswith("A toy: 4 cells, each measured 3 times.")
    (directory / "matrix.json").write_text("{")
    [entry] = entries(tmp_path)
    assert (entry.kind, entry.reason) == ("", "matrix.json: not a matrix (Input data was truncated)")


def test_repeats_that_overlap_are_not_told_apart(tmp_path: Path) -> None:
    """A ratio between them would say more than was seen; so would one of what does not pass."""
    of = matrix(count=4, repeat=2)

    def noisy(each: Measurement, where: Path) -> tuple[Record, BaseException | None]:
        values = [(100.0, 200.0), (150.0, 250.0), (300.0, 300.0), (900.0, 900.0)][each.cell.number - 1]
        status = "UNKNOWN" if each.cell.number == 4 else "PASS"
        figures = [Figure(name="append.none.response.p99", value=values[each.repeat - 1], unit="µs")]
        verdicts = [Verdict(name="append.send_lag", status=status, detail="it was")]  # type: ignore[arg-type]
        save(where, report_runs.run_of("append", figures=figures, verdicts=verdicts))
        return load(where), None

    conduct_matrix(of, tmp_path, noisy)
    table = table_of(of, tmp_path)
    cells = [cell for _, [cell] in map_of(table.columns[0], table).rows]
    assert [each.ratio for each in cells if each] == ["", "repeats overlap", "2 ×", ""]
    told = sentence(of, table)
    assert told.startswith("4 cells, each measured 2 times. 1 of them could not be decided. ")
    assert "to 300 µs (c3)" in told


def test_a_matrix_that_is_not_complete(tmp_path: Path) -> None:
    """What there is, is shown; what is missing is said to be."""
    of = matrix(count=3, repeat=1)
    with pytest.raises(Interrupted):
        conduct_matrix(of, tmp_path, Script({1: Interrupted("SIGINT")}))
    table = table_of(of, tmp_path)
    assert (table.done, table.status) == (1, "UNKNOWN")
    html = matrix_page(of, table)
    page = Page(html)
    assert page.errors == []
    assert "1 of 3 runs are there" in page.words
    assert "not yet" in page.words
    assert "The same command goes on where it ended." in page.words


def test_a_search_has_none_of_a_runs_figures(tmp_path: Path) -> None:
    """Each figure's map has the cells that could have it; in the table, there is a dash for the others."""
    of = matrix(count=2, repeat=1)
    searched = cell(3, "c1", "", search=Search(limits={"p99": "5 ms"}))
    figures = {"append.*.response.p99": "p99", "capacity.append.passes_per_s": "within the budget"}
    of = msgspec.structs.replace(of, cells=[*of.cells, searched], figures=figures)

    def measured(each: Measurement, where: Path) -> tuple[Record, BaseException | None]:
        if each.cell.search is None:
            return Script()(each, where)
        figure = Figure(name="capacity.append.passes_per_s", value=37_000.0, unit="1/s")
        save(where, report_runs.run_of("capacity", figures=[figure]))
        return load(where), None

    conduct_matrix(of, tmp_path, measured)
    table = table_of(of, tmp_path)
    runs, searches = (map_of(column, table) for column in table.columns)
    assert ([head for head, _ in runs.rows], [head for head, _ in searches.rows]) == (["c1", "c2"], ["c1"])
    [(_, [capacity])] = searches.rows
    assert capacity is not None
    assert capacity.value == "37.0 k/s"
    assert "| c1 | append | – | 37.0 k/s | ❔ UNKNOWN |" in matrix_markdown(of, table)


def test_text_of_a_file_is_no_markup(tmp_path: Path) -> None:
    """A name is shown as it is."""
    of = msgspec.structs.replace(
        matrix(count=1), title="<script>x</script>", cells=[cell(1, "<b>&|`"), cell(2, "x")]
    )
    table = table_of(of, tmp_path)
    page = Page(matrix_page(of, table))
    assert page.errors == []
    assert "<script>x</script>" in page.words
    assert "<b>" not in matrix_markdown(of, table)
