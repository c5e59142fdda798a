"""Whether the process that writes a record still lives; and what to say of a record whose process was killed.

    run.json      "running", since its process had no time to write another word
    .running      a file that the process has locked for as long as it lives: the kernel lets go of it, whatever
                  ended the process, also SIGKILL, out of memory and a power cut

Whoever reads "running" and gets the lock knows that nobody will finish this record. It is told as what it is: the
run was killed, and what is not in the record is UNKNOWN.

Rejected: the process's ID in the record. IDs come again, and those of another host or container mean nothing here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.record import run
from harness.record.run import Record, Verdict

NAME = ".running"
KILLED = "it was killed: its process ended before it could finish the record"


@contextlib.contextmanager
def alive(directory: Path) -> Iterator[None]:
    """Be known to live, as long as the record in a directory is being written.

    Where the file system knows no locks the record does without: then nobody is told that the process was killed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / NAME
    with path.open("wb") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def was_killed(directory: Path) -> bool:
    """Whether the process that was writing a record has ended without a word of it.

    A record without the file was begun by an older version, or has come to its end: nothing is known.
    """
    try:
        descriptor = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def settled(record: Record) -> Record:
    """A record as it may be read: one that says "running", and whose process was killed, says so from now on."""
    if record.run.status != "running" or not was_killed(record.directory):
        return record
    record = run.load(record.directory)
    if record.run.status != "running":  # it has come to its end since it was read
        return record
    verdict = Verdict(name=f"{record.run.scenario}.finished", status="UNKNOWN", detail=KILLED)
    run.save(
        record.directory,
        msgspec.structs.replace(
            record.run, status="interrupted", reason=KILLED, verdicts=[*record.run.verdicts, verdict]
        ),
    )
    with contextlib.suppress(OSError):
        (record.directory / NAME).unlink()
    return run.load(record.directory)
