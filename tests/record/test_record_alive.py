"""A record whose process was killed says so, and no other does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.record import run
from harness.record.alive import alive, settled, was_killed
from harness.record.run import Run

WRITER = """
import sys
from pathlib import Path
from harness.record.alive import alive
with alive(Path(sys.argv[1])):
    print("alive", flush=True)
    sys.stdin.read()
"""


def begun(directory: Path, status: str = "running") -> None:
    """A record that has just been begun."""
    record = Run(
        schema=1,
        scenario="append",
        status=status,  # type: ignore[arg-type]
        started_at="2026-11-27T12:00:00.000+00:00",
        duration_s=0.0,
        seed=1,
        command=[],
        parameters={},
        environment={},
        figures=[],
        verdicts=[],
    )
    run.save(directory, record)


def test_a_process_that_was_killed(tmp_path: Path) -> None:
    """While it lives its record is left as it is; when it was killed the record says so, on disk, and stays so."""
    begun(tmp_path)
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"alive\n"
        assert not was_killed(tmp_path)
        assert settled(run.load(tmp_path)).run.status == "running"
        writer.kill()
    assert was_killed(tmp_path)
    found = settled(run.load(tmp_path)).run
    assert (found.status, found.reason[:13]) == ("interrupted", "it was killed")
    assert [(v.name, v.status) for v in found.verdicts] == [("append.finished", "UNKNOWN")]
    assert run.load(tmp_path).run == found == settled(run.load(tmp_path)).run


@pytest.mark.parametrize("status", ["complete", "failed"])
def test_a_record_that_has_ended_is_left_alone(tmp_path: Path, status: str) -> None:
    """Also where its process was killed before it could remove the mark."""
    begun(tmp_path, status)
    (tmp_path / ".running").touch()
    assert settled(run.load(tmp_path)).run.status == status


def test_a_record_without_a_mark(tmp_path: Path) -> None:
    """Of one that was begun before there were marks nothing is known."""
    begun(tmp_path)
    assert settled(run.load(tmp_path)).run.status == "running"


def test_a_mark_goes_with_its_process(tmp_path: Path) -> None:
    """Whoever has written the record to its end leaves no mark, also after an error."""
    with pytest.raises(ZeroDivisionError), alive(tmp_path):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []
