"""Targets: what can be broken, as what each says that it can; the kinds of faults ask for what they need.

A target is a process, as the supervisor knows it, or is put together of what can be done to it:

    Part("service", process_can(service) | {"slow": service.slow})    Part("link", line_can(proxy))

What targets can, by the names that the kinds of faults (`harness/nemesis/faults/`) ask for:

    of a process    stop, kill, freeze, thaw, start
    of a line       cut, delay, pass_through
    of a server     kill, freeze, pause, empty, start, thaw, unpause
    of a service    slow: each answer takes so many milliseconds; 0: as before
                    poison: plant an event that always fails
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import msgspec

from harness.nemesis.kind import Abilities
from harness.nemesis.proxy import Proxy
from harness.server.own import OwnServer

PROCESS = ("stop", "kill", "freeze", "thaw", "start")
LINE = ("cut", "delay", "pass_through")
SERVER = ("kill", "freeze", "pause", "empty", "start", "thaw", "unpause")


class Process(Protocol):
    """A process that faults can be done to."""

    @property
    def name(self) -> str:
        """What it is called on the timeline."""
        ...

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""

    def freeze(self) -> None:
        """SIGSTOP."""

    def thaw(self) -> None:
        """SIGCONT."""

    def start(self) -> None:
        """Start it again, as it was started before."""


@runtime_checkable
class Breakable(Protocol):
    """Anything that says what can be done to it."""

    @property
    def name(self) -> str:
        """What it is called on the timeline."""
        ...

    @property
    def can(self) -> Abilities:
        """What it can, by name."""
        ...


Target = Process | Breakable


class Part(msgspec.Struct, frozen=True):
    """A target that is put together: `Part("service", process_can(service) | {"slow": service.slow})`."""

    name: str
    can: Abilities


def abilities_of(target: Target) -> Abilities:
    """What a target can."""
    return target.can if isinstance(target, Breakable) else process_can(target)


def process_can(process: Process) -> dict[str, Callable[..., object]]:
    """What can be done to a process."""
    return {name: getattr(process, name) for name in PROCESS}


def line_can(proxy: Proxy) -> dict[str, Callable[..., object]]:
    """What can be done to a line."""
    return {name: getattr(proxy, name) for name in LINE}


class ServerTarget:
    """A server of ours.

    Killed, it comes back with what its durability has kept. A pause holds back every command, also the one that
    would end it; so ending one before its time means to wait for its end.
    """

    def __init__(self, server: OwnServer, name: str = "server") -> None:
        self._server = server
        self._pause_s = 0.0
        self.name = name
        self.can: Abilities = {
            "kill": server.kill,
            "freeze": server.freeze,
            "pause": self._pause,
            "empty": self._remove,
            "start": self._start,
            "thaw": server.thaw,
            "unpause": self._wait_until_unpaused,
        }

    def _start(self) -> None:
        # After half an injection it may still run; a second one on its port would end at once.
        if self._server.pid is None:
            self._server.start()

    def _remove(self) -> None:
        self._server.kill()
        self._server.empty_directory()

    def _pause(self, for_ns: int) -> None:
        self._pause_s = for_ns / 1e9
        with self._server.client() as client:
            client.client_pause(max(1, for_ns // 1_000_000), all=True)

    def _wait_until_unpaused(self) -> None:
        with self._server.client(timeout_s=self._pause_s + 5.0) as client:
            client.client_unpause()
