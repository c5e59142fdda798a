"""`ordershop`: the shop from the command line.

    ordershop up                        all services and a Redis of their own, until Ctrl-C
    ordershop status                    what runs, from another terminal
    ordershop stop crm; ordershop start crm
    ordershop replay order --until 2026-01-31T12:00
    ordershop down

What is wrong with a command is said in one line, with exit code 2.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import redis
import typer

from ordershop.control import Control, ControlError, Reply, Request, ask
from ordershop.embedded import redis_service, wait_for_redis
from ordershop.entities import ENTITIES, Topic
from ordershop.event_store import EventStore, StoreError, connect
from ordershop.events import EventId
from ordershop.foreground import Log, Shop, until_told
from ordershop.server.url import ServerUrl, UrlError, address_given, without_secrets
from ordershop.shop import shop_ports, shop_services, url_of
from ordershop.supervisor import STORE_VARIABLE, Supervisor, SupervisorError, answers_health, free_port

app = typer.Typer(
    help="A shop that appends events to Redis Streams.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

PortOption = Annotated[int, typer.Option(help="Port of the gateway.", min=1, max=65535)]
ServerFileOption = Annotated[
    Path | None,
    typer.Option(
        help="A file that holds that URL. Use it for a password, since every user can read a command line."
    ),
]
POLL_S = 0.2
# By its version typer uses click, or brings a copy of it: the base of all that a command line can be wrong in.
CLICK_ERROR: type[Exception] = typer.BadParameter.__bases__[0].__bases__[0]


class Host(StrEnum):
    """Where the gateway listens."""

    LOCAL = "127.0.0.1"
    EVERYWHERE = "0.0.0.0"  # noqa: S104 - only for who asks for it


class UsageError(Exception):
    """What is wrong with a command, in one line."""


@app.command()
def up(
    port: PortOption = 5000,
    server: Annotated[
        str | None,
        typer.Option(
            help="`embedded`, the path of a server program, or the URL of a server that runs. "
            f"Default: the value of {STORE_VARIABLE}, or `embedded`."
        ),
    ] = None,
    server_file: ServerFileOption = None,
    state: Annotated[
        Path | None, typer.Option(help="Directory in which Redis, mail and CRM keep their data.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Prefix of every key in Redis.")] = "",
    host: Annotated[
        Host, typer.Option(help="Address of the gateway: this machine alone, or every interface.")
    ] = Host.LOCAL,
) -> None:
    """Start the shop in the foreground; Ctrl-C ends it."""
    log = Log()
    with until_told(), contextlib.ExitStack() as stack:
        _check_port(port)
        control = stack.enter_context(Control(port))
        ports = shop_ports(port)
        directory = _directory(state, stack)
        # It ends after the services, and before its directory is removed.
        own_redis = stack.enter_context(Supervisor(on_line=log))
        url = _server_url(
            _named(server, server_file) or "embedded", own_redis, ports, directory, state is not None
        )
        services = stack.enter_context(Supervisor(on_line=log))
        services.start_all(shop_services(url, ports, namespace=namespace, state=state, host=host))
        if not answers_health(port, timeout_s=3.0):
            raise UsageError(f"the shop has started, but is not well: see {url_of(port)}/health")
        shop = Shop(own_redis, services, ports, url, namespace)
        log("shop", f"ready on {url_of(port)}, events in {url}")
        while not shop.is_down:
            control.serve_one(shop.answer, POLL_S)
            for line in shop.changes():
                log("shop", line)
        stack.callback(log, "shop", "down")


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(f"port {port} is not free: {error.strerror}") from error


def _directory(state: Path | None, stack: contextlib.ExitStack) -> Path:
    """Where a Redis of our own keeps its files."""
    if state is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ordershop-")))
    try:
        (state / "redis").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--state: {error}") from error
    return state / "redis"


def _named(server: str | None, file: Path | None) -> str | None:
    """What names the server: the option, the file, or the environment."""
    try:
        return address_given(server, file, os.environ, STORE_VARIABLE)
    except UrlError as error:
        raise UsageError(str(error)) from error


def _server_url(
    server: str, supervisor: Supervisor, ports: dict[str, int], directory: Path, keep: bool
) -> ServerUrl:
    """The address of Redis, which is started where none was given."""
    if "://" in server:
        url = _address(server)
        try:
            connect(url).ping()
        except (redis.RedisError, ValueError, OSError) as error:
            raise UsageError(f"--server: {url} does not answer: {url.masked(str(error))}") from error
        return url
    if server != "embedded" and not os.access(server, os.X_OK):
        raise UsageError(f"--server: {without_secrets(server)!r} is neither a URL, nor a program, nor `embedded`")
    ports["redis"] = free_port()
    program = "" if server == "embedded" else server
    supervisor.start(redis_service(ports["redis"], directory, program=program, appendonly=keep), wait=False)
    return ServerUrl(wait_for_redis(supervisor, ports["redis"]))


def _address(text: str) -> ServerUrl:
    try:
        return ServerUrl(text)
    except UrlError as error:
        raise UsageError(f"--server: {error}") from error


@app.command()
def status(port: PortOption = 5000) -> None:
    """Show what every service of the running shop is doing."""
    _show(ask(port, Request("status")))


@app.command()
def stop(name: str, port: PortOption = 5000) -> None:
    """Stop a service of the running shop."""
    _show(ask(port, Request("stop", name)))


@app.command()
def start(name: str, port: PortOption = 5000) -> None:
    """Start a stopped service of the running shop."""
    _show(ask(port, Request("start", name)))


@app.command()
def down(port: PortOption = 5000) -> None:
    """End the running shop."""
    ask(port, Request("down"), until_end=True)


def _show(reply: Reply) -> None:
    for row in reply.rows:
        typer.echo(f"{row.name:<10} {row.state:<8} {row.pid or '-':>8}  {row.url or '-'}")


@app.command()
def replay(
    topic: Annotated[str, typer.Argument(help="customer, product, inventory, order or billing.")],
    until: Annotated[
        str | None, typer.Option(help="An event's ID, seconds since 1970, or a time like 2026-01-31T12:00 (UTC).")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help=f"URL of Redis. Default: the value of {STORE_VARIABLE}, or the Redis of the running shop."
        ),
    ] = None,
    server_file: ServerFileOption = None,
    namespace: Annotated[str, typer.Option(help="Prefix of every key in Redis.")] = "",
    port: PortOption = 5000,
) -> None:
    """Rebuild the entities of a topic from its events, and print each as a line of JSON."""
    wanted = _topic(topic)
    bound = _until(until) if until is not None else None
    named = _named(server, server_file)
    if named is None:
        reply = ask(port, Request("status"))
        named, namespace = reply.server, namespace or reply.namespace
    url = _address(named)
    try:
        found = EventStore(connect(url), namespace).replay(wanted, until=bound)
    except (redis.RedisError, StoreError, ValueError) as error:
        raise UsageError(f"{url} does not answer: {url.masked(str(error))}") from error
    for entity in found.values():
        sys.stdout.buffer.write(msgspec.json.encode(entity) + b"\n")
    sys.stdout.buffer.flush()


def _topic(text: str) -> Topic:
    for topic in ENTITIES:
        if topic == text:
            return topic
    raise UsageError(f"there is no topic {text!r}; there are {', '.join(ENTITIES)}")


def _until(text: str) -> EventId | float:
    with contextlib.suppress(ValueError):
        return EventId.parse(text)
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    raise UsageError(f"--until: {text!r} is no event ID, no number of seconds and no time")


@contextlib.contextmanager
def _complaints() -> Iterator[None]:
    """What is wrong, in one line on standard error, and exit code 2."""
    try:
        yield
    except CLICK_ERROR as error:
        complaint = str(getattr(error, "format_message", error.__str__)())
    except (UsageError, ControlError, SupervisorError) as error:
        complaint = str(error)
    except typer.Abort:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    else:
        return
    sys.stderr.write(f"ordershop: {' '.join(complaint.split())}\n")
    sys.exit(2)


def main(arguments: list[str] | None = None) -> None:
    """Run a command, and exit with its code.

    Args:
        arguments: of the command line; None for this process's own.
    """
    with _complaints():
        code = app(arguments, standalone_mode=False)
        sys.exit(code or 0)


if __name__ == "__main__":
    main()
