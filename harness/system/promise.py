"""What a consumer promises: by it the account of its run is judged.

--promise at_least_once,order=entity,recovers_within=10s

delivery    at_least_once       each event has its effect; that one has it twice is a figure
            effectively_once    and none has it twice, where the consumer said so by `Idempotency-Key`
            at_most_once        none has it twice; that one has none is a figure
order       none                nothing is promised
            entity              the effects of an entity come in the order of its events
            stream              those of a stream do
recovers_within                 what waited is worked off so soon after the consumer is back
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from msgspec import Struct

Delivery = Literal["at_least_once", "effectively_once", "at_most_once"]
Order = Literal["none", "entity", "stream"]

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0}
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")


class Promise(Struct, frozen=True, kw_only=True):
    """What a consumer promises.

    Attributes:
        delivery: how often an event has its effect.
        order: within what effects come in the order of their events.
        recovers_within_s: what waited is worked off so soon after the consumer is back; None: nothing is promised.
    """

    delivery: Delivery = "at_least_once"
    order: Order = "none"
    recovers_within_s: float | None = None


def parse_promise(text: str) -> Promise:
    """The promise that is written as `at_least_once,order=entity,recovers_within=10s`.

    Args:
        text: the delivery, `order=` and `recovers_within=`, each at most once and in any order; what is left out
            is as by default.

    Raises:
        ValueError: it is none; its text is one clear line.
    """
    given: dict[str, str] = {}
    for word in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = word.partition("=")
        name, value = (name.strip(), value.strip()) if equals else ("delivery", name.strip())
        if name in given:
            raise ValueError(f"a promise says {name} once, and not twice: {text!r}")
        given[name] = value
    known = {"delivery": get_args(Delivery), "order": get_args(Order)}
    for name, value in given.items():
        if name == "recovers_within":
            continue
        if name not in known:
            raise ValueError(f"a promise has no {name!r}; it has a delivery, order=, and recovers_within=")
        if value not in known[name]:
            raise ValueError(f"a promise has no {name} {value!r}; there are {', '.join(known[name])}")
    within = given.pop("recovers_within", None)
    return Promise(**given, recovers_within_s=None if within is None else _seconds(within))  # type: ignore[arg-type]


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text)
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if seconds <= 0:
        raise ValueError(f"recovers_within is a time above 0 with its unit such as 10s, 500ms or 2m, not {text!r}")
    return seconds
