"""A side's libraries: what is held, what pip says, what differs; and that a side needs none of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import report_runs

from harness.conduct.findings import Findings
from harness.gate.decision import Decision
from harness.gate.libraries import (
    Difference,
    LibrariesError,
    differences,
    held,
    lines_of,
    named,
    pips_words,
    requirements_of,
)
from harness.gate.loop import Gated, GateParameters, headline, tell
from harness.host.own_python import Elsewhere
from harness.record.run import Record, load, save
from reports.gates import library_rows
from reports.render import render
from tests.forks import shopbench
from tests.reports.test_render import Page

ROOT = Path(__file__).parents[2]


# Constraints -------------------------------------------------------------------------------------------------


def test_what_a_file_does_not_name_is_held() -> None:
    """However a name is written; one without a version is free; comments and options name nothing."""
    lines = [
        "# numpy==1",
        "Typing_Extensions==4.0",
        "hiredis",
        "redis @ https://example.org/redis.whl",
        "-i x",
        "",
    ]
    installed = {"numpy": "2.0", "typing-extensions": "5.0", "hiredis": "3.0", "redis": "8.1", "msgspec": "0.19"}
    assert held(lines, installed) == ["msgspec==0.19", "numpy==2.0"]


def test_files_that_name_others(tmp_path: Path) -> None:
    """Their lines stand where the name of the file stood; a path is relative to the file that it stands in."""
    (tmp_path / "deeper").mkdir()
    (tmp_path / "old.txt").write_text("a==1\n-c deeper/more.txt\n--requirement=last.txt\nb==2\n")
    (tmp_path / "deeper" / "more.txt").write_text("-rmost.txt\n")
    (tmp_path / "deeper" / "most.txt").write_text("c==3\n")
    (tmp_path / "last.txt").write_text("d==4\n")
    assert lines_of(tmp_path / "old.txt") == ["a==1", "c==3", "d==4", "b==2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "old.txt: No such file or directory"),
        (b"redis==5.0.8 # \xff\n", "old.txt: not a text in UTF-8 (byte 16)"),
        (b"-c old.txt\n", "old.txt: it names old.txt, which names it"),
        (b"-c other.txt\n", "other.txt: No such file or directory"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, words: str) -> None:
    """One line says which file, and why."""
    if content is not None:
        (tmp_path / "old.txt").write_bytes(content)
    with pytest.raises(LibrariesError) as caught:
        lines_of(tmp_path / "old.txt")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"pyproject.toml": '[project]\ndependencies = ["redis>=5", "numpy"]'}, ["redis>=5", "numpy"]),
        ({"pyproject.toml": "[project]\ndependencies = []", "requirements.txt": "redis"}, []),
        ({"pyproject.toml": '[project]\ndynamic = ["dependencies"]', "requirements.txt": "redis\n"}, ["redis"]),
        ({"requirements.txt": "redis\n-r more.txt", "more.txt": "numpy"}, ["redis", "numpy"]),
    ],
)
def test_what_a_project_needs(tmp_path: Path, files: dict[str, str], found: list[str]) -> None:
    """It stands in its pyproject.toml, or else in a requirements.txt."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert found == requirements_of(tmp_path, "the baseline")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "the baseline does not say which libraries it needs"),
        ({"pyproject.toml": "[project]\nname = 'toy'"}, "the baseline does not say which libraries it needs"),
        ({"pyproject.toml": "[project"}, "the baseline: pyproject.toml cannot be read"),
    ],
)
def test_a_project_that_does_not_say(tmp_path: Path, files: dict[str, str], words: str) -> None:
    """Nothing is guessed."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(LibrariesError, match=words.replace("[", r"\[")):
        requirements_of(tmp_path, "the baseline")


CONFLICT = """\
Collecting redis>=6 (from -r requirements.txt (line 1))
ERROR: Cannot install redis>=6 because these package versions have conflicting dependencies.

The conflict is caused by:
    The user requested redis>=6
    The user requested (constraint) redis==5.0.8

