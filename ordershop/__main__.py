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
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
import redis
import typer

from ordershop.control import Control, ControlError, Reply, Request, Row, ask
from ordershop.embedded import redis_service, wait_for_redis
from ordershop.entities import ENTITIES, Topic
from ordershop.event_store import EventStore, StoreError, connect
from ordershop.events import EventId
from ordershop.server.url import ServerUrl, UrlError, address_given, without_secrets
from ordershop.shop import shop_ports, shop_services, url_of
from ordershop.supervisor import STORE_VARIABLE, State, Supervisor, SupervisorError, answers_health, free_port

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


class Topology(StrEnum):
    """How the services run."""

    PROCESSES = "processes"
    ONE_PROCESS = "one-process"


class Host(StrEnum):
    """Where the gateway listens."""

    LOCAL = "127.0.0.1"
    EVERYWHERE = "0.0.0.0"  # noqa: S104 - only for who asks for it


class UsageError(Exception):
    """What is wrong with a command, in one line."""


class Services(Protocol):
    """Services that run: a `Supervisor`'s, or those of `OneProcess`."""

    @property
    def names(self) -> list[str]:
        """The services, in the order of their start."""
        ...

    def state(self, name: str) -> State:
        """What a service is doing."""
        ...

    def pid(self, name: str) -> int | None:
        """The process id of a service that runs, else None."""
        ...

    def stop(self, name: str) -> None:
        """Stop a service."""
        ...

    def start_again(self, name: str) -> object:
        """Start a service that was stopped."""
        ...


class Log:
    """One readable log: time, service, what it says.

    Args:
        now: the time of a line.
    """

    def __init__(self, now: Callable[[], datetime] = datetime.now) -> None:
        self._now = now
        self._lock = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        """Write a line; called from several threads."""
        text = line.removeprefix(f"{name}: ")
        with self._lock, contextlib.suppress(BrokenPipeError):
            sys.stdout.write(f"{self._now():%H:%M:%S.%f}"[:-3] + f" {name:<9} | {text}\n")
            sys.stdout.flush()


class _Handler(logging.Handler):
    """What the services in this process log, as lines of the same log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log("services", self.format(record))


class Shop:
    """A shop that runs in the foreground, and what may be asked of it.

    Args:
        redis: the supervisor of Redis; of nothing where Redis is somebody else's.
        services: those that the shop consists of.
        ports: of the services.
        server: the address of Redis.
    """

    def __init__(
        self, redis: Supervisor, services: Services, ports: dict[str, int], server: ServerUrl, namespace: str
    ) -> None:
        self._redis = redis
        self._services = services
        self._ports = ports
        self._server = server
        self._namespace = namespace
        self.is_down = False
        self._seen: dict[str, str] = {}

    def answer(self, request: Request) -> Reply:
        """Do what is asked."""
        try:
            match request.command:
                case "stop":
                    self._owner(request.name).stop(request.name)
                case "start":
                    self._owner(request.name).start_again(request.name)
                    if request.name == "redis":
                        wait_for_redis(self._redis, self._ports["redis"])
                case "down":
                    self.is_down = True
                case "status":
                    pass
                case _:
                    return Reply(error=f"not understood: {request.command!r}")
        except SupervisorError as error:
            return Reply(error=str(error))
        # Unmasked, for `ordershop replay` connects with it; the socket is this user's alone.
        return Reply(self.rows(), self._server.unmasked, self._namespace)

    def rows(self) -> list[Row]:
        """What every service is doing."""
        rows = []
        for name in [*self._redis.names, *self._services.names]:
            port = self._ports.get(name)
            url = str(self._server) if name == "redis" else url_of(port) if port else None
            owner = self._owner(name)
            rows.append(Row(name, owner.state(name), owner.pid(name), url))
        return rows

    def changes(self) -> list[str]:
        """What has become of services since the last call, without having been told to."""
        said = []
        for row in self.rows():
            if row.state == "failed" and self._seen.get(row.name) != "failed":
                said.append(f"{row.name} has ended by itself; `ordershop start {row.name}` starts it again")
            self._seen[row.name] = row.state
        return said

    def _owner(self, name: str) -> Services:
        return self._redis if name in self._redis.names else self._services


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
    topology: Annotated[
        Topology, typer.Option(help="Run each service as a process, or all in one process.")
    ] = Topology.PROCESSES,
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
    with _until_told(), contextlib.ExitStack() as stack:
        _check_port(port)
        control = stack.enter_context(Control(port))
        ports = shop_ports(port)
        directory = _directory(state, stack)
        # It ends after the services, and before its directory is removed.
        own_redis = stack.enter_context(Supervisor(on_line=log))
        url = _server_url(
            _named(server, server_file) or "embedded", own_redis, ports, directory, state is not None
        )
        services = _start(topology, url, ports, namespace, state, host, log, stack)
        if not answers_health(port, timeout_s=3.0):
            raise UsageError(f"the shop has started, but is not well: see {url_of(port)}/health")
        shop = Shop(own_redis, services, ports, url, namespace)
        log("shop", f"ready on {url_of(port)}, events in {url}")
        while not shop.is_down:
            control.serve_one(shop.answer, POLL_S)
            for line in shop.changes():
                log("shop", line)
        stack.callback(log, "shop", "down")


@contextlib.contextmanager
def _until_told() -> Iterator[None]:
    """Go on until Ctrl-C, SIGTERM or the terminal's end; what is inside then ends in order."""
    told_by = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(*_: object) -> None:
        for number in told_by:
            signal.signal(number, signal.SIG_IGN)  # once is enough
        raise KeyboardInterrupt

    before = [signal.signal(number, end) for number in told_by]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in zip(told_by, before, strict=True):
            signal.signal(number, handler)


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


def _start(
    topology: Topology,
    url: ServerUrl,
    ports: dict[str, int],
    namespace: str,
    state: Path | None,
    host: Host,
    log: Log,
    stack: contextlib.ExitStack,
) -> Services:
    if topology is Topology.PROCESSES:
        supervisor = stack.enter_context(Supervisor(on_line=log))
        supervisor.start_all(shop_services(url, ports, namespace=namespace, state=state, host=host))
        return supervisor
    from ordershop.one_process import OneProcess

    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_Handler(log)])
    shop = OneProcess(url, ports, namespace=namespace, state=state, host=host)
    stack.callback(shop.close)
    shop.start_all()
    return shop


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
