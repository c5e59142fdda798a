"""The HTTP services: what they accept and refuse, under concurrency, and while something is away."""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import http.client
import importlib
import json
import re
import shutil
import subprocess
import time
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from ordershop.async_store import AsyncEventStore
from ordershop.entities import ENTITIES, Topic
from ordershop.events import ACTIONS
from ordershop.services import gateway
from ordershop.services.app import App, Rejected, common_arguments, read_body, respond
from ordershop.services.openapi import document
from ordershop.services.peer import Peer
from ordershop.shop import OWNERS, SERVICES, shop_ports, shop_services
from tests.shop import Client, RunningShop, client, in_threads, shop, stock_up
from tests.waiting import until

__all__ = ["client", "shop"]

ROOT = Path(__file__).parents[2]
NOBODY = "00000000-0000-0000-0000-000000000000"
SINGLE = ["customer", "product", "inventory", "order", "billing"]

# Concurrency -------------------------------------------------------------------------------------------------


def test_16_clients_create_600_customers(shop: RunningShop, client: Client) -> None:
    """No client sees an error, and every customer is there."""
    created: list[str] = []

    def create(number: int, one: Client) -> None:
        for i in range(number, 600, 16):
            created.extend(one.post("/customer", {"name": f"n{i}", "email": f"{i}@example.org"}).ok())

    in_threads(shop, 16, create)
    assert len(set(created)) == 600
    assert {each["id"] for each in client.get("/customers").ok()} == set(created)
    shop.check_cache_is_replay()


def test_a_stock_of_50_is_sold_50_times(shop: RunningShop, client: Client) -> None:
    """8 clients place 120 orders of 1: exactly 50 are accepted, 70 refused with 409, and nothing is left."""
    customer, [product], [shelf] = stock_up(client, amount=50)
    statuses: list[int] = []

    def order(_: int, one: Client) -> None:
        wanted = {"product_ids": [product], "customer_id": customer}
        statuses.extend(one.post("/order", wanted).status for _ in range(15))

    in_threads(shop, 8, order)
    assert (statuses.count(200), statuses.count(409)) == (50, 70)
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 0
    assert len(client.get("/orders").ok()) == 50


def test_deletions_race_with_updates(shop: RunningShop, client: Client) -> None:
    """A deletion's event carries the order as it was last, though others change it meanwhile."""
    customer, [a, b], _ = stock_up(client, products=2, amount=1_000)
    for _ in range(5):
        [order] = client.post("/order", {"product_ids": [a], "customer_id": customer}).ok()

        def change(number: int, one: Client, order: str = order) -> None:
            if number == 0:
                one.delete(f"/order/{order}").ok()
                return
            for i in range(1, 6):
                reply = one.put(f"/order/{order}", {"product_ids": [b] * i, "customer_id": customer})
                assert reply.status in {200, 404}, reply

        in_threads(shop, 3, change)
        [gone] = shop.store.tail("order", "deleted", count=1)
        before = [e.entity for e in shop.store.tail("order", "updated", count=20) if e.id < gone.id]
        mine = [entity for entity in before if entity.id == order]
        if mine:
            assert gone.entity == mine[-1]
    assert {each["amount"] for each in client.get("/inventory").ok()} == {1_000}
    shop.check_cache_is_replay()


def test_a_report_is_of_one_moment(shop: RunningShop, client: Client) -> None:
    """While orders come and go, in every report stock and orders add up."""
    customer, [product], _ = stock_up(client, amount=1_000)
    reports: list[dict[str, Any]] = []

    def work(number: int, one: Client) -> None:
        if number == 0:
            reports.extend(one.get("/report").ok() for _ in range(60))
            return
        for _ in range(30):
            [order] = one.post("/order", {"product_ids": [product] * 3, "customer_id": customer}).ok()
            one.delete(f"/order/{order}").ok()

    in_threads(shop, 5, work)
    seen = {(report["inventory"][0]["amount"], len(report["orders"])) for report in reports}
    assert all(amount + 3 * orders == 1_000 for amount, orders in seen)
    assert len(seen) > 1


