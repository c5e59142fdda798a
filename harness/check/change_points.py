"""Change points: where a series of figures got another level and kept it.

    µs     o   o                    the first value of a new level is its change point; a level is told by its
         o   o   o o     <- 103     median, and how sure a change is by its p-value
                      o   o  o
                     o  o   o  o

Each stretch of the series is compared with all the rest by Wilcoxon's rank sum, whose distribution is counted out
and not approximated: a stretch may be short. The stretch that stands out most is another level if shuffled values
hardly ever have one that stands out as much anywhere; all stretches are looked at, and the shuffles pay for that.
Then its inside and what lies on both sides are looked at in the same way (circular binary segmentation: Olshen and
others 2004), and in the end each change point once more, between its neighbours: the first ones were found while
the others were still in the way. A stretch and not only a place to split at, because the commonest history of all
is a slowdown that somebody mended: both ends of that look much alike.

Ranks, because one run on a bad day is no change, however bad the day was. A level needs four values, so nobody is
told of a change after one run; and p must be at most 0.001: of 15 values the last seven can be a new level, of 25
the last five, and from 30 on the last four. A slow drift is found as steps. A change of the machine is a change:
the figures cannot tell whose it was.

The work grows with the square of the count: meant for some dozens of runs, up to a hundred or so.

Rejected: Apache Otava, which splits with t tests (Hunter: Fleming and others 2023). As a library it pins NumPy and
wants clients of BigQuery and Slack; `docs/ci.md` has how the two compare, and how to use it on our history.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from statistics import median

import msgspec
import numpy as np

from harness.arrays import Floats, Int64s

LEAST = 4
ALPHA = 0.001
_SHUFFLES = 1_999
_SEED = 20_231
# A change point that moves in the last look may move its neighbours; after so many looks they stay.
_MOST_LOOKS = 10


class Change(msgspec.Struct, frozen=True):
    """A change point.

    Attributes:
        at: the place of the first value of the new level.
        before: the median of the level before.
        after: the median of the new level.
        p: how often shuffled values would show as much.
    """

    at: int
    before: float
    after: float
    p: float


def change_points(values: Sequence[float]) -> list[Change]:
    """Where a series got another level, in its order.

    Args:
        values: oldest first.
    """
    series = np.asarray(values, np.float64)
    places = _segmented(series, 0, len(series))
    for _ in range(_MOST_LOOKS):
        looked_at = _between_neighbours(series, places)
        if looked_at == places:
            break
        places = looked_at
    bounds = [0, *places, len(series)]
    levels = [median(series[begin:end].tolist()) for begin, end in itertools.pairwise(bounds) if end > begin]
    return [
        Change(at, before, after, p)
        for (at, p), (before, after) in zip(places.items(), itertools.pairwise(levels), strict=True)
    ]


def _segmented(series: Floats, begin: int, end: int) -> dict[int, float]:
    """Change points of a part of the series, each with its p-value."""
    found = _standing_out(series[begin:end])
    if found is None:
        return {}
    first, last, p = found
    inner = [begin + first] if first else []
    inner.append(begin + last)
    places = dict.fromkeys(inner, p)
    for part in itertools.pairwise([begin, *inner, end]):
        places |= _segmented(series, *part)
    return dict(sorted(places.items()))


def _between_neighbours(series: Floats, places: dict[int, float]) -> dict[int, float]:
    """Each change point once more, with nothing in sight but the levels on both its sides."""
    kept: dict[int, float] = {}
    ends = [*list(places)[1:], len(series)]
    for end in ends:
        begin = max(kept, default=0)
        if found := _standing_out(series[begin:end], only_splits=True):
            kept[begin + _place(series[begin:end])] = found[2]
    return kept


def _place(series: Floats) -> int:
    """Where two levels meet: the place at which values are nearest to the median of their side.

    Ranks say that there is a change; to them the highest value of the lower level may as well belong to the other.
    """
    places = range(LEAST, len(series) - LEAST + 1)
    return min(places, key=lambda place: _deviation(series[:place]) + _deviation(series[place:]))


def _deviation(values: Floats) -> float:
    return float(np.abs(values - np.median(values)).sum())


def _standing_out(series: Floats, *, only_splits: bool = False) -> tuple[int, int, float] | None:
    """The stretch that differs most from the rest, from its first value to the one after it, and its p-value.

    None where none differs. One that would end with the series is told as the one before it, from the first value.
    """
    if len(series) < 2 * LEAST or series.min() == series.max():
        return None
    ranks = _doubled_ranks(series)
    ordered = tuple(np.sort(ranks).tolist())
    begins, ends = _stretches(len(series), only_splits=only_splits)
    scores = _scores(ranks[None, :], begins, ends, _surprise(ordered))[0]
    place = int(np.argmax(scores))
    reached = int(np.count_nonzero(_shuffled(ordered, only_splits) >= scores[place]))
    # The values themselves are one of the orders that count (Phipson and Smyth 2010).
    p = (1 + reached) / (1 + _SHUFFLES)
    return (int(begins[place]), int(ends[place]), p) if p <= ALPHA else None


def _doubled_ranks(series: Floats) -> Int64s:
    """Ranks, from 1, times two; equal values share the mean of theirs, which is then whole."""
    ordered = np.sort(series)
    ranks: Int64s = np.searchsorted(ordered, series, "left") + np.searchsorted(ordered, series, "right") + 1
    return ranks


def _stretches(count: int, *, only_splits: bool) -> tuple[Int64s, Int64s]:
    """Where stretches begin and end, so that they and what they leave on a side are long enough for a level."""
    begins = [0] if only_splits else [0, *range(LEAST, count)]
    pairs = [(begin, end) for begin in begins for end in range(begin + LEAST, count - LEAST + 1)]
    first, last = np.array(pairs, np.int64).T
    return first, last


@lru_cache(maxsize=64)
def _surprise(ranks: tuple[int, ...]) -> Floats:
    """Of each size and sum, how unlikely it is that so many of the ranks have a sum as far off: -log10 p.

    The number of subsets with each sum is counted one rank after the other. Their number has some 30 digits for a
    hundred ranks, which a float64 holds to 15 of them.
    """
    count, total = len(ranks), sum(ranks)
    subsets = np.zeros((count + 1, total + 1))
    subsets[0, 0] = 1
    for rank in ranks:
        subsets[1:, rank:] += subsets[:-1, : total + 1 - rank].copy()
    sizes = np.arange(count + 1)[:, None]
    # In whole numbers, so that two sums at one distance are equal.
    distance = np.abs(count * np.arange(total + 1)[None, :] - sizes * total)
    surprise = np.zeros_like(subsets)
    for size in range(1, count):
        order = np.argsort(-distance[size], kind="stable")
        as_far = np.cumsum(subsets[size][order])
        # Of equal distances each has what the last of them has reached.
        last = np.searchsorted(-distance[size][order], -distance[size][order], "right") - 1
        surprise[size][order] = -np.log10(np.maximum(as_far[last] / as_far[-1], 1e-300))
    rounded: Floats = np.round(surprise, 9)
    return rounded


def _scores(ranks: Int64s, begins: Int64s, ends: Int64s, surprise: Floats) -> Floats:
    """How much each stretch stands out, row by row."""
    sums = np.zeros((len(ranks), ranks.shape[1] + 1), np.int64)
    np.cumsum(ranks, axis=1, out=sums[:, 1:])
    scores: Floats = surprise[ends - begins, sums[:, ends] - sums[:, begins]]
    return scores


@lru_cache(maxsize=64)
def _shuffled(ranks: tuple[int, ...], only_splits: bool) -> Floats:
    """The largest score of each of many shuffles; without ties it depends on nothing but their count."""
    shuffles = np.random.default_rng(_SEED).permuted(np.tile(np.array(ranks), (_SHUFFLES, 1)), axis=1)
    begins, ends = _stretches(len(ranks), only_splits=only_splits)
    largest: Floats = _scores(shuffles, begins, ends, _surprise(ranks)).max(axis=1)
    return largest
