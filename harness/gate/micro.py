"""Rounds of micro-benchmarks: a pytest-benchmark file run on both sides, each time in a process of its own.

    round    pytest on one side, then on the other; which comes first is drawn
    metric   the median of each benchmark that both sides have, by its class and name; one that the candidate has
             lost is an error, one that it has besides is new and not compared

A side may have libraries of its own; pytest and pytest-benchmark are among these, then.

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.gate.controls import CONTROLS, opened_controls
from harness.gate.metrics import compared
from harness.gate.rounds import Measure, Round, order_of, overlay
from harness.gate.side import SIDES, Side, SideError
from harness.host.clock import Clock
from harness.host.cores import core_of, on_core
from harness.host.own_python import Elsewhere

TIMEOUT_S = 600.0
# Few calls a round: the rounds are what counts.
_CALLS = "100"
_PLUGINS = frozenset({"PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_PLUGINS"})
_START = """\
import importlib, sys
sys.path.insert(0, sys.argv[1])
for package in sys.argv[2].split(","):
    file = importlib.import_module(package).__file__ or ""
    if not file.startswith(sys.argv[1]):
        from glob import glob
        if not glob(f"{sys.argv[1]}/{package}/__init__.*"):
            sys.exit(f"{package} has no __init__.py")
        sys.exit(f"{package} was loaded from {file}, and not from the revision under test")