# What the sample got wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a_b:c", "Žluťoučký 🐎", "</script><b>", '"\\\n\t', "x" * 1_000])
def test_text_comes_back_as_it_was_sent(client: Client, name: str) -> None:
    """No character of a name means anything to the shop."""
    [customer] = client.post("/customer", {"name": name, "email": "a_b:c@example.org"}).ok()
    assert client.get(f"/customer/{customer}").ok() == {
        "id": customer,
        "name": name,
        "email": "a_b:c@example.org",
    }


@pytest.mark.parametrize("price", [0, 7, 1.5, 999_999_999.25])
def test_numbers_stay_numbers(client: Client, price: float) -> None:
    """A price that was sent as a number is read as that number, at once and in lists."""
    [product] = client.post("/product", {"name": "p", "price": price}).ok()
    assert client.get(f"/product/{product}").ok()["price"] == price
    assert client.get("/products").ok()[0]["price"] == price


def test_an_order_writes_an_event_for_each_shelf_that_changed(shop: RunningShop, client: Client) -> None:
    """Of ten shelves, those two that an order takes from get an event each, and the others none."""
    customer, products, shelves = stock_up(client, products=10)
    client.post("/order", {"product_ids": [products[3], products[7], products[3]], "customer_id": customer}).ok()
    events = shop.store.tail("inventory", "updated")
    assert {(e.entity.id, e.entity.amount) for e in events} == {(shelves[3], 98), (shelves[7], 99)}  # type: ignore[union-attr]


def test_all_pieces_come_back(client: Client) -> None:
    """Deleting an order of three pieces gives three pieces back."""
    customer, [product], [shelf] = stock_up(client)
    [order] = client.post("/order", {"product_ids": [product] * 3, "customer_id": customer}).ok()
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 97
    client.delete(f"/order/{order}").ok()
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 100


def test_a_product_without_inventory_cannot_be_ordered(client: Client) -> None:
    """It is refused with 409, and the product is named."""
    customer, _, _ = stock_up(client)
    [bare] = client.post("/product", {"name": "bare", "price": 1}).ok()
    refused = client.post("/order", {"product_ids": [bare], "customer_id": customer})
    assert refused.status == 409
    assert bare in refused.error


def test_an_order_takes_all_or_nothing(shop: RunningShop, client: Client) -> None:
    """What there is of the first product is not taken when there is not enough of the second."""
    customer, products, shelves = stock_up(client, products=2, amount=2)
    wanted = {"product_ids": [products[0], *[products[1]] * 3], "customer_id": customer}
    refused = client.post("/order", wanted)
    assert refused.status == 409
    assert products[1] in refused.error
    assert [client.get(f"/inventory/{each}").ok()["amount"] for each in shelves] == [2, 2]
    assert shop.store.tail("order", "created") == shop.store.tail("inventory", "updated") == []


def test_a_list_of_orders_is_all_or_nothing(client: Client) -> None:
    """Two orders that there is stock for are not placed when the third of their list finds none."""
    customer, [product], [shelf] = stock_up(client, amount=2)
    one = {"product_ids": [product], "customer_id": customer}
    assert client.post("/orders", [one, one, one]).status == 409
    assert client.get("/orders").ok() == []
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 2
    assert len(client.post("/orders", [one, one]).ok()) == 2
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 0


def test_changing_an_order_takes_stock_once(client: Client) -> None:
    """A PUT gives back what the order had and takes what it has now; one that finds no stock changes nothing."""
    customer, [product], [shelf] = stock_up(client, amount=5)
    [order] = client.post("/order", {"product_ids": [product] * 2, "customer_id": customer}).ok()
    client.put(f"/order/{order}", {"product_ids": [product] * 5, "customer_id": customer}).ok()
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 0
    refused = client.put(f"/order/{order}", {"product_ids": [product] * 6, "customer_id": customer})
    assert refused.status == 409
    assert len(client.get(f"/order/{order}").ok()["product_ids"]) == 5
    client.put(f"/order/{order}", {"product_ids": [product], "customer_id": customer}).ok()
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 4


def test_a_failed_order_takes_no_stock(client: Client) -> None:
    """An order of an unknown customer, or of an unknown product among known ones, leaves the stock alone."""
    customer, [product], [shelf] = stock_up(client)
    unknown_customer = client.post("/order", {"product_ids": [product], "customer_id": NOBODY})
    unknown_product = client.post("/order", {"product_ids": [product, NOBODY], "customer_id": customer})
    assert (unknown_customer.status, unknown_product.status) == (422, 422)
    assert unknown_customer.error == f"customer_id: there is no customer '{NOBODY}'"
    assert unknown_product.error == f"product_ids: there is no product '{NOBODY}'"
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 100


