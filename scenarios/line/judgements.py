"""What is judged of a line's account: by what its consumers promise; those that promise nothing as OrderShop's.

    promise            nothing_lost    nothing_twice    in_order               drained
    none (OrderShop)   yes             yes              with one consumer      else FAIL
    at_least_once      yes             no: a figure     where it is promised   still: FAIL, time up: UNKNOWN
    effectively_once   yes             after keys       where it is promised   as above
    at_most_once       no: figures     without keys     where it is promised   time up: UNKNOWN

Several consumers share the events of a stream, and have no order of it among them; that of entities they may keep,
and who promises it is judged by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.check import checkers, promises
from harness.record.run import Verdict

if TYPE_CHECKING:
    from scenarios.line.account import Accounted

STREAMS = ("stream", "streams")


def drained(name: str, found: Accounted) -> Verdict | None:
    """Whether consumers handled everything that waited for them."""
    facts, promise = found.facts, found.promise
    if promise is not None and facts.ending == "time_up":
        return promises.still_at_it(name, waited_s=facts.waited_s, quiet_s=facts.quiet_s)
    if promise is not None and promise.delivery == "at_most_once" and facts.ending == "still":
        return None
    return checkers.drained(
        name, ending=facts.ending, waited_s=facts.waited_s, still_s=facts.still_s, stuck=found.losses.waiting
    )


def nothing_lost(name: str, found: Accounted) -> Verdict | None:
    """Whether every acknowledged event has had its effect."""
    if found.promise is not None and found.promise.delivery == "at_most_once":
        return None
    return checkers.nothing_lost(
        name,
        found.account,
        ending=found.facts.ending,
        losses=found.losses,
        still_s=found.facts.still_s,
        spared=found.spared_said,
    )


def nothing_twice(name: str, found: Accounted) -> Verdict | None:
    """Whether no event has had its effect more than once."""
    facts, promise = found.facts, found.promise
    if promise is None:
        return checkers.nothing_twice(name, found.account, ending=facts.ending)
    if promise.delivery == "at_least_once":
        return None
    judge = (
        promises.nothing_asked_twice if promise.delivery == "at_most_once" else promises.nothing_twice_after_keys
    )
    return judge(
        name,
        found.account,
        ending=facts.ending,
        kept_out=facts.attempts.get("D", 0),
        sees_repeats=facts.sees_repeats,
    )


def nothing_unexpected(name: str, found: Accounted) -> Verdict:
    """Whether no effect came from an event that nobody attempted."""
    facts = found.facts
    return checkers.nothing_unexpected(
        name, found.account, ending=facts.ending, foreign=facts.foreign, examples=facts.foreign_examples
    )


def in_order(name: str, found: Accounted) -> Verdict | None:
    """Whether effects came in the order of their events."""
    promise, consumers = found.promise, found.facts.consumers
    if promise is None:
        # Several consumers share a group's events, and promise no order among them.
        return checkers.in_order(name, found.order) if consumers == 1 else None
    if promise.order == "none":
        return None
    if promise.order == "entity":
        return checkers.in_order(name, found.order)
    if consumers > 1:
        detail = f"{consumers} consumers share the events of a stream, and have no order of it among them"
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    return checkers.in_order(name, found.order, of=STREAMS)


def recovered_within(name: str, found: Accounted) -> Verdict | None:
    """Whether, after each fault had healed, what waited then had its effect in time; None: no time is promised."""
    promise = found.promise
    if promise is None or promise.recovers_within_s is None:
        return None
    return promises.recovered_within(
        name,
        found.beside.recoveries,
        within_s=promise.recovers_within_s,
        may_lose=promise.delivery == "at_most_once",
    )


def poison_passed_over(name: str, found: Accounted) -> Verdict | None:
    """Whether what is refused for ever has kept no other event from its effect; None where nothing is."""
    facts = found.facts
    return promises.poison_passed_over(
        name,
        poisoned=facts.poisoned,
        tried=facts.attempts.get("P", 0),
        blocked=sum(found.losses.waiting.values()),
        ending=facts.ending,
        quiet_s=facts.quiet_s,
        patience_s=facts.patience_s,
    )


def outage_happened(name: str, found: Accounted) -> Verdict | None:
    """Whether consumers that were down had no effects; None where none were, or nobody could look."""
    seen = found.facts.consumer
    if seen is None or not seen.downs:
        return None
    if seen.attempts_while_down:
        detail = (
            f"{seen.attempts_while_down:,} effects were tried while all consumers were down: something that they "
            "have started lives on, so they were not away"
        )
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    return Verdict(name=name, status="PASS", detail="nothing had an effect while all consumers were down")
