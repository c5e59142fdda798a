"""A name for a consumer that no other process has: the host's, and the lowest number that is free.

    host a    first process   a-1        killed, and started again: a-1, with what it had in hand
              second process  a-2        `docker compose up --scale crm=2`: names of two containers

Two consumers of one name get each other's events: whichever starts takes what is pending under its name, and that
is in the other's hands. A number is free when nobody holds the lock on its file, which the kernel lets go when a
process ends, however it ends; a frozen one keeps it.

Rejected: the process id. A process that has been killed and is started again would have to wait until it may take
over its own events, and each start would leave a consumer in the group for good.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

MOST = 10_000


class OwnNameError(Exception):
    """No name can be had; its text is one clear line."""


@contextlib.contextmanager
def own_number(state: Path | None, service: str) -> Iterator[int]:
    """The lowest number that no other process has, for as long as the context lasts.

    Args:
        state: the directory that all replicas of this host share; None: one for temporary files, of this user.
        service: whose numbers these are.

    Raises:
        OwnNameError: the directory cannot be used.
    """
    directory = state or Path(tempfile.gettempdir()) / f"ordershop-{os.getuid()}"
    with contextlib.ExitStack() as stack:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for number in range(1, MOST):
                file = stack.enter_context((directory / f"{service}-{number}.lock").open("ab"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                break
            else:
                raise OwnNameError(f"{directory}: {MOST} processes have a number of {service} already")
        except OSError as error:
            raise OwnNameError(f"{directory}: no number for {service} ({error.strerror})") from error
        yield number


def own_name(number: int, host: str | None = None) -> str:
    """The name of a consumer with a number on this host."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', host or socket.gethostname()) or 'host'}-{number}"