def test_an_order_is_billed_once(client: Client) -> None:
    """A second bill is refused with 409, in one request or two; deleting the bill makes the order unbilled."""
    customer, [product], _ = stock_up(client)
    [order] = client.post("/order", {"product_ids": [product], "customer_id": customer}).ok()
    assert client.post("/billings", [{"order_id": order}, {"order_id": order}]).status == 409
    [billing] = client.post("/billing", {"order_id": order}).ok()
    assert "billed already" in client.post("/billing", {"order_id": order}).error
    assert client.get("/orders/unbilled").ok() == []
    client.delete(f"/billing/{billing}").ok()
    assert [each["id"] for each in client.get("/orders/unbilled").ok()] == [order]


def test_changing_a_billing_keeps_its_time(client: Client) -> None:
    """A PUT names another order; `done` stays, and the first order is unbilled again."""
    customer, [product], _ = stock_up(client)
    one = {"product_ids": [product], "customer_id": customer}
    first, second = client.post("/orders", [one, one]).ok()
    [billing] = client.post("/billing", {"order_id": first}).ok()
    done = client.get(f"/billing/{billing}").ok()["done"]
    client.put(f"/billing/{billing}", {"order_id": second}).ok()
    assert client.get(f"/billing/{billing}").ok() == {"id": billing, "order_id": second, "done": done}
    assert [each["id"] for each in client.get("/orders/unbilled").ok()] == [first]


def test_a_bill_for_an_unknown_order_is_refused(client: Client) -> None:
    """It is refused with 422, and the listing of unbilled orders still works."""
    assert client.post("/billing", {"order_id": NOBODY}).status == 422
    assert client.get("/orders/unbilled").ok() == []


def test_what_comes_back_may_be_more_than_one_may_set(client: Client) -> None:
    """A full shelf that is filled up again while an order is out holds more when it comes back; all read it."""
    customer, [product], [shelf] = stock_up(client, amount=1_000_000_000)
    [order] = client.post("/order", {"product_ids": [product], "customer_id": customer}).ok()
    client.put(f"/inventory/{shelf}", {"product_id": product, "amount": 1_000_000_000}).ok()
    client.delete(f"/order/{order}").ok()
    for path, name in [("/inventory", None), ("/report", "inventory")]:
        found = client.get(path).ok()
        assert (found if name is None else found[name])[0]["amount"] == 1_000_000_001
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 1_000_000_001
    client.post("/order", {"product_ids": [product] * 2, "customer_id": customer}).ok()
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 999_999_999
    refused = client.put(f"/inventory/{shelf}", {"product_id": product, "amount": 1_000_000_001})
    assert (refused.status, "$.amount" in refused.error) == (400, True)


# Input -------------------------------------------------------------------------------------------------------

GOOD: dict[str, dict[str, Any]] = {
    "customer": {"name": "Ada", "email": "ada@example.org"},
    "product": {"name": "p", "price": 1.5},
    "inventory": {"product_id": NOBODY, "amount": 1},
    "order": {"product_ids": [NOBODY], "customer_id": NOBODY},
    "billing": {"order_id": NOBODY},
}
BAD_FIELDS = [
    ("customer", "name", ""),
    ("customer", "name", 7),
    ("customer", "name", "x" * 1_001),
    ("customer", "email", "nobody"),
    ("customer", "email", None),
    ("product", "price", -1),
    ("product", "price", -0.01),
    ("product", "price", "7"),
    ("product", "price", 1e12),
    ("product", "price", 10**400),
    ("inventory", "amount", -1),
    ("inventory", "amount", 1.5),
    ("inventory", "amount", 10**10),
    ("inventory", "product_id", ""),
    ("order", "product_ids", []),
    ("order", "product_ids", [7]),
    ("order", "product_ids", "abc"),
    ("order", "product_ids", ["x"] * 1_001),
    ("order", "customer_id", "x" * 101),
    ("billing", "order_id", {}),
]


