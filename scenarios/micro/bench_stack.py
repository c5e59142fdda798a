"""Where the time of one append goes: the same customer appended through each layer of the shop.

    socket       a packed XADD on a bare socket, its answer read by `hiredis.Reader`: the server and the way to it
    redis_py     an XADD as the client library sends it
    store_event  `EventStore.append` without the entity cache: the script, its ID and idempotency
    store        `EventStore.append` with the entity cache
    http         POST /customer to the customer service, one process further
    gateway      POST /customer to the gateway, two processes further

All layers are measured in one benchmark, one call of each in every round, each round beginning with another one:
what the machine does besides then falls on all of them alike, and the differences of their medians mean
something. Benchmarks one after the other would compare a quiet second with a busy one. The HTTP client is a
socket that is kept and requests that are packed before, so that it is the services that are measured.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hiredis
import msgspec
import numpy as np
import pytest

from harness.host.clock import SystemClock
from harness.server.dial import open_socket
from harness.server.server import Server
from ordershop.entities import CustomerDraft
from ordershop.event_store import EVENT_ONLY, EventStore
from ordershop.events import Event, entity_json
from ordershop.shop import shop_ports, shop_services
from ordershop.supervisor import Supervisor
from scenarios.micro.percentiles import percentiles_us

Customers = Callable[[int], list[Event]]
Call = Callable[[], object]

WARM_UP = 20


class Http:
    """Requests on one connection that is kept."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, request: bytes) -> bytes:
        """Send a request and answer its whole response.

        Raises:
            OSError: the connection is lost.
        """
        self._socket.sendall(request)
        response = b""
        while True:
            chunk = self._socket.recv(65_536)
            if not chunk:
                raise ConnectionResetError("the service closed the connection")
            response += chunk
            head, end, body = response.partition(b"\r\n\r\n")
            if end and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
                return response

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@pytest.fixture
def ports(server: Server, store: EventStore, tmp_path: Path) -> Iterator[dict[str, int]]:
    """The gateway and the service of customers, on the store; no other process shall share the machine."""
    chosen = shop_ports()
    with Supervisor(tmp_path / "services.log") as supervisor:
        services = shop_services(server.url, chosen, namespace=store.keys.namespace, state=tmp_path)
        supervisor.start_all([service for service in services if service.name in {"customers", "gateway"}])
        yield chosen


def bench_append_stack(
    benchmark: Any, server: Server, store: EventStore, customers: Customers, ports: dict[str, int], rounds: int
) -> None:
    """One append through each layer, in turn."""
    events = iter(customers(2 * (rounds + WARM_UP)))
    with contextlib.ExitStack() as stack:
        layers: dict[str, Call] = {
            "socket": _bare(stack, server, store, customers),
            "redis_py": _redis_py(store, customers),
            "store_event": lambda: store.append(next(events), mode=EVENT_ONLY),
            "store": lambda: store.append(next(events)),
            "http": _post(stack, ports["customers"]),
            "gateway": _post(stack, ports["gateway"]),
        }
        for call in layers.values():
            for _ in range(WARM_UP):  # connections, scripts and caches are warm before the first is timed
                call()
        times = _in_turn(benchmark, layers, rounds)
    benchmark.extra_info["round"] = "one append through each layer"
    for name, taken_ns in times.items():
        for quantile, value in percentiles_us(np.array(taken_ns, np.int64)).items():
            benchmark.extra_info[f"stack.{name}.{quantile}"] = value


def _in_turn(benchmark: Any, layers: dict[str, Call], rounds: int) -> dict[str, list[int]]:
    """The nanoseconds of each layer's call in each round."""
    now_ns = SystemClock().now_ns
    times: dict[str, list[int]] = {name: [] for name in layers}
    order = list(layers.items())

    def one_round() -> None:
        for name, call in order:
            before_ns = now_ns()
            call()
            times[name].append(now_ns() - before_ns)
        order.append(order.pop(0))

    benchmark.pedantic(one_round, rounds=rounds)
    return times


def _bare(stack: contextlib.ExitStack, server: Server, store: EventStore, customers: Customers) -> Call:
    raw = stack.enter_context(contextlib.closing(open_socket(server.url)))
    event = customers(1)[0]
    stream = _bare_stream(store)
    packed = hiredis.pack_command(
        ("XADD", stream, "*", "event_id", event.event_id, "entity", entity_json(event.entity))  # type: ignore[arg-type]
    )
    reader = hiredis.Reader()

    def call() -> None:
        raw.sendall(packed)
        while reader.gets() is False:
            reader.feed(raw.recv(65_536))

    return call


def _bare_stream(store: EventStore) -> str:
    # Not the store's own: behind an ID that Redis has made, the store counts on another way.
    return f"{store.keys.namespace}bare"


def _redis_py(store: EventStore, customers: Customers) -> Call:
    event = customers(1)[0]
    fields: Any = {"event_id": event.event_id, "entity": entity_json(event.entity)}
    stream = _bare_stream(store)
    return lambda: store.client.xadd(stream, fields)


def _post(stack: contextlib.ExitStack, port: int) -> Call:
    http = stack.enter_context(contextlib.closing(Http(port)))
    body = msgspec.json.encode(CustomerDraft("Ada Lovelace", "ada@example.org"))
    request = (
        f"POST /customer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body

    def call() -> None:
        response = http.exchange(request)
        assert response.startswith(b"HTTP/1.1 200"), response

    return call
