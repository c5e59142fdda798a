"""What the author of a consumer promises, by which its run is judged.

    at_least_once                             each event has its effect; some may have it again
    effectively_once,order=entity             each has it once, whatever is delivered again, and in order
    at_most_once,recovers_within=10s          none has it twice; some may have none

What is not promised is no breach: it is a figure.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

Delivered = Literal["at_least_once", "effectively_once", "at_most_once"]
Ordered = Literal["none", "entity", "stream"]

# As they are written, with the seconds that each unit has.
_UNITS_S = {"ms": 0.001, "s": 1.0, "min": 60.0}
_TIME = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS_S)})")


class PromiseError(ValueError):
    """Words that are no promise; its text is one clear line."""


class Promise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a consumer promises.

    Attributes:
        delivery: at_least_once: no event is lost or stuck. effectively_once: and none has its effect twice, what
            its idempotency key has kept from it left aside. at_most_once: none is asked for twice, key or not.
        order: among effects: none, that of the events of each entity in a stream, or that of each stream.
        recovers_within_s: after a fault has healed, what waited then has had its effect; None: not promised.
    """

    delivery: Delivered = "at_least_once"
    order: Ordered = "none"
    recovers_within_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None

    def __str__(self) -> str:
        order = [f"order={self.order}"] if self.order != "none" else []
        within = [f"recovers_within={self.recovers_within_s:g}s"] if self.recovers_within_s is not None else []
        return ",".join([self.delivery, *order, *within])


def parse_promise(text: str) -> Promise:
    """A promise as it is written: `at_least_once,order=entity,recovers_within=10s`.

    Args:
        text: the delivery first, or left out; each of the others at most once.

    Raises:
        PromiseError: it is none.
    """
    words = [word.strip() for word in text.split(",")]
    given: dict[str, object] = {}
    if "=" not in words[0]:
        given["delivery"] = _one_of(words.pop(0), "a promise", get_args(Delivered))
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in {"order", "recovers_within"}:
            raise PromiseError(f"{word!r} is no part of a promise: order=... or recovers_within=... is")
        field = "order" if name == "order" else "recovers_within_s"
        if field in given:
            raise PromiseError(f"{name} is promised twice")
        given[field] = _one_of(value, "an order", get_args(Ordered)) if name == "order" else _seconds(value)
    return msgspec.convert(given, Promise)


def _one_of(word: str, what: str, known: tuple[str, ...]) -> str:
    if word not in known:
        raise PromiseError(f"{word!r} is not {what}: {', '.join(known)}")
    return word


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise PromiseError(f"recovers_within={text}: a time such as 10s is wanted")
    seconds = float(found[1]) * _UNITS_S[found[2]]
    if not 0 < seconds <= 86_400:
        raise PromiseError(f"recovers_within={text}: more than nothing, and at most a day is wanted")
    return seconds
