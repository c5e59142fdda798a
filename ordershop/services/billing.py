"""The billing service: the commands on billings.

POST   /billing, /billings   {order_id}, or a list of them -> their new ids; `done` is the time of billing
PUT    /billing/<id>         {order_id} -> true; `done` stays
DELETE /billing/<id>         -> true; its order is unbilled again

An order has one billing at most; the store refuses a second in the step that would append it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from ordershop.async_store import AsyncEventStore
from ordershop.entities import Billing, BillingDraft, Entity
from ordershop.services.app import App, Rejected, json_body, one_in_body, respond
from ordershop.services.commands import (
    change,
    command_id,
    command_routes,
    create,
    delete,
    entity_ids,
    run_store_service,
    saying,
    store_app,
)


def make_app(store: AsyncEventStore, clock: Callable[[], float] = time.time) -> App:
    """The service on an event store.

    Args:
        clock: seconds since 1970.
    """

    async def post(request: Request) -> Response:
        drafts = await json_body(request, BillingDraft)
        named = {draft.order_id for draft in drafts}
        if len(named) < len(drafts):
            raise Rejected(409, "order_id: the list names an order twice")
        command = command_id(request)
        ids = entity_ids("billing", command, len(drafts))
        done = clock()
        billings = [Billing(new_id, draft.order_id, done) for new_id, draft in zip(ids, drafts, strict=True)]
        return respond(await create(store, "billing", billings, saying(command, drafts)))

    async def put(request: Request) -> Response:
        draft = await one_in_body(request, BillingDraft)
        entity_id = request.path_params["id"]

        def changed(was: Entity) -> Billing:
            return Billing(entity_id, draft.order_id, was.done if isinstance(was, Billing) else clock())

        command = saying(command_id(request), [draft])
        return respond(await change(store, "billing", entity_id, command, "updated", changed))

    async def remove(request: Request) -> Response:
        return respond(await delete(store, "billing", request.path_params["id"], command_id(request)))

    return store_app("billing", store, command_routes("billing", post, put, remove))


if __name__ == "__main__":
    run_store_service("billing", make_app)
