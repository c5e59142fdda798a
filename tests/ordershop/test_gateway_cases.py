"""The nine cases of a shop's client, end to end over HTTP, against all services as processes."""

from __future__ import annotations

from typing import Any

from tests.shop import Client, RunningShop, client, shop
from tests.waiting import until

__all__ = ["client", "shop"]


def _by_id(entities: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entity["id"]: entity for entity in entities}


def test_the_nine_cases_and_the_report(shop: RunningShop, client: Client) -> None:
    """Each case reads its own write back at once, and the report says what they add up to."""
    # 1, 2, 3: customers, products, inventories
    people = [{"name": f"customer {i}", "email": f"nine-{i}@example.org"} for i in range(10)]
    customers = client.post("/customers", people).ok()
    assert _by_id(client.get("/customers").ok()) == {
        customer: {"id": customer, **sent} for customer, sent in zip(customers, people, strict=True)
    }
    goods = [{"name": f"product {i}", "price": 10 * i} for i in range(10)]
    products = client.post("/products", goods).ok()
    assert _by_id(client.get("/products").ok()) == {
        product: {"id": product, **sent} for product, sent in zip(products, goods, strict=True)
    }
    shelves = client.post("/inventory", [{"product_id": each, "amount": 100} for each in products]).ok()
    assert {each["amount"] for each in client.get("/inventory").ok()} == {100}
    assert set(_by_id(client.get("/inventory").ok())) == set(shelves)

    # 4: orders, each of two pieces of one product and one of the next
    wanted = [
        {"product_ids": [products[i], products[i], products[(i + 1) % 10]], "customer_id": customers[i]}
        for i in range(10)
    ]
    orders = [client.post("/order", each).ok()[0] for each in wanted]
    assert _by_id(client.get("/orders").ok()) == {
        order: {"id": order, **sent} for order, sent in zip(orders, wanted, strict=True)
    }
    assert {each["amount"] for each in client.get("/inventory").ok()} == {97}

    # 5: the second order is of one other product now
    changed = {"product_ids": [products[9]], "customer_id": customers[1]}
    assert client.put(f"/order/{orders[1]}", changed).ok() is True
    assert client.get(f"/order/{orders[1]}").ok() == {"id": orders[1], **changed}
    amounts = {each["product_id"]: each["amount"] for each in client.get("/inventory").ok()}
    assert [amounts[each] for each in products] == [97, 99, 98, 97, 97, 97, 97, 97, 97, 96]

    # 6, 7: the third order and the third customer are deleted
    assert client.delete(f"/order/{orders[2]}").ok() is True
    assert client.get(f"/order/{orders[2]}").ok() is None
    amounts = {each["product_id"]: each["amount"] for each in client.get("/inventory").ok()}
    assert [amounts[each] for each in products] == [97, 99, 100, 98, 97, 97, 97, 97, 97, 96]
    assert client.delete(f"/customer/{customers[2]}").ok() is True
    assert client.get(f"/customer/{customers[2]}").ok() is None

    # 8, 9: the first order is billed, so eight are left
    [billing] = client.post("/billing", {"order_id": orders[0]}).ok()
    assert client.get(f"/billing/{billing}").ok()["order_id"] == orders[0]
    unbilled = client.get("/orders/unbilled").ok()
    assert set(_by_id(unbilled)) == {orders[1], *orders[3:]}
    assert len(unbilled) == 8

    report = client.get("/report").ok()
    counts = {name: len(entities) for name, entities in report.items()}
    assert counts == {"customers": 9, "products": 10, "inventory": 10, "orders": 9, "billings": 1}
    for name, path in [("customers", "/customers"), ("orders", "/orders"), ("billings", "/billings")]:
        assert _by_id(report[name]) == _by_id(client.get(path).ok())
    shop.check_cache_is_replay()
    _check_mails(shop)


def _check_mails(shop: RunningShop) -> None:
    """Ten customers and ten orders were welcomed, and one customer was seen off: each once."""

    def ours() -> list[str]:
        return [mail["msg"].split()[0].rstrip(",") for mail in shop.mails() if mail["to"].startswith("nine-")]

    until(lambda: len(ours()) >= 20, "mails for customers and orders")
    until(lambda: sorted(set(ours())) == ["Dear", "Good-bye", "Welcome"], "one mail of each kind")
    said = ours()
    assert (said.count("Welcome"), said.count("Good-bye")) == (10, 1)
    # The CRM may look for the third customer after he has gone; then the mail goes to the office.
    assert said.count("Dear") in {9, 10}
