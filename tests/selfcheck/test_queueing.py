"""Queues whose capacity is known: the calculation beside a loop and theory, the server beside the calculation."""

from __future__ import annotations

import math
import socket

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.host.clock import SystemClock
from harness.selfcheck.lindley import (
    PAUSE_EVERY,
    Kind,
    response_quantile_us,
    responses_ns,
    services_ns,
    true_capacity,
)
from harness.selfcheck.queueing import QueueingError, QueueingServer

COMMAND = b"*1\r\n$4\r\nPING\r\n"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=30))
def test_lindley(pairs: list[tuple[int, int]]) -> None:
    """The closed form is the recursion."""
    due = np.cumsum([gap for gap, _ in pairs])
    services = np.array([service for _, service in pairs])
    free, expected = 0, []
    for arrival, service in zip(due.tolist(), services.tolist(), strict=True):
        free = max(free, arrival) + service
        expected.append(free - arrival)
    assert responses_ns(due, services).tolist() == expected


@pytest.mark.parametrize("kind", ["constant", "exponential", "pauses"])
def test_services_have_their_mean_and_follow_from_the_seed(kind: Kind) -> None:
    """Whatever their distribution."""
    services = services_ns(kind, 200.0, 2, 100_000, 7)
    assert services.shape == (2, 100_000)
    assert services.mean() == pytest.approx(200_000, rel=0.02)
    assert (services == services_ns(kind, 200.0, 2, 100_000, 7)).all()
    assert (services > 0).all()


@pytest.mark.parametrize("workers", [1, 4])
def test_the_capacity_of_constant_services_is_all_of_it(workers: int) -> None:
    """Flat up to 1 / service for each worker."""
    services = services_ns("constant", 250.0, workers, 50_000, 1)
    assert true_capacity(services, 0.99, 1_000.0) == pytest.approx(workers * 4_000, rel=2e-3)


def test_the_capacity_of_exponential_services_is_that_of_theory() -> None:
    """D/M/1: the response is exponential with mean 1 / (mu (1 - s)), where s = exp(-(1 - s) / load); and M/M/1."""
    services = services_ns("exponential", 100.0, 1, 1_000_000, 3)
    # p99 of ten services: 1 - s = ln 100 / 10.
    idle = math.log(100) / 10
    load = -idle / math.log(1 - idle)
    assert true_capacity(services, 0.99, 1_000.0) == pytest.approx(load * 10_000, rel=0.01)
    assert true_capacity(services, 0.99, 1_000.0, arrivals="poisson") == pytest.approx(
        (1 - idle) * 10_000, rel=0.02
    )


def test_pauses_are_a_cliff_long_before_the_server_is_full() -> None:
    """Beyond the capacity p99 is that of a pause; below it, of a service."""
    services = services_ns("pauses", 100.0, 1, 100_000, 3)
    capacity = true_capacity(services, 0.99, 1_000.0)
    assert capacity < 9_000
    assert response_quantile_us(capacity * 1.02, services, 0.99) > 1_000
    assert response_quantile_us(capacity * 0.9, services, 0.99) < 500
    assert services[0, 0] > 40 * services[0, 1]
    assert services[0, PAUSE_EVERY] == services[0, 0]


def test_a_budget_that_no_rate_keeps_is_refused() -> None:
    """A command alone takes longer."""
    with pytest.raises(ValueError, match="alone takes longer"):
        true_capacity(services_ns("constant", 250.0, 1, 1_000, 1), 0.99, 100.0)


def exchanged(port: int, count: int, at_once: int) -> bytes:
    """All that is answered to some commands, so many at a time."""
    answered = b""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        for first in range(0, count, at_once):
            client.sendall(COMMAND * at_once)
            while len(answered) < 5 * (first + at_once):
                answered += client.recv(4096)
    return answered


def test_a_connection_is_a_queue() -> None:
    """What is sent at once is answered one after the other, each in its time; and no answer is early."""
    services = services_ns("exponential", 300.0, 1, 60, 5)
    with QueueingServer(services) as server:
        assert exchanged(server.port, 60, 20) == b"+OK\r\n" * 60
        (served,) = server.served()
        assert server.served()[0].arrived_ns.size == 0
    free, expected = 0, []
    for arrived, service in zip(served.arrived_ns.tolist(), services[0].tolist(), strict=True):
        free = max(free, arrived) + service
        expected.append(free)
    assert served.released_ns.tolist() == expected
    assert (served.late_ns >= 0).all()


def test_connections_take_turns_with_the_workers_and_go_on_with_their_services() -> None:
    """The k-th connection has worker k; a later one on it begins where the one before it ended."""
    services = np.array([[1_000_000] * 4 + [2_000_000] * 4, [3_000_000] * 8])
    with QueueingServer(services) as server:
        for _ in range(4):
            exchanged(server.port, 4, 4)
        first, second = server.served()
    for served, expected in ((first, services[0]), (second, services[1])):
        starts = np.maximum(served.arrived_ns, np.concatenate([[0], served.released_ns[:-1]]))
        assert (served.released_ns - starts).tolist() == expected.tolist()


def test_what_is_no_load_takes_no_service() -> None:
    """What clients ask before they begin is answered at once."""
    with QueueingServer(np.full((1, 4), 2_000_000_000)) as server:
        with socket.create_connection(("127.0.0.1", server.port), 1.5) as client:
            client.sendall(b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$4\r\nsave\r\n")
            assert client.recv(64) == b"*0\r\n"
        assert server.served()[0].arrived_ns.size == 0


def test_it_sleeps_when_nothing_comes_and_says_when_it_is_gone() -> None:
    """An idle server uses next to no CPU; of one that was killed nobody waits for an answer."""
    with QueueingServer(services_ns("constant", 100.0, 1, 10, 1)) as server:
        exchanged(server.port, 4, 1)
        process = psutil.Process(server.pid)
        before = sum(process.cpu_times()[:2])
        SystemClock().sleep_ns(300_000_000)
        assert sum(process.cpu_times()[:2]) - before < 0.15
        process.kill()
        with pytest.raises(QueueingError, match="has ended"):
            server.served()
