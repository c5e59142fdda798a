"""Stands for `shopbench run` where a check plays trials: leaves a record at once, or none, as its consumer says.

The name of the consumer says what becomes of its trials: `good`, `stuck`, `deaf` (no effect at all), `floods`
(with effects of what nobody sent), `refused` (the run cannot be carried out), `silent` (no record, a line in the
log), `killed` (it dies), `slow` (it works until it is told to end, and then leaves an interrupted record).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.host.child import Channel
from harness.record.run import SCHEMA, Figure, Run, Verdict, save

ENTRY = f"{__name__}:play"


def play(channel: Channel, words: Sequence[str], log: str, variables: Mapping[str, str]) -> None:
    """Leave what a trial of this consumer leaves."""
    consumer = words[words.index("--consumer") + 1]
    directory = Path(words[words.index("--runs") + 1]) / "run"
    Path(log).write_text(f"{variables}\n")
    if consumer == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if consumer == "silent":
        with Path(log).open("a") as file:
            file.write("shopbench: there is no such server\n")
    else:
        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: told.set())
        if consumer == "slow":
            (directory.parent / "begun").touch()
            told.wait(60)
        directory.mkdir()
        save(directory, run_of(consumer, words[1]))
        (directory / "consumer.log").write_text(f"{consumer} 1.0\n")
    channel.send(0)


def run_of(consumer: str, scenario: str) -> Run:
    """The record of a run of such a consumer."""
    lost = {"stuck": 32, "deaf": 600}.get(consumer, 0)
    strange = 10_000 if consumer == "floods" else 0
    figures = {
        "unexpected": strange,
        "acknowledged": 600,
        "applied": 600 - lost,
        "lost": lost,
        "lost.pending": lost,
        "duplicated": 0,
    }
    return Run(
        schema=SCHEMA,
        scenario=scenario,
        status={"refused": "failed", "slow": "interrupted"}.get(consumer, "complete"),  # type: ignore[arg-type]
        started_at="2026-11-28T12:00:00+00:00",
        duration_s=1.0,
        seed=1,
        command=[],
        parameters={},
        environment={"server": {"name": "valkey", "version": "8"}},
        figures=[Figure(name=f"{scenario}.{name}", value=value, unit="events") for name, value in figures.items()],
        verdicts=[
            Verdict(name=f"{scenario}.nothing_lost", status="FAIL" if lost else "PASS", detail=f"{lost} lost"),
            Verdict(name=f"{scenario}.hit_in_batch", status="PASS", detail="it had events in hand"),
        ],
        reason="it has ended 3 times" if consumer == "refused" else "",
    )