import pytest
sys.exit(pytest.main(sys.argv[3:]))
"""


class _Stats(msgspec.Struct):
    median: float


class _Benchmark(msgspec.Struct):
    name: str
    fullname: str
    stats: _Stats


class _Results(msgspec.Struct):
    benchmarks: list[_Benchmark]


def metric_of(name: str, fullname: str = "") -> str:
    """The metric of a benchmark: its classes and its name, with a parameter's value, in brackets, as a part of it.

    Args:
        name: of the function, `bench_get[1]`.
        fullname: where it stands, `bench_store.py::TestHash::bench_get[1]`.
    """
    _, *classes = fullname.removesuffix(f"::{name}").split("::")
    return ".".join([*classes, _word_of(name)])


def _word_of(name: str) -> str:
    # A minus is no hyphen: bench_x[-1] and bench_x[1] are two.
    signed = re.sub(r"(?<=[\[-])-(?=\.?\d)", " minus ", name.removeprefix("bench_"))
    return re.sub(r"\W+", "_", signed).strip("_")


class MicroRounds:
    """Measures rounds of a file of micro-benchmarks.

    Args:
        measure: packages, sources, names, metrics and seed; no target.
        file: of the benchmarks.
        directory: where pytest's own words go, in `micro.log`.
        clock: for time.
        timeout_s: that the benchmarks may take on one side.

    Attributes:
        server: empty; the benchmarks see to their own, and the one here is the control's.
    """

    server: Mapping[str, Any] = {}

    def __init__(
        self, measure: Measure, file: Path, directory: Path, clock: Clock, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._measure = measure
        self._file = file
        self._log = directory / "micro.log"
        self._clock = clock
        self._timeout_s = timeout_s
        self._stack = contextlib.ExitStack()
        try:
            self._overlays = {side: overlay(self._stack, measure, side) for side in SIDES}
            self._controls, self._control_pid = opened_controls(self._stack, "embedded", clock)
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
            SideError: they fail on one of them, the sides have none in common, or the candidate has lost one.
            ServerError: the control's server has ended.
        """
        at_s, began_ns = self._clock.epoch_s(), self._clock.now_ns()
        order = order_of(self._measure.seed, number)
        medians: dict[Side, dict[str, float]] = {}
        controls: dict[Side, dict[str, float]] = {}
        core = core_of(self._measure.cores, self._measure.seed, number)
        for side in order:
            with on_core(core, self._control_pid):
                before = self._controls.measure()
                medians[side] = self._run(side)
                after = self._controls.measure()
                both = {name: sorted(before[name] + after[name]) for name in before}
                controls[side] = {name: float(taken_ns[len(taken_ns) // 2]) for name, taken_ns in both.items()}
        baseline, candidate = medians["baseline"], medians["candidate"]
        if baseline.keys().isdisjoint(candidate):
            raise SideError(
                f"the two sides have no benchmark of {self._file.name} in common: the baseline has "
                f"{', '.join(baseline)}, and the candidate {', '.join(candidate)}"
            )
        common = compared(list(baseline), list(candidate), self._measure.names, self._measure.metrics)
        values_ns = {name: (baseline[name], candidate[name]) for name in common}
        values_ns |= {name: (controls["baseline"][name], controls["candidate"][name]) for name in CONTROLS}
        return Round(
            number=number,
            at_s=round(at_s, 3),
            took_s=round((self._clock.now_ns() - began_ns) / 1e9, 3),
            first=order[0],
            ratios={name: math.log(new / old) for name, (old, new) in values_ns.items()},
            values_ns=values_ns,
            new=tuple(name for name in candidate if name not in baseline),
        )

    def _run(self, side: Side) -> dict[str, float]:
        name = self._measure.names[side]
        with tempfile.TemporaryDirectory(prefix="shopbench-micro-") as directory:
            path = Path(directory) / "results.json"
            arguments = [str(self._file), "-c", os.devnull, "--rootdir", str(self._file.parent), "-q"]
            arguments += ["-p", "no:locust", "-p", "no:cacheprovider", "-o", "python_files=*.py"]
            arguments += ["-o", "python_functions=bench_* test_*", f"--benchmark-json={path}"]
            arguments = [self._overlays[side], ",".join(self._measure.packages), *arguments]
            if why := self._failure(side, arguments):
                raise SideError(f"{name} failed in {self._file.name}: {why} (more in {self._log.name})")
            try:
                results = msgspec.json.decode(path.read_bytes(), type=_Results)
            except (OSError, msgspec.MsgspecError) as error:
                raise SideError(f"{name}: {self._file.name} left no results of pytest-benchmark") from error
        if not results.benchmarks:
            raise SideError(f"{name}: {self._file.name} has no benchmarks")
        found: dict[str, _Benchmark] = {}
        for each in results.benchmarks:
            metric = metric_of(each.name, each.fullname)
            if other := found.get(metric):
                raise SideError(
                    f"{name}: {other.fullname} and {each.fullname} would both be the metric {metric}; "
                    "give them other names"
                )
            found[metric] = each
        return {metric: benchmark.stats.median * 1e9 for metric, benchmark in found.items()}

    def _failure(self, side: Side, arguments: Sequence[str]) -> str:
        """Run pytest and say why it failed; empty where it did not."""
        code = self._pytest(side, arguments)
        if code is None:
            return f"it took longer than {self._timeout_s:g} s"
        if code < 0:
            return f"pytest was ended by signal {-code}"
        return "" if code == 0 else self._last_words() or f"pytest ended with {code}"

    def _pytest(self, side: Side, arguments: Sequence[str]) -> int | None:
        """Pytest's exit code; None where it was ended because it took too long."""
        python = self._measure.pythons.get(side)
        inherited = os.environ if python is None else Elsewhere.environment()
        environment: dict[str, Any] = {
            "SHOPBENCH_MICRO_ROUNDS": _CALLS,
            "SHOPBENCH_MICRO_PROFILE": "smoke",
            # What steers somebody else's pytest is not for this one: on a worker of xdist benchmarks are not run.
            # Which plugins there are is up to its user.
            **{
                name: value
                for name, value in inherited.items()
                if not name.startswith("PYTEST_") or name in _PLUGINS
            },
        }
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [python or sys.executable, "-c", _START, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
            deadline_ns = self._clock.now_ns() + int(self._timeout_s * 1e9)
            try:
                while process.poll() is None:
                    if self._clock.now_ns() >= deadline_ns:
                        return None
                    self._clock.sleep_ns(20_000_000)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        return process.returncode

    def _last_words(self) -> str:
        """The first error that pytest tells, or else what was said last, such as that a module is not there."""
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line.removeprefix("E ") for line in lines if line.startswith("E ")]
        return " ".join((errors or lines[-1:] or [""])[0].split())
