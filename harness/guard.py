"""Ends a server whose starter is gone: `python -m harness.guard PID DIRECTORY`, with a pipe as input.

A server program does not notice when the benchmark that started it is killed. A guard does: its standard input
is a pipe whose other end only the starter holds. If that ends without a byte, the starter is dead, and the
guard kills the server and removes its directory. A byte means: dismissed, the starter does it itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys


def main(pid: int, directory: str) -> None:
    """Wait for the end of the input; without a byte before it, kill the process and remove the directory."""
    if os.read(0, 1):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
