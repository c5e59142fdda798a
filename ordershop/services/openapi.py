"""The gateway's interface as an OpenAPI 3.1 document.

The schemas are those by which bodies are decoded and entities encoded, so they cannot say anything else than
the code does; the paths stand here as the gateway's routes do.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ordershop.codec import DEDUP_WINDOW_S
from ordershop.entities import DRAFTS, ENTITIES, Topic
from ordershop.services.app import BODY_TIMEOUT_S, MAX_BODY_BYTES, MAX_LIST
from ordershop.services.commands import LIST_NAMES, MAX_KEY, POST_PATHS

_ERRORS = {
    "400": "The body or the Idempotency-Key is not as described; the text names the field.",
    "404": "There is no entity of that id.",
    "408": f"The body was not whole after {BODY_TIMEOUT_S:g} seconds.",
    "409": "There is not enough stock, the order is billed already, or others change the entity.",
    "413": f"The body is larger than {MAX_BODY_BYTES} bytes.",
    "422": "The body names an entity that does not exist, or the Idempotency-Key was used before, with another "
    f"body or more than {DEDUP_WINDOW_S} seconds ago; the text names the field.",
    "503": "Redis or a service does not answer. A command may or may not have happened, but not half of it; "
    "repeated with the same Idempotency-Key it happens once.",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The command's id. A command that is repeated with it within two minutes, by the same method, "
    "on the same entity and with a body that says the same, happens once and is answered the same. A POST whose "
    "key has created entities with another body, or longer ago, is refused with 422 if it would create one of "
    "them again. A PUT with another body is another command and happens, as does any by another method or on "
    "another entity.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]+$"},
}
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _responses(description: str, schema: dict[str, Any], *errors: str) -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    return {
        "200": {"description": description, "content": _json(schema)},
        **{code: {"description": _ERRORS[code], "content": _json(error)} for code in errors},
    }


def _reference(kind: type) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _list(schema: dict[str, Any], **limits: int) -> dict[str, Any]:
    return {"type": "array", "items": schema, **limits}


def _get(summary: str, description: str, schema: dict[str, Any], *parameters: Any) -> dict[str, Any]:
    operation = {"summary": summary, "responses": _responses(description, schema, "503")}
    return operation | ({"parameters": list(parameters)} if parameters else {})


def _commands(topic: Topic) -> dict[str, dict[str, Any]]:
    draft = _reference(DRAFTS[topic])
    one_or_more = {"oneOf": [draft, _list(draft, minItems=1, maxItems=MAX_LIST)]}
    # Stock or a bill may forbid these; and all that name another entity may name one that does not exist.
    forbidden = ("409",) if topic in {"order", "billing"} else ()
    unknown = ("422",) if topic not in {"customer", "product"} else ()
    create = {
        "summary": f"Create one {topic}, or all of a list or none",
        "parameters": [_KEY],
        "requestBody": {"required": True, "content": _json(one_or_more)},
        "responses": _responses(
            "The new ids, in the order of the list",
            _list({"type": "string"}),
            *("400", "408", "413", *forbidden, "422", "503"),
        ),
    }
    update = {
        "summary": f"Replace what a {topic} says",
        "parameters": [_ID, _KEY],
        "requestBody": {"required": True, "content": _json(draft)},
        "responses": _responses(
            "It is done", {"const": True}, *("400", "404", "408", "413", *forbidden, *unknown, "503")
        ),
    }
    delete = {
        "summary": f"Delete a {topic}",
        "parameters": [_ID, _KEY],
        "responses": _responses("It is done", {"const": True}, "400", "404", "408", "409", "413", "503"),
    }
    entity = _reference(ENTITIES[topic])
    get = _get(f"One {topic}", "It, or null", {"oneOf": [entity, {"type": "null"}]}, _ID)
    paths: dict[str, dict[str, Any]] = {path: {"post": create} for path in POST_PATHS[topic]}
    paths[f"/{topic}/{{id}}"] = {"get": get, "put": update, "delete": delete}
    return paths


def document() -> dict[str, Any]:
    """The document, as it is served at /openapi.json."""
    kinds = [*ENTITIES.values(), *DRAFTS.values()]
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schemas["Error"] = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    paths: dict[str, dict[str, Any]] = {}
    for topic in ENTITIES:
        paths |= _commands(topic)
    everything = {}
    for topic, name in LIST_NAMES.items():
        entities = _list(_reference(ENTITIES[topic]))
        everything[name] = entities
        paths.setdefault(f"/{name}", {})["get"] = _get(f"All {name}", "They, in no order", entities)
    orders = everything["orders"]
    paths["/orders/unbilled"] = {"get": _get("The orders that no billing names", "They, in no order", orders)}
    report = {"type": "object", "properties": everything, "required": list(everything)}
    paths["/report"] = {"get": _get("Everything, as it stood at one moment", "All entities", report)}
    well = {"type": "object", "required": ["status"], "additionalProperties": {"type": "string"}}
    health = _get("Whether Redis and each service answer", "They do", well)
    health["responses"]["503"] = {"description": "One does not; the text says why", "content": _json(well)}
    paths["/health"] = {"get": health}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OrderShop",
            "version": "1",
            "description": "Customers, products, inventories, orders and billings. Every command is an event; "
            "a query sees every command that has been answered.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }
