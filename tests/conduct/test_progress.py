"""How far a run is, where nobody looks at a terminal."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from harness.cli.shown import Shown
from harness.host.clock import VirtualClock


def test_progress_is_told_every_few_seconds() -> None:
    """Piped, a line at the beginning and one each five seconds, however often there is something to tell."""
    said, clock = StringIO(), VirtualClock()
    with Shown(2, clock, Console(file=said)) as shown:
        update = shown.begin("append")
        for step in range(120):
            clock.sleep_ns(100_000_000)
            update(step / 120, "durability always")
    assert said.getvalue().splitlines() == [
        "append (1 of 2)",
        "append: 41 %, durability always",
        "append: 82 %, durability always",
    ]
