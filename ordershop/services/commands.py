"""What a command does: create, update and delete, for any topic.

A command has an id, drawn by the gateway or given by the client in the header `Idempotency-Key`, and every
id that it gives follows from that:

    entity   uuid5(command, topic, place in the list)
    event    uuid5(command, what its body says, action, entity)

So a command that is repeated after a lost answer, on whichever hop, names the same entities and the same events,
and the store appends them once and answers the same again. A key that comes again with another body names the
entities that it has created by other events: the store finds them there, and the client is told (422). An update
with another body is another command, whatever its key: nobody's words are dropped.

A list of objects is one atomic append: all of them, or none.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ordershop.async_store import AsyncEventStore
from ordershop.entities import Draft, Entity, Inventory, Order, Topic
from ordershop.event_store import EXISTS, PROJECT, Mode, Reference, RefusedError
from ordershop.events import Action, Event
from ordershop.services.app import (
    App,
    Rejected,
    common_arguments,
    healthy,
    json_body,
    one_in_body,
    respond,
    serve,
)
from ordershop.services.peer import COMMAND_HEADER
from ordershop.supervisor import end_with_parent

_NAMES = uuid.UUID("6f726465-7273-586f-9070-636f6d6d616e")
_ABSENT = 0
# How often a deletion begins again because the entity changed between its reading and its event.
_ATTEMPTS = 20
MAX_KEY = 200
_KEY = re.compile(f"[!-~]{{1,{MAX_KEY}}}")

LIST_NAMES: dict[Topic, str] = {
    "customer": "customers",
    "product": "products",
    "inventory": "inventory",
    "order": "orders",
    "billing": "billings",
}
POST_PATHS: dict[Topic, tuple[str, ...]] = {
    "customer": ("/customer", "/customers"),
    "product": ("/product", "/products"),
    "inventory": ("/inventory",),
    "order": ("/order", "/orders"),
    "billing": ("/billing", "/billings"),
}

D = TypeVar("D", bound=Draft)
Endpoint = Callable[[Request], Awaitable[Response]]


def command_id(request: Request) -> str:
    """The id of a request's command, drawn where it has none.

    Raises:
        Rejected: 400, it is not what a key may be.
    """
    given = request.headers.get(COMMAND_HEADER)
    if given is None:
        return str(uuid.uuid4())
    if not _KEY.fullmatch(given):
        raise Rejected(400, f"Idempotency-Key: 1 to {MAX_KEY} visible ASCII characters, no spaces")
    return given


def entity_ids(topic: Topic, command: str, count: int) -> list[str]:
    """The ids of the entities that a command creates."""
    return [str(uuid.uuid5(_NAMES, f"{command} {topic} {i}")) for i in range(count)]


def saying(command: str, objects: Sequence[Draft | Entity]) -> str:
    """A command's id together with what its body says, however that is written; its events' ids follow from it.

    Args:
        objects: of the body, decoded.
    """
    return f"{command} {hashlib.blake2b(msgspec.json.encode(objects), digest_size=16).hexdigest()}"


def event_id(action: Action, entity_id: str, command: str) -> str:
    """The `event_id` of the event that a command leaves on an entity."""
    return str(uuid.uuid5(_NAMES, f"{command} {action} {entity_id}"))


def event_of(action: Action, entity: Entity, command: str) -> Event:
    """The event that a command leaves on an entity."""
    return Event(action, entity, event_id(action, entity.id, command))


def references_of(entities: Sequence[Entity]) -> list[Reference]:
    """The entities that some entities name, each once.

    A billing's order is not among them: whether it may be billed is for the store to decide.
    """
    found: dict[Reference, None] = {}
    for entity in entities:
        match entity:
            case Inventory():
                found["product", entity.product_id] = None
            case Order():
                found["customer", entity.customer_id] = None
                found.update((("product", product_id), None) for product_id in entity.product_ids)
    return list(found)


async def create(
    store: AsyncEventStore, topic: Topic, entities: Sequence[Entity], command: str, mode: Mode = PROJECT
) -> list[str]:
    """Create entities, all or none, and answer their ids.

    Args:
        command: of `saying`.

    Raises:
        Rejected: a reference is unknown, or the key was used before (422), or stock or billing forbid it (409).
    """
    events = [event_of("created", entity, command) for entity in entities]
    try:
        # That none exists yet holds for the ids of a new key. It stops another body of a key, and a repeat that
        # comes after the dedup window.
        await store.append_together(events, expect=_ABSENT, references=references_of(entities), mode=mode)
    except RefusedError as error:
        if error.reason == "version":
            raise Rejected(
                422, "Idempotency-Key: it was used before, with another body or too long ago"
            ) from error
        raise rejection(error, topic) from error
    return [entity.id for entity in entities]


async def update(
    store: AsyncEventStore,
    topic: Topic,
    entity: Entity,
    command: str,
    mode: Mode = PROJECT,
) -> bool:
    """Put an entity in the place of the one that has its id.

    Args:
        command: of `saying`.

    Raises:
        Rejected: unknown (404), a reference is (422), or stock or billing forbid it (409).
    """
    event = event_of("updated", entity, command)
    try:
        await store.append(event, expect=EXISTS, references=references_of([entity]), mode=mode)
    except RefusedError as error:
        raise rejection(error, topic) from error
    return True


async def change(
    store: AsyncEventStore,
    topic: Topic,
    entity_id: str,
    command: str,
    action: Action,
    changed: Callable[[Entity], Entity],
    mode: Mode = PROJECT,
) -> bool:
    """Append an event that depends on what the entity was; again, if it changes meanwhile.

    Args:
        command: of `saying`; of a deletion the id alone.
        changed: from the entity as it is to that of the event.

    Raises:
        Rejected: as for `update`.
    """
    for _ in range(_ATTEMPTS):
        found = await store.find_versioned(topic, entity_id)
        if found is None:
            break
        entity, version = changed(found[0]), found[1]
        references = references_of([entity]) if action == "updated" else []
        try:
            event = event_of(action, entity, command)
            await store.append(event, expect=version, references=references, mode=mode)
            return True
        except RefusedError as error:
            if error.reason != "version":
                raise rejection(error, topic) from error
    else:
        raise Rejected(409, f"id: {topic} {entity_id!r} is being changed by others")
    # Gone: after this very command, when it is repeated because an answer was lost, or before it.
    if not await store.was_appended(event_id(action, entity_id, command)):
        raise Rejected(404, f"id: there is no {topic} {entity_id!r}")
    return True


async def delete(store: AsyncEventStore, topic: Topic, entity_id: str, command: str, mode: Mode = PROJECT) -> bool:
    """Delete an entity; the event carries it as it was.

    Raises:
        Rejected: unknown (404).
    """
    return await change(store, topic, entity_id, command, "deleted", lambda entity: entity, mode)


def rejection(error: RefusedError, topic: Topic) -> Rejected:
    """What a refusal of the store means to the client of a topic."""
    match error.reason:
        case "unknown":
            refused_topic, _, entity_id = error.detail.partition(" ")
            if refused_topic == topic:
                return Rejected(404, f"id: there is no {topic} {entity_id!r}")
            field = "product_ids" if (topic, refused_topic) == ("order", "product") else f"{refused_topic}_id"
            return Rejected(422, f"{field}: there is no {refused_topic} {entity_id!r}")
        case "stock":
            return Rejected(409, f"product_ids: there is not enough of product {error.detail!r}")
        case "billed":
            return Rejected(409, f"order_id: order {error.detail!r} is billed already")
        case _:
            return Rejected(409, f"the {topic} is not as expected: {error}")


def topic_routes(
    store: AsyncEventStore,
    topic: Topic,
    draft: type[D],
    entity_of: Callable[[str, D], Entity],
    *,
    check: Callable[[list[D]], None] | None = None,
) -> list[Route]:
    """The commands of a topic whose entities are made of their drafts alone.

    Args:
        entity_of: the entity of an id and a draft.
        check: rejects what the drafts of one request must not be together.
    """

    async def post(request: Request) -> Response:
        drafts = await json_body(request, draft)
        if check is not None:
            check(drafts)
        command = command_id(request)
        ids = entity_ids(topic, command, len(drafts))
        entities = [entity_of(new_id, each) for new_id, each in zip(ids, drafts, strict=True)]
        return respond(await create(store, topic, entities, saying(command, drafts)))

    async def put(request: Request) -> Response:
        told = await one_in_body(request, draft)
        entity = entity_of(request.path_params["id"], told)
        return respond(await update(store, topic, entity, saying(command_id(request), [told])))

    async def remove(request: Request) -> Response:
        return respond(await delete(store, topic, request.path_params["id"], command_id(request)))

    return command_routes(topic, post, put, remove)


def command_routes(topic: Topic, post: Endpoint, put: Endpoint, remove: Endpoint) -> list[Route]:
    """The paths of a topic's commands; the gateway's are the same."""
    return [
        *(Route(path, post, methods=["POST"]) for path in POST_PATHS[topic]),
        Route(f"/{topic}/{{id}}", put, methods=["PUT"]),
        Route(f"/{topic}/{{id}}", remove, methods=["DELETE"]),
    ]


def store_app(name: str, store: AsyncEventStore, routes: list[Route]) -> App:
    """An app that appends to an event store and calls nobody."""
    return App(name, [*routes, Route("/health", healthy)], on_stop=store.close)


def run_store_service(
    name: str, make_app: Callable[[AsyncEventStore], App], arguments: list[str] | None = None
) -> None:
    """Run a service that needs an event store only, until it is told to stop."""
    options = common_arguments(f"ordershop.services.{name}").parse_args(arguments)
    if options.supervised:
        end_with_parent()
    serve(make_app(AsyncEventStore(options.server, options.namespace)), options.port, options.host)
