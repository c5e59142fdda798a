"""Event IDs, events and the names of keys."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordershop.entities import ENTITIES, Customer, Order
from ordershop.events import ACTIONS, Event, EventId, Keys, entity_json
from tests.contracts import PROPERTY

IDS = st.builds(EventId, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


@given(IDS)
@PROPERTY
def test_an_id_is_read_as_it_is_written(event_id: EventId) -> None:
    """Parsing what an ID is written as gives that ID, from text and from bytes."""
    assert EventId.parse(str(event_id)) == EventId.parse(str(event_id).encode()) == event_id


@given(IDS, IDS)
@PROPERTY
def test_ids_compare_as_events_do(one: EventId, other: EventId) -> None:
    """The seconds decide, then the microseconds, as numbers and not as text."""
    expected = one.seconds < other.seconds or (
        one.seconds == other.seconds and one.microseconds < other.microseconds
    )
    assert (one < other) is expected


def test_ids_are_no_texts() -> None:
    """9 microseconds come before 10."""
    assert EventId.parse("5-9") < EventId.parse("5-10") < EventId.parse("10-0")


@pytest.mark.parametrize(
    "text",
    ["", "5", "5-", "-5", "5-5-5", " 5-5", "5-5\n", "5--5", "+5-5", "0x5-5", "$", ">", "-", "5.5-5",
     "1" * 21 + "-0", b"\xff-5"],
)  # fmt: skip
def test_what_is_no_id(text: str | bytes) -> None:
    """Any other text is refused with a ValueError that shows it."""
    with pytest.raises(ValueError, match="not an event ID"):
        EventId.parse(text)


@pytest.mark.parametrize(
    ("event_id", "epoch_s"),
    [
        (EventId(1_764_072_000, 250_000), 1_764_072_000.25),
        (EventId(0, 0), 0.0),
        (EventId(1_764_072_000_123, 1_764_072_001_500_000), 1_764_072_001.5),  # ours, behind a foreign entry
        (EventId(1_764_072_000_125, 0), 1_764_072_000.125),  # the foreign entry
        (EventId(1_764_072_000_125, 7), 1_764_072_000.125),  # the eighth of its millisecond
    ],
)
def test_the_time_of_an_id(event_id: EventId, epoch_s: float) -> None:
    """An ID tells when its entry was appended, whoever did that."""
    assert event_id.epoch_s == epoch_s


@given(st.integers(0, 4_000_000_000), st.integers(0, 999_999))
@PROPERTY
def test_an_id_of_a_time(seconds: int, microseconds: int) -> None:
    """The first ID of a time is the ID that was given at that time."""
    event_id = EventId(seconds, microseconds)
    assert EventId.at(event_id.epoch_s) == event_id


def test_a_new_event_has_a_name_of_its_own() -> None:
    """Each new event has a UUID that no other has, unless it is given one."""
    customer = Customer("c-1", "Ada", "ada@example.org")
    one, other = Event.new("created", customer), Event.new("created", customer)
    assert one.event_id != other.event_id
    assert str(uuid.UUID(one.event_id)) == one.event_id
    assert Event.new("created", customer, "mine") == ("created", customer, "mine")
    assert one.topic == "customer"


@pytest.mark.parametrize("namespace", ["", "t1:", "a.b*{c}:"])
def test_streams_of_a_topic(namespace: str) -> None:
    """There is one for each action, in their order, and no two have one name."""
    keys = Keys(namespace)
    for topic in ENTITIES:
        assert keys.streams(topic) == [keys.stream(topic, action) for action in ACTIONS]
    assert len({stream for topic in ENTITIES for stream in keys.streams(topic)}) == len(ENTITIES) * len(ACTIONS)


def test_the_names_of_keys() -> None:
    """The keys have the names that clients of the shop know, with the topic in braces."""
    keys = Keys()
    assert [
        keys.stream("customer", "created"),
        keys.ids("customer"),
        keys.entity("customer", "c-1"),
    ] == ["events:{customer}_created", "{customer}_ids", "{customer}_entity:c-1"]


def test_the_json_of_an_entity() -> None:
    """The field `entity` is the entity's JSON, its fields in their order."""
    assert entity_json(Order("o-1", ["p-2", "p-2"], "c-1")) == (
        b'{"id":"o-1","product_ids":["p-2","p-2"],"customer_id":"c-1"}'
    )
