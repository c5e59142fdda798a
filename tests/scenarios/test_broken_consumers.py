"""Broken consumers: each is caught, by the verdict that its defect is called by, and by no other.

treatment    what is done                                     healthy    broken
killed       mail service knows IDs; a kill in the load       passes     acks first, forgets
cut          the line to Redis is cut for half a second       passes     skips after a reconnect
left alone   the mail service sends whatever it is asked to   passes     drops, applies twice, trims, reverses
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harness.nemesis.plan import Fault
from harness.record.run import Status
from scenarios.line.settings import LineSettings
from tests.lines import Treated, find_consumers_of_tests, treat

pytestmark = pytest.mark.slow

MS = 1_000_000

# More than ten mails a request of ten milliseconds carry, so that the consumer is behind, and its batches full.
RATE_PER_S, LOAD_S = 1_100, 1.0
SETTINGS = LineSettings(mail_delay_ms=10, durability="none")
TREATMENTS: dict[str, tuple[LineSettings, list[Fault]]] = {
    # At five times what it can send it has a batch of many requests in hand. A mail service that has read a
    # request sends what is in it, also when the consumer is dead: a batch of one request would lose nothing.
    "killed": (
        replace(SETTINGS, mail_delay_ms=50),
        [Fault(name="kill", target="crm", at_ns=600 * MS, for_ns=200 * MS)],
    ),
    "cut": (
        replace(SETTINGS, has_links=True, mail_delay_ms=0),
        [Fault(name="cut", target="crm-redis", at_ns=300 * MS, for_ns=500 * MS)],
    ),
    "killed, followed": (
        replace(SETTINGS, mail_delay_ms=50, has_links=True),
        [Fault(name="kill", target="crm", at_ns=600 * MS, for_ns=200 * MS)],
    ),
    "left alone": (replace(SETTINGS, is_idempotent=False), []),
}


def treated(
    directory: Path, monkeypatch: pytest.MonkeyPatch, consumer: str, treatment: str, **chosen: Any
) -> Treated:
    find_consumers_of_tests(monkeypatch)
    settings, plan = TREATMENTS[treatment]
    settings = replace(settings, consumer=f"tests.broken.{consumer}", **chosen)
    return treat(directory, settings, rate_per_s=RATE_PER_S, load_s=LOAD_S, plan=plan)


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_a_healthy_consumer_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, treatment: str) -> None:
    """The CRM as it is, under each of the treatments: every verdict passes."""
    found = treated(tmp_path, monkeypatch, "healthy", treatment)
    assert found.bad == {}
    assert found.lost == {}


@pytest.mark.parametrize(
    ("consumer", "treatment", "where"),
    [
        # That the consumer has acknowledged is said only where that was seen.
        ("acks_first", "killed", "not_pending"),
        ("acks_first", "killed, followed", "without_effect"),
        ("drops", "left alone", "not_pending"),
        # With links, the consumer is followed, and it is known how the position went past them.
        ("skips", "cut", "skipped_by_group"),
        ("trims_early", "left alone", "not_in_stream"),
    ],
)
def test_what_loses_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, consumer: str, treatment: str, where: str
) -> None:
    """A consumer that loses events fails `nothing_lost` and nothing else, and it is told where they stopped."""
    found = treated(tmp_path, monkeypatch, consumer, treatment)
    assert found.bad == {"nothing_lost": "FAIL"}
    assert set(found.lost) == {where}
    if consumer == "drops":
        assert found.lost == {where: int(RATE_PER_S * LOAD_S) // 1_000}


def test_what_leaves_events_pending_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that never asks for what it had in hand leaves it stuck: that is no lack of time."""
    found = treated(tmp_path, monkeypatch, "forgets", "killed", claim_after_ms=300)
    assert found.bad == {"drained": "FAIL", "nothing_lost": "FAIL"}
    assert set(found.lost) == {"pending"}
    assert found.line.ended is not None
    assert found.line.ended.ending == "still"
    assert found.line.ended.still_s >= 3 * 0.3 + 2


@pytest.mark.parametrize(("consumer", "verdict"), [("applies_twice", "nothing_twice"), ("reverses", "in_order")])
def test_what_repeats_or_disorders_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, consumer: str, verdict: str
) -> None:
    """A consumer whose effects come twice, or out of order, fails that verdict and no other, and loses nothing."""
    found = treated(tmp_path, monkeypatch, consumer, "left alone")
    expected: dict[str, Status] = {verdict: "FAIL"}
    assert found.bad == expected
    assert found.lost == {}
    if consumer == "applies_twice":
        account = found.line.ledger.account()
        assert account.duplicated == account.applied
