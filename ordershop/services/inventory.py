"""The inventory service: the commands on inventories, and the stock that orders take and give back.

POST   /inventory         {product_id, amount}, or a list of them -> their new ids
PUT    /inventory/<id>    {product_id, amount} -> true
DELETE /inventory/<id>    -> true

POST   /stock             whole orders: takes what they need -> their ids
PUT    /stock/<order id>  {product_ids, customer_id}: gives back what it had, takes what it needs now -> true
DELETE /stock/<order id>  gives back what the order had -> true

Stock changes in the same atomic step that appends the order's event: there is no moment at which one has
happened and the other has not, so nothing must be undone whatever crashes. That is why the order service asks
here, and this service appends the event. A shelf that does not change gets no event.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ordershop.async_store import AsyncEventStore
from ordershop.entities import Inventory, InventoryDraft, Order, OrderDraft
from ordershop.event_store import WITH_STOCK
from ordershop.services.app import MAX_BODY_BYTES, MAX_LIST, App, json_body, one_in_body, respond
from ordershop.services.commands import (
    command_id,
    create,
    delete,
    run_store_service,
    saying,
    store_app,
    topic_routes,
    update,
)

# The order service has taken the body, and gives each order an id: what it passes on may be larger by these.
MAX_STOCK_BYTES = MAX_BODY_BYTES + MAX_LIST * 64


def inventory(entity_id: str, draft: InventoryDraft) -> Inventory:
    """The inventory of an id and what a client sent."""
    return Inventory(entity_id, draft.product_id, draft.amount)


def stock_routes(store: AsyncEventStore) -> list[Route]:
    """The commands that the order service calls."""

    async def take(request: Request) -> Response:
        orders = await json_body(request, Order, limit=MAX_STOCK_BYTES)
        return respond(await create(store, "order", orders, saying(command_id(request), orders), WITH_STOCK))

    async def exchange(request: Request) -> Response:
        draft = await one_in_body(request, OrderDraft)
        order = Order(request.path_params["id"], draft.product_ids, draft.customer_id)
        return respond(await update(store, "order", order, saying(command_id(request), [draft]), WITH_STOCK))

    async def give_back(request: Request) -> Response:
        return respond(await delete(store, "order", request.path_params["id"], command_id(request), WITH_STOCK))

    return [
        Route("/stock", take, methods=["POST"]),
        Route("/stock/{id}", exchange, methods=["PUT"]),
        Route("/stock/{id}", give_back, methods=["DELETE"]),
    ]


def make_app(store: AsyncEventStore) -> App:
    """The service on an event store."""
    routes = [*stock_routes(store), *topic_routes(store, "inventory", InventoryDraft, inventory)]
    return store_app("inventory", store, routes)


if __name__ == "__main__":
    run_store_service("inventory", make_app)
