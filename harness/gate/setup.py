"""What a side of a round has of its own: a server, its configuration, its durability, and what is opened on it.

In a gate both sides have the same, and their code differs. In `shopbench versus` their code is the same, and
something of this differs.
"""

from __future__ import annotations

import msgspec

from harness.host.clock import Clock
from harness.server.open import open_server
from harness.server.server import Durability, Server
from harness.server.url import ServerUrl


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """A side's server, and its target.

    Attributes:
        target: `module:factory`.
        options: what the factory is given besides the server's URL, by name.
        server: `embedded` or a server program.
        durability: of that server.
        config: directives that it is started with besides.
    """

    target: str
    options: tuple[tuple[str, str], ...] = ()
    server: ServerUrl | str = "embedded"
    durability: Durability = "none"
    config: tuple[str, ...] = ()

    def opened(self, clock: Clock) -> Server:
        """A fresh server.

        Raises:
            ServerError: it cannot be started.
        """
        return open_server(self.server, clock, durability=self.durability, config=self.config)
