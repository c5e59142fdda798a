"""Each verdict of each scenario, found in evidence written by hand: where it is bad, and where it is missing.

Of each scenario there is a history on which everything has gone wrong; its verdicts are told as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from pyroaring import BitMap

from harness.check.arrival import ArrivalRule
from harness.conduct.findings import Findings
from harness.conduct.judging import judged_run
from harness.conduct.scenario import parameters_of
from harness.measure.timeline import FaultWindow, Reading
from harness.record.run import Status
from ordershop.entities import Billing, Order
from scenarios.catalog import SCENARIOS
from scenarios.consumers import Operated
from scenarios.disturbance import Disturbed
from scenarios.far_link import ROUND_TRIP_US, FarLink
from scenarios.many_groups.seen import GroupsSeen
from scenarios.micro_benchmarks import BENCHMARKS_RUN
from scenarios.random_faults import PLAN
from scenarios.replay import COMPARED, Compared, ReplayByUsers
from scenarios.shop.books import BOOKS, Books, Held
from scenarios.shop.versions import Written, add_updates, word
from scenarios.soak import WATCHED
from tests.histories import S, add_events, add_load, latencies
from tests.verdicts import record_of

# Late, twice, from nowhere; 4 has stopped somewhere: three of five effects are right.
ALL_WRONG: dict[str, Any] = {"effects": [1, 0, 2, 2, 3, 5, 9]}
LOAD: dict[str, Status] = {"send_lag": "UNKNOWN", "load_reached": "FAIL"}
WRONG: dict[str, Status] = {
    "answered": "FAIL",
    "drained": "PASS",
    "nothing_lost": "FAIL",
    "nothing_twice": "FAIL",
    "nothing_unexpected": "FAIL",
    "in_order": "FAIL",
}
UNKNOWN: dict[str, Status] = dict.fromkeys(["nothing_lost", "nothing_twice", "nothing_unexpected"], "UNKNOWN")
WAITING: dict[str, Status] = {**WRONG, "drained": "FAIL", **UNKNOWN}


def line(findings: Findings, **more: Any) -> None:
    """A line on which all has gone wrong: half of its load was refused, the rest was sent late."""
    findings.intervals += latencies("append", [(100, 1)] * 2)
    add_load(findings.evidence, findings.history)
    add_events(findings.evidence, **{**ALL_WRONG, **more})


def slow_line(findings: Findings) -> None:
    """A line of which the CRM was killed in its tenth second: then and later answers take much longer."""
    line(findings)
    findings.history.add(FaultWindow(name="kill", target="crm", start_ns=10 * S, end_ns=20 * S))
    findings.intervals[:] = latencies("append", [*[(100, 1)] * 10, *[(100, 5_000)] * 20])


def idle_line(findings: Findings) -> None:
    """A line of two consumers and a new one: one was idle, and one was deleted with events in hand."""
    line(findings, consumers=3)
    for name, events in (("crm", [0, 1]), ("crm-2", [2]), ("crm-3", [])):
        findings.evidence.add_set(f"handled.{name}", BitMap(events))
    findings.evidence.add_json("operator", Operated(deleted_with=3))


def long_line(findings: Findings) -> None:
    """A line whose streams were too long before the CRM went away."""
    line(findings)
    findings.history.add(FaultWindow(name="kill", target="crm", start_ns=10 * S, end_ns=20 * S))
    findings.history.add(Reading(t_ns=S, name="stream.length", value=1e6, unit="events"))


def growing_line(findings: Findings) -> None:
    """A line of which all grows that is watched: by a quarter in a minute."""
    line(findings)
    for at in range(60):
        for watched in WATCHED.values():
            value = 1_000.0 * (1 + at / 240)
            findings.history.add(Reading(t_ns=at * S, name=watched.reading, value=value, unit=watched.unit))


def crashed_line(findings: Findings, durability: str, *, from_s: float) -> None:
    """A line whose server has lost two events, and kept one that has had no effect."""
    operation = f"append_{durability}"
    findings.intervals += latencies(operation, [(100, 1)] * 2)
    rule = ArrivalRule(budget_ms=20, name=durability, operation=operation)
    add_load(findings.evidence, findings.history, durability, rule=rule)
    add_events(findings.evidence, durability, stored=[0, 1, 3, 4], **ALL_WRONG)
    findings.figure(f"{durability}.gone_from_s", from_s, "s")


def books(findings: Findings) -> None:
    """A shop whose books hold nothing of what was told, and what was not; its shoppers came late."""
    findings.intervals += latencies("journey.order", [(100, 1)] * 2)
    rule = ArrivalRule(budget_ms=20, operation="journey", reached="answered", users=20)
    add_load(findings.evidence, findings.history, rule=rule, refused=0)
    held = Held({"o2": Order("o2", ["p"], "c")}, {"p": 9}, [Billing("b", "o3", 1.0)])
    told = {"o1": "open p"}
    findings.evidence.add_json(BOOKS, Books(held=held, told=told, stock={"p": 9}, unbilled=[], in_doubt=0))


def append(findings: Findings) -> None:
    """Two durabilities of which each was refused the half, and sent late."""
    for label in ("everysec", "none"):
        operation = f"append_{label}"
        findings.intervals += latencies(operation, [(100, 1)] * 2)
        add_load(
            findings.evidence,
            findings.history,
            label,
            rule=ArrivalRule(budget_ms=20, name=label, operation=operation),
        )
        findings.figure(f"{label}.offered_per_s", 100.0, "1/s")


def surrounded(findings: Findings) -> None:
    """A load whose server could not rewrite its log, over a link that was too short."""
    rule = ArrivalRule(budget_ms=20, name="always", operation="append_always")
    findings.intervals += latencies(rule.operation, [(100, 1)] * 2)
    add_load(findings.evidence, findings.history, "always", rule=rule)
    findings.figure("always.offered_per_s", 100.0, "1/s")
    seen = Disturbed(what="rewrite", load_ns=2 * S, began_ns=S, ended_ns=S, forks=1, status="err")
    findings.evidence.add_json("disturbance.always", seen)
    known = FarLink(
        round_trip_ms=1, one_way_ms=0, direct_us=40, pass_us=90, delayed_us=90, offset_ns=0, load_ns=S, floor_us=90
    )
    findings.evidence.add_json("link.always", known)
    for way in ("link", "direct"):
        labels = {"load": "always", "way": way}
        findings.history.add(Reading(t_ns=S // 2, name=ROUND_TRIP_US, value=90.0, unit="µs", labels=labels))


def grouped(findings: Findings) -> None:
    """A stream with fewer groups than there should be, none of which was read, and one had little pending."""
    findings.intervals += latencies("append", [(100, 1)] * 2)
    add_load(findings.evidence, findings.history)
    seen = GroupsSeen(
        groups=200, read=10, pending=10, load_ns=2 * S, there=9, moved=0, least_before=10, least_after=9
    )
    findings.evidence.add_json("groups", seen)
    findings.history.add(Reading(t_ns=S, name="groups.count", value=9.0, unit="groups"))
    findings.history.add(Reading(t_ns=S, name="groups.pending", value=9.0, unit="events"))


def crashed(findings: Findings) -> None:
    """A server of each durability; of the one that syncs each second too much is gone."""
    for durability in ("always", "everysec", "none"):
        crashed_line(findings, durability, from_s=2.5)


def planned(findings: Findings) -> None:
    """A line with a plan of which nothing was done."""
    line(findings)
    findings.evidence.add_json(PLAN, [])


def differing(findings: Findings) -> None:
    """A cache that is not what a replay gives."""
    findings.evidence.add_json(COMPARED, Compared(replayed=3, cached=3, differing=1))


def by_users(findings: Findings) -> None:
    """The same, by users whose replays were refused."""
    differing(findings)
    add_load(findings.evidence, findings.history)


def written_over(findings: Findings) -> None:
    """Writers who met once, and wrote over what another had written; half of all updates had no answer."""
    writers = add_updates(
        findings.evidence,
        {"0": word("written", 1), "1": word("written", 2)},
        Written(*np.array([[0, 0, 1], [1, 0, 1]], np.int64).T),
        in_doubt=0,
        versions=[3],
    )
    assert writers.conflicts == 1
    findings.intervals += latencies("contention.update", [(100, 1_000_000)] * 2)
    rule = ArrivalRule(budget_ms=1_000, operation="contention", reached="answered", users=16)
    add_load(findings.evidence, findings.history, rule=rule, refused=0)


def without_reads(findings: Findings) -> None:
    """A mix of which only appends were answered; half of all had no answer."""
    findings.evidence.add_json("mix", {"append": 40, "entity": 120, "page": 20, "tail": 20})
    findings.intervals += latencies("mix.append", [(100, 1)] * 2)
    add_load(
        findings.evidence,
        findings.history,
        rule=ArrivalRule(budget_ms=1_000, operation="mix", reached="answered"),
        refused=0,
    )


def unmeasured(findings: Findings) -> None:
    """Benchmarks of which none was run."""
    findings.evidence.add_json(BENCHMARKS_RUN, [])


CRASH = {name: status for name, status in {**LOAD, **WRONG}.items() if name != "answered"}
NO_PROMISE = {name: status for name, status in CRASH.items() if name != "nothing_lost"}


def of(part: str, statuses: dict[str, Status]) -> dict[str, Status]:
    return {f"{part}.{name}": status for name, status in statuses.items()}


class Case(NamedTuple):
    """A scenario, parameters, a history that is wrong, and what is found in it."""

    name: str
    given: dict[str, Any]
    history: Callable[[Findings], None]
    found: dict[str, Status]


BAD: dict[str, Case] = {
    "lag": Case("lag", {}, line, {**LOAD, **WRONG}),
    "crm_outage": Case(
        "crm_outage",
        {"fault": "kill_in_batch"},
        slow_line,
        {
            **LOAD,
            "producers_unharmed_away": "FAIL",
            "producers_unharmed_draining": "FAIL",
            "hit_in_batch": "UNKNOWN",
            **WRONG,
        },
    ),
    "crm_outage, restart_empty": Case(
        "crm_outage",
        {"fault": "restart_empty"},
        line,
        {name: status for name, status in {**LOAD, **WRONG}.items() if name != "answered"},
    ),
    "random_faults": Case("random_faults", {}, planned, {**LOAD, "all_done": "UNKNOWN", **WRONG}),
    "random_faults, expect=loss": Case(
        "random_faults",
        {"expect": "loss", "delivery": "from_now"},
        planned,
        {
            **LOAD,
            "all_done": "UNKNOWN",
            **{name: status for name, status in WRONG.items() if name != "nothing_lost"},
            "loss_shown": "PASS",
        },
    ),
    "consumers": Case(
        "consumers",
        {"consumers": 2},
        idle_line,
        {
            **LOAD,
            **{name: status for name, status in WRONG.items() if name != "in_order"},
            "removed_clean": "FAIL",
            "all_worked": "FAIL",
        },
    ),
    "retention": Case(
        "retention",
        {},
        long_line,
        {**LOAD, **{name: status for name, status in WRONG.items() if name != "in_order"}, "bounded": "FAIL"},
    ),
    "redis_crash": Case(
        "redis_crash",
        {},
        crashed,
        {
            **of("always", {**CRASH, "kept_applied": "FAIL", "nothing_gone": "FAIL"}),
            **of("everysec", {**NO_PROMISE, "kept_applied": "FAIL", "gone_within": "FAIL"}),
            **of("none", {**NO_PROMISE, "kept_applied": "FAIL"}),
        },
    ),
    "append": Case(
        "append",
        {},
        append,
        {
            **of("everysec", {"load_reached": "FAIL", "send_lag": "UNKNOWN", "answered": "FAIL"}),
            **of("none", {"load_reached": "FAIL", "send_lag": "UNKNOWN", "answered": "FAIL"}),
        },
    ),
    "append, with a link and a rewrite": Case(
        "append",
        {"disturb": "rewrite", "round_trip_ms": 1},
        surrounded,
        {
            **of(
                "always",
                {
                    "load_reached": "FAIL",
                    "send_lag": "UNKNOWN",
                    "answered": "FAIL",
                    "disturbed": "FAIL",
                    "far_link": "UNKNOWN",
                },
            ),
        },
    ),
    "groups": Case(
        "groups",
        {"pending": 10},
        grouped,
        {
            "groups_there": "FAIL",
            "groups_read": "FAIL",
            "pending_full": "FAIL",
            "load_reached": "FAIL",
            "send_lag": "UNKNOWN",
            "answered": "FAIL",
        },
    ),
    "soak": Case(
        "soak",
        {"warm_up_s": 0, "duration_s": 60},
        growing_line,
        {
            **LOAD,
            **{name: status for name, status in WRONG.items() if name != "in_order"},
            "memory_steady": "FAIL",
            "resident_steady": "FAIL",
            "fragmentation_steady": "FAIL",
            "pending_steady": "FAIL",
            "streams_steady": "FAIL",
        },
    ),
    "journey": Case(
        "journey",
        {},
        books,
        {
            "orders": "FAIL",
            "stock": "FAIL",
            "bills": "FAIL",
            "unbilled": "FAIL",
            "answered": "FAIL",
            "send_lag": "UNKNOWN",
            "load_reached": "UNKNOWN",
        },
    ),
    "contention": Case(
        "contention",
        {},
        written_over,
        {
            "nothing_lost": "FAIL",
            "contended": "UNKNOWN",
            "answered": "FAIL",
            "send_lag": "UNKNOWN",
            "load_reached": "UNKNOWN",
        },
    ),
    "mix": Case(
        "mix",
        {},
        without_reads,
        {"as_asked": "UNKNOWN", "answered": "FAIL", "send_lag": "UNKNOWN", "load_reached": "UNKNOWN"},
    ),
    "replay": Case("replay", {}, differing, {"equals_cache": "FAIL"}),
    "micro": Case("micro", {}, unmeasured, {"measured": "UNKNOWN"}),
}


def statuses(case: Case, findings: Findings, scenario: Any = None) -> dict[str, Status]:
    """What is found in these findings of a run with a case's parameters, in the order of the verdicts."""
    scenario = scenario or SCENARIOS[case.name]
    given = {"send_lag_budget_ms": "20"} if case.name not in {"replay", "micro"} else {}
    chosen = parameters_of(scenario, "quick", given | {name: str(value) for name, value in case.given.items()})
    verdicts = judged_run(scenario, record_of(case.name, chosen, findings)).verdicts
    return {verdict.name.removeprefix(f"{case.name}."): verdict.status for verdict in verdicts}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_what_is_wrong_is_found(case: Case) -> None:
    """Where all has gone wrong each verdict says so, in the order in which verdicts are told."""
    findings = Findings(case.name)
    case.history(findings)
    assert list(statuses(case, findings).items()) == list(case.found.items())


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_nothing_is_known_without_evidence(case: Case) -> None:
    """The same run without its evidence, its timeline and its latencies: each verdict is there, and UNKNOWN."""
    whole, empty = Findings(case.name), Findings(case.name)
    case.history(whole)
    empty.figures = whole.figures
    assert statuses(case, empty) == dict.fromkeys(case.found, "UNKNOWN")


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_verdict_is_told_of_here(name: str) -> None:
    """A scenario whose verdicts nobody has seen to be bad has no place here: each has its history above."""
    assert name in {case.name for case in BAD.values()}


