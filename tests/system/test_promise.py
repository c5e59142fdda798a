"""Promises as they are written: read, and written again; what is none is told in one line."""

from __future__ import annotations

import pytest

from harness.system.promise import Promise, PromiseError, parse_promise


@pytest.mark.parametrize(
    ("text", "promise"),
    [
        ("at_least_once", Promise()),
        ("at_most_once", Promise(delivery="at_most_once")),
        ("effectively_once,order=entity", Promise(delivery="effectively_once", order="entity")),
        ("order=stream", Promise(order="stream")),
        ("recovers_within=10s", Promise(recovers_within_s=10.0)),
        (
            "at_least_once, order=none, recovers_within=1.5 min",
            Promise(delivery="at_least_once", order="none", recovers_within_s=90.0),
        ),
        ("at_least_once,recovers_within=250ms,order=entity", Promise(order="entity", recovers_within_s=0.25)),
    ],
)
def test_a_promise_is_read(text: str, promise: Promise) -> None:
    """The delivery first, or left out; then order and time in any order; written, it can be read again."""
    assert parse_promise(text) == promise
    assert parse_promise(str(promise)) == promise


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is not a promise: at_least_once, effectively_once, at_most_once"),
        ("exactly_once", "'exactly_once' is not a promise"),
        ("order=global", "'global' is not an order: none, entity, stream"),
        ("at_least_once,at_most_once", "'at_most_once' is no part of a promise"),
        ("at_least_once,within=3s", "'within=3s' is no part of a promise"),
        ("order=none,order=entity", "order is promised twice"),
        ("recovers_within=10", "recovers_within=10: a time such as 10s is wanted"),
        ("recovers_within=0s", "more than nothing"),
        ("recovers_within=90000s", "at most a day"),
    ],
)
def test_what_is_no_promise(text: str, said: str) -> None:
    """One clear line that names the words."""
    with pytest.raises(PromiseError) as raised:
        parse_promise(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
