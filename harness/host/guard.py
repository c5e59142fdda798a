"""Ends a server whose starter is gone: `python -m harness.host.guard DIRECTORY [MARK]`, with a pipe as input.

A server program does not notice when the benchmark that started it is killed. A guard does: its standard input
is a pipe whose other end only the starter holds. If that ends without a byte, the starter is dead, or has lost a
server in the middle of its start, and the guard kills whatever works in the server's directory and removes that. A
byte means: dismissed, the starter does it itself. A byte on its output means that the guard is there.

The guard is there before the server, and knows it by its working directory. A guard that is told a process id
comes after the server, and who is killed between the two leaves the server behind. A child that was being started
when its parent died holds a copy of the pipe until it becomes the server, and by then it is in its directory: so
what is to be found can be found when the input ends.

A program of somebody else's works where its user wants it to. It, and whatever it starts, has a mark in its
environment, `SHOPBENCH_MARK`, and is found by that, also in another session and another directory. Who takes the
mark out of the environment of what it starts is not found.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

# In the environment of what is found by it.
MARK = "SHOPBENCH_MARK"
# A server may have a child that writes a file for it, and that is born while we look.
MOST_SWEEPS = 20


def main(directory: str, mark: str = "") -> None:
    """Say that we are there, and wait for the end of the input; without a byte before it, end what works in the
    directory or has the mark, and remove the directory.
    """
    with contextlib.suppress(BrokenPipeError):  # whoever started us has ended already
        os.write(1, b".")
    if os.read(0, 1):
        return
    for _ in range(MOST_SWEEPS):
        if not sweep(directory, mark):
            break
    shutil.rmtree(directory, ignore_errors=True)


def found(directory: str, mark: str = "", sessions: Collection[int] = ()) -> list[psutil.Process]:
    """The processes that work in a directory, have a mark in their environment, or are in a session.

    Args:
        directory: as the kernel tells it.
        mark: the value of `SHOPBENCH_MARK`; empty: none is looked for.
        sessions: by the process that began each.
    """
    # Only here: it takes longer to load than everything else that a guard does, and most guards are dismissed.
    import psutil

    there = []
    # Not `process_iter`: it keeps what it has found. A number that was given to another process since then stands
    # for the old one there, which is gone, and which nobody can kill.
    for pid in psutil.pids():
        try:
            process = psutil.Process(pid)
            is_ours = process.cwd() == directory or (mark and process.environ().get(MARK) == mark)
            if is_ours or (sessions and os.getsid(process.pid) in sessions):
                there.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # it has ended by itself, or is somebody else's
    return there


def sweep(directory: str, mark: str = "", sessions: Collection[int] = ()) -> int:
    """Kill the processes that `found` finds; how many there were."""
    import psutil

    there = found(directory, mark, sessions)
    for process in there:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.kill()
    psutil.wait_procs(there, timeout=5.0)
    return len(there)


if __name__ == "__main__":
    main(*sys.argv[1:3])