def test_a_loss_that_was_to_be_shown() -> None:
    """Where a loss is what a run is to show, one without a loss fails."""
    case = BAD["random_faults, expect=loss"]
    findings = Findings(case.name)
    line(findings, effects=range(6))
    findings.evidence.add_json(PLAN, [])
    assert statuses(case, findings)["loss_shown"] == "FAIL"


@pytest.mark.parametrize("name", ["lag", "crm_outage", "random_faults", "retention"])
def test_what_has_not_drained(name: str) -> None:
    """Where something still waits, that fails, and nobody knows what is lost, comes twice, or is unexpected."""
    findings = Findings(name)
    BAD[name].history(findings)
    add_events(findings.evidence, **ALL_WRONG, ending="time_up")
    found = statuses(BAD[name], findings)
    assert {what: found[what] for what in WAITING if what in found} == {
        what: status for what, status in WAITING.items() if what in BAD[name].found
    }


def test_users_that_were_refused_their_replays() -> None:
    """By Locust's users there was a load, and what it was answered is a verdict."""
    findings = Findings("replay")
    by_users(findings)
    case = Case("replay", {}, by_users, {"equals_cache": "FAIL", "answered": "FAIL"})
    assert statuses(case, findings, ReplayByUsers()) == case.found
    # Judged again it is `replay`, whatever made the load: its record says by its parameters what did.
    record = record_of("replay", parameters_of(ReplayByUsers(), "smoke", {}), findings)
    verdicts = judged_run(SCENARIOS["replay"], record).verdicts
    assert [verdict.status for verdict in verdicts] == ["FAIL", "FAIL"]


