"""Where a proxy in front of a server has to dial."""

from __future__ import annotations

import socket

from harness.server.url import ServerUrl
from harness.system.port import NotStartedError


def address_behind(url: ServerUrl) -> tuple[str, int]:
    """The address and port that a proxy in front of a server has to dial.

    A server's name may have several addresses, of which it listens on one; so the one that answers is taken.

    Args:
        url: of the server.

    Raises:
        NotStartedError: it is behind a Unix socket, or does not answer.
    """
    if url.path:
        raise NotStartedError(
            f"{url}: what can be cut goes through a TCP proxy, and this server is at a Unix socket; "
            "give its TCP address"
        )
    try:
        with socket.create_connection((url.host, url.port), timeout=5.0) as probe:
            address: tuple[str, int] = probe.getpeername()[:2]
    except OSError as error:
        raise NotStartedError(f"{url}: does not answer ({error})") from error
    return address
