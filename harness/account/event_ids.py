"""The `event_id` of an event: a UUID of version 8 (RFC 9562) that carries its producer and its sequence number.

    pppppppp-pppp-8000-8000-ssssssssssss       p: producer, 48 bits     s: sequence number, 48 bits

So an effect can be set against its attempt without a table of IDs. Effects come as text, a batch at a time; a
batch is read as one array of rows of 36 bytes and not ID by ID.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from harness.arrays import Bytes, Int64s

PRODUCER_BITS = 48
ID_LENGTH = 36

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_SHIFTS = np.arange(44, -4, -4, dtype=np.int64)

# An `event_id` as bytes: all that is the same for a producer's events, and the sequence number's digits by twos.
_ROW = np.dtype([("prefix", "S24"), ("pairs", "<u2", 6)])
_NO_ID = "-" * ID_LENGTH
# The value of two hexadecimal digits, by the 16 bits of their ASCII; NaN for any other two characters, and so for
# every sum that they are a part of. Doubles are exact below 2 ** 53, and a sequence number has 48 bits.
_PAIR_VALUES = np.full(1 << 16, np.nan)
_PAIR_VALUES[_HEX[:, None] + 256 * _HEX.astype(np.int64)] = np.arange(256).reshape(16, 16)
_PLACE_VALUES = 256.0 ** np.arange(5, -1, -1)


def event_id(producer: int, sequence: int) -> str:
    """The `event_id` of one event."""
    p = f"{producer:012x}"
    return f"{p[:8]}-{p[8:]}-8000-8000-{sequence:012x}"


def hex_digits(sequences: Int64s) -> Bytes:
    """Sequence numbers as 12 hexadecimal digits each, shape (n, 12), ASCII."""
    digits: Bytes = _HEX[(sequences[:, None] >> _SHIFTS) & 15]
    return digits


def sequences_of(producer: int, texts: Iterable[str]) -> Int64s:
    """The sequence numbers in many `event_id`s of this producer, shape (n,); -1 for any other text."""
    aligned = "".join([text if len(text) == ID_LENGTH else _NO_ID for text in texts])
    # What is not ASCII becomes one "?" a character, so the rows stay aligned, and is no digit.
    rows = np.frombuffer(aligned.encode("ascii", "replace"), _ROW)
    # Not `@`: it would wake the threads of BLAS, beside what is being measured.
    numbers = np.einsum("ij,j->i", _PAIR_VALUES.take(rows["pairs"]), _PLACE_VALUES)
    numbers[rows["prefix"] != event_id(producer, 0)[: ID_LENGTH - 12].encode()] = np.nan
    sequences: Int64s = np.nan_to_num(numbers, copy=False, nan=-1.0).astype(np.int64)
    return sequences
