"""A TCP proxy that breaks on purpose: between a consumer and Redis, or between the CRM and the mail service.

                      harness process
                             | messages, one JSON line each; every one is answered by the counts
                             v
    client <==> [ end | wire ---> ] proxy process [ <--- wire | end ] <==> server     clients on loopback only

    pass          bytes go through unchanged, in both directions
    cut reset     both sides get a RST, and new connections are refused
    cut half_open bytes vanish in both directions and nobody is told: connections stay, new ones are accepted and
                  silent; the end of one side is not passed on, so that the other keeps a connection to nobody
    delay         bytes arrive later: latency one way (a round trip takes twice that), with jitter, and behind a
                  line of so many bytes per second

Healing is `pass`. What a delay still holds is delivered at once. After a half-open cut all old connections are
reset, since they have lost bytes: a stream that went on without them would be corrupt, not merely slow.

A `Wire` says when bytes arrive; it is pure. Each direction of each connection has one, with a generator of its
own that follows from the seed, so that the jitter of one connection does not depend on the traffic of another.
TCP keeps bytes in order, and so does a wire: a chunk that has drawn little jitter still waits for the one before.
A wire holds what is in flight and a tenth of a second of its line, at most 4 MiB; then its sender has to wait.

The proxy is a process of its own, since in the harness it would share an interpreter lock with probes and user
interface. Its standard input is one end of a pair of sockets; when the other end is gone, so is the harness, and
the proxy ends. While a cut refuses connections, its port is kept by a socket that is bound and does not listen.

What it costs, beside a direct connection to the same server, in twice 120 interleaved rounds on two busy cores
(medians of the paired ratios): a PING takes 1.8 times as long, pipelined XADDs pass at 0.96 to 1.0 of their rate,
values of 1 MB at 0.74 to 0.78 of it. A delayed chunk comes 0.1 to 0.5 ms after it is due, by the kernel's timers.
So what was measured through a proxy is compared only with what was also measured through one.

Limits: the kernel accepts a connection before the proxy hears of it, so connecting is not delayed; and it
acknowledges what the proxy has read, so a half-open cut shows as silence, not as retransmissions.

Rejected: `tc netem` and iptables, which need root and hit the whole host; asyncio, whose transports
stand between us and the RST; toxiproxy, a program that would have to be there.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import heapq
import itertools
import random
import resource
import select
import selectors
import socket
import struct
import subprocess
import sys
import threading
from types import TracebackType
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta

from harness.host.clock import Clock, SystemClock
from harness.host.own_python import own_environment, own_module

ANSWER_TIMEOUT_S = 10.0

Variant = Literal["reset", "half_open"]

_HOST = "127.0.0.1"
_CHUNK_BYTES = 65_536
_WIRE_HOLDS_BYTES = 4 << 20
_LINE_HOLDS_S = 0.1
# Behind a narrow line a chunk is what passes in 5 ms, so that bytes arrive evenly and not in lumps.
_CHUNKS_PER_S = 200
_ACCEPT_AT_ONCE = 128
# SO_LINGER for no time at all: closing sends a RST in place of a FIN.
_RESET = struct.pack("ii", 1, 0)


class ProxyError(Exception):
    """A proxy that could not be started, has ended, or does not answer."""


class Pass(msgspec.Struct, frozen=True, tag="pass"):
    """Pass everything through unchanged."""


class Cut(msgspec.Struct, frozen=True, tag="cut"):
    """Cut the line: both sides are told (`reset`), or nobody is (`half_open`)."""

    variant: Variant = "reset"


class Delay(msgspec.Struct, frozen=True, tag="delay"):
    """Deliver later.

    Args:
        latency_ms: one way.
        jitter_ms: the latency of a chunk is drawn from latency ± jitter, all values alike.
        bytes_per_s: of each direction of each connection; None: as fast as it goes.
        seed: for the jitter.
    """

    latency_ms: Annotated[float, Meta(ge=0, le=600_000)] = 0.0
    jitter_ms: Annotated[float, Meta(ge=0)] = 0.0
    bytes_per_s: Annotated[float, Meta(ge=1)] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.jitter_ms > self.latency_ms:
            raise ValueError("a jitter that is more than the latency would deliver before it was sent")


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Change nothing and answer the counts."""


