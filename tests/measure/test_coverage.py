"""Coverage: the interval of a quantile holds the true one as often as it says, of loads that are known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# In so many runs a true coverage of 95 % comes out as less than this in fewer than one case of a hundred.
RUNS, LEAST = 400, 0.92


def coverage() -> ModuleType:
    """The script behind the tables of docs/accuracy.md."""
    path = ROOT / "examples" / "accuracy" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = coverage()


def test_a_block_for_each_second() -> None:
    """The histograms are those of the recorder: a row each, nothing left out."""
    values = np.array([[1.0, 1.4, 2_000_000.0], [7.6, 8.0, 8.4]])
    first, second = (block.dense() for block in SCRIPT.seconds_as_blocks(values))
    assert [block.total for block in (first, second)] == [3, 3]
    assert (first.quantile_us(0.5), second.quantile_us(0.5), second.max_us) == (1, 8, 8)


def test_tables_say_what_is_open_and_what_is_not_seen() -> None:
    """A cell has coverage and width; in brackets where a run is too short to see what is slow."""
    cell = SCRIPT.Cell(
        load="long stalls", rate=200, seconds=10, quantile="p99", runs=100, covered=0.68, too_high=0.03,
        too_low=0.29, open_below=0.0, open_above=0.71, low=0.5, high=None, by_blocks=1.0,
    )  # fmt: skip
    text = "\n".join(SCRIPT.tables([cell]))
    assert "| long stalls | 200/s | (68.0 % 0.50–, 71 % open) |" in text


def test_a_few_runs_of_each_load() -> None:
    """Each load makes its seconds and its cells; an independent one is covered nearly always."""
    for name, load in SCRIPT.LOADS.items():
        values = load(np.random.default_rng(1), 5, 20)
        assert values.shape == (5, 20), name
        assert (values > 0).all(), name
    truth = [1_000 * float(np.log(1 / (1 - q))) for q in SCRIPT.QUANTILES.values()]
    cells = SCRIPT.simulated("exponential", 100, 10, 20, truth)
    assert [cell.quantile for cell in cells] == ["p50", "p99", "p99.9"]
    assert all(cell.covered >= 0.8 for cell in cells)


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("seconds", [10, 30, 120])
@pytest.mark.parametrize("name", list(SCRIPT.LOADS))
def test_the_true_quantile_is_held(name: str, seconds: int) -> None:
    """Where a run is long enough to see what its slow responses come from: p50, p99 and p99.9, at 200 a second."""
    if not SCRIPT.is_seen(name, seconds):
        pytest.skip("a run of this length does not see what is slow; nothing is said of it")
    truth = SCRIPT.true_us(SCRIPT.LOADS[name], 200, list(SCRIPT.QUANTILES.values()))
    for cell in SCRIPT.simulated(name, 200, seconds, RUNS, truth):
        assert cell.covered >= LEAST, cell
