"""Ends a server whose starter is gone: `python -m harness.host.guard DIRECTORY`, with a pipe as input.

A server program does not notice when the benchmark that started it is killed. A guard does: its standard input
is a pipe whose other end only the starter holds. If that ends without a byte, the starter is dead, or has lost a
server in the middle of its start, and the guard kills whatever works in the server's directory and removes that. A
byte means: dismissed, the starter does it itself. A byte on its output means that the guard is there.

The guard is there before the server, and knows it by its working directory. A guard that is told a process id
comes after the server, and who is killed between the two leaves the server behind. A child that was being started
when its parent died holds a copy of the pipe until it becomes the server, and by then it is in its directory: so
what is to be found can be found when the input ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys

# A server may have a child that writes a file for it, and that is born while we look.
MOST_SWEEPS = 20


def main(directory: str) -> None:
    """Say that we are there, and wait for the end of the input; without a byte before it, end what works in the
    directory and remove it.
    """
    with contextlib.suppress(BrokenPipeError):  # whoever started us has ended already
        os.write(1, b".")
    if os.read(0, 1):
        return
    for _ in range(MOST_SWEEPS):
        if not sweep(directory):
            break
    shutil.rmtree(directory, ignore_errors=True)


def sweep(directory: str) -> int:
    """Kill the processes that work in a directory; how many there were."""
    # Only here: it takes longer to load than everything else that a guard does, and most guards are dismissed.
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == directory:
                process.kill()
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it has ended by itself, or is somebody else's
    psutil.wait_procs(found, timeout=5.0)
    return len(found)


if __name__ == "__main__":
    main(sys.argv[1])