@pytest.mark.parametrize(("topic", "field", "value"), BAD_FIELDS)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_bad_field_is_named(client: Client, method: str, topic: str, field: str, value: Any) -> None:
    """A field of a wrong type, or out of its bounds, is refused with 400, and the answer says which it was."""
    path = f"/{topic}" if method == "POST" else f"/{topic}/{NOBODY}"
    refused = client.send(method, path, json.dumps(GOOD[topic] | {field: value}).encode())
    assert refused.status == 400
    assert f"$.{field}" in refused.error


@pytest.mark.parametrize("topic", SINGLE)
def test_a_missing_field_is_named(client: Client, topic: str) -> None:
    """An object without one of its fields is refused with 400, and the answer says which it is."""
    for field in GOOD[topic]:
        rest = {name: value for name, value in GOOD[topic].items() if name != field}
        refused = client.post(f"/{topic}", rest)
        assert refused.status == 400
        assert f"`{field}`" in refused.error


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"nonsense",
            b'"x"',
            b"7",
            b"null",
            b"[]",
            b"[7]",
            b"\xff\xfe",
            b'{"name": "\xff"}',
            b'"\\ud800"',
        ),
        b'{"x":' + b"[" * 2_000 + b"]" * 2_000 + b"}",
    ],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("topic", SINGLE)
def test_what_is_no_object_is_refused(client: Client, topic: str, body: bytes) -> None:
    """Bytes that are no JSON, or JSON of another shape, are refused with 400."""
    refused = client.send("POST", f"/{topic}", body)
    assert (refused.status, bool(refused.error)) == (400, True)


def test_a_large_body_is_refused(client: Client) -> None:
    """A body over 1 MiB is refused with 413, whoever would be responsible for it."""
    for topic in SINGLE:
        refused = client.send("POST", f"/{topic}", b" " * (1 << 20) + b"{}")
        assert (refused.status, bool(refused.error)) == (413, True)


def test_orders_as_large_as_a_body_may_be(client: Client) -> None:
    """A list of orders just below the limit is placed, though with their ids it is larger than that."""
    customer, [product], [shelf] = stock_up(client, amount=1_000_000)

    def listed(pieces: int) -> list[dict[str, Any]]:
        in_each = [min(1_000, pieces - at) for at in range(0, pieces, 1_000)]
        return [{"product_ids": [product] * count, "customer_id": customer} for count in in_each]

    def encoded(pieces: int) -> bytes:
        return json.dumps(listed(pieces), separators=(",", ":")).encode()

    # Found at once, and not by trying: the server closes a connection on which nothing comes for 75 s.
    most = bisect.bisect_left(range(30_000), 1 << 20, key=lambda pieces: len(encoded(pieces))) - 1
    assert 20_000 < most < 29_999
    assert len(client.send("POST", "/orders", encoded(most)).ok()) == len(listed(most))
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 1_000_000 - most


@pytest.mark.parametrize("topic", SINGLE)
def test_a_change_is_of_one_object(client: Client, topic: str) -> None:
    """A PUT takes one object and no list, not even of one."""
    for content in ([GOOD[topic]], [GOOD[topic], GOOD[topic]]):
        refused = client.put(f"/{topic}/{NOBODY}", content)
        assert (refused.status, refused.error) == (400, "Expected `object`, got `array`")


def test_a_list_has_bounds(client: Client) -> None:
    """A thousand objects are taken in one step, one more is refused."""
    thousand = [{"name": "n", "email": "a@b"}] * 1_000
    assert len(client.post("/customers", thousand).ok()) == 1_000
    assert client.post("/customers", [*thousand, thousand[0]]).status == 400
    assert len(client.get("/customers").ok()) == 1_000


