"""Services are killed at any moment of an order, and afterwards everything still adds up."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from typing import Any

import pytest

from ordershop.entities import Inventory
from tests.shop import Client, Reply, RunningShop, Stocked, client, shop, stock_up

pytestmark = pytest.mark.slow

__all__ = ["client", "shop"]

# Each kill takes some tenths of a second of starting anew; `tox -e long` has a hundred times as many.
KILLS = 10
CLIENTS = 3
AMOUNT = 100_000
# The kills end here at the latest, however slow the machine is.
AT_MOST_S = 40.0
VICTIMS = ["gateway", "orders", "inventory"]


class Shopper:
    """A client that orders, changes and cancels until it is told to stop, and knows what it was promised.

    Attributes:
        promised: the order ids of answers 200, and what the order must be: its product ids, or None where it
            was deleted. An order whose last command was not answered is left out: it may be either.
    """

    def __init__(self, port: int, stock: Stocked, seed: int, stop: threading.Event) -> None:
        self._client = Client(port, timeout_s=5)
        self._stock = stock
        self._random = random.Random(seed)
        self._stop = stop
        self.promised: dict[str, list[str] | None] = {}
        self.unexpected: list[Reply] = []
        self.answered = self.unanswered = 0

    def run(self) -> None:
        """Order, change and cancel."""
        with contextlib.closing(self._client):
            self._shop_until_told()

    def _shop_until_told(self) -> None:
        while not self._stop.is_set():
            mine = [order for order, products in self.promised.items() if products is not None]
            choice = self._random.random()
            try:
                if choice < 0.6 or not mine:
                    self._create()
                elif choice < 0.8:
                    self._change(self._random.choice(mine))
                else:
                    self._cancel(self._random.choice(mine))
            except (OSError, http.client.HTTPException):
                self.unanswered += 1  # the gateway was killed
                self._stop.wait(0.01)

    def _wanted(self) -> list[str]:
        return self._random.choices(self._stock.products, k=self._random.randint(1, 5))

    def _create(self) -> None:
        products = self._wanted()
        said = self._answer(self._client.post("/order", self._body(products)))
        if said is not None:
            self.promised[said[0]] = products

    def _change(self, order: str) -> None:
        products = self._wanted()
        del self.promised[order]
        if self._answer(self._client.put(f"/order/{order}", self._body(products))) is True:
            self.promised[order] = products

    def _cancel(self, order: str) -> None:
        del self.promised[order]
        if self._answer(self._client.delete(f"/order/{order}")) is True:
            self.promised[order] = None

    def _body(self, products: list[str]) -> dict[str, object]:
        return {"product_ids": products, "customer_id": self._stock.customer}

    def _answer(self, reply: Reply) -> Any:
        if reply.status == 200:
            self.answered += 1
            return reply.json
        self.unanswered += 1
        if reply.status != 503:
            self.unexpected.append(reply)
        return None


def _kill_at_random(shop: RunningShop, seed: int, count: int) -> dict[str, int]:
    """Kill and restart services, one at a time, at moments that a seed decides; answer how often each."""
    chance = random.Random(seed)
    kills = dict.fromkeys(VICTIMS, 0)
    deadline = time.monotonic() + AT_MOST_S
    for _ in range(count):
        victim = chance.choice(VICTIMS)
        time.sleep(chance.uniform(0.0, 0.05))
        shop.services.kill(victim)
        kills[victim] += 1
        shop.services.start_again(victim)
        if time.monotonic() > deadline:
            break
    return kills


def _check(shop: RunningShop, shoppers: list[Shopper], stock: Stocked) -> None:
    orders = shop.cached("order")
    for shopper in shoppers:
        for order, products in shopper.promised.items():
            if products is None:
                assert order not in orders
            else:
                assert list(orders[order].product_ids) == products  # type: ignore[union-attr]
    left = {}
    for shelf in shop.cached("inventory").values():
        assert isinstance(shelf, Inventory)
        left[shelf.product_id] = shelf.amount
    ordered = shop.ordered_pieces()
    assert {p: left[p] + ordered.get(p, 0) for p in stock.products} == dict.fromkeys(stock.products, AMOUNT)
    assert set(orders) <= {event.entity.id for event in shop.store.read("order", "created")}
    shop.check_cache_is_replay()


def _shop_while_killing(shop: RunningShop, client: Client, seed: int, count: int) -> None:
    stock = stock_up(client, products=4, amount=AMOUNT)
    stop = threading.Event()
    shoppers = [Shopper(shop.ports["gateway"], stock, CLIENTS * seed + n, stop) for n in range(CLIENTS)]
    threads = [threading.Thread(target=shopper.run) for shopper in shoppers]
    with contextlib.ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(stop.set)
        kills = _kill_at_random(shop, seed, count)
    assert [shopper.unexpected for shopper in shoppers] == [[]] * CLIENTS
    assert min(kills.values()) > 0, kills
    assert sum(shopper.answered for shopper in shoppers) > count
    assert sum(shopper.unanswered for shopper in shoppers) > 0
    _check(shop, shoppers, stock)


def test_nothing_is_lost_or_sold_twice(shop: RunningShop, client: Client) -> None:
    """Whichever service of an order is killed, and whenever: what was promised holds, and stock adds up."""
    _shop_while_killing(shop, client, 20_240_229, KILLS)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_or_sold_twice_in_hundreds_of_kills(shop: RunningShop, client: Client, seed: int) -> None:
    """As above, fifty kills each time, at other moments each time."""
    _shop_while_killing(shop, client, seed, 50)


def test_a_frozen_service_that_goes_on_later(shop: RunningShop, client: Client) -> None:
    """An order that the inventory service finishes after its client was told 503 is whole as well."""
    stock = stock_up(client, products=2, amount=AMOUNT)
    shop.services.freeze("inventory")
    given_up = client.post("/order", {"product_ids": stock.products, "customer_id": stock.customer})
    assert given_up.status == 503
    shop.services.thaw("inventory")
    client.post("/order", {"product_ids": stock.products, "customer_id": stock.customer}).ok()
    _check(shop, [], stock)
