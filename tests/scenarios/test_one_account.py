"""One account, one word, end to end: what waits is not lost, the peak is what the chart shows, hands are named."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from harness.conduct.findings import Findings
from harness.conduct.scenario import parameters_of
from harness.record.run import Record
from scenarios import crm_outage, lag
from scenarios.told import told_of
from tests.lines import stage_in
from tests.verdicts import judged, record_of


def found_by(
    module: Any, directory: Path, findings: Findings | None = None, **given: Any
) -> tuple[Findings, Record]:
    """The findings of a small run, and its record, judged."""
    findings = findings or Findings(module.scenario.name)
    chosen = parameters_of(module.scenario, "smoke", {name: str(value) for name, value in given.items()})
    module.scenario.run(stage_in(directory), chosen, findings)
    record = record_of(module.scenario.name, chosen, findings)
    return findings, record.with_run(judged(module.scenario, chosen, findings))


def status_of(record: Record, name: str) -> str:
    return next(verdict.status for verdict in record.run.verdicts if verdict.name.endswith(f".{name}"))


@pytest.mark.slow
def test_what_waits_is_not_lost(tmp_path: Path) -> None:
    """While events wait nobody knows what is lost: not the figure, not the verdict, not the sentence."""
    _, record = found_by(lag, tmp_path, page=1, mail_delay_ms=200, drain_timeout_s=0.2)
    told = told_of(record)
    assert (status_of(record, "drained"), status_of(record, "nothing_lost")) == ("FAIL", "UNKNOWN")
    assert (told.value("lost"), told.value("drain_s")) == (None, None)
    assert "whether any was lost is not known" in record.run.headline
    assert "it had not caught up" in record.run.headline
    assert "were lost" not in record.run.headline


@pytest.mark.slow
def test_waiting_is_told_at_its_peak(tmp_path: Path) -> None:
    """What waited is the highest point of the chart; starting and draining add up to the time until the end."""
    findings, record = found_by(crm_outage, tmp_path)
    told = told_of(record)
    fault = findings.history.faults[0]
    readings = [r.value or 0.0 for r in findings.history.readings("lag.events") if r.t_ns >= fault.start_ns]
    backlog, at_restart = told.value("backlog_events"), told.value("backlog_at_restart_events")
    assert backlog == max(readings)
    assert backlog is not None
    assert at_restart is not None
    # Producers went on while it started.
    assert backlog > at_restart
    first_s, draining_s, drained_s = (told.value(name) for name in ("first_effect_s", "draining_s", "drained_s"))
    assert drained_s == pytest.approx((first_s or 0) + (draining_s or 0))
    assert f"{backlog:,.0f} events waited at most" in record.run.headline


def by_hand(findings: Findings, done: threading.Event) -> None:
    """Kill the CRM as soon as that can be done, and start it again after a moment."""
    while not done.wait(0.01):
        nemesis = findings.nemesis
        if nemesis is None or not findings.progress or findings.progress().ok < 20:
            continue
        nemesis.inject_now("kill", "crm")
        done.wait(0.3)
        nemesis.heal_now("crm")
        return


@pytest.mark.slow
@pytest.mark.parametrize("module", [lag, crm_outage])
def test_a_kill_by_hand_is_in_the_sentence(tmp_path: Path, module: Any) -> None:
    """Somebody has killed the CRM: the sentence says so; the planned fault stays the one of the run."""
    findings, done = Findings(module.scenario.name), threading.Event()
    hand = threading.Thread(target=by_hand, args=(findings, done), daemon=True)
    hand.start()
    try:
        given = {"before_s": 3} if module is crm_outage else {}
        _, record = found_by(module, tmp_path, findings, **given)
    finally:
        done.set()
        hand.join()
    [fault] = [fault for fault in findings.history.faults if fault.by_hand]
    lasted_s = ((fault.end_ns or 0) - fault.start_ns) / 1e9
    assert f"with 1 fault by hand (kill, {lasted_s:.1f} s)" in record.run.headline
    if module is crm_outage:
        assert told_of(record).value("outage_s") == pytest.approx(2.0, abs=1.0)


@pytest.mark.slow
def test_what_is_due_and_not_answered_waits_too(tmp_path: Path) -> None:
    """While the server is paused, what is due is counted as not answered; all of it has a place in the end."""
    findings, record = found_by(crm_outage, tmp_path, fault="pause", outage_s=1)
    fault = findings.history.faults[0]
    waited = [r.value or 0.0 for r in findings.history.readings("lag.unanswered")]
    during = [
        r.value or 0.0
        for r in findings.history.readings("lag.unanswered")
        if fault.start_ns <= r.t_ns <= (fault.end_ns or 0)
    ]
    # 200 are due a second.
    assert max(during) > 100
    assert waited[-1] == 0
    told = told_of(record)
    assert status_of(record, "load_reached") == "PASS"
    assert told.value("reached") == told.value("acknowledged") == 1_000