To fix this you could try to:
1. loosen the range of package versions you've specified

ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/
"""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            CONFLICT,
            "Cannot install redis>=6 because these package versions have conflicting dependencies: "
            "The user requested redis>=6; The user requested (constraint) redis==5.0.8",
        ),
        (
            "Looking\nERROR: Could not find a version (from versions: none)\nERROR: No matching distribution\n",
            "Could not find a version (from versions: none); No matching distribution",
        ),
        ("Error: Command ensurepip failed\n\n", "Error: Command ensurepip failed"),
        ("", "it has said nothing"),
    ],
)
def test_pips_own_words(log: str, words: str) -> None:
    """Its errors, and what a conflict comes from; else what it has said last."""
    assert words == pips_words(log)


# What differs ------------------------------------------------------------------------------------------------

DIFFERING = [
    Difference(library="hiredis", baseline=None, candidate="3.4"),
    Difference(library="redis", baseline="5.0.8", candidate="8.1.0"),
    Difference(library="six", baseline="1.16", candidate=None),
]


def test_what_differs() -> None:
    """Another version, or on one side only; what is the same is not told."""
    baseline = {"redis": "5.0.8", "six": "1.16", "numpy": "2.0"}
    assert differences(baseline, {"redis": "8.1.0", "hiredis": "3.4", "numpy": "2.0"}) == DIFFERING
    assert differences(baseline, baseline) == []


def test_what_differs_in_words() -> None:
    """The first few by name, and how many more there are."""
    assert named(DIFFERING) == "hiredis 3.4 against absent, redis 8.1.0 against 5.0.8, six absent against 1.16"
    many = [Difference(library=f"l{n}", baseline="1", candidate="2") for n in range(6)]
    assert named(many).endswith("l3 2 against 1, 2 more")
    assert named([]) == "the same libraries"


CHOSEN = GateParameters(
    baseline="b" * 40,
    candidate="b" * 40,
    target="a:b",
    packages=["a"],
    minutes=5,
    durability="none",
    constraints={"baseline": "OLD.txt"},
    libraries=DIFFERING,
)


def test_the_sentence_names_what_differs() -> None:
    """And of a gate that is not about libraries it says nothing of them."""
    decision = Decision(outcome="contaminated", findings=[], controls=[])
    assert headline(decision, CHOSEN).startswith(
        "Contaminated, bbbbbbbbbbbb against bbbbbbbbbbbb (hiredis 3.4 against"
    )
    without = msgspec.structs.replace(CHOSEN, constraints={}, libraries=[])
    assert headline(decision, without).startswith("Contaminated, bbbbbbbbbbbb against bbbbbbbbbbbb: a control")


def test_the_page_has_a_table_of_what_differs(tmp_path: Path) -> None:
    """Each library with both versions; a gate with the same libraries has no such table."""
    findings = Findings("gate")
    tell(Gated(Decision(outcome="inconclusive", findings=[], controls=[]), [], []), CHOSEN, findings)

    def ended(parameters: GateParameters) -> Record:
        given = msgspec.to_builtins(parameters)
        save(tmp_path, report_runs.run_of("gate", headline=findings.headline, parameters=given))
        return load(tmp_path)

    record = ended(CHOSEN)
    assert library_rows(record.run)[1] == ["redis", "5.0.8", "8.1.0"]
    page = Page(render(record))
    assert "Libraries that differ" in page.words
    assert page.errors == []
    without = ended(msgspec.structs.replace(CHOSEN, libraries=[]))
    assert "Libraries that differ" not in Page(render(without)).words


# Sides -------------------------------------------------------------------------------------------------------


def test_a_side_needs_no_library_of_ours() -> None:
    """What serves a side starts in an interpreter that has Python's own modules alone."""
    script = f"import sys; sys.path.append({str(ROOT)!r}); import json, harness.gate.side, harness.host.child; "
    script += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout)) - sys.stdlib_module_names - {"__main__"}
    assert {each for each in loaded if not each.startswith("_")} == {"harness"}


def test_libraries_of_somebody_else_are_not_brought_along() -> None:
    """What a variable would put on the path of an interpreter elsewhere is left out; all else is there."""
    given = {"PYTHONPATH": "/ours", "PYTHONHOME": "/home", "PYTHONHASHSEED": "0", "PIP_NO_INDEX": "1"}
    assert Elsewhere.environment(given) == {"PYTHONHASHSEED": "0", "PIP_NO_INDEX": "1"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--allow-same"], "--allow-same is for libraries that are the same"),
        (["--environments", "."], "--environments is where libraries are kept"),
    ],
)
def test_options_that_need_constraints(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Alone they would mean nothing."""
    ended = shopbench("gate", "--baseline", "HEAD", *arguments, cwd=tmp_path)
    assert ended.code == 2
    [line] = ended.complaints
    assert words in line
