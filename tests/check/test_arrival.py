"""The arrival of a load, judged from its report and curves: who is blamed, and who is not."""

from __future__ import annotations

import numpy as np
import pytest

from harness.check.arrival import ArrivalRule, arrival_of
from harness.measure.hlog import LatencyLog
from harness.measure.recorder import Recorder
from harness.measure.timeline import History, Reading
from harness.record.load_report import LoadReport

S, MS = 1_000_000_000, 1_000_000
BUDGET_MS = 10.0


def late_load(*, send_lag_ms: float, core_share: float) -> tuple[LoadReport, History, LatencyLog]:
    """A load of three seconds, the second of which is answered late; all of it is sent a little late."""
    due = np.arange(300) * 10 * MS
    start = due + int(send_lag_ms * MS)
    service = np.where((due >= S) & (due < 2 * S), 900 * MS, MS)
    recorder = Recorder()
    recorder.record("append", due, start, start + service)
    history = History()
    reached = {0: 0, 1_000: 100, 1_500: 101, 2_000: 102, 2_500: 103, 3_000: 300, 4_000: 300}
    for at_ms, count in reached.items():
        history.add(Reading(t_ns=at_ms * MS, name="load.reached", value=float(count), unit="events"))
        history.add(Reading(t_ns=at_ms * MS, name="server.core_share", value=core_share, unit="cores"))
    report = LoadReport(
        arrivals=300, ok=300, failed=0, unknown=0, dropped=0, offered_in_s=[100, 100, 100], wall_ns=3 * S
    )
    return report, history, LatencyLog(recorder.intervals())


@pytest.mark.parametrize(
    ("send_lag_ms", "core_share", "place"),
    [
        (1, 0.3, "server"),
        # Late by more than the budget: whoever kept the instrument from its core may have kept the server, too.
        (300, 0.3, "nobody knows"),
        # A full core is the server's own, whoever was late.
        (300, 1.0, "server"),
    ],
)
def test_a_server_is_blamed_only_beside_a_fit_instrument(
    send_lag_ms: float, core_share: float, place: str
) -> None:
    """That operations waited at a server whose core was idle says nothing where the instrument was late itself."""
    report, history, log = late_load(send_lag_ms=send_lag_ms, core_share=core_share)
    found = arrival_of(report, history, log, ArrivalRule(budget_ms=BUDGET_MS))
    assert 1 in found.whole.short
    assert found.limit.place == place, found.limit.words
