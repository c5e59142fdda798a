"""The shop's books: do they hold what its customers were told?

    shoppers   told     order 7: open, 3 and 5   order 8: paid   order 9: cancelled   order 10: in doubt
    the shop   held     orders, stock and billings, as the events in its streams add up

An order that somebody was told of must be there, as he was told; one that was cancelled must not. On the shelves
lies what was there at first, less what the orders hold. Every bill belongs to an order, no order has two. What the
shop lists as unbilled is every order without a bill.

In doubt is what was asked for without an answer: it may have happened. Stock and bills must be right all the same,
for they follow from what is held; of the orders, so many more may be there as steps are in doubt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from harness.check.judge import Checker
from harness.record.run import Verdict
from ordershop.entities import Billing, Inventory, Order
from ordershop.event_store import EventStore

# The section of the evidence.
BOOKS = "books"
State = Literal["open", "paid", "cancelled", "doubtful"]


def word(state: State, product_ids: Sequence[str] = ()) -> str:
    """What a customer was told of an order, as a text: its state, and what it holds."""
    return " ".join([state, *product_ids])


class Held(msgspec.Struct, frozen=True):
    """What a shop holds.

    Attributes:
        orders: by id.
        stock: how many pieces of each product are left.
        billings: all of them.
    """

    orders: dict[str, Order]
    stock: dict[str, int]
    billings: list[Billing]

    @property
    def unbilled(self) -> set[str]:
        """The orders without a bill."""
        return self.orders.keys() - {billing.order_id for billing in self.billings}


def held_in(store: EventStore) -> Held:
    """What a shop holds, as its events add up."""
    return _held(
        (e for e in store.replay("order").values() if isinstance(e, Order)),
        (e for e in store.replay("inventory").values() if isinstance(e, Inventory)),
        [e for e in store.replay("billing").values() if isinstance(e, Billing)],
    )


def held_by_report(
    report: Any, customers: Collection[str], products: Collection[str], told: Collection[str]
) -> Held:
    """What a shop holds of some customers' and some products', as its report says.

    Args:
        told: orders that were theirs; bills of these count also where the order is gone.

    Raises:
        msgspec.ValidationError: it is no report.
    """
    said = msgspec.convert(report, _Report)
    orders = [order for order in said.orders if order.customer_id in customers]
    theirs = {order.id for order in orders} | set(told)
    return _held(
        orders,
        (shelf for shelf in said.inventory if shelf.product_id in products),
        [billing for billing in said.billings if billing.order_id in theirs],
    )


class _Report(msgspec.Struct):
    orders: list[Order]
    inventory: list[Inventory]
    billings: list[Billing]


def _held(orders: Iterable[Order], shelves: Iterable[Inventory], billings: list[Billing]) -> Held:
    stock: Counter[str] = Counter()
    for shelf in shelves:
        stock[shelf.product_id] += shelf.amount
    return Held({order.id: order for order in orders}, dict(stock), billings)


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """What a shop's books are judged by.

    Attributes:
        held: by the shop.
        told: by order, the last `word` on it.
        stock: of each product, before the first order.
        unbilled: the orders that the shop has listed as unbilled; None where it gave no answer.
        in_doubt: how many steps have had no answer.
    """

    held: Held
    told: dict[str, str]
    stock: dict[str, int]
    unbilled: list[str] | None
    in_doubt: int


def books_checkers() -> list[Checker]:
    """What finds whether a shop holds what its customers were told, in the evidence."""
    return [_checker(name) for name in _JUDGEMENTS]


def _checker(name: str) -> Checker:
    return Checker(
        f"journey.{name}", lambda record: _JUDGEMENTS[name](record.evidence.value(BOOKS, Books)), reads=(BOOKS,)
    )


def _verdict(name: str, wrong: Mapping[str, int], well: str) -> Verdict:
    found = ", ".join(f"{count:,} {what}" for what, count in wrong.items() if count)
    return Verdict(name=f"journey.{name}", status="FAIL" if found else "PASS", detail=found or well)


def _orders(held: Held, told: Mapping[str, str], in_doubt: int) -> Verdict:
    wrong: Counter[str] = Counter()
    for order_id, said in told.items():
        state, *product_ids = said.split(" ")
        order = held.orders.get(order_id)
        if state in {"open", "paid"}:
            if order is None:
                wrong["orders are missing although their customers were told of them"] += 1
            elif Counter(order.product_ids) != Counter(product_ids):
                wrong["orders differ from what their customers were told"] += 1
        elif state == "cancelled" and order is not None:
            wrong["cancelled orders still exist"] += 1
    untold = len(held.orders.keys() - told.keys())
    if untold > in_doubt:
        wrong["orders exist that no customer was told of"] = untold
    well = f"each of {len(held.orders):,} orders is there as its customer was told"
    if in_doubt:
        well += f", as far as can be said with {in_doubt:,} steps in doubt"
    return _verdict("orders", wrong, well)


def _stock(held: Held, stock: Mapping[str, int]) -> Verdict:
    taken = Counter(product for order in held.orders.values() for product in order.product_ids)
    off = sum(held.stock.get(product, 0) != before - taken[product] for product, before in stock.items())
    return _verdict(
        "stock",
        {f"of {len(stock):,} products do not have the stock that the orders leave": off},
        f"the stock of each of {len(stock):,} products is what it was at first, less the orders",
    )


def _bills(held: Held, told: Mapping[str, str]) -> Verdict:
    bills = Counter(billing.order_id for billing in held.billings)
    states = {order_id: said.split(" ")[0] for order_id, said in told.items()}
    wrong = {
        "bills belong to no order": sum(order_id not in held.orders for order_id in bills),
        "orders have more than one bill": sum(count > 1 for count in bills.values()),
        "paid orders have no bill": sum(s == "paid" and i not in bills for i, s in states.items()),
        "orders have a bill that nobody paid": sum(s == "open" and i in bills for i, s in states.items()),
    }
    return _verdict("bills", wrong, f"each of {bills.total():,} bills belongs to an order of its own")


def _unbilled(held: Held, listed: Collection[str] | None, in_doubt: int) -> Verdict:
    name = "journey.unbilled"
    if listed is None:
        return Verdict(name=name, status="UNKNOWN", detail="the shop does not say which orders are unbilled")
    differing = len(held.unbilled ^ set(listed))
    if differing and in_doubt:
        detail = f"{differing:,} orders differ, and {in_doubt:,} steps without an answer may have come in between"
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    return _verdict(
        "unbilled",
        {"orders differ between the list of unbilled ones and the books": differing},
        f"the shop lists each of {len(held.unbilled):,} orders without a bill as unbilled",
    )


_JUDGEMENTS: Mapping[str, Callable[[Books], Verdict]] = {
    "orders": lambda books: _orders(books.held, books.told, books.in_doubt),
    "stock": lambda books: _stock(books.held, books.stock),
    "bills": lambda books: _bills(books.held, books.told),
    "unbilled": lambda books: _unbilled(books.held, books.unbilled, books.in_doubt),
}
