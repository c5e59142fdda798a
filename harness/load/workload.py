"""What the pump sends: commands packed before the run, only their numbers filled in while it lasts.

A `Source` answers the bytes of some commands, by their numbers. `StampedCommand` is the one for load: a command in
RESP, packed once, with slots for what differs from one operation to the next. A thousand of them are a
thousand copies of the template with twelve hexadecimal digits written over each slot, in a few NumPy calls:

    *7 $7 EVALSHA ... $36 pppppppp-pppp-8000-8000-000000000000 ... $36 ...000000000000
                                                  `---- slot ---'          `-- slot --'

A slot is found by its placeholder: the `event_id` of the producer's event number 0, wherever it stands.

`MixedCommands` is the one for a load that is not all alike: entities of which some are hot, payloads of many
sizes, many streams. What operation i is follows from a seed and i alone (`Mix`), or from i by turns (`Cycle`).

Rejected: drawing from one generator as commands go out; what is sent would then depend on how they were batched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, ClassVar, Literal, Protocol

import hiredis
import msgspec
import numpy as np

from harness.account.event_ids import ID_LENGTH, event_id, hex_digits
from harness.arrays import Floats, Int64s

# An event's number stands in its ID as so many hexadecimal digits.
_SLOT_DIGITS = 12


class Source(Protocol):
    """Commands by their numbers."""

    @property
    def operation(self) -> str:
        """What they are called in the record."""
        ...

    @property
    def reply(self) -> type | None:
        """Of what type a reply to them is that is no error, as hiredis reads it; None: of any."""
        ...

    def pack(self, first: int, count: int, step: int = 1) -> bytes:
        """`count` commands from number `first` on, each `step`-th of them, in RESP."""
        ...


class StampedCommand:
    """One command, sent again and again with the event's own ID in it.

    Args:
        operation: its name in the record.
        parts: the command; `placeholder(producer)` stands wherever the event's ID belongs.
        producer: the number that the events carry.
        reply: of what type a reply is that is no error; None: of any.

    Raises:
        ValueError: no placeholder in any part.
    """

    def __init__(
        self,
        operation: str,
        parts: Sequence[str | int | float | bytes | memoryview],
        producer: int,
        *,
        reply: type | None = None,
    ) -> None:
        self.operation = operation
        self.reply = reply
        packed = hiredis.pack_command(tuple(parts))  # type: ignore[arg-type]  # its stub allows one part only
        self._template = np.frombuffer(packed, np.uint8)
        self._slots: list[int] = []
        mark = placeholder(producer).encode()
        at = packed.find(mark)
        while at >= 0:
            self._slots.append(at + ID_LENGTH - _SLOT_DIGITS)
            at = packed.find(mark, at + ID_LENGTH)
        if not self._slots:
            raise ValueError("the command has no place for an event's ID")
        ends = [0, *(slot + _SLOT_DIGITS for slot in self._slots)]
        self._between = [packed[end:slot] for end, slot in zip(ends, [*self._slots, len(packed)], strict=True)]

    @property
    def command_bytes(self) -> int:
        """The length of one command on the wire."""
        return int(self._template.size)

    def pack(self, first: int, count: int, step: int = 1) -> bytes:
        """`count` commands from number `first` on, each `step`-th of them, in RESP."""
        if count == 1:
            # At low rates this is the case, and NumPy would take forty times as long.
            return (b"%012x" % first).join(self._between)
        commands = np.repeat(self._template[None, :], count, axis=0)
        digits = hex_digits(np.arange(first, first + count * step, step, dtype=np.int64))
        for at in self._slots:
            commands[:, at : at + _SLOT_DIGITS] = digits
        return commands.tobytes()


def placeholder(producer: int) -> str:
    """What stands in a command where the event's ID belongs."""
    return event_id(producer, 0)


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from one operation to the next; all of it follows from the seed.

    Draws are made in blocks, each from a generator of its own seeded by (seed, block), so that operation i is the
    same whatever batch it is packed in, and a run can be repeated event by event.

    Attributes:
        seed: of everything that is drawn.
        entities: how many there are to be changed; 0: each operation has an entity of its own.
        skew: 0 chooses entities alike; above it, entity k with a share of 1 / (k + 1) ** skew (Zipf).
        streams: entity k stands in stream k % streams, so that all that happens to it is in one of them.
        sizes: how many payload sizes there are, equally likely.

    Raises:
        ValueError: a number that cannot be.
    """

    seed: int
    entities: int = 0
    skew: float = 0.0
    streams: int = 1
    sizes: int = 1

    BLOCK: ClassVar[int] = 1024
    # Of the workload's generators, so that they do not repeat what the arrivals draw from the same seed.
    TAG: ClassVar[int] = 0x6D6978

    def __post_init__(self) -> None:
        if self.seed < 0 or self.entities < 0 or self.streams < 1 or self.sizes < 1:
            raise ValueError("a mix has a seed and entities of 0 or more, and one stream and size at least")
        if not (math.isfinite(self.skew) and self.skew >= 0):
            raise ValueError(f"a skew is 0 or more, not {self.skew}")
        if self.skew and not self.entities:
            raise ValueError("where each operation has an entity of its own, none can be hotter than another")

    def shares(self) -> Floats:
        """The share of operations that each entity gets, shape (entities,)."""
        weights = np.arange(1, self.entities + 1, dtype=np.float64) ** -self.skew
        return np.asarray(weights / weights.sum(), np.float64)

    def draw(self, first: int, count: int, cumulated: Floats | None = None) -> tuple[Int64s, Int64s]:
        """The entity and the number of the payload size of `count` operations from `first` on.

        Args:
            cumulated: the cumulated `shares`, for who draws often; None: they are calculated.
        """
        if cumulated is None and self.skew:
            cumulated = np.cumsum(self.shares())
        blocks = range(first // self.BLOCK, (first + max(count, 1) - 1) // self.BLOCK + 1)
        drawn = [self._draw_block(block, cumulated) for block in blocks]
        here = slice(first - blocks[0] * self.BLOCK, first - blocks[0] * self.BLOCK + count)
        return np.concatenate([e for e, _ in drawn])[here], np.concatenate([s for _, s in drawn])[here]

    def _draw_block(self, block: int, cumulated: Floats | None) -> tuple[Int64s, Int64s]:
        generator = np.random.default_rng([self.seed, block, self.TAG])
        # Always both, in this order: a run with other sizes meets the same entities.
        chance, sizes = generator.random(self.BLOCK), generator.integers(self.sizes, size=self.BLOCK)
        if not self.entities:
            entities = np.arange(block * self.BLOCK, (block + 1) * self.BLOCK, dtype=np.int64)
        elif cumulated is None:
            entities = (chance * self.entities).astype(np.int64)
        else:
            # The inverse of the cumulated distribution; its last value may be a rounding below 1.
            entities = np.minimum(np.searchsorted(cumulated, chance, "right"), self.entities - 1).astype(np.int64)
        return entities, sizes.astype(np.int64)


class Cycle(msgspec.Struct, frozen=True, kw_only=True):
    """Operations that take turns: what happens to entity k is operations n k to n k + n - 1, in this order.

    Attributes:
        sizes: how many operations an entity sees, n.
        streams: entity k stands in stream k % streams.
    """

    sizes: int
    streams: int = 1

    def draw(self, first: int, count: int, _: Floats | None = None) -> tuple[Int64s, Int64s]:
        """The entity and the turn of `count` operations from `first` on."""
        entities, turns = np.divmod(np.arange(first, first + count, dtype=np.int64), self.sizes)
        return entities, turns


class InTurn(msgspec.Struct, frozen=True, kw_only=True):
    """Payloads one after the other, and again from the first; each operation has an entity of its own.

    Attributes:
        sizes: how many payloads there are.
        streams: operation i goes to stream i % streams.
    """

    sizes: int
    streams: int = 1

    def draw(self, first: int, count: int, _: Floats | None = None) -> tuple[Int64s, Int64s]:
        """The entity and the payload of `count` operations from `first` on."""
        numbers = np.arange(first, first + count, dtype=np.int64)
        return numbers, numbers % self.sizes


class MixedCommands:
    """Commands for many entities, payload sizes and streams, each put together from a packed template.

    A batch is its templates one after the other, joined as bytes, with the IDs written over their slots:

        | template 3 ..event..entity.. | template 0 ..event..entity.. | template 3 ...

    Args:
        operation: its name in the record.
        templates: for each stream, for each size, the parts of the command; `placeholder(producer)` stands
            where the event's ID belongs, `entity_placeholder(producer)` where the entity's does.
        producer: the number that events and entities carry.
        mix: what is chosen.
        reply: of what type a reply is that is no error; None: of any.

    Raises:
        ValueError: not a template for each stream and size, or one without a place for an event's ID.
    """

    def __init__(
        self,
        operation: str,
        templates: Sequence[Sequence[Sequence[str | int | float | bytes | memoryview]]],
        producer: int,
        mix: Mix | Cycle | InTurn,
        *,
        reply: type | None = None,
    ) -> None:
        if len(templates) != mix.streams or any(len(row) != mix.sizes for row in templates):
            raise ValueError("there is a template for each stream and size")
        self.operation = operation
        self.reply = reply
        self.mix = mix
        self._packed = [_packed(parts) for row in templates for parts in row]
        self._lengths = np.array([len(packed) for packed in self._packed], np.int64)
        self._event_slots = _slots_of(self._packed, placeholder(producer))
        self._entity_slots = _slots_of(self._packed, entity_placeholder(producer))
        if not self._event_slots.shape[0]:
            raise ValueError("the command has no place for an event's ID")
        # The templates as formats, once each has been asked for alone.
        self._forms: dict[int, bytes] = {}
        self._cumulated: Floats | None = None
        self._block: tuple[int, Int64s, Int64s] = (-1, np.zeros(0, np.int64), np.zeros(0, np.int64))

    def __getstate__(self) -> dict[str, Any]:
        # What is calculated from the mix is calculated again in the process that it is sent to.
        return {**self.__dict__, "_cumulated": None, "_forms": {}}

    def pack(self, first: int, count: int, step: int = 1) -> bytes:
        """`count` commands from number `first` on, each `step`-th of them, in RESP."""
        if count == 1:
            return self._pack_one(first)
        pieces = []
        while count > 0:
            block, offset = divmod(first, Mix.BLOCK)
            here = min(count, -(-(Mix.BLOCK - offset) // step))
            entities, templates = self._drawn(block)
            mine = slice(offset, offset + (here - 1) * step + 1, step)
            numbers = np.arange(first, first + here * step, step, dtype=np.int64)
            pieces.append(self._pack(numbers, entities[mine], templates[mine]))
            first, count = first + here * step, count - here
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _pack_one(self, number: int) -> bytes:
        """One command, in plain Python: at low rates this is the case, and NumPy would take ten times as long."""
        block, offset = divmod(number, Mix.BLOCK)
        entities, templates = self._drawn(block)
        at = templates.item(offset)
        form = self._forms.get(at)
        if form is None:
            form = self._forms[at] = self._form(at)
        return form % {b"event": number, b"entity": entities.item(offset)}

    def _form(self, at: int) -> bytes:
        """A template as a format, with a field in each slot."""
        slots = {int(each[at]): b"%(event)012x" for each in self._event_slots}
        slots |= {int(each[at]): b"%(entity)012x" for each in self._entity_slots}
        packed, end, pieces = self._packed[at], 0, []
        for slot in sorted(slots):
            pieces += [packed[end:slot].replace(b"%", b"%%"), slots[slot]]
            end = slot + _SLOT_DIGITS
        return b"".join([*pieces, packed[end:].replace(b"%", b"%%")])

    def _drawn(self, block: int) -> tuple[Int64s, Int64s]:
        """The entity and the template of each operation of a block; the last block is kept."""
        if self._block[0] != block:
            mix = self.mix
            if isinstance(mix, Mix) and mix.skew and self._cumulated is None:
                self._cumulated = np.cumsum(mix.shares())
            entities, sizes = mix.draw(block * Mix.BLOCK, Mix.BLOCK, self._cumulated)
            self._block = (block, entities, entities % mix.streams * mix.sizes + sizes)
        return self._block[1], self._block[2]

    def _pack(self, numbers: Int64s, entities: Int64s, templates: Int64s) -> bytes:
        packed = self._packed
        joined = bytearray().join([packed[at] for at in templates.tolist()])
        view = np.frombuffer(joined, np.uint8)
        lengths = self._lengths[templates]
        starts = (np.cumsum(lengths) - lengths)[:, None] + _DIGITS
        digits = hex_digits(numbers)
        for slots in self._event_slots:
            view[starts + slots[templates][:, None]] = digits
        if self._entity_slots.size:
            digits = hex_digits(entities)
            for slots in self._entity_slots:
                view[starts + slots[templates][:, None]] = digits
        return bytes(joined)


_DIGITS = np.arange(12)


def _packed(parts: Sequence[str | int | float | bytes | memoryview]) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(parts))  # type: ignore[arg-type]  # its stub allows one part only
    return packed


def _slots_of(packed: Sequence[bytes], mark: str) -> Int64s:
    """Where the twelve digits of a mark stand: shape (most slots of any, templates).

    A template with fewer slots than another has its last one twice: it is then written twice, alike.

    Raises:
        ValueError: some templates have the mark, and some have not.
    """
    found = [[m.start() + ID_LENGTH - 12 for m in re.finditer(re.escape(mark.encode()), each)] for each in packed]
    if all(found):
        most = max(map(len, found))
        return np.array([slots + slots[-1:] * (most - len(slots)) for slots in found], np.int64).T
    if any(found):
        raise ValueError("some commands have a place for an ID that others have not")
    return np.zeros((0, len(packed)), np.int64)


def entity_id(producer: int, number: int) -> str:
    """The ID of an entity that a load changes: as an event's, and never equal to one."""
    whole = event_id(producer, number)
    return f"{whole[:19]}9{whole[20:]}"


