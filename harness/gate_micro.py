"""Rounds of micro-benchmarks: a pytest-benchmark file run on both sides, each time in a process of its own.

    round    pytest on one side, then on the other; which comes first is drawn
    metric   the median of each benchmark that both sides have, by its name

The package under test is imported from the side's overlay before pytest begins, so that no `conftest.py` or root
directory that pytest puts on the path can bring another. Everything else, the benchmarks included, is the
candidate's on both sides. How many calls a benchmark makes is its own matter; a round should take a few seconds.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.clock import Clock
from harness.cores import core_of, on_core
from harness.gate_rounds import SIDES, Controls, Measure, Round, Side, SideError, first_of, overlay
from harness.servers import open_server

TIMEOUT_NS = 600_000_000_000
# Few calls a round: the rounds are what counts.
_CALLS = "100"
_START = """\
import importlib, sys
sys.path.insert(0, sys.argv[1])
for package in sys.argv[2].split(","):
    file = importlib.import_module(package).__file__ or ""
    if not file.startswith(sys.argv[1]):
        sys.exit(f"{package} was loaded from {file}, and not from the revision under test")
import pytest
sys.exit(pytest.main(sys.argv[3:]))
"""


class _Stats(msgspec.Struct):
    median: float


class _Benchmark(msgspec.Struct):
    name: str
    stats: _Stats


class _Results(msgspec.Struct):
    benchmarks: list[_Benchmark]


class MicroRounds:
    """Measures rounds of a file of micro-benchmarks.

    Args:
        measure: packages, sources, names, server and seed; no target.
        file: of the benchmarks.
        directory: where pytest's own words go, in `micro.log`.
        clock: for time.
    """

    def __init__(self, measure: Measure, file: Path, directory: Path, clock: Clock) -> None:
        self._measure = measure
        self._file = file
        self._log = directory / "micro.log"
        self._clock = clock
        self._stack = contextlib.ExitStack()
        try:
            self._overlays = {side: overlay(self._stack, measure, side) for side in SIDES}
            control = self._stack.enter_context(open_server("embedded", clock))
            self._control_pid = control.pid
            self.server = control.describe()
            self._controls = self._stack.enter_context(contextlib.closing(Controls(control.url, clock)))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> MicroRounds:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, number: int) -> Round:
        """Run the benchmarks on both sides.

        Raises:
            SideError: they fail on one of them, or the sides have none in common.
        """
        at_s, began_ns = self._clock.epoch_s(), self._clock.now_ns()
        first = first_of(self._measure.seed, number)
        order: list[Side] = [first, "candidate" if first == "baseline" else "baseline"]
        medians: dict[Side, dict[str, float]] = {}
        core = core_of(self._measure.cores, self._measure.seed, number)
        for side in order:
            with on_core(core, self._control_pid):
                controls = self._controls.measure()
                medians[side] = self._run(side)
                for name, taken_ns in self._controls.measure().items():
                    ordered = sorted(controls[name] + taken_ns)
                    medians[side][name] = float(ordered[len(ordered) // 2])
        common = [name for name in medians["baseline"] if name in medians["candidate"]]
        values_ns = {name: (medians["baseline"][name], medians["candidate"][name]) for name in common}
        return Round(
            number=number,
            at_s=round(at_s, 3),
            took_s=round((self._clock.now_ns() - began_ns) / 1e9, 3),
            first=first,
            ratios={name: math.log(candidate / baseline) for name, (baseline, candidate) in values_ns.items()},
            values_ns=values_ns,
        )

    def _run(self, side: Side) -> dict[str, float]:
        name = self._measure.names[side]
        with tempfile.TemporaryDirectory(prefix="shopbench-micro-") as directory:
            path = Path(directory) / "results.json"
            arguments = [str(self._file), "-c", os.devnull, "--rootdir", str(self._file.parent), "-q"]
            arguments += ["-p", "no:locust", "-p", "no:cacheprovider", "-o", "python_files=*.py"]
            arguments += ["-o", "python_functions=bench_* test_*", f"--benchmark-json={path}"]
            code = self._pytest([self._overlays[side], ",".join(self._measure.packages), *arguments])
            if code:
                raise SideError(
                    f"{name} failed in {self._file.name}: {self._last_words() or f'pytest ended with {code}'}"
                )
            try:
                results = msgspec.json.decode(path.read_bytes(), type=_Results)
            except (OSError, msgspec.MsgspecError) as error:
                raise SideError(f"{name}: {self._file.name} left no results of pytest-benchmark") from error
        found = {
            re.sub(r"\W+", "_", each.name.removeprefix("bench_")).strip("_"): each.stats.median * 1e9
            for each in results.benchmarks
        }
        if not found:
            raise SideError(f"{name}: {self._file.name} has no benchmarks")
        return found

    def _pytest(self, arguments: Sequence[str]) -> int:
        environment: dict[str, Any] = {
            "SHOPBENCH_MICRO_ROUNDS": _CALLS,
            "SHOPBENCH_MICRO_PROFILE": "smoke",
            # What steers somebody else's pytest is not for this one: on a worker of xdist benchmarks are not run.
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        }
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
            deadline_ns = self._clock.now_ns() + TIMEOUT_NS
            try:
                while process.poll() is None and self._clock.now_ns() < deadline_ns:
                    self._clock.sleep_ns(20_000_000)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        return process.returncode

    def _last_words(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.startswith("E ")]
        return " ".join(lines[0][2:].split()) if lines else ""