@pytest.mark.parametrize("topic", SINGLE)
@pytest.mark.parametrize("entity_id", [NOBODY, "a:b_c", "%20", "%00", "%ff", "*", "x" * 90, "x" * 101])
def test_an_unknown_id(client: Client, topic: str, entity_id: str) -> None:
    """An entity that does not exist reads as null, and can be neither changed nor deleted."""
    customer, [product], _ = stock_up(client)
    [order] = client.post("/order", {"product_ids": [product], "customer_id": customer}).ok()
    good: dict[str, Any] = {
        **GOOD,
        "inventory": {"product_id": product, "amount": 1},
        "order": {"product_ids": [product], "customer_id": customer},
        "billing": {"order_id": order},
    }
    assert client.get(f"/{topic}/{entity_id}").ok() is None
    for reply in (client.delete(f"/{topic}/{entity_id}"), client.put(f"/{topic}/{entity_id}", good[topic])):
        assert (reply.status, reply.error.startswith(f"id: there is no {topic}")) == (404, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/customers/", 404),
        ("GET", "/nothing", 404),
        ("POST", "/inventories", 404),
        ("GET", "/customer/a/b", 404),
        ("PUT", "/customers", 405),
        ("DELETE", "/report", 405),
        ("PATCH", f"/customer/{NOBODY}", 405),
        ("GET", "/customer", 405),
    ],
)
def test_routes_and_methods(client: Client, method: str, path: str, status: int) -> None:
    """An unknown path is 404, a wrong method 405, both with a reason in JSON."""
    reply = client.send(method, path, b"{}")
    assert (reply.status, bool(reply.error)) == (status, True)


def test_a_wrong_method_is_told_the_right_ones(shop: RunningShop) -> None:
    """The answer 405 names all methods that the path has."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", shop.ports["gateway"])) as connection:
        connection.request("PATCH", f"/order/{NOBODY}")
        assert connection.getresponse().getheader("allow") == "DELETE, GET, HEAD, PUT"


# Repeats -----------------------------------------------------------------------------------------------------


def test_a_repeated_command_happens_once(shop: RunningShop, client: Client) -> None:
    """Every command, sent twice with one Idempotency-Key, answers the same and leaves one event."""
    customer, [product], [shelf] = stock_up(client)
    wanted = {"product_ids": [product, product], "customer_id": customer}

    def twice(method: str, path: str, content: Any, key: str) -> Any:
        body = None if content is None else json.dumps(content).encode()
        first = client.send(method, path, body, Idempotency_Key=key).ok()
        assert client.send(method, path, body, Idempotency_Key=key).ok() == first
        return first

    [order] = twice("POST", "/order", wanted, "a")
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 98
    twice("PUT", f"/order/{order}", wanted | {"product_ids": [product]}, "b")
    [billing] = twice("POST", "/billing", {"order_id": order}, "c")
    twice("PUT", f"/billing/{billing}", {"order_id": order}, "c")
    twice("DELETE", f"/billing/{billing}", None, "d")
    twice("DELETE", f"/order/{order}", None, "d")
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 100
    for topic in ("order", "billing"):
        for action in ACTIONS:
            assert len(shop.store.tail(topic, action)) == 1, (topic, action)  # type: ignore[arg-type]
    assert client.delete(f"/order/{order}").status == 404
    assert client.delete(f"/order/{order}", Idempotency_Key="x" * 201).status == 400


@pytest.mark.parametrize("topic", SINGLE)
def test_a_key_with_another_body(shop: RunningShop, client: Client, topic: Topic) -> None:
    """A POST with a key that has created something by another body is refused, and leaves nothing of itself."""
    customer, [product], _ = stock_up(client)
    wanted = {"product_ids": [product], "customer_id": customer}
    first_order, second_order = client.post("/orders", [wanted, wanted]).ok()
    good, another = {
        "customer": ({"name": "Ada", "email": "ada@example.org"}, {"name": "Eve", "email": "eve@example.org"}),
        "product": ({"name": "p", "price": 1}, {"name": "p", "price": 2}),
        "inventory": ({"product_id": product, "amount": 1}, {"product_id": product, "amount": 2}),
        "order": (wanted, wanted | {"product_ids": [product, product]}),
        "billing": ({"order_id": first_order}, {"order_id": second_order}),
    }[topic]
    ids = client.post(f"/{topic}", good, Idempotency_Key="k").ok()
    before = shop.cached(topic)
    for content in (another, [good, another], [another, good]):
        refused = client.post(f"/{topic}", content, Idempotency_Key="k")
        assert (refused.status, refused.error.startswith("Idempotency-Key: it was used before")) == (422, True)
    assert shop.cached(topic) == before
    # What only is written differently is the same.
    for body in (json.dumps(good, indent=4), json.dumps([dict(reversed(good.items()))])):
        assert client.send("POST", f"/{topic}", body.encode(), Idempotency_Key="k").ok() == ids
    assert shop.cached(topic) == before
    shop.check_cache_is_replay()


def test_a_change_with_another_body_happens(client: Client) -> None:
    """A PUT with a key that was used for another body is not dropped; one that is only repeated does nothing."""
    [customer] = client.post("/customer", GOOD["customer"]).ok()
    for name in ("Eve", "Ida", "Eve"):
        client.put(f"/customer/{customer}", GOOD["customer"] | {"name": name}, Idempotency_Key="k").ok()
    assert client.get(f"/customer/{customer}").ok()["name"] == "Ida"


# What is away ------------------------------------------------------------------------------------------------


def test_redis_away_and_back(shop: RunningShop, client: Client) -> None:
    """Without Redis every command and query is answered with 503; with it, as ever."""
    shop.redis.stop("redis")
    for topic in SINGLE:
        for reply in (
            client.get(f"/{topic}/{NOBODY}"),
            client.post(f"/{topic}", GOOD[topic]),
            client.put(f"/{topic}/{NOBODY}", GOOD[topic]),
            client.delete(f"/{topic}/{NOBODY}"),
        ):
            assert (reply.status, "event store" in reply.error) == (503, True)
    for path in ("/customers", "/orders/unbilled", "/report"):
        assert client.get(path).status == 503
    health = client.get("/health")
    assert (health.status, health.json["status"], health.json["orders"]) == (503, "degraded", "ok")
    shop.start_redis()
    until(lambda: client.get("/health").status == 200, "the gateway is well again")
    stock_up(client)


@pytest.mark.parametrize("frozen", ["redis", "inventory", "orders"])
def test_what_does_not_answer_is_not_waited_for(shop: RunningShop, client: Client, frozen: str) -> None:
    """A frozen Redis or service means 503 within a bound, and the order is there whole or not at all."""
    customer, [product], [shelf] = stock_up(client)
    supervisor = shop.redis if frozen == "redis" else shop.services
    supervisor.freeze(frozen)
    begin = time.monotonic()
    reply = client.post("/order", {"product_ids": [product], "customer_id": customer})
    took_s = time.monotonic() - begin
    supervisor.thaw(frozen)
    assert reply.status == 503
    assert took_s < 8, "three seconds are meant; the rest is for a busy machine"

    def is_whole() -> bool:
        amount = client.get(f"/inventory/{shelf}")
        orders = client.get("/orders")
        return amount.status == orders.status == 200 and amount.json["amount"] + len(orders.json) == 100

    until(is_whole, "stock and orders add up")


@pytest.mark.parametrize("away", ["orders", "inventory"])
def test_a_service_away(shop: RunningShop, client: Client, away: str) -> None:
    """An order finds 503 with the service's name and leaves nothing; what does not need the service goes on."""
    customer, [product], [shelf] = stock_up(client)
    shop.services.stop(away)
    wanted = {"product_ids": [product], "customer_id": customer}
    refused = client.post("/order", wanted)
    assert refused.status == 503
    assert away in refused.error
    assert client.get("/health").json[away] != "ok"
    assert client.get("/orders").ok() == []
    assert client.get(f"/inventory/{shelf}").ok()["amount"] == 100
    client.post("/customer", GOOD["customer"]).ok()
    shop.services.start_again(away)
    client.post("/order", wanted).ok()
    assert client.get("/health").ok()["status"] == "ok"


