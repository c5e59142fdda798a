"""The gateway: the shop's HTTP API.

Commands go on to the service that owns the topic, as they are: the service validates them, once. The gateway
draws the command's id, so that what it repeats after a lost answer is done once; a client that gives one of
its own in `Idempotency-Key` may repeat as well.

Queries it answers itself from the entity cache, which the same step writes that appends an event: whoever has
a 200 sees their write in the next query.

    GET  /customers ... /billings      all entities of a topic
    GET  /orders/unbilled              the orders that no billing names
    GET  /customer/<id> ...            one entity, or null
    GET  /report                       everything, as it stood at one moment
    POST, PUT, DELETE                  see the services
    GET  /health                       whether Redis and each service answer: 200, or 503
    GET  /openapi.json                 this interface, described
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ordershop.async_store import AsyncEventStore
from ordershop.entities import ENTITIES, Topic
from ordershop.event_store import UnavailableError
from ordershop.services.app import (
    App,
    Away,
    JsonResponse,
    common_arguments,
    read_body,
    respond,
    serve,
)
from ordershop.services.commands import LIST_NAMES, Endpoint, command_id, command_routes
from ordershop.services.openapi import document
from ordershop.services.peer import Peer
from ordershop.shop import OWNERS
from ordershop.supervisor import end_with_parent

# Once it has come, a command or a question for one entity is answered within three seconds, whatever is away.
TIMEOUT_S = 2.8
# A list takes a round trip a page, so it takes the longer the larger the shop is; but it ends as well.
LIST_TIMEOUT_S = 30.0


def _forward(service: Peer) -> Endpoint:
    async def forward(request: Request) -> Response:
        body = await read_body(request.receive)
        answer = await service.send(request.method, request.scope["raw_path"], body, command_id(request))
        return JsonResponse(answer.body, answer.status)

    return forward


def _within(timeout_s: float, endpoint: Endpoint) -> Endpoint:
    """A query that ends in time.

    Raises:
        Away: it would not.
    """

    async def bounded(request: Request) -> Response:
        try:
            async with asyncio.timeout(timeout_s):
                return await endpoint(request)
        except TimeoutError as error:
            raise Away("the event store") from error

    return bounded


def _get_one(store: AsyncEventStore, topic: Topic) -> Endpoint:
    async def get_one(request: Request) -> Response:
        return respond(await store.find_one(topic, request.path_params["id"]))

    return get_one


def _get_all(store: AsyncEventStore, topic: Topic) -> Endpoint:
    async def get_all(_: Request) -> Response:
        return respond(await store.find_all(topic))

    return get_all


def query_routes(store: AsyncEventStore, *, list_timeout_s: float = LIST_TIMEOUT_S) -> list[Route]:
    """The queries, answered from the entity cache.

    Args:
        list_timeout_s: how long a query of many entities may take.
    """

    async def unbilled(_: Request) -> Response:
        return respond(await store.unbilled())

    async def report(_: Request) -> Response:
        found = await store.find_everything()
        return respond({LIST_NAMES[topic]: entities for topic, entities in found.items()})

    return [
        *(Route(f"/{topic}/{{id}}", _within(TIMEOUT_S, _get_one(store, topic))) for topic in ENTITIES),
        *(
            Route(path, _within(list_timeout_s, endpoint))
            for path, endpoint in [
                *((f"/{LIST_NAMES[topic]}", _get_all(store, topic)) for topic in ENTITIES),
                ("/orders/unbilled", unbilled),
                ("/report", report),
            ]
        ),
    ]


def health_route(store: AsyncEventStore, services: Mapping[str, Peer]) -> Route:
    """`GET /health`: Redis and every service are asked at once."""

    async def redis_state() -> str:
        try:
            await store.ping()
        except UnavailableError as error:
            return str(error)
        return "ok"

    async def state(service: Peer) -> str:
        try:
            answer = await service.send("GET", b"/health")
        except Away as error:
            return error.detail
        return "ok" if answer.status == 200 else f"answers {answer.status}"

    async def health(_: Request) -> Response:
        states = await asyncio.gather(redis_state(), *(state(service) for service in services.values()))
        found = dict(zip(("redis", *services), states, strict=True))
        well = all(each == "ok" for each in states)
        return respond({"status": "ok" if well else "degraded", **found}, 200 if well else 503)

    return Route("/health", health)


def make_app(store: AsyncEventStore, services: Mapping[str, Peer]) -> App:
    """The gateway to an event store and to the services, by the names of `OWNERS`."""
    described = msgspec.json.encode(document())

    async def openapi(_: Request) -> Response:
        return JsonResponse(described)

    async def close() -> None:
        await store.close()
        for service in services.values():
            await service.close()

    commands: list[Route] = []
    for topic, owner in OWNERS.items():
        forward = _forward(services[owner])
        commands += command_routes(topic, forward, forward, forward)
    routes = [
        *commands,
        *query_routes(store),
        health_route(store, services),
        Route("/openapi.json", openapi),
    ]
    return App("gateway", routes, on_stop=close)


def parser() -> argparse.ArgumentParser:
    """The service's command line."""
    found = common_arguments("ordershop.services.gateway")
    for owner in OWNERS.values():
        found.add_argument(f"--{owner}", required=True, help="URL of that service")
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the service until it is told to stop."""
    options = parser().parse_args(arguments)
    if options.supervised:
        end_with_parent()
    services = {owner: Peer(owner, getattr(options, owner), timeout_s=TIMEOUT_S) for owner in OWNERS.values()}
    store = AsyncEventStore(options.server, options.namespace)
    serve(make_app(store, services), options.port, options.host)


if __name__ == "__main__":
    main()
