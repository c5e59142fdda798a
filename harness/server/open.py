"""The kinds of servers that there are, and the one that `--server` names.

    embedded, /usr/bin/valkey-server ...    one that we start: `OwnServer`
    redis://..., rediss://, unix://         one that is there already: `ForeignServer`

Another package adds a kind, a subclass of `Server` with schemes of its own, by an entry point:

    [project.entry-points."ordershop_bench.servers"]
    sentinel = "their_package.sentinel:SentinelServer"
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.host.clock import Clock
from harness.host.plugins import PluginError, found
from harness.server.foreign import ForeignServer
from harness.server.own import OwnServer
from harness.server.server import Durability, Server, ServerError
from harness.server.url import ServerUrl

GROUP = "ordershop_bench.servers"


def kinds() -> Iterator[type[Server]]:
    """Every kind of server, whoever has added it.

    Raises:
        PluginError: what another package adds is none.
    """
    yield OwnServer
    yield ForeignServer
    for name, kind in found(GROUP).items():
        if not (isinstance(kind, type) and issubclass(kind, Server)):
            raise PluginError(f"{GROUP}: {name!r} is no kind of server, but {type(kind).__name__}")
        yield kind


def kind_of(which: ServerUrl | str) -> type[Server]:
    """The kind of server that `--server` names; an address whose scheme nobody knows is refused by its parser.

    Args:
        which: `embedded`, the path of a server program, or an address.
    """
    if isinstance(which, ServerUrl):
        return ForeignServer
    scheme, has_scheme, _ = which.partition("://")
    if not has_scheme:
        return OwnServer
    return next((kind for kind in kinds() if scheme in kind.schemes), ForeignServer)


def parsed(which: ServerUrl | str) -> ServerUrl | str:
    """What names a server, as its address where it is one of a single Redis; else as it stands.

    Raises:
        UrlError: the URL of no Redis server.
    """
    return ServerUrl(which) if kind_of(which) is ForeignServer else which


def open_server(
    which: ServerUrl | str,
    clock: Clock,
    *,
    durability: Durability = "none",
    port: int | None = None,
    config: Sequence[str] = (),
) -> Server:
    """The server that `--server` names; the arguments and errors are those of `Server.opened`.

    Args:
        config: directives for a server that we start, besides what its durability wants.
    """
    kind = kind_of(which)
    if not config:
        return kind.opened(which, clock, durability=durability, port=port)
    if not issubclass(kind, OwnServer):
        raise ServerError(f"{which}: is there already, and only a server that we start can be configured")
    return kind.opened(which, clock, durability=durability, port=port, config=config)