def test_the_crm_away_and_back(shop: RunningShop, client: Client) -> None:
    """While the CRM is killed nobody feels it; when it is back, every customer gets one mail."""
    shop.services.kill("crm")
    people = [{"name": f"n{i}", "email": f"crm-{i}@example.org"} for i in range(200)]
    client.post("/customers", people).ok()
    shop.services.start_again("crm")

    def welcomed() -> list[str]:
        return [mail["to"] for mail in shop.mails() if mail["to"].startswith("crm-")]

    until(lambda: len(welcomed()) >= 200, "200 mails")
    assert sorted(welcomed()) == sorted(each["email"] for each in people)


# Between client and service ----------------------------------------------------------------------------------


async def ask(app: App, path: str, *messages: Message, method: str = "GET") -> tuple[int, Any]:
    """The status and the JSON that an app answers to a request that comes in some messages, and no further."""
    sent: list[Message] = []
    coming = iter(messages)

    async def receive() -> Message:
        for message in coming:
            return message
        return await asyncio.get_running_loop().create_future()  # for ever

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": []}
    await app(scope | {"query_string": b"", "root_path": ""}, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body) if body else None


def a_part(body: bytes) -> Message:
    """A part of a body, of which more is to come."""
    return {"type": "http.request", "body": body, "more_body": True}


