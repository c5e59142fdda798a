"""The product service: the commands on products.

POST   /product, /products   {name, price}, or a list of them -> their new ids
PUT    /product/<id>         {name, price} -> true
DELETE /product/<id>         -> true
"""

from __future__ import annotations

from ordershop.async_store import AsyncEventStore
from ordershop.entities import Product, ProductDraft
from ordershop.services.app import App
from ordershop.services.commands import run_store_service, store_app, topic_routes


def product(entity_id: str, draft: ProductDraft) -> Product:
    """The product of an id and what a client sent."""
    return Product(entity_id, draft.name, draft.price)


def make_app(store: AsyncEventStore) -> App:
    """The service on an event store."""
    return store_app("products", store, topic_routes(store, "product", ProductDraft, product))


if __name__ == "__main__":
    run_store_service("products", make_app)
