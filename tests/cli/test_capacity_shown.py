"""What a terminal shows of a search while it goes on, and what is told where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.capacity.probed import Progress
from harness.cli.curve import Curve
from harness.host.clock import VirtualClock
from tests.searches import P99_5MS, searched_of, usual_points

NEXT = Progress(phase="edge", probes=[], passes=None, fails=None, next_per_s=27_500.0, next_s=10.0)


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_shows_the_curve(width: int) -> None:
    """A line for each probe in the order of rates, the bracket above them, and below what is probed now."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    curve = Curve("append", P99_5MS, 180.0, VirtualClock(), console)
    with curve:
        curve.show(searched_of(*usual_points(), ended=None), NEXT)
        curve.probing(0.5, "")
    with console.capture() as shown:
        console.print(curve.drawn())
    first, _, *rows, last = shown.get().splitlines()
    assert "27,000/s passes, 28,300/s fails" in first
    assert [row.split()[0] for row in rows] == [
        f"{rate:,}/s" for rate in (8_000, 16_000, 24_000, 27_000, 27_000, 28_300, 28_300, 32_000)
    ]
    assert last.startswith("now 27,500/s for 10 s")


def test_elsewhere_a_line_is_told_for_each_probe() -> None:
    """Once, when it is over: what was seen, and what is known by then."""
    console = Console(file=io.StringIO(), width=200)
    points = usual_points()
    with Curve("append", P99_5MS, 180.0, VirtualClock(), console) as curve:
        for count in (0, 1, 1, 3):
            curve.show(searched_of(*points[:count], ended=None), NEXT)
    assert isinstance(console.file, io.StringIO)
    begun, *lines = console.file.getvalue().splitlines()
    assert begun == "append at p99 <= 5 ms, for 180 s"
    assert [line.split()[2] for line in lines] == ["8,000/s", "16,000/s", "32,000/s"]
    assert lines[0] == "0 s: 8,000/s PASS p99 409 µs; 8,000/s passes, nothing fails yet"
    assert lines[2].endswith("16,000/s passes, 32,000/s fails")
