"""A shop that runs in the foreground of a terminal: its log, what it answers to other terminals, and its end."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime

from ordershop.control import Reply, Request, Row
from ordershop.embedded import wait_for_redis
from ordershop.server.url import ServerUrl
from ordershop.shop import url_of
from ordershop.supervisor import Supervisor, SupervisorError


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


class Shop:
    """A shop that runs in the foreground, and what may be asked of it.

    Args:
        redis: the supervisor of Redis; of nothing where Redis is somebody else's.
        services: that of the services.
        ports: of the services.
        server: the address of Redis.
    """

    def __init__(
        self, redis: Supervisor, services: Supervisor, ports: dict[str, int], server: ServerUrl, namespace: str
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

    def _owner(self, name: str) -> Supervisor:
        return self._redis if name in self._redis.names else self._services


@contextlib.contextmanager
def until_told() -> Iterator[None]:
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
