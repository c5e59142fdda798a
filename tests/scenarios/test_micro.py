"""Micro-benchmarks: `shopbench run micro` measures every one of them, and the stack of an append."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from harness.check.figures import unit_of
from harness.record.run import Record, find_runs
from reports.charts import charts
from scenarios.catalog import SCENARIOS
from scenarios.micro.percentiles import percentiles_us
from scenarios.micro_benchmarks import LAYERS
from tests.cli.test_foreign_names import NAMES, shopbench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A run of all micro-benchmarks with few rounds, in a directory that has packages of our names."""
    where = tmp_path_factory.mktemp("theirs")
    for name in NAMES:
        (where / name).mkdir()
        (where / name / "__init__.py").write_text(f"raise SystemExit('the package {name} is not ours')\n")
    done = shopbench(where, "run", "micro", "--profile", "smoke", "-p", "rounds=20")
    assert done.code == 0, done
    assert "is not ours" not in done.err
    [found] = find_runs(where / "runs")
    return found


@pytest.fixture(scope="module")
def results(record: Record) -> dict[str, Any]:
    """What pytest-benchmark has written."""
    found: dict[str, Any] = json.loads((record.directory / "micro.json").read_text())
    return found


def test_every_figure_is_declared(record: Record) -> None:
    """Each is one that the scenario has said it can make, in the unit that it said."""
    names = SCENARIOS["micro"].figures  # type: ignore[attr-defined]
    assert [f for f in record.run.figures if unit_of(names, f.name) != f.unit] == []


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("quantile", ["p50", "p90", "p99"])
def test_each_layer_is_measured(record: Record, layer: str, quantile: str) -> None:
    """Each layer of an append has its percentiles."""
    assert (record.run.figure(f"micro.stack.{layer}.{quantile}") or 0) > 0


def test_outer_layers_cost_more(record: Record) -> None:
    """A bare socket is faster than a service, and a service than the gateway before it."""
    socket, http, gateway = (
        record.run.figure(f"micro.stack.{layer}.p50") for layer in ("socket", "http", "gateway")
    )
    assert socket is not None
    assert http is not None
    assert gateway is not None
    assert socket < http < gateway


@pytest.mark.parametrize(
    "name",
    [
        "append_one",
        "append_one_event_only",
        "bare_xadd",
        "append_many_1000",
        "bare_pipeline_1000",
        "find_one",
        "bare_hgetall",
        "replay_three_streams",
        "bare_replay_three_streams",
        "deliver_and_acknowledge_5000",
    ],
)
def test_each_step_stands_beside_its_peer(record: Record, name: str) -> None:
    """Each benchmark, and the bare command that it is compared with, has a median and a rate."""
    assert [(record.run.figure(f"micro.{name}.{part}") or 0) > 0 for part in ("p50", "per_s")] == [True, True]


def test_round_over_all_layers_is_no_figure(record: Record) -> None:
    """How long a round through all layers takes says nothing of anything, and is left out."""
    assert [f.name for f in record.run.figures if "append_stack" in f.name] == []


def test_machine_is_described(results: dict[str, Any]) -> None:
    """The benchmark's own file says which server was measured, and how it was configured."""
    server = results["machine_info"]["server"]
    assert {"name", "version", "appendonly", "maxmemory"} <= set(server)


def test_percentiles_stand_in_extra_info(results: dict[str, Any]) -> None:
    """Whoever reads the benchmark's own file finds percentiles there, too."""
    assert all({"p50", "p90", "p99", "p99.9"} <= set(each["extra_info"]) for each in results["benchmarks"])


def test_decoder_of_the_peer_is_named(results: dict[str, Any]) -> None:
    """The peer of the replay says what it has decoded with."""
    named = [each["extra_info"]["decoder"] for each in results["benchmarks"] if "decoder" in each["extra_info"]]
    assert len(named) == 1
    assert named[0] in {"orjson", "msgspec"}


def test_stack_is_drawn(record: Record) -> None:
    """The report of such a run shows where the time goes, a bar for each layer."""
    [stack] = [chart for chart in charts(record) if chart.key == "stack"]
    assert [row["s"] for row in stack.rows] == list(LAYERS)


def test_loop_is_named(record: Record) -> None:
    """One call after the other is a closed loop, and the record says so."""
    assert record.run.environment["load"] == {"loop": "closed"}


@pytest.mark.parametrize("scale_ns", [1_000, 60_000, 5_000_000, 3_000_000_000])
def test_percentiles_are_those_of_the_values(scale_ns: int) -> None:
    """HDR percentiles are within 0.1 %, or 10 ns, of the exact ones."""
    values = np.random.default_rng(1).lognormal(0, 0.3, 10_001) * scale_ns
    found = percentiles_us(values.astype(np.int64))
    exact = np.quantile(values, [0.5, 0.9, 0.99, 0.999], method="inverted_cdf") / 1_000
    assert list(found.values()) == [pytest.approx(value, rel=0.001, abs=0.011) for value in exact]


def test_percentiles_beyond_the_histogram() -> None:
    """What takes longer than the histogram holds is not lost."""
    assert percentiles_us(np.array([100_000_000_000]))["p50"] == 100_000_000


def test_percentiles_of_nothing() -> None:
    """Without a value there is no percentile."""
    assert percentiles_us(np.zeros(0, np.int64))["p50"] is None
