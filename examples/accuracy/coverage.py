"""How often does the interval of a quantile hold the true one, and how wide is it?

    python examples/accuracy/coverage.py --raw coverage.jsonl      all loads: hours; ended, it goes on where it was
    python examples/accuracy/coverage.py --load stalls --seconds 30 --runs 200
    python examples/accuracy/coverage.py --record runs/20261128-161502-append      of a run of yours

Each cell of the tables is of so many runs of a load (`loads.py`), each of other random numbers, that are bounded
as a run of shopbench is (`harness.measure.bounds`). Of a record, runs are made from its own seconds: some that
follow one another, drawn at random, then others; the true quantile is that of the whole record.

    97.1 %  0.96-1.05       in 97.1 of 100 runs the interval holds the true quantile; at the median it begins at
                            0.96 of the quantile that was measured and ends at 1.05 of it
    97.1 %  0.96-, 80 % open    in 80 of 100 runs it has no upper end, which then is not wrong
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from loads import EVENTS_PER_S, LOADS, Load

from harness.measure.bounds import all_bounds_of
from harness.measure.histogram import COUNTS, Histogram, SparseHistogram, index_of
from harness.measure.operations import intervals_of, seconds_of
from harness.record.run import load as load_record

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
SECONDS = (10, 30, 60, 120, 600)
RATES = (200, 2_000)
RUNS = 2_000
# The true quantile is that of so many values, in so many seconds at least.
TRUE_VALUES, TRUE_SECONDS = 20_000_000, 40_000
# Seconds of a record that are drawn as one, since they hang together.
DRAWN_TOGETHER = 5
Blocks = list[SparseHistogram]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """How the interval of one quantile did in many runs.

    Attributes:
        covered: the share of runs whose interval held the true quantile.
        too_high, too_low: the shares whose interval was beyond it, and below it.
        open_below, open_above: the shares without an end.
        low, high: the ends at the median, by the quantile that was measured; None where most have none.
        by_blocks: the share of intervals by blocks.
    """

    load: str
    rate: int
    seconds: int
    quantile: str
    runs: int
    covered: float
    too_high: float
    too_low: float
    open_below: float
    open_above: float
    low: float | None
    high: float | None
    by_blocks: float


def seconds_as_blocks(values_us: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Blocks:
    """A histogram for each row of microseconds."""
    index = index_of(np.rint(values_us).astype(np.int64))
    rows = np.arange(len(index))[:, None] * COUNTS
    places, counts = np.unique((rows + index).ravel(), return_counts=True)
    begins = np.searchsorted(places, np.arange(1, len(index)) * COUNTS)
    return [
        SparseHistogram.of((at % COUNTS).astype(np.uint16), each.astype(np.int64))
        for at, each in zip(np.split(places, begins), np.split(counts, begins), strict=True)
    ]


def true_us(load: Load, rate: int, qs: Sequence[float]) -> list[float]:
    """The quantiles of a load, of a very long run of it."""
    span = 500
    runs = max(TRUE_VALUES // (span * rate), TRUE_SECONDS // span)
    rng = np.random.default_rng(20_261_128)
    values = np.concatenate([load(rng, span, rate).ravel().astype(np.float32) for _ in range(runs)])
    return [float(each) for each in np.rint(np.quantile(values, qs, method="inverted_cdf"))]


def measured(
    run: Callable[[], Blocks], truth: Sequence[float], runs: int, *, load: str, rate: int, seconds: int
) -> list[Cell]:
    """How intervals do in some runs, a cell a quantile.

    Args:
        run: makes one.
        truth: the true quantiles, as `QUANTILES` has them.
        runs: how many.
        load, rate, seconds: what they are of.
    """
    rows: list[list[tuple[float, float, float, bool]]] = [[] for _ in QUANTILES]
    for _ in range(runs):
        blocks = run()
        whole = Histogram()
        for block in blocks:
            block.add_to(whole)
        points = whole.quantiles_us(list(QUANTILES.values()))
        for at, bounds in enumerate(all_bounds_of(blocks, list(QUANTILES.values()))):
            low = -np.inf if bounds.low_us is None else bounds.low_us
            high = np.inf if bounds.high_us is None else bounds.high_us
            rows[at].append((low, high, max(points[at] or 0, 1), bounds.by == "blocks"))
    found = []
    for name, true, row in zip(QUANTILES, truth, rows, strict=True):
        low, high, point, by_blocks = np.array(row, np.float64).T
        ends = [float(np.median(end / point)) for end in (low, high)]
        found.append(
            Cell(
                load=load,
                rate=rate,
                seconds=seconds,
                quantile=name,
                runs=runs,
                covered=float(np.mean((low <= true) & (true <= high))),
                too_high=float(np.mean(low > true)),
                too_low=float(np.mean(high < true)),
                open_below=float(np.mean(np.isinf(low))),
                open_above=float(np.mean(np.isinf(high))),
                low=ends[0] if np.isfinite(ends[0]) else None,
                high=ends[1] if np.isfinite(ends[1]) else None,
                by_blocks=float(np.mean(by_blocks)),
            )
        )
    return found


def simulated(name: str, rate: int, seconds: int, runs: int, truth: Sequence[float]) -> list[Cell]:
    """The cells of a load."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), rate, seconds])
    return measured(
        lambda: seconds_as_blocks(LOADS[name](rng, seconds, rate)),
        truth,
        runs,
        load=name,
        rate=rate,
        seconds=seconds,
    )


