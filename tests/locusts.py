"""Locust as a user starts it, for tests: a program of its own, since importing it would patch the tests' process.

with Locust(tmp_path, "append", "--headless", "-t", "2s") as locust:
    locust.wait() == 0
    locust.record()                the run's record, read from disk
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

import scenarios
from harness.record import run
from harness.record.run import Record
from ordershop.supervisor import free_port

SCENARIOS = Path(scenarios.__file__).parent


class Locust:
    """A process of Locust on one of our scenarios.

    Args:
        directory: in which it runs; `runs` below it gets its records.
        scenario: the name of the file.
        arguments: of its command line.
        environment: variables that it gets besides ours.
    """

    def __init__(self, directory: Path, scenario: str, *arguments: str, environment: dict[str, str] | None = None):
        self.directory = directory
        self._log = (directory / f"locust-{len(list(directory.glob('locust-*.log')))}.log").open("w+")
        if "--processes" in arguments:
            # Of its own: a master takes in whatever worker comes to its port.
            port = str(free_port())
            arguments += ("--master-bind-port", port, "--master-port", port)
        given = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "locust", "-f", str(SCENARIOS / f"{scenario}.py"), *arguments],
            cwd=directory,
            env={**given, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            ours = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
            for one in ours:
                if one.is_running():
                    one.kill()
        self.process.wait()
        self._log.close()

    @property
    def output(self) -> str:
        """What it has said so far."""
        return Path(self._log.name).read_text()

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for its end, and answer its exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"locust does not end:\n{self.output}") from None

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it: to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def record(self) -> Record:
        """The record of its only run."""
        [record] = run.find_runs(self.directory / "runs")
        return record

    def statistics(self) -> list[dict[str, Any]]:
        """Locust's own statistics, where it was told `--json-file stats`."""
        rows: list[dict[str, Any]] = json.loads((self.directory / "stats.json").read_text())
        return rows