def entity_placeholder(producer: int) -> str:
    """What stands in a command where the entity's ID belongs."""
    return entity_id(producer, 0)


Distribution = Literal["fixed", "uniform", "lognormal"]


def payload_sizes(distribution: Distribution, middle_bytes: int, spread: float, count: int = 64) -> list[int]:
    """Sizes in bytes, equally likely, that stand for a distribution: its quantiles amid each of `count` parts.

    Args:
        distribution: `fixed`: all of `middle_bytes`; `uniform`: from (1 - spread) to (1 + spread) times it;
            `lognormal`: a median of it, and `spread` as the standard deviation of the natural logarithm. What
            is drawn lies within the outermost parts: with 64 of them, within 2.42 standard deviations.

    Raises:
        ValueError: a spread that the distribution cannot have.
    """
    if not (math.isfinite(spread) and spread >= 0):
        raise ValueError(f"a spread is 0 or more, not {spread}")
    if distribution == "fixed":
        return [middle_bytes]
    shares = [(part + 0.5) / count for part in range(count)]
    if distribution == "uniform":
        if spread > 1:
            raise ValueError(f"a uniform spread is a share of the middle, up to 1, not {spread}")
        return [round(middle_bytes * (1 + spread * (2 * share - 1))) for share in shares]
    normal = NormalDist()
    return [round(middle_bytes * math.exp(spread * normal.inv_cdf(share))) for share in shares]