Mode = Pass | Cut | Delay
Message = Mode | Ask


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy has done so far.

    Attributes:
        port: where it listens.
        connections: accepted.
        connections_open: of those, on the client's side.
        connections_reset: by a cut, or by the healing of one.
        connections_failed: the server could not be reached, or had no room; the client was reset.
        bytes_to_server, bytes_to_client: handed on.
        bytes_lost: read and never handed on.
    """

    port: int
    connections: int = 0
    connections_open: int = 0
    connections_reset: int = 0
    connections_failed: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0
    bytes_lost: int = 0


# From the harness's side ------------------------------------------------------------------------------------


class Proxy:
    """A proxy in front of a port of this machine; runs from its making until it is left.

    Args:
        server_port: where the server listens.
        port: where to listen, on loopback; None for a free one.
        server_host: the server's address, as a number: the proxy looks up no names.

    Raises:
        ProxyError: it could not be started.

    All methods may be called from any thread. Each returns when what it asks for is in force.
    """

    def __init__(self, server_port: int, *, port: int | None = None, server_host: str = _HOST) -> None:
        self._lock = threading.Lock()
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                own_module("harness.nemesis.proxy", str(server_port), str(port or 0), server_host),
                env=own_environment(),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._line.settimeout(ANSWER_TIMEOUT_S)
        self._answers = self._line.makefile("rb")
        try:
            self.port = self.counts().port
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._process.pid if self._process.poll() is None else None

    def pass_through(self) -> Counts:
        """Pass everything through: the healing of every fault.

        Raises:
            ProxyError: it has ended, or does not answer.
        """
        return self._tell(Pass())

    def cut(self, variant: Variant = "reset") -> Counts:
        """Cut the line.

        Args:
            variant: `reset` tells both sides and refuses new connections; `half_open` tells nobody.

        Raises:
            ProxyError: it has ended, or does not answer.
            ValueError: no such variant.
        """
        return self._tell(Cut(variant))

    def delay(
        self, latency_ms: float = 0.0, jitter_ms: float = 0.0, bytes_per_s: float | None = None, seed: int = 0
    ) -> Counts:
        """Deliver later, and more slowly.

        Args:
            latency_ms: one way.
            jitter_ms: half the range, around the latency, from which each chunk's is drawn.
            bytes_per_s: of each direction of each connection; None: as fast as it goes.
            seed: for the jitter.

        Raises:
            ProxyError: it has ended, or does not answer.
            ValueError: a number out of its range.
        """
        return self._tell(Delay(latency_ms, jitter_ms, bytes_per_s, seed))

    def counts(self) -> Counts:
        """What it has done so far.

        Raises:
            ProxyError: it has ended, or does not answer.
        """
        return self._tell(Ask())

    def _tell(self, message: Message) -> Counts:
        # Structs check their fields only when decoded; a mistake is the caller's and must not end the proxy.
        msgspec.convert(msgspec.to_builtins(message), Message)
        with self._lock:
            try:
                self._line.sendall(msgspec.json.encode(message) + b"\n")
                answer = self._answers.readline()
            except TimeoutError as error:
                raise ProxyError(f"the proxy does not answer within {ANSWER_TIMEOUT_S:.0f} s") from error
            except (OSError, ValueError) as error:
                raise ProxyError(f"the proxy has ended: {error}") from error
        if not answer:
            raise ProxyError("the proxy has ended")
        counts = msgspec.json.decode(answer, type=Counts | str)
        if isinstance(counts, str):
            raise ProxyError(counts)
        return counts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; its connections end with it."""
        self._answers.close()
        self._line.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


# In its own process -----------------------------------------------------------------------------------------