def reading_app(**how: Any) -> App:
    """An app that reads a body, and answers how long it is."""

    async def read(request: Request) -> Response:
        return respond(len(await read_body(request.receive, **how)))

    return App("reading", [Route("/", read, methods=["POST"])])


def test_a_body_that_does_not_end_is_not_waited_for() -> None:
    """A body that is not whole in time is answered 408, and its connection is given up."""
    status, said = asyncio.run(ask(reading_app(timeout_s=0.05), "/", a_part(b"{"), method="POST"))
    assert (status, said) == (408, {"error": "the body was not whole after 0.05 s"})
    with pytest.raises(Rejected) as refused:
        asyncio.run(read_body(lambda: asyncio.sleep(60, a_part(b"")), timeout_s=0.05))
    assert refused.value.headers == {"connection": "close"}


def test_a_limit_may_be_another() -> None:
    """A body has as many bytes as the limit at most."""
    whole = {"type": "http.request", "body": b"12"}
    assert asyncio.run(ask(reading_app(limit=4), "/", a_part(b"12"), whole, method="POST")) == (200, 4)
    status, _ = asyncio.run(ask(reading_app(limit=3), "/", a_part(b"12"), whole, method="POST"))
    assert status == 413


def test_a_client_that_leaves_is_no_fault_of_ours() -> None:
    """A client that goes while it sends is no error: nothing is raised, and no 500 counted."""
    gone = {"type": "http.disconnect"}
    assert asyncio.run(ask(reading_app(), "/", a_part(b"{"), gone, method="POST")) == (
        499,
        None,
    )


async def never_the_last_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server of RESP that answers every command, after 20 ms, with a cursor and no entities."""
    with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while words := int((await reader.readline() or b"*0")[1:]):
            for _ in range(words):
                size = int((await reader.readline())[1:])
                await reader.readexactly(size + 2)
            await asyncio.sleep(0.02)
            writer.write(b"*1\r\n$1\r\n7\r\n")


@pytest.mark.parametrize("path", ["/customers", "/orders"])
def test_a_list_that_does_not_end_is_not_waited_for(path: str) -> None:
    """A query whose pages all come, and never the last of them, is answered 503 in time."""

    async def run() -> tuple[int, Any]:
        async with await asyncio.start_server(never_the_last_page, "127.0.0.1", 0) as server:
            store = AsyncEventStore(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            app = App("gateway", gateway.query_routes(store, list_timeout_s=0.3))
            answer = await asyncio.wait_for(ask(app, path), 10)
            await store.close()
            return answer

    assert asyncio.run(run()) == (503, {"error": "the event store does not answer"})


def test_a_repeat_is_on_a_connection_of_its_own() -> None:
    """However many of the kept connections are dead, a call that loses one of them is answered by a new one."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One answer a connection; the next question finds it closed.
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue")
            await reader.readuntil(b"\r\n\r\n")

    async def run() -> list[bytes]:
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            peer = Peer("one", f"http://127.0.0.1:{port}", timeout_s=5)
            answers = await asyncio.gather(*(peer.send("GET", b"/") for _ in range(3)))
            answers.append(await peer.send("GET", b"/"))
            await peer.close()
            return [answer.body for answer in answers]

    assert asyncio.run(run()) == [b"true"] * 4


# The interface, described --------------------------------------------------------------------------------------


def test_the_document_is_served(client: Client) -> None:
    """The gateway serves what the module says, and every reference in it leads somewhere."""
    served = client.get("/openapi.json").ok()
    assert served == msgspec.to_builtins(document())
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(served)))
    assert references <= set(served["components"]["schemas"])
    assert {kind.__name__ for kind in ENTITIES.values()} <= references


def test_every_described_operation_exists(client: Client) -> None:
    """Each path and method of the document is a route of the gateway."""
    for path, operations in client.get("/openapi.json").ok()["paths"].items():
        for method in operations:
            reply = client.send(method.upper(), path.replace("{id}", NOBODY), b"nonsense")
            assert reply.status not in {405, 500}, (method, path)
            # A path that is no route is 404 as well, but speaks of no entity.
            assert reply.status != 404 or reply.error.startswith("id: there is no"), (method, path)


