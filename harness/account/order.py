"""Whether order was kept, entity by entity.

An effect is disordered if the effect of a later event of the same entity was seen before it. Only first effects
count; a repeated one is a duplicate, no disorder.

    in the stream   a1 a2 b1 a3        effects seen   a1 a3 b1 a2 a3        a2 is disordered: a3 came before it
"""

from __future__ import annotations

import msgspec
import numpy as np

from harness.arrays import Int64s

EXAMPLES = 10


class Overtaken(msgspec.Struct, frozen=True, kw_only=True):
    """An event whose effect was seen after that of a later event of the same entity."""

    sequence: int
    by: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the effects of each entity were seen in the order of its events.

    Attributes:
        entities: how many had an effect that could be judged.
        disordered_entities: how many of them had a disordered effect.
        effects: the first effects of events whose place is known: what could be judged.
        disordered: how many of these were seen after an effect of a later event of the same entity.
        unplaced: the first effects of events whose place is not known.
        examples: the disordered ones that were seen first, each with the latest event that was before it.
    """

    entities: int
    disordered_entities: int
    effects: int
    disordered: int
    unplaced: int
    examples: tuple[Overtaken, ...] = ()


def order_of_effects(seen: Int64s, *, entities: Int64s, places: Int64s) -> Order:
    """Compare the order in which effects were seen with that of the events, entity by entity.

    Effects of different entities, and of events in the same place, have no order among themselves.

    Args:
        seen: the event of each effect in the order in which they were seen, shape (k,); each an index below n.
        entities: the entity of each event, shape (n,).
        places: where each event stands in the stream, rising along it, shape (n,); below 0: not known.

    Raises:
        IndexError: an effect of an event that has no entity.
        ValueError: not a place for each event.
    """
    if entities.shape != places.shape:
        raise ValueError(f"{entities.size} events have an entity, and {places.size} a place")
    if seen.size and (seen.min() < 0 or seen.max() >= entities.size):
        raise IndexError(f"effects of events {seen.min()} to {seen.max()}, of {entities.size} events")
    first = seen[np.sort(np.unique(seen, return_index=True)[1])]
    judged = first[places[first] >= 0]
    # Entity by entity, and within each in the order seen; `at` is the index into `judged`.
    at = np.argsort(entities[judged], kind="stable")
    ordered = judged[at]
    known, entity = np.unique(entities[ordered], return_inverse=True)
    ranks, rank = np.unique(places[ordered], return_inverse=True)
    # Any event of the next entity is beyond every one of this, so that one running maximum serves for all.
    beyond = entity * ranks.size + rank
    late = beyond < np.maximum.accumulate(beyond)
    furthest = np.maximum.accumulate(np.where(late, 0, np.arange(late.size)))
    disordered = np.flatnonzero(late)
    shown = disordered[np.argsort(at[disordered])[:EXAMPLES]]
    return Order(
        entities=known.size,
        disordered_entities=np.unique(entity[disordered]).size,
        effects=judged.size,
        disordered=disordered.size,
        unplaced=first.size - judged.size,
        examples=tuple(
            Overtaken(sequence=event, by=later)
            for event, later in zip(ordered[shown].tolist(), ordered[furthest[shown]].tolist(), strict=True)
        ),
    )
