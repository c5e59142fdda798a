"""The five entities of the shop, as they are stored, sent and replayed.

An entity is frozen and validates itself when it is decoded. Its `Draft` is what a client sends: the same
fields without those that the shop gives. `TOPICS` says for each entity how it stands in Redis.

    Customer(id, name, email)                Order(id, product_ids, customer_id)
    Product(id, name, price)                 Billing(id, order_id, done)
    Inventory(id, product_id, amount)
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Topic = Literal["customer", "product", "inventory", "order", "billing"]

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
# In Python `$` alone also matches before a newline at the end.
Email = Annotated[str, msgspec.Meta(min_length=3, max_length=320, pattern=r"^[^@\s]+@[^@\s]+(?!\s)$")]
Price = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] | Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Amount = Annotated[int, msgspec.Meta(ge=0)]
# What a client may put on a shelf; pieces that come back from orders may add up to more.
AmountPut = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
ProductIds = Annotated[list[Id], msgspec.Meta(min_length=1, max_length=1_000)]


class Customer(msgspec.Struct, frozen=True, gc=False):
    """Someone who orders."""

    id: Id
    name: Text
    email: Email


class Product(msgspec.Struct, frozen=True, gc=False):
    """Something that is sold."""

    id: Id
    name: Text
    price: Price


class Inventory(msgspec.Struct, frozen=True, gc=False):
    """How many pieces of a product lie on one shelf."""

    id: Id
    product_id: Id
    amount: Amount


class Order(msgspec.Struct, frozen=True):
    """What a customer has ordered; a product that stands twice is ordered twice."""

    id: Id
    product_ids: ProductIds
    customer_id: Id


class Billing(msgspec.Struct, frozen=True, gc=False):
    """That an order was billed, and when (seconds since 1970)."""

    id: Id
    order_id: Id
    done: float


class CustomerDraft(msgspec.Struct, frozen=True):
    """What a client sends for a customer."""

    name: Text
    email: Email


class ProductDraft(msgspec.Struct, frozen=True):
    """What a client sends for a product."""

    name: Text
    price: Price


class InventoryDraft(msgspec.Struct, frozen=True):
    """What a client sends for an inventory."""

    product_id: Id
    amount: AmountPut


class OrderDraft(msgspec.Struct, frozen=True):
    """What a client sends for an order."""

    product_ids: ProductIds
    customer_id: Id


class BillingDraft(msgspec.Struct, frozen=True):
    """What a client sends for a billing."""

    order_id: Id


Entity = Customer | Product | Inventory | Order | Billing
Draft = CustomerDraft | ProductDraft | InventoryDraft | OrderDraft | BillingDraft

ENTITIES: dict[Topic, type[Entity]] = {
    "customer": Customer,
    "product": Product,
    "inventory": Inventory,
    "order": Order,
    "billing": Billing,
}
DRAFTS: dict[Topic, type[Draft]] = {
    "customer": CustomerDraft,
    "product": ProductDraft,
    "inventory": InventoryDraft,
    "order": OrderDraft,
    "billing": BillingDraft,
}
# The one field of an entity that Redis keeps as a List beside the Hash.
LIST_FIELD: dict[Topic, str] = {"order": "product_ids"}


def topic_of(entity: Entity) -> Topic:
    """The topic that an entity belongs to."""
    return _TOPIC_OF[type(entity)]


_TOPIC_OF: dict[type[Entity], Topic] = {kind: topic for topic, kind in ENTITIES.items()}
