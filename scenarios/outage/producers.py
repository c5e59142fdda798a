"""What producers noticed of an outage: their response in it and in its drain, by that before."""

from __future__ import annotations

import math

from harness.check import checkers
from harness.check.judge import Checker
from harness.check.ratio import Ratio, ratios, seconds_of
from harness.conduct.findings import Findings
from harness.measure.hlog import LatencyLog
from harness.measure.recorder import Interval
from harness.measure.timeline import FaultWindow
from harness.record.files import LATENCIES, TIMELINE
from harness.record.run import Record, Verdict
from scenarios.outage.fault import planned_fault

QUANTILES = {"p50": 0.5, "p99": 0.99}


def _spans(fault: FaultWindow, caught_up_s: float | None) -> dict[str, tuple[float, float]]:
    """From when to when producers were before the fault, in it, in the drain, and after the restart; seconds."""
    from_s, to_s = fault.start_ns / 1e9, (fault.end_ns or fault.start_ns) / 1e9
    # A drain takes seconds that it shares with what comes after; all that it has a part in count.
    end_s = math.ceil(to_s + caught_up_s) if caught_up_s is not None else math.inf
    return {
        "before": (0.0, from_s),
        "away": (from_s, to_s),
        "draining": (math.floor(to_s), end_s),
        "after": (to_s, math.inf),
    }


def add_producers(findings: Findings, fault: FaultWindow, caught_up_s: float | None) -> None:
    """What producers noticed: their response while the consumer was away, and while it drained, against before."""
    log, spans = LatencyLog(findings.intervals), _spans(fault, caught_up_s)
    for name, span in spans.items():
        findings.quantiles(f"{name}.response", _within(log, span), QUANTILES)
    for name in ("away", "draining"):
        for quantile, ratio in _ratios(log, spans["before"], spans[name]).items():
            figure = f"{name}.response.{quantile}_ratio"
            findings.figure(figure, ratio.value if ratio else None, "times")
            findings.figure(f"{figure}.low", ratio.low if ratio else None, "times")
            findings.figure(f"{figure}.high", ratio.high if ratio else None, "times")


def _within(log: LatencyLog, span: tuple[float, float]) -> list[Interval]:
    """The seconds of responses that lie within a span."""
    from_s, to_s = span
    return [i for i in log.of("append.response") if from_s <= i.start_s and i.start_s + i.length_s <= to_s]


def unharmed_checker(span: str, within: float) -> Checker:
    """What finds whether producers were answered about as fast as before, in a span of `_spans`."""
    name = f"crm_outage.producers_unharmed_{span}"

    def check(record: Record) -> Verdict:
        fault = planned_fault(record.history)
        if fault is None:
            return Verdict(name=name, status="UNKNOWN", detail="there was no fault to compare with")
        spans = _spans(fault, record.run.figure("crm_outage.caught_up_s"))
        found = _ratios(record.latency, spans["before"], spans[span])
        return checkers.producers_unharmed(name, found, within=within)

    return Checker(name, check, reads=(LATENCIES, TIMELINE))


def _ratios(log: LatencyLog, before: tuple[float, float], then: tuple[float, float]) -> dict[str, Ratio | None]:
    """The response at each quantile then, by that before."""
    parts = [seconds_of(_within(log, span)) for span in (before, then)]
    found = ratios(parts[0], parts[1], list(QUANTILES.values()), seed=1)
    return dict(zip(QUANTILES, found, strict=True))
