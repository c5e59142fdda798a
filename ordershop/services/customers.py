"""The customer service: the commands on customers.

POST   /customer, /customers   {name, email}, or a list of them -> their new ids
PUT    /customer/<id>          {name, email} -> true
DELETE /customer/<id>          -> true
"""

from __future__ import annotations

from ordershop.async_store import AsyncEventStore
from ordershop.entities import Customer, CustomerDraft
from ordershop.services.app import App
from ordershop.services.commands import run_store_service, store_app, topic_routes


def customer(entity_id: str, draft: CustomerDraft) -> Customer:
    """The customer of an id and what a client sent."""
    return Customer(entity_id, draft.name, draft.email)


def make_app(store: AsyncEventStore) -> App:
    """The service on an event store."""
    return store_app("customers", store, topic_routes(store, "customer", CustomerDraft, customer))


if __name__ == "__main__":
    run_store_service("customers", make_app)
