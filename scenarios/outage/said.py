"""What came out of an outage, in a sentence, from its parameters and its record's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scenarios.line.targets import TARGETS
from scenarios.told import (
    Told,
    arrived_said,
    by_hand_said,
    capital,
    lost_said,
    never_caught_up_said,
    twice_said,
)

if TYPE_CHECKING:
    from scenarios.crm_outage import OutageParameters


def headline(chosen: OutageParameters, told: Told) -> str:
    """What came out, in a sentence.

    Args:
        told: of a run with these parameters.
    """
    known = TARGETS[chosen.target]
    target = known.of_command if told.has_command else known.said
    if chosen.target == "crm":
        target = capital(told.consumer)
    said = chosen.kind.headline.format(target=target, ms=chosen.delay_ms)
    if chosen.kind.load == "is_over":
        said += _again_said(told)
    ends = f"{lost_said(told)}, {twice_said(told)}{arrived_said(told)}."
    if not chosen.kind.is_healed:
        return f"{said}{by_hand_said(told)}; {ends}"
    backlog = told.value("backlog_events")
    waited = (
        "the number of waiting events is not known" if backlog is None else f"{backlog:,.0f} events waited at most"
    )
    return (
        f"{said} for {told.value('outage_s') or 0:.1f} s{by_hand_said(told)}; {waited}; "
        f"{lost_said(told)}, {twice_said(told)}; {_caught_said(told)}{arrived_said(told)}."
    )


def _again_said(told: Told) -> str:
    set_back, again = told.value("set_back"), told.value("tried_again")
    tried = "whether they were attempted once more was not seen"
    if again is not None:
        tried = f"{again:,.0f} of them were attempted once more"
    return f", by {set_back or 0:,.0f} events; {tried}"


def _caught_said(told: Told) -> str:
    first_s, draining_s = told.value("first_effect_s"), told.value("draining_s")
    if never := never_caught_up_said(told):
        return never
    if draining_s is None or first_s is None:
        # With events missing nobody can tell from counts when the rest was applied.
        return "the moment when it had caught up is not known"
    said = (
        f"the first effect came {first_s:.2f} s after its return; "
        f"the events that waited then were drained {draining_s:.2f} s later"
    )
    caught_up_s, predicted_s = told.value("caught_up_s"), told.value("predicted_drain_s")
    if caught_up_s is None or predicted_s is None:
        return said
    return (
        f"{said}, and the events that came meanwhile {caught_up_s:.2f} s after its return "
        f"({predicted_s:.2f} s predicted)"
    )
