"""The verdicts that a test can hold a run to, on whatever machine it runs.

Whether a load reached its server in time, and whether it was sent in time, a busy machine may leave open: the run
then says UNKNOWN, as it should. What these verdicts decide has tests of its own, on histories written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from harness.check import checkers
from harness.conduct.conduct import Findings, Scenario
from harness.conduct.judging import judged_run
from harness.measure.hlog import LatencyLog
from harness.record.run import SCHEMA, Record, Run, Verdict

Status = Literal["complete", "interrupted", "failed"]

_OF_THE_MACHINE = ("load_reached", "send_lag")


def settled(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """All but those that a busy machine has left open."""
    return [v for v in verdicts if not (v.status == "UNKNOWN" and v.name.endswith(_OF_THE_MACHINE))]


def is_well(code: int, record: Record) -> bool:
    """Whether a program has ended as its record says, and with nothing but a busy machine against the record.

    Args:
        code: its exit code.
        record: of its run.
    """
    verdicts = record.run.verdicts
    return code == checkers.exit_code(verdicts) and checkers.exit_code(settled(verdicts)) == checkers.EXIT_PASS


def judged(
    scenario: Scenario, parameters: msgspec.Struct, findings: Findings, *, status: Status = "complete"
) -> Run:
    """What a run is that has left these findings: its verdicts and its headline, judged as `conduct` does.

    Args:
        scenario: that has run.
        parameters: its own.
        findings: after the run, or as far as it came.
        status: that the run ended with.
    """
    return judged_run(scenario, record_of(scenario.name, parameters, findings, status=status))


def record_of(
    name: str, parameters: msgspec.Struct | None, findings: Findings, *, status: Status = "complete"
) -> Record:
    """The record of a run that has left these findings, before it is judged.

    Args:
        name: of the scenario.
        parameters: its own; None: it has none.
        findings: after the run, or as far as it came.
        status: that the run ended with.
    """
    found = Run(
        schema=SCHEMA,
        scenario=name,
        status=status,
        started_at="2026-11-28T12:00:00.000+00:00",
        duration_s=1.0,
        seed=1,
        command=[],
        parameters={} if parameters is None else msgspec.to_builtins(parameters),
        environment={"host": {}, "server": findings.server, "load": findings.load, "meanwhile": {}},
        figures=findings.figures,
        verdicts=findings.verdicts,
    )
    return Record(
        Path("nowhere"),
        found,
        history=findings.history,
        latency=LatencyLog(findings.intervals),
        evidence=findings.evidence,
    )
