"""A trial of `shopbench consumer check`: this command line, in a process of its own that a check has started."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from harness.host.child import Channel

ENTRY = f"{__name__}:trial_main"


def trial_main(channel: Channel, words: Sequence[str], log: str, variables: Mapping[str, str]) -> None:
    """Run a command line, and tell its exit code.

    Args:
        channel: that it is told by.
        words: that follow `shopbench`.
        log: the file that it writes to.
        variables: of the environment, for what it starts.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
    os.environ.update(variables)
    sys.argv = ["shopbench", *words]
    from harness.cli.shopbench import main

    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    channel.send(code)