class Wire:
    """When bytes that are sent now arrive, in one direction of one connection.

    Args:
        delay: of this wire; None: it delivers at once.
        key: of this wire among those of the same seed.

    A chunk first passes the line, which takes its size over `bytes_per_s` and one chunk at a time; then it travels
    for its latency; and it never arrives before the one that was sent before it.
    """

    def __init__(self, delay: Delay | None, key: str) -> None:
        self._delay = delay
        self._random = random.Random(f"{delay.seed}/{key}" if delay else key)  # noqa: S311 - jitter, no secret
        self._line_free_ns = 0
        self._last_arrival_ns = 0

    def arrival_ns(self, now_ns: int, size_bytes: int) -> int:
        """When a chunk arrives that is sent now."""
        delay = self._delay
        if delay is None:
            return now_ns
        passed_ns = now_ns
        if delay.bytes_per_s is not None:
            passed_ns = max(now_ns, self._line_free_ns) + round(size_bytes / delay.bytes_per_s * 1e9)
            self._line_free_ns = passed_ns
        latency_ms = self._random.uniform(delay.latency_ms - delay.jitter_ms, delay.latency_ms + delay.jitter_ms)
        self._last_arrival_ns = max(self._last_arrival_ns, passed_ns + round(latency_ms * 1e6))
        return self._last_arrival_ns

    @property
    def chunk_bytes(self) -> int:
        """How much to send at once."""
        if self._delay is None or self._delay.bytes_per_s is None:
            return _CHUNK_BYTES
        return max(1, min(_CHUNK_BYTES, int(self._delay.bytes_per_s / _CHUNKS_PER_S)))

    @property
    def holds_bytes(self) -> float:
        """How much may be on its way before its sender has to wait: bandwidth times delay, and a bit."""
        delay = self._delay
        if delay is None:
            return 1
        if delay.bytes_per_s is None:
            return _WIRE_HOLDS_BYTES
        travels_s = (delay.latency_ms + delay.jitter_ms) / 1e3
        return min(_WIRE_HOLDS_BYTES, delay.bytes_per_s * (travels_s + _LINE_HOLDS_S))


class _End:
    """The proxy's end of a connection, to a client or to a server, with the bytes that are on their way to it."""

    def __init__(
        self, connection: socket.socket, key: str, *, is_server: bool, is_connecting: bool = False
    ) -> None:
        self.socket = connection
        self.key = key
        self.is_server = is_server
        self.is_connecting = is_connecting
        self.other: _End | None = None
        # (arrival in ns, bytes); no bytes: the other side has ended.
        self.queue: collections.deque[tuple[int, bytes]] = collections.deque()
        self.queued_bytes = 0
        self.wire = Wire(None, key)
        self.has_ended = False  # it sends no more
        self.is_shut = False  # it is sent no more
        self.is_blocked = False  # it takes no more at the moment
        self.is_closed = False
        self.mask = 0


