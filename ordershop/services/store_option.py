"""`--server` of a service: where the event store is, by the command line or by the environment.

A supervisor puts the address into `ORDERSHOP_SERVER`, where only this user and root can read it; a command line is
open to everybody on the host. In a container, where that is nobody else, `--server` is the plain way.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from ordershop.server.url import ServerUrl, UrlError
from ordershop.supervisor import STORE_VARIABLE


def add_store_option(
    parser: argparse.ArgumentParser, environment: Mapping[str, str] | None = None
) -> argparse.ArgumentParser:
    """Add `--server`, whose value is a `ServerUrl`.

    Args:
        environment: that may name the server; None for this process's own.
    """
    named = (os.environ if environment is None else environment).get(STORE_VARIABLE)
    parser.add_argument(
        "--server",
        type=_address,
        default=named,
        required=not named,
        help=f"URL of Redis; without it, what the environment's {STORE_VARIABLE} says",
    )
    return parser


def _address(text: str) -> ServerUrl:
    try:
        return ServerUrl(text)
    except UrlError as error:
        # Of any other error argparse would quote the text that was given.
        raise argparse.ArgumentTypeError(str(error)) from None
