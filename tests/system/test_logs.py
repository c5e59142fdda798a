"""What of a consumer's log is shown: a bounded part of it, and no secrets."""

from __future__ import annotations

from pathlib import Path

from harness.system.logs import LONGEST_LINE, first_lines, last_lines


def test_the_ends_of_a_log(tmp_path: Path) -> None:
    """The first and the last lines, without empty ones, and not longer than can be shown."""
    log = tmp_path / "log"
    log.write_text("one\n\n  two\n" + "x" * 1_000 + "\nlast")
    assert first_lines(log, 2) == ["one", "  two"]
    assert last_lines(log, 2) == ["x" * LONGEST_LINE, "last"]
    assert last_lines(tmp_path / "none", 2) == []


def test_what_a_consumer_was_told_in_confidence_is_not_shown(tmp_path: Path) -> None:
    """It was told where Redis is, password included, and may print that."""
    log = tmp_path / "log"
    log.write_text("  connected to redis://app:hunter2@127.0.0.1:6379/0, as told\n")
    for lines in (first_lines(log, 1), last_lines(log, 1)):
        assert "hunter2" not in lines[0]
        assert lines[0].startswith("  connected to redis://")
