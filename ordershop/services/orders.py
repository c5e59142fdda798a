"""The order service: the commands on orders.

POST   /order, /orders   {product_ids, customer_id}, or a list of them -> their new ids; takes stock
PUT    /order/<id>       the same fields -> true; gives the old stock back and takes the new
DELETE /order/<id>       -> true; gives the stock back

It knows what an order is and gives it its id. The order becomes real in the inventory service, in the step
that takes its stock, all or nothing for all orders of a request; what that refuses, the client is told as it
is. Nothing has happened before, so nothing must be undone after.
"""

from __future__ import annotations

import argparse
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ordershop.entities import Order, OrderDraft
from ordershop.services.app import (
    App,
    JsonResponse,
    healthy,
    json_body,
    listening_arguments,
    one_in_body,
    serve,
)
from ordershop.services.commands import command_id, command_routes, entity_ids
from ordershop.services.peer import Answer, Peer
from ordershop.supervisor import end_with_parent

# Less than the gateway waits for this service, so that it can say who was away.
TIMEOUT_S = 2.4


def _passed_on(answer: Answer) -> Response:
    return JsonResponse(answer.body, answer.status)


def _stock_of(request: Request) -> bytes:
    return b"/stock/" + quote(request.path_params["id"], safe="").encode()


def make_app(inventory: Peer) -> App:
    """The service on an inventory service."""

    async def post(request: Request) -> Response:
        drafts = await json_body(request, OrderDraft)
        command = command_id(request)
        ids = entity_ids("order", command, len(drafts))
        orders = [
            Order(new_id, draft.product_ids, draft.customer_id) for new_id, draft in zip(ids, drafts, strict=True)
        ]
        return _passed_on(await inventory.send("POST", b"/stock", msgspec.json.encode(orders), command))

    async def put(request: Request) -> Response:
        draft = await one_in_body(request, OrderDraft)
        body = msgspec.json.encode(draft)
        return _passed_on(await inventory.send("PUT", _stock_of(request), body, command_id(request)))

    async def remove(request: Request) -> Response:
        return _passed_on(await inventory.send("DELETE", _stock_of(request), b"", command_id(request)))

    routes = [*command_routes("order", post, put, remove), Route("/health", healthy)]
    return App("orders", routes, on_stop=inventory.close)


def parser() -> argparse.ArgumentParser:
    """The service's command line."""
    found = listening_arguments(argparse.ArgumentParser(prog="ordershop.services.orders"))
    found.add_argument("--inventory", required=True, help="URL of the inventory service")
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the service until it is told to stop."""
    options = parser().parse_args(arguments)
    if options.supervised:
        end_with_parent()
    inventory = Peer("inventory", options.inventory, timeout_s=TIMEOUT_S)
    serve(make_app(inventory), options.port, options.host)


if __name__ == "__main__":
    main()
