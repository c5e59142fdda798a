"""What a side opens on its server, where it is a system under test that was named."""

from __future__ import annotations

from harness.system.named import system_named
from harness.system.target import WholeTarget


def of_system(url: str, name: str) -> WholeTarget:
    """The store of a system.

    Args:
        url: of the server.
        name: `module:attribute`, or an entry point's.

    Raises:
        NotStartedError: there is no such system.
    """
    return system_named(name).target(url)
