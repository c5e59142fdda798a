"""The mail service: `POST /email`, and a memory of every mail that it has accepted.

    POST /email    {to, msg}, or a list of them; each may carry the `event_id` of the event it answers
                   -> {"accepted": n, "repeated": n}
    GET  /emails?after=N   the accepted mails from the N-th on, one JSON object a line, as many as there are
    GET  /health   -> {"status": "ok", "accepted": n}

An `event_id` is an idempotency key: a mail whose key was accepted before is answered as accepted and not sent
again. "Sent" means here: appended to the outbox, a file, so that a mail service that was killed comes back
knowing what it has sent. A request is written to the outbox in one piece before it is answered; one that the
outbox has no room for is answered 503, leaves nothing there, and may be repeated.

With `--no-idempotency` every mail is sent, so that a report can count what a consumer really repeats. With
`--delay-ms` each request takes so much longer, as a slow mail provider would; `PUT /delay {ms}` changes that.
Mails to the address that `--refuse` names are refused for good, each request that has one of them as a whole.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
from io import FileIO
from pathlib import Path
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ordershop.services.app import (
    App,
    Rejected,
    json_body,
    listening_arguments,
    one_in_body,
    respond,
    serve,
)
from ordershop.supervisor import end_with_parent

log = logging.getLogger(__name__)

ROUTE_LIMIT = 10_000


class Mail(msgspec.Struct, frozen=True, omit_defaults=True):
    """A mail as it is asked for, and as it stands in the outbox."""

    to: Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
    msg: Annotated[str, msgspec.Meta(max_length=100_000)]
    event_id: str = ""


class Outbox:
    """Every mail that was sent, in a file: a JSON object a line.

    Args:
        path: the file; what it holds counts as sent. None: kept in memory only.
        idempotent: whether a mail with a known `event_id` is left out.
    """

    def __init__(self, path: Path | None, *, idempotent: bool = True) -> None:
        self._idempotent = idempotent
        self._lines: list[bytes] = []
        self._known: set[str] = set()
        self._file = None
        if path is not None:
            self._load(path)
            self._file = path.open("ab", buffering=0)

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            # Killed in the middle of a write: that request was never answered, so its mails do not count.
            os.truncate(path, len(whole))
        for line in whole.splitlines():
            self._lines.append(line)
            self._known.add(msgspec.json.decode(line, type=Mail).event_id)

    def send(self, mails: list[Mail]) -> int:
        """Send the mails that are new, all in one write or none, and answer how many those were.

        Raises:
            OSError: the file cannot be written; none was sent.
        """
        fresh: list[bytes] = []
        keys: set[str] = set()
        for mail in mails:
            if self._idempotent and mail.event_id:
                if mail.event_id in self._known or mail.event_id in keys:
                    continue
                keys.add(mail.event_id)
            fresh.append(msgspec.json.encode(mail))
        if fresh and self._file is not None:
            _write_whole(self._file, b"\n".join(fresh) + b"\n")
        # Not before the write: a mail is known when it was sent, not when somebody has tried to.
        self._known |= keys
        self._lines += fresh
        return len(fresh)

    def after(self, position: int) -> list[bytes]:
        """The mails from a position on, at most `ROUTE_LIMIT`, each as a line of JSON."""
        return self._lines[position : position + ROUTE_LIMIT]

    def __len__(self) -> int:
        return len(self._lines)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _write_whole(file: FileIO, content: bytes) -> None:
    """Append bytes to a file, or leave it as it was.

    Raises:
        OSError: the file did not take them all.
    """
    written = file.write(content) or 0
    if written < len(content):
        # A full disk takes what there is room for. The next line must not begin where this one was torn off.
        os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size - written)
        raise OSError(errno.ENOSPC, f"{written} of {len(content)} bytes were written")


class Delay(msgspec.Struct, forbid_unknown_fields=True):
    """How long a request takes at least, in milliseconds."""

    ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)] = 0.0


def routes(outbox: Outbox, delay: Delay, refused: str = "") -> list[Route]:
    """The service's HTTP interface on an outbox.

    Args:
        delay: may change while it serves.
        refused: an address that gets no mail; empty for none.
    """

    async def put_delay(request: Request) -> Response:
        delay.ms = (await one_in_body(request, Delay)).ms
        return respond({"ms": delay.ms})

    async def post_email(request: Request) -> Response:
        mails = await json_body(request, Mail)
        if delay.ms:
            await asyncio.sleep(delay.ms / 1000)
        if refused and any(mail.to == refused for mail in mails):
            raise Rejected(422, f"to: {refused} gets no mail")
        try:
            accepted = outbox.send(mails)
        except OSError as error:
            log.warning("no mail can be sent: the outbox cannot be written (%s)", error)
            raise Rejected(503, f"the outbox cannot be written: {error}") from error
        return respond({"accepted": len(mails), "repeated": len(mails) - accepted})

    async def get_emails(request: Request) -> Response:
        try:
            position = int(request.query_params.get("after", "0"))
        except ValueError:
            position = -1
        if position < 0:
            raise Rejected(400, "after: a number of mails, 0 or more")
        return Response(
            b"".join(line + b"\n" for line in outbox.after(position)), media_type="application/x-ndjson"
        )

    async def health(_: Request) -> Response:
        return respond({"status": "ok", "accepted": len(outbox)})

    return [
        Route("/email", post_email, methods=["POST"]),
        Route("/delay", put_delay, methods=["PUT"]),
        Route("/emails", get_emails),
        Route("/health", health),
    ]


def make_app(outbox: Outbox, delay_ms: float = 0.0, refused: str = "") -> App:
    """The service on an outbox."""
    return App("mail", routes(outbox, Delay(delay_ms), refused), on_stop=outbox.close)


def parser() -> argparse.ArgumentParser:
    """The service's command line."""
    found = listening_arguments(argparse.ArgumentParser(prog="ordershop.services.mail"))
    found.add_argument("--outbox", type=Path)
    found.add_argument("--no-idempotency", action="store_true")
    found.add_argument("--delay-ms", type=float, default=0.0)
    found.add_argument("--refuse", default="")
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the service until it is told to stop."""
    options = parser().parse_args(arguments)
    if options.supervised:
        end_with_parent()
    outbox = Outbox(options.outbox, idempotent=not options.no_idempotency)
    serve(make_app(outbox, options.delay_ms, options.refuse), options.port, options.host)


if __name__ == "__main__":
    main()
