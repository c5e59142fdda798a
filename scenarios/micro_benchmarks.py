"""What does each single step cost? The micro-benchmarks of `scenarios/micro`, as a scenario.

pytest-benchmark measures them in a process of its own, against the server of the run; their figures go into the
record like those of any other scenario.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from harness.check import checkers
from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.conduct.findings import Findings
from harness.conduct.scenario import ScenarioError, Stage
from harness.host.own_python import own_environment, own_module
from harness.measure.bounds import Bounds
from harness.record.run import KeyFigure, Record, Verdict
from harness.server.named import environment_for
from harness.server.url import ServerUrl
from scenarios.shop.shop import server_for

BENCHMARKS = Path(__file__).parent / "micro"
TIMEOUT_NS = 3_600_000_000_000


# The layers of an append from the bare socket outwards, as `scenarios/micro/bench_stack.py` measures them.
LAYERS = {
    "socket": "bare socket, XADD",
    "redis_py": "redis-py",
    "store_event": "event store, event only",
    "store": "event store, with entity cache",
    "http": "HTTP, customer service",
    "gateway": "HTTP, through the gateway",
}
# The section of the evidence with the names of all that were run.
BENCHMARKS_RUN = "benchmarks"


class MicroParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `micro`.

    Attributes:
        rounds: how often each step is timed.
    """

    rounds: Annotated[int, Meta(ge=10, le=10_000_000)] = 1_000


class _Benchmark(Struct):
    name: str
    extra_info: dict[str, Any]


class _Results(Struct):
    benchmarks: list[_Benchmark]


class Micro:
    """The micro-benchmarks, run by pytest-benchmark."""

    name = "micro"
    place = 70
    summary = "what does each single step cost, compared with the bare command?"
    parameters = MicroParameters
    figures = figure_names(
        "micro",
        "µs      *.{p50,p90,p99,p99.9}",
        "1/s     *.per_s",
        "bytes   *.peak_bytes",
    )
    key_figures = (
        KeyFigure("micro.append_one.p50", "One append, p50"),
        KeyFigure("micro.append_one.p99", "One append, p99"),
        KeyFigure("micro.append_one.per_s", "Appends, one after the other"),
    )
    sections: tuple[str, ...] = ()
    words = LAYERS
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"rounds": 100},
        "quick": {},
        "standard": {"rounds": 5_000},
        "full": {"rounds": 20_000},
    }

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Run them all and take over their figures."""
        chosen: MicroParameters = parameters
        findings.closed_loop()
        results_path = stage.directory / "micro.json"
        with server_for(stage, "none") as server:
            findings.server = server.describe()
            if server.owned:
                _run_pytest(stage, server.url, chosen.rounds, results_path)
        if not findings.server["owned"]:
            # Somebody else's server: pytest's process opens it, checks it and cleans it up itself.
            _run_pytest(stage, stage.server, chosen.rounds, results_path)
        try:
            results = msgspec.json.decode(results_path.read_bytes(), type=_Results)
        except (OSError, msgspec.MsgspecError) as error:
            raise ScenarioError(f"pytest-benchmark has left no results ({error}); see micro.log") from error
        for benchmark in results.benchmarks:
            _add(findings, benchmark)
        findings.evidence.add_json(BENCHMARKS_RUN, [benchmark.name for benchmark in results.benchmarks])
        findings.concluded()

    def checkers(self, parameters: MicroParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - none is chosen
        """What finds its verdict in a record of a run."""
        return [_measured_checker()]

    def headline(self, parameters: MicroParameters, record: Record) -> str:  # noqa: ARG002 - as every scenario has it
        """What came out of a run, in a sentence, from its record; empty where an append was not measured."""
        one, bare = record.run.figure("micro.append_one.p50"), record.run.figure("micro.bare_xadd.p50")
        if not one or not bare:
            return ""
        return f"One append takes {one:,.0f} µs at the median, {one / bare:.2f} × a bare XADD."


def _run_pytest(stage: Stage, server: ServerUrl | str, rounds: int, results: Path) -> None:
    """Run the benchmarks, and end them when the run ends.

    Raises:
        ScenarioError: one of them failed.
    """
    command = own_module("pytest", str(BENCHMARKS), "-c", os.devnull, "--rootdir", str(BENCHMARKS))
    command += ["-p", "pytest_benchmark.plugin", "-p", "no:cacheprovider", "-q", "-o", "python_files=bench_*.py"]
    command += ["-o", "python_functions=bench_*", f"--benchmark-json={results}", "--benchmark-columns=median"]
    environment = {
        # What steers somebody else's pytest is not for this one: on a worker of xdist benchmarks are not run.
        **{name: value for name, value in own_environment().items() if not name.startswith("PYTEST_")},
        **environment_for(server),
        "SHOPBENCH_MICRO_ROUNDS": str(rounds),
        "SHOPBENCH_MICRO_PROFILE": stage.profile,
        # Nobody else's plugin takes part in what is measured.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    with (stage.directory / "micro.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        deadline_ns = stage.clock.now_ns() + TIMEOUT_NS
        try:
            while process.poll() is None and stage.clock.now_ns() < deadline_ns:
                stage.progress(0.5, "pytest-benchmark is measuring")
                stage.clock.sleep_ns(100_000_000)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)
    if process.returncode:
        raise ScenarioError(f"pytest has ended with exit code {process.returncode}; see micro.log")


def _add(findings: Findings, benchmark: _Benchmark) -> None:
    info = benchmark.extra_info
    # What it has measured within its rounds stands under names of its own, such as `stack.store.p50`.
    within = {name: value for name, value in info.items() if name.startswith(("stack.", "drain."))}
    for name, value in within.items():
        findings.figure(name, value, "µs")
    if within:
        return
    # A parameter's value, in brackets, becomes a part of the name.
    name = re.sub(r"\W+", "_", benchmark.name.removeprefix("bench_")).strip("_")
    if "peak_bytes" in info:
        findings.figure(f"{name}.peak_bytes", info["peak_bytes"], "bytes")
        return
    for quantile in ("p50", "p90", "p99", "p99.9"):
        ends = info.get("bounds", {}).get(quantile)
        bounds = None if ends is None else Bounds(*ends)
        findings.figure(f"{name}.{quantile}", info.get(quantile), "µs", samples=info.get("count"), bounds=bounds)
    p50_us = info.get("p50")
    findings.figure(f"{name}.per_s", info.get("events", 1.0) / (p50_us / 1e6) if p50_us else None, "1/s")


def _measured_checker() -> Checker:
    name = "micro.measured"

    def check(record: Record) -> Verdict:
        count = len(record.evidence.value(BENCHMARKS_RUN, list[str]))
        if not count:
            return Verdict(name=name, status="UNKNOWN", detail="no benchmark was run")
        return Verdict(name=name, status="PASS", detail=f"{count} benchmarks were measured")

    return Checker(name, check, reads=(BENCHMARKS_RUN,))


scenario = Micro()

if "." not in __name__ and __name__ != "__main__":  # Locust would load this file by itself
    sys.stderr.write("locust: micro-benchmarks have no users; they are measured by `shopbench run micro`\n")
    sys.exit(checkers.EXIT_USAGE)
