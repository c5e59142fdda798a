"""The drain after an outage: what waited, as it was measured and as the rates of the run predict it.

    events   |    . first effect
    waiting  | .  :
             |    .
             |      .
             |        .  load ends: from here on it falls faster
             |         .
             +----------.------ seconds since the restart

Until the first effect events only arrive. What the first look at an effect has seen at once, often a whole batch,
is a step down. From then on what waits falls by the drain less the arrivals, and from the end of the load on by
the drain alone. The end is a figure of the run, `predicted_drain_s`, that its scenario
has found (`scenarios.line.recovery.predicted_drain_s`), and the line is drawn backwards from it:

    waiting(t) = drain (end - t) - arrival (load_end - t)       until load_end; drain (end - t) after it

Rejected: to draw it forwards from the backlog, as if events arrived for ever and nothing were applied at once;
line and figure would contradict each other.
"""

from __future__ import annotations

import msgspec

from harness.measure.timeline import History, Reading
from harness.record.run import Record, Run
from reports.quantities import quantity

# A moment in seconds since the restart, and how many events wait.
Corner = tuple[float, float]


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has of a drain; times in seconds since the restart.

    Attributes:
        measured: each reading of lag; None where it had no answer.
        predicted: the corners of the line; none where the rates say that it never ends.
        drain_per_s, arrival_per_s: events applied, and arriving.
        back_s: when lag was first back where it was before the fault; None where that was not seen.
        end_s: when nothing should have waited any more; None for never.
    """

    measured: list[tuple[float, float | None]]
    predicted: list[Corner]
    drain_per_s: float
    arrival_per_s: float
    back_s: float | None
    end_s: float | None


def drain_of(record: Record) -> Drain | None:
    """The drain of a run; None where it has had none, or has no evidence of it.

    Raises:
        RunError: the timeline cannot be read.
    """
    run, history = record.run, record.history
    names = ("backlog_at_restart_events", "drain_rate_per_s", "predicted_drain_s", "first_effect_s")
    backlog, drain_per_s, end_s, first_s = (run.figure(f"{run.scenario}.{name}") for name in names)
    if backlog is None:
        # Earlier records have no other.
        backlog = run.figure(f"{run.scenario}.backlog_events")
    restart_ns, load_s, arrival_per_s = history.mark("restart"), _load_s(run), run.parameters.get("rate_per_s")
    if restart_ns is None or not backlog or drain_per_s is None:
        return None
    if load_s is None or not isinstance(arrival_per_s, int | float):
        return None
    measured, back_s = _lag_since(history, restart_ns)
    # With a rate of the drain there is an end, or the record is of a time that did not predict one.
    if not measured or (end_s is None and drain_per_s > 0):
        return None
    predicted: list[Corner] = []
    if end_s is not None:
        load_end_s = load_s - restart_ns / 1e9
        predicted = predicted_drain(backlog, drain_per_s, arrival_per_s, first_s or 0.0, load_end_s, end_s)
    return Drain(
        measured=measured,
        predicted=predicted,
        drain_per_s=drain_per_s,
        arrival_per_s=float(arrival_per_s),
        back_s=back_s,
        end_s=end_s,
    )


def in_words(drain: Drain) -> str:
    """When lag was back, and when nothing should have waited any more; each of them may never have been."""
    back = "was not seen back where it was"
    if drain.back_s is not None:
        back = f"was first back where it was {quantity(drain.back_s, 's')} after the restart"
    end = "never, at these rates" if drain.end_s is None else quantity(drain.end_s, "s")
    return f"Lag {back}; predicted: {end}."


def predicted_drain(
    backlog: float,
    drain_per_s: float,
    arrival_per_s: float,
    first_effect_s: float,
    load_end_s: float,
    end_s: float,
) -> list[Corner]:
    """What should wait after a restart, as corners of a line; the last is where nothing does.

    Args:
        backlog: events that wait at the restart.
        drain_per_s, arrival_per_s: events applied, and arriving.
        first_effect_s: from the restart to the first event applied.
        load_end_s: from the restart until no more events arrive.
        end_s: from the restart until nothing waits.
    """
    corners: list[Corner] = []
    if first_effect_s > 0:
        arriving_s = min(max(0.0, load_end_s), first_effect_s)
        arrived = backlog + arrival_per_s * arriving_s
        corners = [(0.0, backlog), (first_effect_s, arrived)]
        if 0 < arriving_s < first_effect_s:
            corners.insert(1, (arriving_s, arrived))
    arriving_until_s = min(load_end_s, end_s)
    for t_s in sorted({first_effect_s, max(first_effect_s, arriving_until_s), end_s}):
        arriving = arrival_per_s * max(0.0, arriving_until_s - t_s)
        corners.append((t_s, drain_per_s * (end_s - t_s) - arriving))
    return corners


def _load_s(run: Run) -> float | None:
    """For how long a load with an outage in it lasts: before, during and after; None where that is not said."""
    parts = [run.parameters.get(name) for name in ("before_s", "outage_s", "after_s")]
    known = [part for part in parts if isinstance(part, int | float)]
    return float(sum(known)) if len(known) == len(parts) else None


def _lag_since(history: History, restart_ns: int) -> tuple[list[tuple[float, float | None]], float | None]:
    """The lag after a restart, of the group that was furthest behind; and when it was first back."""
    by_labels: dict[tuple[tuple[str, str], ...], list[Reading]] = {}
    for reading in history.readings("lag.events"):
        by_labels.setdefault(tuple(sorted(reading.labels.items())), []).append(reading)
    if not by_labels:
        return [], None
    furthest = max(by_labels.values(), key=lambda readings: max(r.value or 0.0 for r in readings))
    fault_ns = min((fault.start_ns for fault in history.faults), default=restart_ns)
    band = max((r.value or 0.0 for r in furthest if r.t_ns < fault_ns), default=0.0)
    since = [((r.t_ns - restart_ns) / 1e9, r.value) for r in furthest if r.t_ns >= restart_ns]
    return since, next((t_s for t_s, value in since if value is not None and value <= band), None)
