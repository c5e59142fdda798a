"""The script behind the table of docs/accuracy.md: it measures both, and prints what the page shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "accuracy" / "table.py"


@pytest.mark.slow
def test_it_prints_a_row_for_each_figure() -> None:
    """Two rounds of a moment: a Markdown table, of each kind at three quantiles, and no value is missing."""
    command = [sys.executable, str(SCRIPT), "--rounds", "2", "--seconds", "0.2", "--rate", "500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    head, rule, *rows = done.stdout.splitlines()
    assert (head, rule.count("|")) == ("| rate | what | quantile | the floor | our pump | ratio |", 7)
    kinds = [
        (kind, quantile) for kind in ("response", "service", "send lag") for quantile in ("p50", "p90", "p99")
    ]
    assert len(rows) == len(kinds)
    for row, (kind, quantile) in zip(rows, kinds, strict=True):
        ratio = "" if kind == "send lag" else r"\d+\.\d\d"
        pattern = rf"\| 500/s \| {kind} \| {quantile} \| \d+\.\d µs \| \d+ µs \| {ratio} \|"
        assert re.fullmatch(pattern, row), row


def test_the_page_shows_the_command_and_the_table() -> None:
    """The page's table has the script's head, and the command stands above it; the README leads to the page."""
    page = (ROOT / "docs" / "accuracy.md").read_text()
    assert "    python examples/accuracy/table.py " in page
    assert "| rate | what | quantile | the floor | our pump | ratio |" in page
    assert "(docs/accuracy.md)" in (ROOT / "README.md").read_text()
