"""Which seconds of a load were short, what limited it, and the verdict: on histories written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.check.load_reached import (
    Limit,
    LoadCounts,
    Surroundings,
    limit_of,
    limit_of_steps,
    load_reached,
    seconds_of,
)

S = 1_000_000_000
MS = 1_000_000
SERVER = Limit("server", "the server's core was full")


def counts_of(
    offered_in_s: list[int], capacity_per_s: float, *, away: tuple[float, float] | None = None, **given_: Any
) -> LoadCounts:
    """A load against a server that takes so many a second, and none while it is away; a look each 100 ms."""
    looks: list[tuple[int, float]] = []
    due = taken = 0.0
    for step in range(len(offered_in_s) * 100 + 500):
        if step % 10 == 0:
            looks.append((step * 10 * MS, float(int(taken + 1e-6))))
        due += offered_in_s[step // 100] / 100 if step < len(offered_in_s) * 100 else 0.0
        if away is None or not away[0] <= step / 100 < away[1]:
            taken = min(due, taken + capacity_per_s / 100)
    usual: dict[str, Any] = {
        "offered_in_s": tuple(offered_in_s),
        "scheduled_ns": len(offered_in_s) * S,
        "reached": tuple(looks),
        "is_final": True,
        "allowance_ns": 120 * MS,
    }
    return LoadCounts(**(usual | given_))


@pytest.mark.parametrize(
    ("share", "short", "unseen"),
    # Of 5 % too much the third and fourth second are as late as two looks are apart: nobody can say.
    [(0.5, 0, 0), (0.9, 0, 0), (1.0, 0, 0), (1.01, 0, 0), (1.05, 6, 2), (1.5, 10, 0), (3.0, 10, 0)],
)
def test_a_constant_load(share: float, short: int, unseen: int) -> None:
    """Up to the capacity each second arrives; beyond it what is missing adds up until the seconds are short."""
    found = seconds_of(counts_of([round(1_000 * share)] * 10, 1_000))
    assert (len(found.short), found.judged, found.unseen) == (short, 10 - unseen, unseen)


def test_an_arrival_at_the_end_of_a_second() -> None:
    """What is due in the last moment of a second, and there in the first of the next, has arrived."""
    counts = LoadCounts(
        offered_in_s=(10, 10),
        scheduled_ns=2 * S,
        reached=((0, 0), (S - MS, 0), (S + 100 * MS, 10), (2 * S - MS, 10), (2 * S + 100 * MS, 20)),
        is_final=True,
        allowance_ns=120 * MS,
    )
    assert seconds_of(counts).short == ()


def test_a_burst_that_drains() -> None:
    """The seconds of a burst are short, and those after it until all of it is there; then no more."""
    found = seconds_of(counts_of([100, 100, 2_000, 100, 100, 100, 100], 800))
    assert found.short == (2, 3)


def test_a_last_second_that_is_cut_short() -> None:
    """A schedule that ends within a second is judged to its end."""
    for taken, short in ((1_300, ()), (1_200, (1,))):
        counts = LoadCounts(
            offered_in_s=(1_000, 300),
            scheduled_ns=1_300 * MS,
            reached=((0, 0), (S, 1_000), (1_300 * MS, taken)),
            is_final=True,
            allowance_ns=120 * MS,
        )
        assert seconds_of(counts).short == short


def _fields(counts: LoadCounts) -> dict[str, Any]:
    return {name: getattr(counts, name) for name in counts.__struct_fields__}


def test_a_fault_of_the_server_is_excused() -> None:
    """While it lasts, and a second after it, nothing is judged; before and afterwards the load has to arrive."""
    away = counts_of([100] * 10, 400, away=(3.0, 5.0))
    assert seconds_of(away).short == (3, 4)
    excused = LoadCounts(**{**_fields(away), "excused": ((3 * S, 5 * S),)})
    found = seconds_of(excused)
    assert (found.short, found.judged) == ((), 7)


def test_a_fault_soon_after_the_beginning() -> None:
    """Where the allowance leaves no room before a fault, the first half of the time until then is judged."""
    counts = counts_of([100] * 3, 1_000, away=(1.0, 2.0), allowance_ns=S, excused=((S, 2 * S),))
    found = seconds_of(counts)
    assert (found.short, found.judged, found.unseen) == ((), 1, 0)
    slow = counts_of([100] * 3, 10, away=(1.0, 2.0), allowance_ns=S, excused=((S, 2 * S),))
    assert seconds_of(slow).short == (0,)


def test_what_a_fault_has_cost_is_not_held_against_what_follows() -> None:
    """Events that never came, since the server was away, are missing ever after and are forgiven."""
    counts = counts_of([100] * 10, 1_000)
    lost = tuple((t_ns, count if t_ns < 4 * S else count - 50) for t_ns, count in counts.reached)
    found = seconds_of(LoadCounts(**{**_fields(counts), "reached": lost, "excused": ((3 * S, 4 * S),)}))
    assert found.short == ()
    assert len(seconds_of(LoadCounts(**{**_fields(counts), "reached": lost})).short) == 7


def test_a_ramp_is_judged_up_to_its_limit() -> None:
    """What comes after the limit was meant to be too much."""
    ramp = counts_of(list(range(100, 2_100, 200)), 1_000)
    assert seconds_of(ramp).short == (6, 7, 8, 9)
    judged = seconds_of(LoadCounts(**{**_fields(ramp), "until_ns": 5 * S}))
    assert (judged.short, judged.judged) == ((), 5)


def test_without_looks_nothing_is_decided() -> None:
    """Nobody saw it: no second is short, and none has passed."""
    counts = LoadCounts(**{**_fields(counts_of([100] * 4, 1_000)), "reached": ()})
    found = seconds_of(counts)
    assert (found.short, found.judged, found.unseen) == ((), 0, 4)
    assert load_reached("x", counts, found, SERVER).status == "UNKNOWN"


def test_what_was_acknowledged_has_reached_the_server() -> None:
    """Where the server says nothing, enough answers in each second show that it arrived; by what, is said."""
    counts = counts_of([100, 100, 100], 1_000, allowance_ns=0, at_least=True)
    verdict = load_reached("x", counts, seconds_of(counts), SERVER, blind="nobody may ask")
    assert verdict.status == "PASS"
    assert "By what it has acknowledged: nobody may ask" in verdict.detail


@pytest.mark.parametrize("capacity", [50, 90])
def test_what_was_not_acknowledged_may_have_reached_the_server(capacity: int) -> None:
    """Too few answers fail nobody: nothing is known of the rest, and why not is said."""
    counts = counts_of([100, 100, 100], capacity, at_least=True)
    found = seconds_of(counts)
    assert (found.short, found.unseen > 0) == ((), True)
    verdict = load_reached("x", counts, found, SERVER, blind="nobody may ask")
    assert verdict.status == "UNKNOWN"
    assert "had been acknowledged by its end" in verdict.detail
    assert "how many more had reached the server: nobody may ask;" in verdict.detail


def test_a_gap_leaves_its_seconds_in_doubt() -> None:
    """A second without a look is in doubt only where the looks around it do not tell; a stall is seen later."""
    counts = counts_of([100] * 10, 1_000)
    gap = tuple(look for look in counts.reached if not 2_500 * MS < look[0] < 5_500 * MS)
    found = seconds_of(LoadCounts(**{**_fields(counts), "reached": gap}))
    assert (found.short, found.unseen) == ((), 3)
    late = counts_of([100] * 10, 1_000, away=(2.5, 9.0))
    gap = tuple(look for look in late.reached if not 2_500 * MS < look[0] < 5_500 * MS)
    found = seconds_of(LoadCounts(**{**_fields(late), "reached": gap}))
    assert found.short == (2, 3, 4, 5, 6, 7, 8)


@given(
    offered=st.lists(st.integers(0, 500), min_size=1, max_size=8),
    capacity=st.floats(1, 2_000),
    allowance_ms=st.integers(100, 1_000),
)
def test_each_second_is_one_of_three(offered: list[int], capacity: float, allowance_ms: int) -> None:
    """Every second is judged or in doubt; with more capacity than is ever due none is short."""
    counts = counts_of(offered, capacity, allowance_ns=allowance_ms * MS)
    found = seconds_of(counts)
    assert found.judged + found.unseen == len(offered)
    assert len(found.short) <= found.judged
    if capacity >= 100 * max(offered, default=0):
        assert found.short == ()


AROUND = Surroundings(
    send_lag_us=100, service_us=800_000, server_core=0.97, server_wait=0.01, host_busy=0.7, steal=0.0,
    instrument_core=0.4, instrument_wait=0.01,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "place", "words"),
    [
        ({}, "server", "the server's core was full"),
        # A machine is full whenever a server on it is.
        ({"host_busy": 1.0}, "server", "the server's core was full"),
        ({"server_core": 0.1}, "server", "whose core was not full"),
        ({"server_core": 0.1, "host_busy": 1.0}, "server", "whose core was not full"),
        ({"server_core": 0.5, "server_wait": 0.48, "host_busy": 1.0}, "host", "the server waited for a core"),
        ({"server_core": 0.5, "server_wait": 0.48, "steal": 0.3}, "host", "given to others"),
        ({"server_core": 0.3, "server_wait": 0.6, "throttled": 0.5}, "host", "quota"),
        ({"server_core": 0.3, "server_wait": None, "throttled": 0.5}, "host", "quota"),
        ({"server_core": None, "server_wait": None}, "server", "they waited at the server"),
        ({"server_core": None, "server_wait": None, "host_busy": 1.0}, "host", "all cores of this machine"),
        ({"send_lag_us": 900_000}, "instrument", "could not send it in time"),
        ({"send_lag_us": 900_000, "instrument_core": 0.99}, "instrument", "own core was full"),
        ({"send_lag_us": 900_000, "instrument_wait": 0.6, "host_busy": 1.0}, "host", "waited for a core"),
        ({"send_lag_us": 900_000, "throttled": 0.5}, "host", "quota"),
        ({"service_us": None, "send_lag_us": None, "server_core": None}, "nobody knows", "not known"),
    ],
)
def test_what_the_limit_was(changed: dict[str, Any], place: str, words: str) -> None:
    """Sent late or answered late, with the core, waiting for it, or neither: each tells another limit."""
    found = limit_of(Surroundings(**{**_surroundings(), **changed}))
    assert (found.place, words in found.words) == (place, True), found


def _surroundings() -> dict[str, Any]:
    return {name: getattr(AROUND, name) for name in AROUND.__struct_fields__}


def test_what_was_refused_is_the_server_s() -> None:
    """A server that answers with errors is the limit, whoever had the machine."""
    assert limit_of(AROUND, refused=True) == Limit("server", "the server refused the rest")


@pytest.mark.parametrize(
    ("around", "place"),
    [
        (Surroundings(instrument_core=0.95), "instrument"),
        (Surroundings(host_busy=1.0, users_busy=1.0), "host"),
        (Surroundings(host_busy=0.5, users_busy=0.97), "nobody knows"),
        (Surroundings(), "nobody knows"),
    ],
)
def test_what_the_limit_of_users_was(around: Surroundings, place: str) -> None:
    """Whoever waits for an answer sends nothing: busy users alone tell nothing against the shop."""
    assert limit_of_steps(around).place == place


@pytest.mark.parametrize(("place", "status"), [("server", "FAIL"), ("host", "UNKNOWN"), ("instrument", "UNKNOWN")])
def test_only_the_server_fails(place: Any, status: str) -> None:
    """A load that did not arrive fails where the server was the limit; else the measurement is not valid."""
    counts = counts_of([2_000] * 4, 1_000)
    verdict = load_reached("append.load_reached", counts, seconds_of(counts), Limit(place, "it was so"))
    assert verdict.status == status
    assert verdict.detail == (
        "in 4 of 4 s less than 98% of the due operations had reached the server 0.12 s later: it was so; "
        "8,000 of the 8,000 due operations had reached the server in the end"
    )