class ProxyLoop:
    """The proxy itself: one thread that waits for sockets, for due bytes and for messages.

    Args:
        listen_port: 0 for a free one.
        server: where to connect to: the address, as a number, and the port.
        control: messages come in and counts go out; the loop ends when its other end does.
        clock: for delays.

    Raises:
        OSError: the port is in use.
    """

    def __init__(self, listen_port: int, server: tuple[str, int], control: socket.socket, clock: Clock) -> None:
        self._server = server
        self._family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self._control = control
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        if listen_port:
            _bound(listen_port, alone=True).close()
        # Bound, and never listening: while a cut refuses connections, nobody else gets the port.
        self._keeper = _bound(listen_port)
        self._port = int(self._keeper.getsockname()[1])
        self._listener: socket.socket | None = None
        self._mode: Mode = Pass()
        self._ends: set[_End] = set()
        self._due: list[tuple[int, int, _End]] = []  # a heap
        self._tickets = itertools.count()
        self._received = b""
        self._connections = self._reset_count = self._failed = 0
        self._handed_on = {True: 0, False: 0}  # to servers, to clients
        self._lost_bytes = 0

    def run(self) -> None:
        """Pass bytes until the harness is gone."""
        self._control.setblocking(False)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._listen()
        is_controlled = True
        while is_controlled:
            for key, mask in self._wait():
                if key.fileobj is self._control:
                    is_controlled = self._hear()
                elif key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, _End):
                    self._serve(key.data, mask)
            self._deliver_due()

    def _wait(self) -> list[tuple[selectors.SelectorKey, int]]:
        if not self._due:
            return self._selector.select()
        left_ns = self._due[0][0] - self._clock.now_ns()
        if left_ns > 0:
            # epoll counts in whole milliseconds; select, which can wait for epoll itself, in microseconds.
            select.select([self._selector.fileno()], [], [], left_ns / 1e9)
        return self._selector.select(0)

    # Messages -------------------------------------------------------------------------------------------

    def _hear(self) -> bool:
        """Do what the harness asks for; whether it is still there."""
        try:
            received = self._control.recv(_CHUNK_BYTES)
        except OSError:
            return False
        *lines, self._received = (self._received + received).split(b"\n")
        for line in lines:
            message = msgspec.json.decode(line, type=Message)
            if not isinstance(message, Ask):
                self._change(message)
            # Answers are short and each is waited for, so there is room for it.
            with contextlib.suppress(BrokenPipeError):
                self._control.send(msgspec.json.encode(self._counts()) + b"\n")
        return bool(received)

    def _counts(self) -> Counts:
        return Counts(
            port=self._port,
            connections=self._connections,
            connections_open=sum(not end.is_server for end in self._ends),
            connections_reset=self._reset_count,
            connections_failed=self._failed,
            bytes_to_server=self._handed_on[True],
            bytes_to_client=self._handed_on[False],
            bytes_lost=self._lost_bytes,
        )

    def _change(self, mode: Mode) -> None:
        was_silent = _is_half_open(self._mode)
        self._mode = mode
        # Whatever was to wait does not any more: it is lost below, or delivered at once.
        self._due.clear()
        if isinstance(mode, Cut) and mode.variant == "reset":
            self._stop_listening()
            self._reset_all()
            return
        if _is_half_open(mode):
            self._lose_what_is_queued()
        elif was_silent:
            self._reset_all()
        self._listen()
        for end in list(self._ends):
            self._rewire(end)

    def _rewire(self, end: _End) -> None:
        """Give an end the wire of this mode; what an old delay still holds is delivered at once."""
        end.wire = Wire(self._mode if isinstance(self._mode, Delay) else None, end.key)
        if end.queue:
            end.queue = collections.deque((0, data) for _, data in end.queue)
            self._flush(end, self._clock.now_ns())

    def _lose_what_is_queued(self) -> None:
        for end in self._ends:
            self._lost_bytes += end.queued_bytes
            end.queued_bytes = 0
            end.queue.clear()
            end.is_blocked = False
        for end in list(self._ends):
            self._watch(end)

    def _reset_all(self) -> None:
        # A connection counts once, whether both of its ends are still there or one.
        self._reset_count += len({end.key.partition("/")[0] for end in self._ends})
        for end in list(self._ends):
            self._close(end, reset=True)

    # Connections ----------------------------------------------------------------------------------------

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _bound(self._port)
            self._listener.listen(1024)
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            if self._listener is None:
                return
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    # No room for another; those that knock are refused until some connection has ended.
                    self._stop_listening()
                return
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        number = self._connections
        self._connections += 1
        client = _End(_prepared(connection), f"{number}/client", is_server=False)
        self._ends.add(client)
        if _is_half_open(self._mode):
            self._watch(client)
            return
        server = self._connect(f"{number}/server")
        if server is None:
            self._failed += 1
            self._close(client, reset=True)
            return
        self._ends.add(server)
        client.other, server.other = server, client
        for end in (client, server):
            end.wire = Wire(self._mode if isinstance(self._mode, Delay) else None, end.key)
            self._watch(end)

    def _connect(self, key: str) -> _End | None:
        try:
            connection = _prepared(socket.socket(self._family))
        except OSError:
            return None
        if connection.connect_ex(self._server) not in {0, errno.EINPROGRESS}:
            connection.close()
            return None
        return _End(connection, key, is_server=True, is_connecting=True)

    def _close(self, end: _End, *, reset: bool) -> None:
        """Close one end, with a RST or in order; what was on its way to it is lost."""
        if end.is_closed:
            return
        end.is_closed = True
        self._lost_bytes += end.queued_bytes
        end.queued_bytes = 0
        end.queue.clear()
        if end.mask:
            self._selector.unregister(end.socket)
        if reset:
            with contextlib.suppress(OSError):
                end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.socket.close()
        self._ends.discard(end)
        if self._listener is None and not (isinstance(self._mode, Cut) and self._mode.variant == "reset"):
            self._listen()

    def _lose(self, end: _End) -> None:
        """An end was reset from outside; the other side is told, unless nobody is told anything."""
        if _is_half_open(self._mode):
            self._close(end, reset=False)
        else:
            self._close_both(end, reset=True)

    def _close_both(self, end: _End, *, reset: bool) -> None:
        self._close(end, reset=reset)
        if end.other is not None:
            self._close(end.other, reset=reset)

    # Bytes ----------------------------------------------------------------------------------------------

    def _serve(self, end: _End, mask: int) -> None:
        if end.is_closed:
            return  # by what happened before it in the same turn
        if end.is_connecting and mask & selectors.EVENT_WRITE:
            if end.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._failed += 1
                self._lose(end)
                return
            end.is_connecting = False
            self._flush(end, self._clock.now_ns())
        elif mask & selectors.EVENT_WRITE:
            end.is_blocked = False
            self._flush(end, self._clock.now_ns())
        if mask & selectors.EVENT_READ and not end.is_closed:
            self._read(end)

    def _read(self, end: _End) -> None:
        other = end.other
        try:
            data = end.socket.recv(other.wire.chunk_bytes if other else _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._lose(end)
            return
        if _is_half_open(self._mode) or other is None or other.is_closed:
            self._lost_bytes += len(data)
            if not data:
                # Its end is not passed on either: the other side keeps a connection to nobody.
                self._close(end, reset=False)
            return
        if not data:
            end.has_ended = True
            self._watch(end)
        self._send(other, data)

    def _send(self, end: _End, data: bytes) -> None:
        if isinstance(self._mode, Delay):
            arrival_ns = end.wire.arrival_ns(self._clock.now_ns(), len(data))
            heapq.heappush(self._due, (arrival_ns, next(self._tickets), end))
            self._queue(end, arrival_ns, data)
            return
        if not data or end.queue or end.is_connecting:
            self._queue(end, 0, data)
            self._flush(end, 0)
            return
        # The common case: nothing waits, and the bytes go straight through.
        try:
            sent = end.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost_bytes += len(data)
            self._close_both(end, reset=True)
            return
        self._handed_on[end.is_server] += sent
        if sent < len(data):
            end.is_blocked = True
            self._queue(end, 0, data[sent:])

    def _queue(self, end: _End, arrival_ns: int, data: bytes) -> None:
        end.queue.append((arrival_ns, data))
        end.queued_bytes += len(data)
        self._watch(end)
        if end.other is not None:
            self._watch(end.other)

    def _deliver_due(self) -> None:
        if not self._due:
            return
        now_ns = self._clock.now_ns()
        while self._due and self._due[0][0] <= now_ns:
            _, _, end = heapq.heappop(self._due)
            if not end.is_closed and not end.is_blocked:
                self._flush(end, now_ns)

    def _flush(self, end: _End, now_ns: int) -> None:
        """Hand on what is due to an end, as far as it takes it."""
        while end.queue and end.queue[0][0] <= now_ns and not end.is_connecting and not end.is_blocked:
            arrival_ns, data = end.queue.popleft()
            try:
                sent = end.socket.send(data) if data else self._shut(end)
            except BlockingIOError:
                sent = 0
            except OSError:
                end.queue.appendleft((arrival_ns, data))
                self._close_both(end, reset=True)
                return
            end.queued_bytes -= sent
            self._handed_on[end.is_server] += sent
            if sent < len(data):
                end.queue.appendleft((arrival_ns, data[sent:]))
                end.is_blocked = True
        other = end.other
        if other is not None and end.is_shut and other.is_shut:
            self._close_both(end, reset=False)
            return
        self._watch(end)
        if other is not None:
            self._watch(other)

    @staticmethod
    def _shut(end: _End) -> int:
        end.socket.shutdown(socket.SHUT_WR)
        end.is_shut = True
        return 0

    def _watch(self, end: _End) -> None:
        """Wait for what an end can do next: send to us where there is room for it, take what is blocked."""
        if end.is_closed:
            return
        mask = 0
        room = end.other is None or end.other.queued_bytes < end.other.wire.holds_bytes
        if room and not end.has_ended and not end.is_connecting:
            mask |= selectors.EVENT_READ
        if end.is_connecting or end.is_blocked:
            mask |= selectors.EVENT_WRITE
        if mask == end.mask:
            return
        if not mask:
            self._selector.unregister(end.socket)
        elif not end.mask:
            self._selector.register(end.socket, mask, end)
        else:
            self._selector.modify(end.socket, mask, end)
        end.mask = mask


def _is_half_open(mode: Mode) -> bool:
    return isinstance(mode, Cut) and mode.variant == "half_open"


def _bound(port: int, *, alone: bool = False) -> socket.socket:
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, not alone)
        bound.bind((_HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


def _prepared(connection: socket.socket) -> socket.socket:
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def main(server_port: int, port: int, server_host: str = _HOST) -> None:
    """Run a proxy whose standard input is one end of a pair of sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.socket(fileno=0) as control:
        try:
            loop = ProxyLoop(port, (server_host, server_port), control, SystemClock())
        except OSError as error:
            control.sendall(msgspec.json.encode(f"port {port}: {error.strerror}") + b"\n")
            return
        loop.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
