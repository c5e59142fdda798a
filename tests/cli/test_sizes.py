"""`.ci/check_sizes.py`: what is too long is named, unless it says why."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from harness.host import own_python

CHECK = own_python.ROOT / ".ci" / "check_sizes.py"
LONG_PYTHON = "def long():\n" + "    x = 1\n" * 60
LONG_SCRIPT = "  draw(rows) {\n" + "    let x = 1;\n" * 59 + "  }\n"


def check(directory: Path) -> tuple[int, list[str]]:
    ended = subprocess.run([sys.executable, CHECK, directory], capture_output=True, text=True, check=False)
    return ended.returncode, ended.stderr.splitlines()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.py", "x = 1\n" * 401, "harness/a.py: 401 lines; at most 400"),
        ("a.js", "let x = 1;\n" * 401, "harness/a.js: 401 lines; at most 400"),
        ("a.py", LONG_PYTHON, "harness/a.py:1: long has 61 lines; at most 60"),
        (
            "a.py",
            "class A:\n    async " + LONG_PYTHON.replace("\n", "\n    "),
            "harness/a.py:2: long has 61 lines",
        ),
        ("a.js", "class A {\n" + LONG_SCRIPT + "}\n", "harness/a.js:2: draw(rows) { has 61 lines; at most 60"),
        ("a.js", "function f() {\n" + LONG_SCRIPT[15:-4] * 2 + "}\n", "harness/a.js:1: function f() { has 1"),
        (
            "a.js",
            "const f = (x) => {\n" + LONG_SCRIPT[15:-4] * 2 + "};\n",
            "harness/a.js:1: const f = (x) => { has",
        ),
    ],
)
def test_what_is_too_long_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    """A file or a function, with its place and its length."""
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / name).write_text(text.rstrip(" "))
    code, [line] = check(tmp_path)
    assert (code, line[: len(said)]) == (1, said)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "x = 1\n" * 400),
        ("a.py", LONG_PYTHON.replace("    x = 1\n", "", 1)),
        ("a.py", "# longer than 400 lines: because it is a table\n" + "x = 1\n" * 400),
        ("a.py", LONG_PYTHON.replace("x = 1", "# longer than 60 lines: because it is the plot", 1)),
        ("a.js", LONG_SCRIPT.replace("    let x = 1;\n", "", 1)),
        ("a.js", LONG_SCRIPT.replace("draw(rows) {", "for (const row of rows) {")),
        ("a.js", "const view = (function () {\n" + LONG_SCRIPT[15:-4] * 2 + "})();\n"),
    ],
)
def test_what_is_short_or_says_why_is_not(tmp_path: Path, name: str, text: str) -> None:
    """The limits themselves are kept, and an exception is made where its reason stands."""
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / name).write_text(text)
    assert check(tmp_path) == (0, [])


def test_the_functions_of_the_live_page_are_seen() -> None:
    """What is taken for a function of JavaScript is one, and none of any length is overlooked."""
    found = [
        (name, last - first)
        for path in sorted((own_python.ROOT / "harness").rglob("*.js"))
        for name, first, last in runpy.run_path(str(CHECK))["functions_of"](path)
    ]
    assert len(found) > 20
    assert all("=>" in name or "(" in name for name, _ in found)
