"""Hosts on one machine: network namespaces on a bridge, each with an address and, if wanted, a clock of its own.

with Hosts(["master", "worker", "redis"]) as hosts:
    hosts.start("redis", [program, "--bind", hosts.address("redis")])
    hosts.start("worker", [...], monotonic_offset_s=1000)

A bridge and its namespaces carry a name that nobody else has, and are removed at the end. `why_not()` says why
a machine does not allow it: it takes root, `ip` and, for clocks, `unshare --time`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)


def why_not() -> str:
    """Why this machine has no such hosts; empty where it has."""
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            return f"`{program}` is not here"
    name = f"sbt{uuid.uuid4().hex[:6]}"
    try:
        _run("ip", "netns", "add", name)
        try:
            _run("ip", "link", "add", name, "type", "bridge")
            _run("ip", "link", "del", name)
            _run("ip", "netns", "exec", name, "unshare", "--time", "--monotonic", "7", "true")
        finally:
            _run("ip", "netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"namespaces are not allowed here: {error.stderr.decode().strip()}"
    return ""


class Hosts:
    """Some hosts that see one another and nobody else.

    Args:
        names: of the hosts.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._mark = f"sb{uuid.uuid4().hex[:5]}"
        self._names = list(names)
        self._processes: list[subprocess.Popen[bytes]] = []

    def address(self, name: str) -> str:
        """A host's address."""
        return f"10.203.97.{self._names.index(name) + 1}"

    def _space(self, name: str) -> str:
        return f"{self._mark}-{self._names.index(name)}"

    def __enter__(self) -> Self:
        try:
            _run("ip", "link", "add", self._mark, "type", "bridge")
            _run("ip", "link", "set", self._mark, "up")
            for name in self._names:
                self._add(name)
        except BaseException:
            self._remove()
            raise
        return self

    def _add(self, name: str) -> None:
        space = self._space(name)
        outside = f"{self._mark}v{self._names.index(name)}"
        inside = f"{outside}i"
        _run("ip", "netns", "add", space)
        _run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
        _run("ip", "link", "set", outside, "master", self._mark, "up")
        _run("ip", "link", "set", inside, "netns", space)
        _run("ip", "-n", space, "addr", "add", f"{self.address(name)}/24", "dev", inside)
        _run("ip", "-n", space, "link", "set", inside, "up")
        _run("ip", "-n", space, "link", "set", "lo", "up")

    def start(
        self, name: str, command: Sequence[str], *, log: Path, directory: Path, monotonic_offset_s: int = 0
    ) -> subprocess.Popen[bytes]:
        """Start a program on a host, whose monotonic clock may be ahead of ours."""
        clock = ["unshare", "--time", "--monotonic", str(monotonic_offset_s)] if monotonic_offset_s else []
        given = {key: value for key, value in os.environ.items() if not key.startswith("LOCUST_")}
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._space(name), *clock, *command],
                cwd=directory,
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                    if one.is_running():
                        one.kill()
            process.wait()
        for name in self._names:
            # One that was never made has nothing to remove.
            subprocess.run(["ip", "netns", "del", self._space(name)], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._mark], check=False, capture_output=True)
