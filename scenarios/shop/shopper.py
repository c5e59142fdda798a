"""A shopper: who looks, orders, changes his mind, pays; a user of Locust.

    of a hundred steps     50 browse    a page of a product
                           20 order     one to three pieces
                            8 change    other pieces in an order that is not paid
                            4 cancel    one
                           15 pay       one
                            3 unbilled  the back office asks what is not paid

Half of all steps read, the other half write: more writing than in most shops, for that is where events come
from. Of twenty orders 15 are paid and 4 cancelled, so that few stay unbilled, and asking for them costs about the
same all along.

He acts on orders of his own, which nobody else knows; where he has none that is not paid, he orders first, and
that is recorded as an order. So the shop has no reason to refuse anything, and whatever it refuses is counted as
failed. An order that a step got no answer on is in doubt, and he leaves it alone.

Locust imports this file; `shopbench` does not, but in the process of its users.
"""

from __future__ import annotations

import random

from locust.env import Environment

from harness.locust.users import JourneyUser, StepError, step
from scenarios.shop.books import word


class Shopper(JourneyUser):
    """Somebody who buys at the shop's gateway."""

    abstract = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        # What he has ordered and not paid, with the pieces.
        self._open: dict[str, list[str]] = {}

    @step(50, "read")
    def browse(self) -> None:
        """Look at a product."""
        product_id = random.choice(self.pool.journeys.given["products"])  # noqa: S311 - seeded, not secret
        product = self.call("GET", f"/product/{product_id}", name="/product/[id]")
        if product is None or product["id"] != product_id:
            raise StepError("GET /product/[id]: another product, or none")

    @step(20, "write")
    def order(self) -> None:
        """Order something."""
        self._order()

    @step(8, "write")
    def change(self) -> None:
        """Have other pieces in an order."""
        if not self._open:
            self._order()
            return
        order_id, _ = self._any_open()
        pieces = self._pieces()
        content = {"product_ids": pieces, "customer_id": self._customer}
        self.call("PUT", f"/order/{order_id}", content, name="/order/[id]")
        self._keep(order_id, pieces)

    @step(4, "write")
    def cancel(self) -> None:
        """Cancel an order."""
        if not self._open:
            self._order()
            return
        order_id, _ = self._any_open()
        self.call("DELETE", f"/order/{order_id}", name="/order/[id]")
        self.tell(order_id, word("cancelled"))

    @step(15, "write")
    def pay(self) -> None:
        """Pay an order."""
        if not self._open:
            self._order()
            return
        order_id, pieces = self._any_open()
        self.call("POST", "/billing", {"order_id": order_id})
        self.tell(order_id, word("paid", pieces))

    @step(3, "read")
    def unbilled(self) -> None:
        """Ask for all orders that are not paid; his own must be among them."""
        listed = {order["id"] for order in self.call("GET", "/orders/unbilled")}
        if self._open.keys() - listed:
            raise StepError("GET /orders/unbilled: an order of this shopper is not listed")

    def _order(self) -> None:
        self.doing = "order"
        pieces = self._pieces()
        [order_id] = self.call("POST", "/order", {"product_ids": pieces, "customer_id": self._customer})
        self._keep(order_id, pieces)

    @property
    def _customer(self) -> str:
        customers: list[str] = self.pool.journeys.given["customers"]
        return customers[self.seat % len(customers)]

    def _pieces(self) -> list[str]:
        return random.choices(self.pool.journeys.given["products"], k=random.randint(1, 3))  # noqa: S311

    def _any_open(self) -> tuple[str, list[str]]:
        """An order to act on, which is in doubt until the answer is there."""
        order_id = random.choice(list(self._open))  # noqa: S311 - seeded, not secret
        self.tell(order_id, word("doubtful"))
        return order_id, self._open.pop(order_id)

    def _keep(self, order_id: str, pieces: list[str]) -> None:
        self._open[order_id] = pieces
        self.tell(order_id, word("open", pieces))