@pytest.mark.parametrize(("from_s", "status"), [(1.9, "PASS"), (2.1, "FAIL")])
def test_what_may_be_gone_with_a_sync_each_second(from_s: float, status: Status) -> None:
    """What was due in the last two seconds before the kill may be gone; what was due before that may not."""
    findings = Findings("redis_crash")
    crashed_line(findings, "everysec", from_s=from_s)
    case = Case("redis_crash", {"durability": "everysec"}, crashed, {})
    assert statuses(case, findings)["everysec.gone_within"] == status


def test_a_load_that_came_to_its_end_is_judged_alone() -> None:
    """Of a run that was interrupted in its second load the first one's verdicts stand, and no other's."""
    findings = Findings("redis_crash")
    crashed(findings)
    findings.concluded("always")
    scenario = SCENARIOS["redis_crash"]
    record = record_of(scenario.name, parameters_of(scenario, "quick", {}), findings, status="interrupted")
    names = [verdict.name.removeprefix("redis_crash.") for verdict in judged_run(scenario, record).verdicts]
    assert names == [*(name for name in BAD["redis_crash"].found if name.startswith("always.")), "finished"]


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("lag", {}, True),
        ("crm_outage", {"fault": "restart_empty"}, False),
        # Its server is killed under the load: what had no answer then says nothing of it.
        ("redis_crash", {}, False),
    ],
)
def test_why_a_load_failed_is_said_where_it_means_something(name: str, given: dict[str, str], says: bool) -> None:
    """A run that failed says what its load was answered, unless its scenario would not have asked."""
    findings = Findings(name)
    BAD["redis_crash" if name == "redis_crash" else "lag"].history(findings)
    chosen = parameters_of(SCENARIOS[name], "quick", given)
    record = record_of(name, chosen, findings, status="failed")
    found = {verdict.name.rpartition(".")[2] for verdict in judged_run(SCENARIOS[name], record).verdicts}
    assert found == ({"finished", "answered"} if says else {"finished"})


def test_what_one_consumer_had_in_hand() -> None:
    """Events that were in hand while the CRM was away are what a kill in a batch is to hit."""
    case = BAD["crm_outage"]
    findings = Findings(case.name)
    slow_line(findings)
    reading = Reading(t_ns=15 * S, name="consumer.pending", value=7.0, unit="events", labels={"consumer": "1"})
    findings.history.add(reading)
    assert statuses(case, findings)["hit_in_batch"] == "PASS"