def recorded(name: str, blocks: Blocks, seconds: int, runs: int) -> list[Cell]:
    """The cells of a record, resampled in blocks of its own seconds, on a circle.

    Args:
        name: what to call it.
        blocks: its seconds.
        seconds: of a resampled run.
        runs: how many.
    """
    rng = np.random.default_rng([len(blocks), seconds])
    whole = Histogram()
    for block in blocks:
        block.add_to(whole)
    truth = [float(each or 0) for each in whole.quantiles_us(list(QUANTILES.values()))]

    def run() -> Blocks:
        begins = rng.integers(0, len(blocks), -(-seconds // DRAWN_TOGETHER))
        drawn = [blocks[(begin + at) % len(blocks)] for begin in begins for at in range(DRAWN_TOGETHER)]
        return drawn[:seconds]

    return measured(run, truth, runs, load=name, rate=round(whole.total / len(blocks)), seconds=seconds)


def told(cell: Cell, *, seen: bool) -> str:
    """A cell in words; in brackets where runs are too short to see what is slow."""
    text = f"{cell.covered * 100:.1f} %"
    if cell.low is not None or cell.high is not None:
        text += (
            f" {'' if cell.low is None else f'{cell.low:.2f}'}–{'' if cell.high is None else f'{cell.high:.2f}'}"
        )
    if cell.open_above >= 0.005:
        text += f", {cell.open_above * 100:.0f} % open"
    return text if seen else f"({text})"


def is_seen(load: str, seconds: int) -> bool:
    """Whether a run of a load sees what its slow responses come from: four times or more, in the mean."""
    return EVENTS_PER_S.get(load, 1.0) * seconds >= 4


def tables(cells: Sequence[Cell]) -> Iterator[str]:
    """Markdown tables, one for each quantile."""
    spans = sorted({cell.seconds for cell in cells})
    by_place = {(cell.load, cell.rate, cell.quantile, cell.seconds): cell for cell in cells}
    for name in QUANTILES:
        yield f"| {name} of | rate | " + " | ".join(f"{seconds} s" for seconds in spans) + " |"
        yield "|---|---|" + "---|" * len(spans)
        for load, rate in dict.fromkeys((cell.load, cell.rate) for cell in cells):
            there = [by_place.get((load, rate, name, seconds)) for seconds in spans]
            texts = ["" if cell is None else told(cell, seen=is_seen(load, cell.seconds)) for cell in there]
            yield f"| {load} | {rate:,}/s | " + " | ".join(texts) + " |"
        yield ""


def all_cells(asked: argparse.Namespace) -> Iterator[Cell]:
    """All that was asked for; what the raw file has is not made again, and what is made goes there."""
    kept = _kept(asked.raw)
    yield from kept
    done = {(cell.load, cell.rate, cell.seconds) for cell in kept}
    if asked.record:
        log = load_record(asked.record).latency
        operation = asked.operation or log.tags[0].partition(".")[0]
        blocks = seconds_of(intervals_of(log, operation, "response"))
        for seconds in asked.seconds:
            yield from _keep(asked.raw, recorded(operation, blocks, seconds, asked.runs))
        return
    for name in asked.load:
        for rate in asked.rate:
            wanted = [seconds for seconds in asked.seconds if (name, rate, seconds) not in done]
            truth = true_us(LOADS[name], rate, list(QUANTILES.values())) if wanted else []
            for seconds in wanted:
                yield from _keep(asked.raw, simulated(name, rate, seconds, asked.runs, truth))


def _kept(raw: Path | None) -> list[Cell]:
    if raw is None or not raw.exists():
        return []
    return [msgspec.json.decode(line, type=Cell) for line in raw.read_bytes().splitlines()]


def _keep(raw: Path | None, cells: list[Cell]) -> list[Cell]:
    if raw is not None:
        with raw.open("a") as file:
            file.writelines(f"{json.dumps(msgspec.to_builtins(cell))}\n" for cell in cells)
    return cells


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--load", action="append", choices=list(LOADS), help="of these loads only")
    parser.add_argument("--rate", action="append", type=int, help="of a second")
    parser.add_argument("--seconds", action="append", type=int, help="of a run")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each cell")
    parser.add_argument("--raw", type=Path, help="a file that cells are kept in, a line of JSON each")
    parser.add_argument("--record", type=Path, help="a run directory, whose seconds are drawn from")
    parser.add_argument("--operation", help="of the record")
    asked = parser.parse_args()
    asked.load, asked.rate = asked.load or list(LOADS), asked.rate or list(RATES)
    asked.seconds = asked.seconds or list(SECONDS)
    for line in tables(list(all_cells(asked))):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
