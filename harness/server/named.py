"""Which server a command was told to use: by an option, by a file, or by the environment.

    shopbench run append --server redis://127.0.0.1:6379/15     an address without a secret
    shopbench run append --server-file ~/.config/bench-redis    one with a secret, in a file of this user's alone
    SHOPBENCH_SERVER=rediss://... shopbench run append          or in the environment

A command line can be read by everybody on the host while the command runs; so those that we write never hold an
address: processes of ours are told by the environment, or by what they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.server.open import parsed
from harness.server.own import EMBEDDED
from harness.server.url import ServerUrl, address_given

VARIABLE = "SHOPBENCH_SERVER"


def server_named(option: str | None, file: Path | None, environment: Mapping[str, str]) -> ServerUrl | str:
    """The server that was named: an address, the path of a program, or `embedded`.

    Args:
        option: what `--server` was given, or None.
        file: what `--server-file` was given, or None.
        environment: of this process.

    Raises:
        UrlError: it is the URL of no Redis server; or it is named twice; or the file does not hold one.
    """
    return parsed(address_given(option, file, environment, VARIABLE) or EMBEDDED)


def environment_for(which: ServerUrl | str) -> dict[str, str]:
    """The environment in which a process of ours is told of a server."""
    return {VARIABLE: which.unmasked if isinstance(which, ServerUrl) else which}
