"""The verdicts that every load owes, as checkers of a record: answers, send lag, workers that have reported."""

from __future__ import annotations

from msgspec.structs import replace

from harness.check import checkers
from harness.check.judge import Checker
from harness.measure.operations import total_of
from harness.record.evidence import EvidenceError
from harness.record.files import LATENCIES
from harness.record.load_report import LoadReport, section_of
from harness.record.run import Record, RunError, Verdict

BUDGET = "send_lag_budget_ms"


def named(prefix: str, load: str, what: str) -> str:
    """The name of a verdict: `append.always.answered`, or `lag.answered` where a run has one load."""
    return ".".join(filter(None, (prefix, load, what)))


def answered_checker(prefix: str, load: str = "") -> Checker:
    """What finds whether every operation of a load was answered: `<prefix>.answered`.

    Args:
        prefix: the scenario's name.
        load: which of its loads; empty: the only one.
    """
    name, section = named(prefix, load, "answered"), section_of("load", load)

    def check(record: Record) -> Verdict:
        return checkers.all_answered(name, record.evidence.value(section, LoadReport))

    return Checker(name, check, reads=(section,), part=load)


def send_lag_checker(prefix: str, operation: str = "append", load: str = "") -> Checker:
    """What finds whether the instrument held its schedule, by the run's budget: `<prefix>.send_lag`.

    Args:
        prefix: the scenario's name.
        operation: as the pump recorded it; those below it count, too.
        load: which of its loads; empty: the only one.
    """
    name = named(prefix, load, "send_lag")

    def check(record: Record) -> Verdict:
        budget_ms = record.run.parameters.get(BUDGET)
        if not isinstance(budget_ms, int | float):
            raise RunError(f"run.json has no parameter {BUDGET}")
        budget_us = budget_ms * 1000
        return checkers.instrument_kept_up(name, total_of(record.latency, operation, "send_lag"), budget_us)

    return Checker(name, check, reads=(LATENCIES,), part=load)


def users_send_lag_checker(prefix: str) -> Checker:
    """What finds whether users, who do one thing at a time, were free when something was due: `<prefix>.send_lag`.

    Args:
        prefix: the scenario's name, which is that of its operation, too.
    """
    plain = send_lag_checker(prefix, prefix)

    def check(record: Record) -> Verdict | None:
        found = plain.check(record)
        if found is None or found.status == "PASS":
            return found
        return replace(found, detail=f"more users: these were busy when something was due; {found.detail}")

    return replace(plain, check=check)


def loads_of(record: Record) -> list[str]:
    """The loads of a run of which the evidence has a report, by name; the only one is the empty name.

    None where the evidence cannot be read: whoever rests on a load says so.
    """
    try:
        sections = record.evidence.sections()
    except EvidenceError:
        return []
    whole = section_of("load")
    mine = [name for name in sections if name == whole or name.startswith(f"{whole}.")]
    return [name.removeprefix(whole).removeprefix(".") for name in mine]


def workers_checkers(prefix: str, record: Record) -> list[Checker]:
    """What finds whether each worker has reported its share, for each load that workers have made."""
    return [_workers_checker(prefix, load) for load in loads_of(record)]


def _workers_checker(prefix: str, load: str) -> Checker:
    name, section = named(prefix, load, "workers"), section_of("load", load)

    def check(record: Record) -> Verdict | None:
        workers = record.evidence.value(section, LoadReport).workers
        return checkers.workers_reported(name, workers) if workers else None

    return Checker(name, check, reads=(section,), part=None)
