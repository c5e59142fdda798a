"""What the HTTP services share: the app, its errors as JSON, bodies in and out, and serving.

Every error is `{"error": "..."}`: 4xx where the request is at fault, naming the field; 503 where Redis or
another service does not answer. A body is one object or a list of objects, of at most 1 MiB, and comes within
ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive

from ordershop.event_store import UnavailableError
from ordershop.services.store_option import add_store_option

MAX_BODY_BYTES = 1 << 20
MAX_LIST = 1_000
# A client on a poor line needs some seconds for the largest body; one that has gone silent needs no end.
BODY_TIMEOUT_S = 10.0
# Not in the standard; nginx names it so. Nobody reads the answer.
CLIENT_IS_GONE = 499

T = TypeVar("T")


class Rejected(HTTPException):
    """A request that is answered with an error, in words."""


class Away(Rejected):
    """Redis or another service does not answer: 503."""

    def __init__(self, who: str) -> None:
        super().__init__(503, f"{who} does not answer")


class JsonResponse(Response):
    """Bytes that are JSON already."""

    media_type = "application/json"


def respond(content: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return JsonResponse(msgspec.json.encode(content), status)


async def read_body(receive: Receive, *, limit: int = MAX_BODY_BYTES, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
    """The body of a request.

    Args:
        limit: how many bytes it may have.
        timeout_s: how long it may take to come.

    Raises:
        Rejected: too large (413), or not whole in time (408).
        ClientDisconnect: the client is gone.
    """
    body = b""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                piece: bytes = message.get("body", b"")
                body += piece
                if len(body) > limit:
                    raise Rejected(413, f"the body is larger than {limit} bytes")
                if not message.get("more_body", False):
                    return body
    except TimeoutError as error:
        why = f"the body was not whole after {timeout_s:g} s"
        raise Rejected(408, why, {"connection": "close"}) from error


async def json_body(request: Request, kind: type[T], *, limit: int = MAX_BODY_BYTES) -> list[T]:
    """The objects of a request's body, one or a list of them, validated.

    Args:
        limit: how many bytes the body may have.

    Raises:
        Rejected: too large (413), too late (408), no JSON or no such object (400); the text names the field.
    """
    body = await read_body(request.receive, limit=limit)
    if body.lstrip()[:1] != b"[":
        return [_decoded(body, kind)]
    objects = _decoded(body, list[kind])  # type: ignore[valid-type]
    if not 0 < len(objects) <= MAX_LIST:
        raise Rejected(400, f"the body is a list of {len(objects)} objects; 1 to {MAX_LIST} are allowed")
    return objects


async def one_in_body(request: Request, kind: type[T]) -> T:
    """The object that a request's body is, validated.

    Raises:
        Rejected: as for `json_body`; also for a list, of whatever length.
    """
    return _decoded(await read_body(request.receive), kind)


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Rejected(400, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected(400, f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Rejected(400, "the body is nested too deeply") from error


async def _on_http_error(request: Request, error: Exception) -> Response:
    # Starlette calls this handler for HTTPException alone.
    if not isinstance(error, HTTPException):
        raise error
    response = respond({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        # Starlette names the methods of the first route of the path alone.
        matching = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
        methods = {method for route in matching for method in getattr(route, "methods", ())}
        response.headers["allow"] = ", ".join(sorted(methods))
    return response


async def _on_unavailable(_: Request, error: Exception) -> Response:
    return respond({"error": str(error)}, 503)


async def _on_gone(_request: Request, _error: Exception) -> Response:
    # The client's own affair: nothing is at fault here, so nothing is logged.
    return Response(status_code=CLIENT_IS_GONE)


async def _on_fault(_: Request, error: Exception) -> Response:
    # Ours, not the client's: the server logs the traceback after this answer.
    return respond({"error": f"internal error: {type(error).__name__}"}, 500)


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

        super().__init__(
            routes=routes,
            lifespan=lifespan,
            exception_handlers={
                HTTPException: _on_http_error,
                UnavailableError: _on_unavailable,
                ClientDisconnect: _on_gone,
                Exception: _on_fault,
            },
        )
        self.router.redirect_slashes = False  # an unknown path is 404, not somewhere else


async def _call(hook: Callable[[], Any] | None) -> None:
    if hook is not None:
        result = hook()
        if asyncio.iscoroutine(result):
            await result


async def healthy(_: Request) -> Response:
    """`GET /health` of a service that is well when it answers at all."""
    return respond({"status": "ok"})


def common_arguments(prog: str) -> argparse.ArgumentParser:
    """The command line that all services have: where Redis is, and where to listen."""
    parser = argparse.ArgumentParser(prog=prog)
    add_store_option(parser)
    parser.add_argument("--namespace", default="", help="what every key begins with")
    return listening_arguments(parser)


def listening_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add where to listen, and whether somebody watches over the process."""
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--supervised", action="store_true", help="end when standard input does")
    return parser


def uvicorn_config(app: App, port: int, host: str = "127.0.0.1") -> uvicorn.Config:
    """How every app is served."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )


def serve(app: App, port: int, host: str = "127.0.0.1") -> None:
    """Serve an app until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format=f"{app.name}: %(message)s")
    uvicorn.Server(uvicorn_config(app, port, host)).run()
