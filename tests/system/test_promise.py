"""Promises as they are written; what is none is told in one line."""

from __future__ import annotations

import re

import pytest

from harness.system.promise import Promise, parse_promise


@pytest.mark.parametrize(
    ("text", "promise"),
    [
        ("at_least_once", Promise()),
        ("at_most_once", Promise(delivery="at_most_once")),
        ("effectively_once,order=entity", Promise(delivery="effectively_once", order="entity")),
        ("order=stream", Promise(order="stream")),
        ("recovers_within=10s", Promise(recovers_within_s=10.0)),
        ("at_least_once, order=none, recovers_within=1.5m", Promise(recovers_within_s=90.0)),
        ("", Promise()),
        ("at_least_once,recovers_within=250ms,order=entity", Promise(order="entity", recovers_within_s=0.25)),
    ],
)
def test_a_promise_is_read(text: str, promise: Promise) -> None:
    """Each part at most once, in any order; what is left out is as by default."""
    assert parse_promise(text) == promise


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exactly_once", "a promise has no delivery 'exactly_once'"),
        ("order=global", "a promise has no order 'global'; there are none, entity, stream"),
        ("at_least_once,at_most_once", "a promise says delivery once, and not twice"),
        ("at_least_once,within=3s", "a promise has no 'within'"),
        ("order=none,order=entity", "a promise says order once, and not twice"),
        ("recovers_within=soon", "recovers_within is a time above 0 with its unit such as 10s"),
        ("recovers_within=10", "with its unit such as 10s, 500ms or 2m, not '10'"),
        ("recovers_within=0s", "recovers_within is a time above 0"),
    ],
)
def test_what_is_no_promise(text: str, said: str) -> None:
    """One clear line that names the words."""
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        parse_promise(text)
    assert "\n" not in str(raised.value)
