"""Conducts a scenario: begins its record, lets it run, and ends the record whatever happens.

A scenario gets a `Stage` (where, with what, how) and puts what it finds into `Findings`, as it finds it. So an
interrupted run keeps what it had: Ctrl-C, SIGTERM and SIGHUP become an `Interrupted` in the main thread, the
scenario's context managers end what they have started, and the record says "interrupted".

    stage, findings --> scenario.run --> record on disk        complete
                             |  Interrupted                    interrupted: verdict UNKNOWN
                             |  a server, pump or service error   failed, with its reason

Who presses Ctrl-C while the record is being written has asked a moment too late: it is written, and then the
command ends as interrupted.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import redis

from harness.conduct.findings import Findings
from harness.conduct.interrupt import Interrupted, written
from harness.conduct.judging import judged_run
from harness.conduct.scenario import Scenario, ScenarioError, Stage, declared, described_system
from harness.host import throttling
from harness.host.neighbors import Snapshot, neighbors, snapshot
from harness.load.settings import PumpError
from harness.record import run
from harness.record.alive import alive
from harness.record.environment import describe_host
from harness.record.files import save_measurements
from harness.record.run import Record, Run
from harness.server.server import ServerError


def conduct(
    scenario: Scenario,
    parameters: msgspec.Struct,
    stage: Stage,
    *,
    command: Sequence[str],
    findings: Findings | None = None,
    also: Mapping[str, Any] | None = None,
) -> tuple[Record, BaseException | None]:
    """Run a scenario and leave its record in the stage's directory.

    Args:
        findings: empty ones, for who wants to look at them meanwhile.
        also: what was chosen besides, which stands among the parameters: another choice is another load.

    Returns:
        The record; and what ended the run early, or an interrupt that came while a complete one was written, or
        None.

    Raises:
        Exception: what neither an interrupt nor the surroundings can explain; the record is there all the same.
    """
    findings = findings or Findings(scenario.name)
    epoch_s, origin_ns = stage.clock.epoch_s(), stage.clock.now_ns()
    begun = _begun(scenario, parameters, stage, epoch_s, command, also or {})
    ended: BaseException | None = None
    status, reason = "failed", ""
    before, held_before = snapshot(), throttling.snapshot(stage.clock)
    writing = contextlib.ExitStack()
    try:
        writing.enter_context(alive(stage.directory))
        run.save(stage.directory, begun)
        scenario.run(stage, parameters, findings)
        status = "complete"
        if findings.cut_short:
            # It came to its end, and not to that of its schedule: what it says of the whole is not known.
            status, reason, findings.headline = "interrupted", findings.cut_short, ""
            ended = Interrupted(reason)
    except Interrupted as error:
        ended, status, reason = error, "interrupted", f"interrupted by {error}"
    except (ServerError, PumpError, ScenarioError) as error:
        ended, reason = error, str(error)
    except redis.RedisError as error:
        # Whoever asked the server something had no better word for it: it is away, or refuses to do more.
        reason = f"the server: {' '.join(str(error).split()) or type(error).__name__}"
        ended = ServerError(reason)
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        took_s = round((stage.clock.now_ns() - origin_ns) / 1e9, 3)
        finished = msgspec.structs.replace(begun, status=status, duration_s=took_s, reason=reason)
        with writing:
            kept: list[Record] = []
            late = written(
                lambda: kept.append(_saved(scenario, stage, finished, findings, epoch_s, before, held_before))
            )
    return kept[0], ended or late


def _begun(
    scenario: Scenario,
    parameters: msgspec.Struct,
    stage: Stage,
    epoch_s: float,
    command: Sequence[str],
    also: Mapping[str, Any],
) -> Run:
    """The record of a run that begins."""
    return Run(
        schema=run.SCHEMA,
        scenario=scenario.name,
        status="running",
        started_at=dt.datetime.fromtimestamp(epoch_s, dt.UTC).isoformat(timespec="milliseconds"),
        duration_s=0.0,
        seed=stage.seed,
        command=list(command),
        parameters={
            "profile": stage.profile,
            **msgspec.to_builtins(parameters),
            **({"config": list(stage.config)} if stage.config else {}),
            **also,
        },
        environment={
            "host": describe_host(),
            "server": {},
            **({} if stage.system is None else {"system": described_system(stage.system)}),
            "instrument": {"cores_plan": stage.cores, "spin_share": stage.spin_share},
        },
        figures=[],
        verdicts=[],
        **declared(scenario),
    )


def _saved(
    scenario: Scenario,
    stage: Stage,
    finished: Run,
    findings: Findings,
    started_epoch_s: float,
    before: Snapshot,
    held_before: throttling.Snapshot,
) -> Record:
    """Write the record of a run that has ended, with what it has found."""
    # Here, where no interrupt comes between the run and its record.
    directory = stage.directory
    who = neighbors(before, snapshot())
    held = throttling.throttled(held_before, throttling.snapshot(stage.clock))
    save_measurements(
        directory, findings.intervals, findings.history, findings.slowest, started_epoch_s=started_epoch_s
    )
    findings.evidence.save(directory)
    whole = msgspec.structs.replace(
        finished,
        environment={
            **finished.environment,
            "server": findings.server,
            "load": findings.load,
            "instrument": {**finished.environment["instrument"], "dated_by": _dated_by(findings.pumps)},
            "meanwhile": {
                "pumps": findings.pumps,
                "processes": msgspec.to_builtins(who),
                "limits": msgspec.to_builtins(held),
            },
        },
        figures=findings.figures,
        verdicts=findings.verdicts,
        headline=findings.headline,
    )
    # From here on as whoever judges it again: from what is on disk.
    run.save(directory, run.sealed(directory, whole))
    record = run.load(directory)
    run.save(directory, judged_run(scenario, record))
    return record.with_run(run.load(directory).run)


def _dated_by(pumps: Mapping[str, Mapping[str, Any]]) -> str:
    """By what answers were dated in all of a run: `kernel`, `clock`, `both`; empty where none came."""
    found = {str(pump["dated_by"]) for pump in pumps.values()} - {""}
    return found.pop() if len(found) == 1 else "both" if found else ""
