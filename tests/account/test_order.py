"""The order of effects: against a naive oracle, and each case by its name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.account.order import EXAMPLES, Order, Overtaken, order_of_effects

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)


def int64s(*sequences: int) -> NDArray[np.int64]:
    return np.array(sequences, np.int64)


def order(seen: list[int], entities: str, places: list[int] | None = None) -> Order:
    """The order of effects of events whose entities are letters; without places, they stand as numbered."""
    entity_numbers = np.frombuffer(entities.encode(), np.uint8).astype(np.int64)
    stands = np.arange(len(entities)) if places is None else int64s(*places)
    return order_of_effects(int64s(*seen), entities=entity_numbers, places=stands)


def test_in_order() -> None:
    """Effects in the order of the stream are in the order of each entity."""
    expected = Order(entities=2, disordered_entities=0, effects=4, disordered=0, unplaced=0)
    assert expected == order([0, 1, 2, 3], "aaba")


def test_entities_have_no_order_among_themselves() -> None:
    """An effect after that of a later event of another entity is no disorder."""
    expected = Order(entities=2, disordered_entities=0, effects=3, disordered=0, unplaced=0)
    assert expected == order([2, 0, 1], "aab")


def test_overtaken() -> None:
    """An effect seen after that of a later event of its entity is disordered, and it is said which came first."""
    overtaken = Overtaken(sequence=1, by=3)
    expected = Order(entities=2, disordered_entities=1, effects=4, disordered=1, unplaced=0, examples=(overtaken,))
    assert expected == order([0, 3, 2, 1], "aaba")


def test_a_repeated_effect_is_no_disorder() -> None:
    """An effect that is seen again after a later event's is a duplicate, and the order was kept."""
    expected = Order(entities=1, disordered_entities=0, effects=2, disordered=0, unplaced=0)
    assert expected == order([0, 1, 0], "aa")


def test_the_stream_and_not_the_number_is_the_order() -> None:
    """An event with a higher number may stand before another in the stream, and its effect comes first then."""
    expected = Order(entities=1, disordered_entities=0, effects=2, disordered=0, unplaced=0)
    assert expected == order([1, 0], "aa", places=[9, 3])


def test_an_event_without_a_place_is_not_judged() -> None:
    """Of an event whose place is not known nobody can say whether its effect came in order."""
    expected = Order(entities=1, disordered_entities=0, effects=1, disordered=0, unplaced=1)
    assert expected == order([1, 0], "aa", places=[0, -1])


def test_no_effects_have_no_disorder() -> None:
    """Where no effect was seen nothing is counted."""
    assert Order(entities=0, disordered_entities=0, effects=0, disordered=0, unplaced=0) == order([], "ab")


def test_examples_of_disorder_are_the_first_seen() -> None:
    """Of many disordered effects, those that were seen first are shown, whatever their entities."""
    # a: 0, 2, 4 ... and b: 1, 3, 5 ...; the last of each first, then all others.
    found = order([26, 27, *range(26)], "ab" * 14)

    assert found.disordered == 26
    assert tuple(Overtaken(sequence=n, by=27 if n % 2 else 26) for n in range(EXAMPLES)) == found.examples


@pytest.mark.parametrize("event", [-1, 2])
def test_an_effect_of_an_event_without_an_entity_is_refused(event: int) -> None:
    """An effect of an event that nothing is known of is an error of the caller."""
    with pytest.raises(IndexError):
        order([event], "ab")


def test_an_event_has_an_entity_and_a_place() -> None:
    """Entities and places are of the same events."""
    with pytest.raises(ValueError, match="2 events have an entity, and 1 a place"):
        order([0], "ab", places=[0])


def naive_order(seen: list[int], entities: list[int], places: list[int]) -> Order:
    """Each first effect set against every one before it."""
    judged = [event for event in dict.fromkeys(seen) if places[event] >= 0]
    overtaken = []
    for at, event in enumerate(judged):
        later = [e for e in judged[:at] if entities[e] == entities[event] and places[e] > places[event]]
        if later:
            # The latest of them; where several stand in one place, the one that was seen last.
            furthest = max(places[e] for e in later)
            overtaken.append(Overtaken(sequence=event, by=[e for e in later if places[e] == furthest][-1]))
    return Order(
        entities=len({entities[event] for event in judged}),
        disordered_entities=len({entities[each.sequence] for each in overtaken}),
        effects=len(judged),
        disordered=len(overtaken),
        unplaced=len(set(seen)) - len(judged),
        examples=tuple(overtaken[:EXAMPLES]),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """Effects seen, and for each event its entity and its place."""
    size = draw(st.integers(1, 30))
    entities = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    places = draw(st.lists(st.integers(-2, 40), min_size=size, max_size=size))
    return draw(st.lists(st.integers(0, size - 1), max_size=60)), entities, places


@unhurried
@given(histories())
def test_order_is_that_of_the_naive_oracle(history: tuple[list[int], list[int], list[int]]) -> None:
    """Whatever was seen, the counts and examples are those of comparing each effect with all before it."""
    seen, entities, places = history
    found = order_of_effects(int64s(*seen), entities=int64s(*entities), places=int64s(*places))

    assert naive_order(seen, entities, places) == found
