"""Stored runs, one of each kind of breach, made by the consumers of `tests/broken`; and how they are made anew.

    python -m tests.stored        records all of them again, into this directory

They are judged again by the tests, so what a breach is called is held without a server. A change of the schema
that can no longer read them is a change that can no longer read what users have.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Breach(NamedTuple):
    """A consumer, what is done to it, and the verdict that it breaks.

    Attributes:
        consumer: of `tests.broken`.
        scenario: that is run.
        verdict: without the scenario's name; empty: none.
        detail: a part of what the verdict says.
        chosen: parameters.
        settings: of the line.
        beside: other verdicts that fail with it.
    """

    consumer: str
    scenario: str
    verdict: str
    detail: str
    chosen: dict[str, str]
    settings: dict[str, object]
    beside: tuple[str, ...] = ()


_ALONE = {"shape": "steady", "base_per_s": "1100", "before_s": "0.4", "peak_s": "0.4", "after_s": "0.4"}
_ALONE |= {"mail_delay_ms": "10", "durability": "none", "send_lag_budget_ms": "60000"}
_OUTAGE = {"rate_per_s": "1100", "before_s": "0.8", "outage_s": "0.3", "after_s": "0.5", "durability": "none"}
_OUTAGE |= {"send_lag_budget_ms": "60000", "unharmed_within": "0", "unharmed_draining_within": "0"}
_ASKED = {"is_idempotent": False}

BREACHES = {
    "healthy": Breach("healthy", "lag", "", "", _ALONE, _ASKED),
    "drops": Breach(
        "drops", "lag", "nothing_lost", "who acknowledged or skipped them was not seen", _ALONE, _ASKED
    ),
    "applies_twice": Breach("applies_twice", "lag", "nothing_twice", "effects were repeated", _ALONE, _ASKED),
    "reverses": Breach("reverses", "lag", "in_order", "later event of the same", _ALONE, _ASKED),
    "trims_early": Breach("trims_early", "lag", "nothing_lost", "are not in the stream", _ALONE, _ASKED),
    "acks_first": Breach(
        "acks_first",
        "crm_outage",
        "nothing_lost",
        "who acknowledged or skipped them was not seen",
        _OUTAGE,
        {"mail_delay_ms": 50, "page": 100},
    ),
    "forgets": Breach(
        "forgets",
        "crm_outage",
        "nothing_lost",
        "nothing has moved for",
        {**_OUTAGE, "claim_after_ms": "300"},
        {"mail_delay_ms": 50, "page": 100},
        ("drained",),
    ),
    "skips": Breach(
        "skips",
        "crm_outage",
        "nothing_lost",
        "who acknowledged or skipped them was not seen",
        {**_OUTAGE, "fault": "cut"},
        {},
    ),
    # What `skips` is called since its consumer is followed: the group's commands say what became of its events.
    "skips_followed": Breach(
        "skips", "crm_outage", "nothing_lost", "were skipped by the group", {**_OUTAGE, "fault": "cut"}, {}
    ),
    "from_now": Breach(
        "healthy",
        "crm_outage",
        "nothing_lost",
        "nobody knows where",
        {**_OUTAGE, "delivery": "from_now"},
        {},
    ),
}
