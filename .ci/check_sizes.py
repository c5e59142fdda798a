"""Checks that files and functions of the product stay short: `check_sizes.py [DIRECTORY]`.

    a file        at most 400 lines, of Python or JavaScript
    a function    at most 60

What has to be longer says so itself, in a comment: `longer than 400 lines: because ...`, or, within the function,
`longer than 60 lines: because ...`.

A function of JavaScript is taken to end at the first brace that is indented as the line that begins it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PRODUCT = ("harness", "ordershop", "reports", "scenarios")
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
_BEGINS = re.compile(r"^( *)(?:.*(?:\bfunction\b|=>).*|(?:async |static |get |set )*\w+\([^()]*\) )\{$")
# Neither what has parentheses besides, nor what wraps a whole file.
_NO_FUNCTION = re.compile(r"^ *(\} else )?(if|for|while|switch|catch|with)\b|^\S*[^;]*\(function \(\) \{$")


def functions_of(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, first and last line of each function of a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, node.lineno, node.end_lineno or node.lineno
        return
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if (begins := _BEGINS.match(line)) and not _NO_FUNCTION.match(line):
            end = f"{begins[1]}}}"
            last = next((i for i in range(at + 1, len(lines)) if lines[i].startswith(end)), len(lines) - 1)
            yield line.strip(), at + 1, last + 1


def too_long(directory: Path) -> Iterator[str]:
    """What is longer than it may be, and does not say why, a line each."""
    files = [path for top in PRODUCT for path in sorted((directory / top).rglob("*"))]
    for path in files:
        if path.suffix not in {".py", ".js"}:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        shown = path.relative_to(directory)
        if len(lines) > LONGEST_FILE and not _says_why(lines, LONGEST_FILE):
            yield f"{shown}: {len(lines)} lines; at most {LONGEST_FILE}"
        for name, first, last in functions_of(path):
            length = last - first + 1
            if length > LONGEST_FUNCTION and not _says_why(lines[first - 1 : last], LONGEST_FUNCTION):
                yield f"{shown}:{first}: {name} has {length} lines; at most {LONGEST_FUNCTION}"


def _says_why(lines: list[str], limit: int) -> bool:
    return any(f"longer than {limit} lines: " in line for line in lines)


def main(directory: Path) -> None:
    """Exit with what is too long, if anything is."""
    found = list(too_long(directory))
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
