"""What the HTTP services share: the app, its errors as JSON, decoding of bodies, and serving.

Every error is `{"error": "..."}`: 4xx where the request is at fault, naming the field; 503 where Redis or
another service does not answer. A body is one object or a list of objects, of at most 1 MiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

MAX_BODY_BYTES = 1 << 20
MAX_LIST = 1_000

T = TypeVar("T")


class Rejected(HTTPException):
    """A request that is answered with an error, in words."""


class Away(Rejected):
    """Redis or another service does not answer: 503."""

    def __init__(self, who: str) -> None:
        super().__init__(503, f"{who} does not answer")


def respond(content: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def json_body(request: Request, kind: type[T]) -> list[T]:
    """The objects of a request's body, one or a list of them, validated.

    Raises:
        Rejected: too large (413), no JSON or no such object (400); the text names the field.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Rejected(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    return decode_body(bytes(body), kind)


def decode_body(body: bytes, kind: type[T]) -> list[T]:
    """The objects of a body, one or a list of them, validated.

    Raises:
        Rejected: as for `json_body`.
    """
    try:
        if body.lstrip()[:1] == b"[":
            objects = msgspec.json.decode(body, type=list[kind])  # type: ignore[valid-type]
        else:
            objects = [msgspec.json.decode(body, type=kind)]
    except msgspec.ValidationError as error:
        raise Rejected(400, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected(400, f"the body is not JSON: {error}") from error
    if not 0 < len(objects) <= MAX_LIST:
        raise Rejected(400, f"the body is a list of {len(objects)} objects; 1 to {MAX_LIST} are allowed")
    return objects


async def _on_http_error(_: Request, error: Exception) -> Response:
    # Starlette calls this handler for HTTPException alone.
    if not isinstance(error, HTTPException):
        raise error
    return respond({"error": error.detail}, error.status_code)


class App(Starlette):
    """A service's ASGI app.

    Args:
        name: of the service, for the log.
        routes: its HTTP interface.
        on_start, on_stop: called when the app begins and ends; either may be a coroutine function.
    """

    def __init__(
        self,
        name: str,
        routes: Sequence[BaseRoute],
        on_start: Callable[[], Any] | None = None,
        on_stop: Callable[[], Any] | None = None,
    ) -> None:
        self.name = name

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            await _call(on_start)
            try:
                yield
            finally:
                await _call(on_stop)

        super().__init__(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _on_http_error})


async def _call(hook: Callable[[], Any] | None) -> None:
    if hook is not None:
        result = hook()
        if asyncio.iscoroutine(result):
            await result


def serve(app: App, port: int, host: str = "127.0.0.1") -> None:
    """Serve an app until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format=f"{app.name}: %(message)s")
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )
