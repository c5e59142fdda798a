"""A connection of the sink: HTTP/1.0 and 1.1, one request after the other, however they come.

    bytes --httptools--> requests, in order --(slow)--> decided and logged --> answers, in order

httptools parses with llhttp, the parser of Node.js. An offer to upgrade (Java's HttpClient offers h2c) is not
taken up, and the request answered as it is. Nothing is closed for being idle: a client that sends on a connection
which the server is just closing cannot know whether it was heard, and repeats what no fault has made it repeat.

A request that has come whole is carried out, whoever has left meanwhile: so it is with any service.

Rejected: uvicorn, bare or with Starlette, which is two to four times the work per request; a parser of our own.
"""

from __future__ import annotations

import asyncio
import collections
from typing import cast

import httptools

from harness.system.sink.decisions import Answer, Asked, Decisions, phrase_of

MAX_BODY_BYTES = 4 << 20
MAX_HEAD_BYTES = 64 << 10
# Chunks of one byte have six bytes around it; what needs more than that is no request.
_MAX_MESSAGE_BYTES = 8 * MAX_BODY_BYTES
_WAITING = 64
# So long a client that has sent too much may take to read why; to close at once would take the answer from it.
_LINGER_S = 2.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connections:
    """All connections of the sink.

    Args:
        decisions: about all that is asked.
        loop: that they live in.

    Attributes:
        finished: when the sink was told to end, and the last is gone.
    """

    def __init__(self, decisions: Decisions, loop: asyncio.AbstractEventLoop) -> None:
        self._open: set[Connection] = set()
        self._is_finishing = False
        self.decisions = decisions
        self.loop = loop
        self.finished = loop.create_future()

    @property
    def in_hand(self) -> int:
        """How many requests are being done: where the sink is slow."""
        return sum(connection.is_at_work for connection in self._open)

    def begin(self, connection: Connection) -> None:
        """One more."""
        self._open.add(connection)
        if self._is_finishing:
            connection.finish()

    def end(self, connection: Connection) -> None:
        """One is gone, and nothing is done for it any more."""
        self._open.discard(connection)
        self._look()

    def finish(self) -> None:
        """End each when it has its answers."""
        self._is_finishing = True
        for connection in list(self._open):
            connection.finish()
        self._look()

    def _look(self) -> None:
        if self._is_finishing and not self._open and not self.finished.done():
            self.finished.set_result(None)


class Connection(asyncio.Protocol):
    """A client of the sink.

    Args:
        all_of_them: that it is one of.
    """

    def __init__(self, all_of_them: Connections) -> None:
        self._all = all_of_them
        self._decisions = all_of_them.decisions
        self._loop = all_of_them.loop
        self._parser = httptools.HttpRequestParser(self)
        self._asked: collections.deque[Asked] = collections.deque()
        self._slow: asyncio.TimerHandle | None = None
        self._is_held = False  # the client does not read what it is answered
        self._is_reading = True
        self._has_ended = False  # the client sends no more
        self._is_closing = False  # nothing is parsed any more
        self._is_lingering = self._is_finishing = self._is_gone = False
        self._message_bytes = 0
        self._begin()

    def _begin(self) -> None:
        self._path, self._body = b"", bytearray()
        self._headers: list[tuple[bytes, bytes]] = []
        self._content_type = self._key = ""
        self._expects = self._is_in_body = False

    # The transport ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._all.begin(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone; what it has asked for and what is being done is done."""
        self._is_gone = self._is_closing = True
        while len(self._asked) > 1:
            self._asked.pop()
        if not self._slow:
            self._all.end(self)

    @property
    def is_at_work(self) -> bool:
        """Whether something is being done."""
        return self._slow is not None

    def finish(self) -> None:
        """Hear nothing more, and end with the last answer."""
        self._is_finishing = self._is_closing = True
        if not self._is_gone:
            self._settle()

    def pause_writing(self) -> None:
        """The client does not read its answers: no more of them."""
        self._is_held = True

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_held = False
        self._serve()

    def eof_received(self) -> bool:
        """The client sends no more; it is still answered what it has asked."""
        self._has_ended = True
        self._serve()
        return True

    def data_received(self, data: bytes) -> None:
        """Parse, and answer what is whole."""
        while data and not self._is_closing:
            self._message_bytes += len(data)
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_offer() + data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                self._refuse(400, f"this is no HTTP/1.1: {error}")
        if not self._is_closing:
            self._bound()
        self._serve()

    def _without_offer(self) -> bytes:
        """The head of a request again, without the offer in it: with it, httptools takes what follows for another
        protocol, and not for the body.
        """
        if self._parser.get_method() == b"CONNECT":
            self._refuse(405, "POST the IDs, not CONNECT")
        method, path, headers = self._parser.get_method(), self._path, self._headers
        self._parser = httptools.HttpRequestParser(self)
        self._message_bytes = 0
        kept = [b"%b: %b\r\n" % each for each in headers if each[0].lower() not in {b"upgrade", b"connection"}]
        if any(name.lower() == b"connection" and b"close" in value.lower() for name, value in headers):
            kept.append(b"Connection: close\r\n")
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, path, b"".join(kept))

    def _bound(self) -> None:
        """Refuse what is too large: it was not checked whether it will end."""
        if not self._is_in_body and self._message_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"the headers are larger than {MAX_HEAD_BYTES} bytes")
        elif len(self._body) > MAX_BODY_BYTES or self._message_bytes > _MAX_MESSAGE_BYTES:
            self._refuse(413, f"the body is larger than {MAX_BODY_BYTES} bytes")

    def _refuse(self, status: int, why: str) -> None:
        """Answer this after what was asked before, and end."""
        self._is_closing = True
        self._asked.append(Asked("", error=(status, why), keeps=False))

    # The parser -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin()

    def on_url(self, url: bytes) -> None:
        """A piece of its path."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is not looked at."""
        if self._is_in_body:
            return
        self._headers.append((name, value))
        match name.lower():
            case b"content-type":
                self._content_type = value.decode("latin-1")
            case b"idempotency-key":
                self._key = value.decode("latin-1")
            case b"expect":
                self._expects = value.lower() == b"100-continue"
            case b"content-encoding":
                if value.lower() != b"identity":
                    self._refuse(415, f"post the body as it is, and not as {value[:20]!a}")
            case b"content-length":
                if value.isdigit() and int(value[:20]) > MAX_BODY_BYTES:
                    self._refuse(413, f"the body is larger than {MAX_BODY_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """What follows is the body."""
        self._is_in_body = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if len(self._body) <= MAX_BODY_BYTES:
            self._body += body

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._is_closing or self._parser.should_upgrade():
            return
        if len(self._body) > MAX_BODY_BYTES:
            self._refuse(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
            return
        keeps = self._parser.should_keep_alive()
        self._asked.append(
            Asked(
                method=self._parser.get_method().decode("latin-1"),
                path=self._path.decode("latin-1"),
                body=bytes(self._body),
                content_type=self._content_type,
                key=self._key,
                keeps=keeps,
                is_old=self._parser.get_http_version() == "1.0",
            )
        )
        self._is_closing = not keeps
        self._message_bytes = 0
        self._begin()

    # Answers ----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Answer what can be answered now, in order."""
        out: list[bytes] = []
        while self._asked and not self._slow and not self._is_held:
            if self._decisions.modes.slow_ms and not self._asked[0].error:
                self._slow = self._loop.call_later(self._decisions.modes.slow_ms / 1000, self._after_slow)
                break
            out.append(self._answer(self._asked.popleft()))
        if self._expects and self._is_in_body and not self._asked and not self._is_closing:
            self._expects = False
            out.append(_CONTINUE)
        if out and not self._is_gone:
            self._transport.writelines(out)
        if not self._is_gone:
            self._settle()

    def _after_slow(self) -> None:
        self._slow = None
        answer = self._answer(self._asked.popleft())
        if self._is_gone:
            self._all.end(self)
            return
        self._transport.write(answer)
        self._serve()

    def _settle(self) -> None:
        """Read on, or not, or end, as things stand."""
        if not self._asked and (self._has_ended or self._is_finishing):
            self._transport.close()
        elif not self._asked and self._is_closing and not self._is_lingering:
            # The answer has gone out; what the client still sends is read and dropped until it ends.
            self._is_lingering = True
            self._transport.write_eof()
            self._loop.call_later(_LINGER_S, self._transport.abort)
        should_read = not self._is_held and self._has_room()
        if should_read is not self._is_reading and not self._transport.is_closing():
            self._is_reading = should_read
            (self._transport.resume_reading if should_read else self._transport.pause_reading)()

    def _has_room(self) -> bool:
        waiting = self._asked
        return not waiting or (
            len(waiting) < _WAITING and sum(len(each.body) for each in waiting) <= MAX_BODY_BYTES
        )

    def _answer(self, asked: Asked) -> bytes:
        keeps = asked.keeps and not self._is_finishing
        return _bytes_of(self._decisions.decide(asked), asked, keeps)


def _bytes_of(answer: Answer, asked: Asked, keeps: bool) -> bytes:
    text = answer.text.encode()
    # What the version means by itself is not said.
    lasts = "" if keeps and not asked.is_old else f"Connection: {'keep-alive' if keeps else 'close'}\r\n"
    head = (
        f"HTTP/1.1 {answer.status} {phrase_of(answer.status)}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\n{answer.headers}{lasts}\r\n"
    )
    return head.encode("latin-1") + (b"" if asked.method == "HEAD" else text)
