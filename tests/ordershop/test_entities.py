"""The five entities and their drafts: what is one, and what is not."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordershop.entities import DRAFTS, ENTITIES, LIST_FIELD, Customer, Entity, Inventory, Order, Topic, topic_of
from ordershop.events import entity_json
from tests.contracts import PROPERTY

GOOD: dict[Topic, dict[str, Any]] = {
    "customer": {"id": "c-1", "name": "Ada", "email": "ada@example.org"},
    "product": {"id": "p-1", "name": "cup", "price": 9.99},
    "inventory": {"id": "s-1", "product_id": "p-1", "amount": 100},
    "order": {"id": "o-1", "product_ids": ["p-1", "p-1"], "customer_id": "c-1"},
    "billing": {"id": "b-1", "order_id": "o-1", "done": 1_764_072_000.5},
}
FIELDS = [(topic, name) for topic, fields in GOOD.items() for name in fields]

# topic, field, values that it may have, values that it may not
TABLE: list[tuple[Topic, str, list[Any], list[Any]]] = [
    ("customer", "id", ["x", "x" * 100, "_:{}\0\n"], ["", "x" * 101, 5, None, ["x"]]),
    ("customer", "name", ["x", "x" * 1000, " ", "𝄞"], ["", "x" * 1001, 5, None, {}]),
    ("customer", "email", ["a@b", "a@" + "b" * 318, "ä@ö", "a:_{}@b"],
     ["", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "a@b\r\nBcc: c@d", "\na@b", "a@" + "b" * 319, 5, None]),
    ("product", "name", ["x"], ["", "x" * 1001, 5]),
    ("product", "price", [0, 1, 0.01, 1e9, 10**9], [-1, -0.01, 1e9 + 1, 10**9 + 1, "1", True, None, 1e300]),
    ("inventory", "product_id", ["x"], ["", "x" * 101, 5]),
    ("inventory", "amount", [0, 1, 10**9, 10**9 + 1], [-1, 1.5, "1", True, None]),
    ("order", "product_ids", [["x"], ["x"] * 1000], [[], ["x"] * 1001, [""], ["x", 5], "x", None, {"x": 1}]),
    ("order", "customer_id", ["x"], ["", "x" * 101, None]),
    ("billing", "order_id", ["x"], ["", "x" * 101, None]),
    ("billing", "done", [0, 1.5, 1_764_072_000], ["1", None, True]),
]  # fmt: skip


def decoded(topic: Topic, fields: dict[str, Any]) -> Entity:
    """An entity from JSON."""
    return msgspec.json.decode(msgspec.json.encode(fields), type=ENTITIES[topic])


@pytest.mark.parametrize(
    ("topic", "fields"), [(t, {**GOOD[t], name: value}) for t, name, good, _ in TABLE for value in good], ids=repr
)
def test_what_is_an_entity(topic: Topic, fields: dict[str, Any]) -> None:
    """A value at the edge of what is allowed is taken, and comes back unchanged."""
    entity = decoded(topic, fields)
    assert msgspec.to_builtins(entity) == fields
    assert msgspec.json.decode(entity_json(entity), type=ENTITIES[topic]) == entity


@pytest.mark.parametrize(
    ("topic", "name", "value"), [(t, name, value) for t, name, _, bad in TABLE for value in bad], ids=lambda _: ""
)
def test_what_is_none(topic: Topic, name: str, value: Any) -> None:
    """A value beyond what is allowed is refused, in an entity and in its draft, and the field is named."""
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{name}"):
        decoded(topic, {**GOOD[topic], name: value})
    if name != "id" and name in DRAFTS[topic].__struct_fields__:
        draft = {field: GOOD[topic][field] for field in DRAFTS[topic].__struct_fields__}
        with pytest.raises(msgspec.ValidationError, match=rf"\$\.{name}"):
            msgspec.json.decode(msgspec.json.encode({**draft, name: value}), type=DRAFTS[topic])


@pytest.mark.parametrize(("amount", "is_taken"), [(0, True), (10**9, True), (10**9 + 1, False), (10**30, False)])
def test_what_may_be_put_on_a_shelf(amount: int, is_taken: bool) -> None:
    """A client may put a billion pieces on a shelf; those that orders give back may lift it above that."""
    draft = {"product_id": "p-1", "amount": amount}
    assert decoded("inventory", {**draft, "id": "s-1"}) == Inventory("s-1", "p-1", amount)
    with contextlib.nullcontext() if is_taken else pytest.raises(msgspec.ValidationError, match=r"\$\.amount"):
        msgspec.json.decode(msgspec.json.encode(draft), type=DRAFTS["inventory"])


@pytest.mark.parametrize(("topic", "name"), FIELDS)
def test_a_missing_field(topic: Topic, name: str) -> None:
    """An entity without one of its fields is refused, and the field is named."""
    fields = {key: value for key, value in GOOD[topic].items() if key != name}
    with pytest.raises(msgspec.ValidationError, match=f"`{name}`"):
        decoded(topic, fields)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"01", b"1_000"])
def test_what_is_no_number(number: bytes) -> None:
    """What JSON does not have as a number is no price."""
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(b'{"id":"p","name":"x","price":%s}' % number, type=ENTITIES["product"])


def test_a_draft_has_what_the_client_gives() -> None:
    """A draft has the entity's fields without those that the shop gives."""
    given_by_the_shop = {"billing": {"id", "done"}}
    for topic, kind in ENTITIES.items():
        shops = given_by_the_shop.get(topic, {"id"})
        assert set(DRAFTS[topic].__struct_fields__) == set(kind.__struct_fields__) - shops


def test_an_entity_is_frozen() -> None:
    """An entity cannot be changed."""
    customer = Customer("c-1", "Ada", "ada@example.org")
    with pytest.raises(AttributeError):
        customer.name = "Bea"  # type: ignore[misc]


def test_topics() -> None:
    """Every entity knows its topic, and only orders have a list field."""
    assert [topic_of(decoded(topic, fields)) for topic, fields in GOOD.items()] == list(ENTITIES)
    assert LIST_FIELD == {"order": "product_ids"}


@PROPERTY
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5), st.text(min_size=1, max_size=50))
def test_any_text_survives_json(product_ids: list[str], customer_id: str) -> None:
    """Any text comes back from JSON as it was."""
    order = Order("o-1", product_ids, customer_id)
    assert msgspec.json.decode(entity_json(order), type=Order) == order