def test_every_route_is_described() -> None:
    """The gateway's routes are those of the document, and the document itself."""
    store = AsyncEventStore("redis://127.0.0.1:1")
    app = gateway.make_app(
        store, {name: Peer(name, "http://127.0.0.1:1", timeout_s=1) for name in OWNERS.values()}
    )
    routes = {
        (route.path, method)
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {(path, method.upper()) for path, ways in document()["paths"].items() for method in ways}
    assert routes == described | {("/openapi.json", "GET")}


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELD_VALUES = ANY_JSON | st.just(NOBODY) | st.just([NOBODY])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_input_makes_a_5xx(client: Client, data: st.DataObject) -> None:
    """Whatever is sent to whatever path, by whatever method, the answer is no 5xx, and JSON."""
    topic = data.draw(st.sampled_from(SINGLE))
    segment = data.draw(
        st.sampled_from(["", "s", f"/{NOBODY}", "/%00", "/%F0%9F", "/a%2Fb", "s/unbilled", "?x=1"])
    )
    method = data.draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]))
    shaped = st.fixed_dictionaries(dict.fromkeys(GOOD[topic], FIELD_VALUES))
    content = data.draw(shaped | st.lists(shaped, max_size=3) | ANY_JSON)
    body = data.draw(st.just(json.dumps(content).encode()) | st.binary(max_size=20))
    reply = client.send(method, f"/{topic}{segment}", body)
    assert reply.status < 500, reply


@pytest.mark.parametrize(
    ("kind", "examples"),
    [(kind, 4) for kind in ("POSITIVE", "NEGATIVE")]
    + [pytest.param(kind, 300, marks=pytest.mark.long) for kind in ("POSITIVE", "NEGATIVE")],
)
def test_schemathesis_finds_nothing_undescribed(shop: RunningShop, kind: str, examples: int) -> None:
    """Requests made from the document, good ones and bad ones, find no 5xx, and no answer that is not in it."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{shop.ports['gateway']}/openapi.json")
    for result in schema.get_all_operations():
        operation = result.ok()
        if kind == "NEGATIVE" and operation.method.upper() == "GET":
            continue  # nothing about a question can be wrong

        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode[kind]))
        def as_described(case: Any) -> None:
            case.call_and_validate(checks=checks)

        as_described()


def test_compose_names_every_service() -> None:
    """compose.yaml runs one container for each service, and each command is one that the service takes."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert set(compose["services"]) == {"redis", *SERVICES}
    for name in SERVICES:
        module, *arguments = compose["services"][name]["command"]
        assert module == f"ordershop.services.{name}"
        _parser_of(module).parse_args(arguments)  # it exits where they are wrong


def test_a_supervised_service_takes_its_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service takes what a shop gives it, with a state and without; what needs the store finds it."""
    monkeypatch.delenv("ORDERSHOP_SERVER", raising=False)
    for state in (tmp_path, None):
        for service in shop_services("redis://127.0.0.1", shop_ports(), state=state):
            assert (service.store is not None) == ("--namespace" in service.arguments)
            with monkeypatch.context() as patched:
                if service.store is not None:
                    patched.setenv("ORDERSHOP_SERVER", service.store.unmasked)
                options = _parser_of(service.module).parse_args(["--supervised", *service.arguments])
            assert getattr(options, "server", None) in {None, service.store}


def _parser_of(module: str) -> argparse.ArgumentParser:
    """The command line of a service; those that need an event store only have the same."""
    parser = getattr(importlib.import_module(module), "parser", lambda: common_arguments(module))()
    assert isinstance(parser, argparse.ArgumentParser)
    return parser


def test_compose_is_accepted_by_docker() -> None:
    """`docker compose config` has nothing to say against compose.yaml; it needs no daemon."""
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker compose is not installed")
    command = [docker, "compose", "--file", str(ROOT / "compose.yaml"), "config", "--quiet"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_source_distribution_has_what_its_tests_read() -> None:
    """Whatever a test opens beside the packages is among the files of which a source distribution is made."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"] + ["pyproject.toml"]
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    read = {name for text in texts for name in re.findall(r'(?:ROOT|parents\[2\]) / "([\w.-]+)', text)}
    assert {name for name in read if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert ".ci" in read
