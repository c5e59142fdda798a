"""Where a lost event stopped: each class by its name, and all of them against naive questions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from harness.account.losses import EXAMPLES, Losses, Seen, Stopped, Trimmed, classify_losses

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)


def stopped(*sequences: int) -> Stopped:
    return Stopped(count=len(sequences), examples=sequences)


def classified(lost: set[int], seen: Seen | None = None, **evidence: set[int] | None) -> Losses:
    """What is said of lost events, of which there is the evidence that they are in the stream and so on."""
    whole = dict.fromkeys(("in_stream", "delivered", "pending")) | evidence
    sets = {name: None if events is None else BitMap(events) for name, events in whole.items()}
    return classify_losses(BitMap(lost), seen=seen, **sets)


def test_not_in_stream() -> None:
    """A lost event whose entry is not in the stream stopped there, whatever else is said of it."""
    found = classified({1, 2}, in_stream={1, 7}, delivered={1, 2, 7}, pending={2})

    assert Losses(not_in_stream=stopped(2), not_pending=stopped(1)) == found


def test_never_delivered() -> None:
    """A lost event that is in the stream beyond the group's last-delivered ID was never delivered."""
    found = classified({1, 2}, in_stream={1, 2}, delivered={0}, pending=set())

    assert Losses(never_delivered=stopped(1, 2)) == found


def test_pending() -> None:
    """A lost event that was delivered and that the consumer has not acknowledged is pending."""
    found = classified({1}, in_stream={1, 2}, delivered={1, 2}, pending={1, 2})

    assert Losses(pending=stopped(1)) == found


def test_without_effect() -> None:
    """A lost event stopped at the last step only where its XACK was seen; else it is just not pending."""
    found = classified({1, 2}, Seen(acked=BitMap([1])), in_stream={1, 2}, delivered={1, 2}, pending=set())

    assert Losses(without_effect=stopped(1), not_pending=stopped(2)) == found


@pytest.mark.parametrize("name", ["dropped_with_consumer", "dropped_with_group", "skipped_by_group", "unkept"])
def test_what_the_group_was_told(name: str) -> None:
    """What was seen to be dropped or skipped is so only as long as it is neither pending nor acknowledged."""
    seen = Seen(acked=BitMap([1]), **{name: BitMap([0, 1, 2, 3])})
    found = classified({1, 2, 3, 4}, seen, in_stream={1, 2, 3, 4}, delivered={1, 2, 3, 4}, pending={2})

    told = {name: stopped(3), "without_effect": stopped(1), "pending": stopped(2), "not_pending": stopped(4)}
    assert Losses(**told) == found


def test_a_group_that_is_gone() -> None:
    """What is in a stream without a group is lost there, but for what was seen to be acknowledged before."""
    seen = Seen(acked=BitMap([1]), handed=BitMap([1, 2]))
    found = classify_losses(
        BitMap([1, 2, 3]),
        in_stream=BitMap([1, 2, 3]),
        delivered=BitMap(),
        pending=BitMap(),
        groupless=BitMap([1, 2, 3]),
        seen=seen,
    )

    assert Losses(without_effect=stopped(1), group_gone=stopped(2, 3)) == found


def test_handed_out_and_before_the_group_again() -> None:
    """A group that was set back is before what it has handed out: that was delivered, and more is not known."""
    found = classified({1, 2}, Seen(handed=BitMap([1])), in_stream={1, 2}, delivered=set(), pending=set())

    assert Losses(unclassed=stopped(1), never_delivered=stopped(2)) == found


def test_pending_is_delivered() -> None:
    """What was delivered between two readings of the group is pending, and not never delivered."""
    found = classified({5}, in_stream={5}, delivered=set(), pending={5})

    assert Losses(pending=stopped(5)) == found


def test_without_a_group() -> None:
    """Where there is no group, it is known what is not in the stream, and nothing of the rest."""
    found = classified({1, 2}, in_stream={1})

    assert Losses(not_in_stream=stopped(2), unclassed=stopped(1)) == found


def test_without_pending_entries() -> None:
    """Where pending entries are not known, what was delivered is unclassed."""
    found = classified({1, 2}, in_stream={1, 2}, delivered={1})

    assert Losses(never_delivered=stopped(2), unclassed=stopped(1)) == found


def test_what_was_seen_to_be_trimmed() -> None:
    """It is not in the stream, and it is known why; what is there all the same was not trimmed."""
    trimmed = Trimmed(unread=BitMap({1, 2}), in_hand=BitMap({2, 3}))
    found = classify_losses(
        BitMap({1, 2, 3, 4}), in_stream=BitMap({1}), delivered=BitMap({1}), pending=BitMap({1}), trimmed=trimmed
    )

    expected = Losses(
        trimmed_unread=stopped(2), trimmed_in_hand=stopped(3), not_in_stream=stopped(4), pending=stopped(1)
    )
    assert expected == found


def test_without_any_evidence() -> None:
    """Where nothing is known of the stream either, every loss is unclassed."""
    assert Losses(unclassed=stopped(1, 2)) == classified({1, 2}, delivered={1}, pending=set())


def test_nothing_lost_is_nothing_classed() -> None:
    """Without a loss each class is empty, and each is counted."""
    counts = classified(set(), in_stream={1}, delivered={1}, pending={1}).counts

    assert dict.fromkeys(Losses.__struct_fields__, 0) == counts


def test_examples_are_the_lowest() -> None:
    """However many were lost in one place, the lowest few stand for them."""
    found = classified(set(range(100, 200))).unclassed

    assert Stopped(count=100, examples=tuple(range(100, 100 + EXAMPLES))) == found


some_events = st.sets(st.integers(0, 40))


@unhurried
@given(some_events, st.none() | some_events, st.none() | some_events, st.none() | some_events)
def test_each_loss_is_in_the_class_that_naive_questions_say(
    lost: set[int], in_stream: set[int] | None, delivered: set[int] | None, pending: set[int] | None
) -> None:
    """Whatever the evidence, each loss is in exactly one class: that of the first question it fails."""

    def stops_at(event: int) -> str:
        if in_stream is None:
            return "unclassed"
        if event not in in_stream:
            return "not_in_stream"
        if pending is not None and event in pending:
            return "pending"
        if delivered is None:
            return "unclassed"
        if event not in delivered:
            return "never_delivered"
        return "unclassed" if pending is None else "not_pending"

    found = classified(lost, in_stream=in_stream, delivered=delivered, pending=pending)
    for name in Losses.__struct_fields__:
        events = sorted(event for event in lost if stops_at(event) == name)
        assert Stopped(count=len(events), examples=tuple(events[:EXAMPLES])) == getattr(found, name)
    assert len(lost) == sum(found.counts.values())
