"""A load in shares: the master's end, in a process of its own, for it imports Locust."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

from harness.host.child import Child
from harness.load.pacing import constant
from harness.load.settings import PumpResult
from harness.measure.outcomes import NOT_DUE, OK, UNKNOWN


def told(entry: str, *arguments: Any) -> Any:
    """What a child of `tests.locust_shares` has found."""
    with contextlib.closing(Child(f"tests.locust_shares:{entry}", *arguments)) as child:
        assert child.has_message(15)
        return child.receive()


@pytest.mark.parametrize("stop_at_ns", [None, 1_234_567_890])
def test_a_hole_ends_where_the_schedule_has_ended(stop_at_ns: int | None) -> None:
    """What a silent worker has told is kept; what else was due until a stop is UNKNOWN, and nothing later."""
    pacer = constant(100, 5)
    due = pacer.due_ns(0, pacer.total) < (stop_at_ns or pacer.duration_ns)
    counts, outcomes, scheduled_ns = told("hole_main", pacer, stop_at_ns, [50, 40, 1, 2, 3])
    whole, hole = int(due.sum()), int(due[1::2].sum())
    # No record have those that nobody has told of; what was told to be dropped has one.
    assert counts == [whole, whole - hole + 40, 1, hole - 40 - 1 - 3, 3, hole - 46]
    expected = np.where(due, UNKNOWN, NOT_DUE)
    expected[::2][due[::2]] = OK
    assert outcomes == expected.tolist()
    assert scheduled_ns == (stop_at_ns or pacer.duration_ns)


def test_a_worker_that_was_ready_is_told_when_another_was_not() -> None:
    """It would keep its pump; told once, however often the load is closed."""
    said, sent = told("unready_main", constant(1, 1))
    assert said == "a worker is not ready after 60 s"
    prepare, stop = (f"shopbench.{what}" for what in ("prepare", "stop"))
    assert sent == [(prepare, "a"), (prepare, "b"), (stop, "a"), (stop, "b")]


def test_workers_share_what_may_be_in_flight() -> None:
    """Together they keep to the bound, each with a connection a user, of which a pump has room for so many."""
    *bounds, refused = told("settings_main", 1_000, [(1, 1), (4, 2), (3, 1_000), (2_000, 1), (1, 10_001)])
    assert bounds == [(1, 1_000), (2, 250), (1_000, 333), (1, 1)]
    assert refused == "a worker can have 1 to 10,000 connections, not 10,001: start more workers, or fewer users"


def test_every_field_of_a_result_comes_from_all_of_them() -> None:
    """Three reports as one: a field that nobody has thought of would be the default's, and is none."""
    folded, whole = told("folds_main")
    assert folded == list(PumpResult.__struct_fields__)
    assert whole == {
        "arrivals": 60,
        "reconnects": 6,
        "wall_ns": 3,
        "errors": {"ERR": 3, "OOM": 1},
        "away": "LOADING",
        "silent_since_s": 2.5,
        "answered_in_s": [3, 2, 1],
        "slowest": [30, 20, 10],
        "told": {"order": "paid", "cart": "new"},
    }
