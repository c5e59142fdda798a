"""Whether a load reached a server of a known capacity, end to end: the verdict, the limit, the sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.conduct.conduct import Findings, parameters_of
from harness.load.driver import Drive, OwnProcesses
from harness.load.pacing import Pacer
from harness.load.pump_process import PumpProcess
from harness.load.settings import PumpSettings
from harness.load.workload import Source
from harness.measure.timeline import History
from harness.record.run import Run, Verdict
from scenarios.append import scenario
from tests.known_capacity import program_of
from tests.lines import stage_in
from tests.verdicts import judged

CAPACITY_PER_S = 1_000.0


def appended(
    directory: Path,
    rate_per_s: float,
    *,
    server: str = "",
    driver: OwnProcesses | None = None,
    duration_s: float = 3.0,
) -> tuple[History, Run]:
    """What was to be seen of a load, and the run that it made."""
    findings = Findings("append")
    stage = replace(
        stage_in(directory),
        server=server or program_of(directory, service_us=1e6 / CAPACITY_PER_S),
        driver=driver or OwnProcesses(0.0),
    )
    given = {"path": "xadd", "durability": "none", "rate_per_s": str(rate_per_s), "duration_s": str(duration_s)}
    chosen = parameters_of(scenario, "smoke", given)
    scenario.run(stage, chosen, findings)
    return findings.history, judged(scenario, chosen, findings)


def verdict_of(run: Run) -> Verdict:
    return next(verdict for verdict in run.verdicts if verdict.name.endswith("load_reached"))


def figure_of(run: Run, end: str) -> float:
    value = next(figure.value for figure in run.figures if figure.name.endswith(end))
    assert value is not None
    return value


@pytest.mark.slow
def test_a_load_below_the_capacity_arrives(tmp_path: Path) -> None:
    """What a server can take reaches it, second by second, and the headline names the rate."""
    share = 0.5
    _, run = appended(tmp_path, share * CAPACITY_PER_S)
    assert verdict_of(run).status == "PASS", verdict_of(run).detail
    assert f"at {share * CAPACITY_PER_S:,.0f}/s" in run.headline
    assert "due at" not in run.headline
    assert figure_of(run, "reached_per_s") == pytest.approx(share * CAPACITY_PER_S, rel=0.05)


@pytest.mark.slow
def test_a_load_beyond_the_capacity_does_not_arrive(tmp_path: Path) -> None:
    """What arrived is what the server takes; the server was the limit, though its core was idle; it is said."""
    share = 1.5
    _, run = appended(tmp_path, share * CAPACITY_PER_S)
    assert verdict_of(run).status == "FAIL", verdict_of(run).detail
    arrived = figure_of(run, "reached_per_s")
    assert arrived == pytest.approx(CAPACITY_PER_S, rel=0.15)
    due = share * CAPACITY_PER_S
    assert f"due at {due:,.0f}/s" in run.headline
    limit = f"{due:,.0f}/s were due; {arrived:,.0f}/s arrived: they waited at the server, whose core was not full"
    assert limit in run.headline


@pytest.mark.slow
def test_a_server_that_works_is_full_or_kept_from_its_core(tmp_path: Path) -> None:
    """A server that is busy with each event is full at twice its capacity, or was kept from its core."""
    server = program_of(tmp_path, service_us=1e6 / CAPACITY_PER_S, is_working=True)
    history, run = appended(tmp_path, 2 * CAPACITY_PER_S, server=server, duration_s=2.0)
    cores = [reading.value or 0.0 for reading in history.readings("server.core_share")]
    had = sum(cores) / len(cores)
    verdict = verdict_of(run)
    assert verdict.status in {"FAIL", "UNKNOWN"}
    expected = "the server's core was full" if verdict.status == "FAIL" else "the server waited for a core"
    assert expected in verdict.detail
    if verdict.status == "UNKNOWN":
        assert had < 0.95


@pytest.fixture
def core() -> Iterator[int]:
    """A core on which a process is busy."""
    at = min(os.sched_getaffinity(0))
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    os.sched_setaffinity(busy.pid, {at})
    yield at
    busy.kill()
    busy.wait()


@pytest.mark.slow
def test_a_server_beside_a_busy_neighbor(tmp_path: Path, core: int) -> None:
    """A server that works, and shares its only core with somebody else, waits for it: the host is the limit."""
    server = program_of(tmp_path, service_us=1e6 / CAPACITY_PER_S, is_working=True, core=core)
    _, run = appended(tmp_path, CAPACITY_PER_S, server=server, duration_s=2.0)
    verdict = verdict_of(run)
    assert verdict.status == "UNKNOWN", verdict.detail
    assert "the server waited for a core" in verdict.detail


class _Stalling(OwnProcesses):
    """Pumps that stand still for a while in the middle of their load."""

    def pump(self, settings: PumpSettings, pacer: Pacer, source: Source) -> Drive:
        pump = super().pump(settings, pacer, source)
        assert isinstance(pump, PumpProcess)
        pid = pump.pid
        begin = pump.begin

        def stalled(origin_ns: int) -> None:
            begin(origin_ns)
            for after_s, what in ((1.0, signal.SIGSTOP), (2.8, signal.SIGCONT)):
                timer = threading.Timer(after_s, os.kill, (pid, what))
                timer.daemon = True
                timer.start()

        pump.begin = stalled  # type: ignore[method-assign]
        return pump


@pytest.mark.slow
def test_an_instrument_that_stood_still(tmp_path: Path) -> None:
    """Where the instrument did not send, neither the server nor the load can be judged, and that is said."""
    _, run = appended(tmp_path, 0.5 * CAPACITY_PER_S, driver=_Stalling(0.0))
    verdict = verdict_of(run)
    assert verdict.status == "UNKNOWN", verdict.detail
    assert "the instrument" in verdict.detail
    assert "arrived: the instrument" in run.headline


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_server_that_does_not_say_what_it_has_taken(tmp_path: Path, share: float) -> None:
    """Answers enough in each second are evidence of their own; too few are none against the server."""
    server = program_of(tmp_path, service_us=1e6 / CAPACITY_PER_S, is_silent=True)
    _, run = appended(tmp_path, share * CAPACITY_PER_S, server=server)
    verdict = verdict_of(run)
    assert verdict.status == ("PASS" if share < 1 else "UNKNOWN"), verdict.detail
    assert "acknowledged" in verdict.detail
    assert "the server answers ERR unknown command" in verdict.detail
    assert {f.value for f in run.figures if f.name.endswith(("reached", "reached_per_s"))} == {None}
    assert ("due at" in run.headline) == (share > 1)
