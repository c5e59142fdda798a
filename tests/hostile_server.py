"""A server that is hostile by a plan: a real one behind a forwarder that spoils some of its replies.

    with HostileServer(own_server.port, Plan.drawn(seed)) as hostile:
        ...  hostile.url, hostile.harms

A reply is passed on whole, unless the plan has it

    error      replaced by an error, of which a server has many
    late       held back, up to longer than any client waits
    halves     passed on in two pieces, with a pause between them
    garbage    replaced by bytes that are no RESP
    wrong      replaced by a whole reply of another kind, as by a proxy that mixes them up; in no drawn plan
    cut        passed on in part, and the connection closed
    closed     not passed on, and the connection closed
    silent     not passed on, and nothing after it: the connection stays open

and a new connection may be refused (`refused`). The server itself has carried out every command: what a client
sees of it is what is spoiled. A plan begins after so many replies, so that a run gets as far as the seed wants,
ends after some time or never, and is about all commands or some.

Rejected: a server that is a script from the first byte on. No run gets past its first question there.
"""

from __future__ import annotations

import collections
import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

from tests.oracle import parse_command, shut_down

# Those of drawn plans: what a server, or what stands in front of it, does do.
HARMS = ("error", "late", "halves", "garbage", "cut", "closed", "silent", "refused")
ERRORS = (
    b"OOM command not allowed when used memory > 'maxmemory'.",
    b"NOPERM User app has no permissions to run the 'xadd' command",
    b"READONLY You can't write against a read only replica.",
    b"LOADING Redis is loading the dataset in memory",
    b"MISCONF Errors writing to the AOF file: No space left on device",
    b"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    b"NOSCRIPT No matching script. Please use EVAL.",
    b"NOAUTH Authentication required.",
    b"WRONGPASS invalid username-password pair or user is disabled.",
    b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    b"CLUSTERDOWN The cluster is down",
    b"MOVED 3999 127.0.0.1:6381",
    b"WRONGTYPE Operation against a key holding the wrong kind of value",
    b"NOGROUP No such key or consumer group",
    b"UNBLOCKED the stream key no longer exists",
    b"EXECABORT Transaction discarded because of previous errors.",
    b"ERR unknown command 'XADD', with args beginning with: ",
    b"ERR max number of clients reached",
    b"ERR internal error",
    b"ERR \xff\xfe \x1b[31mred\x1b[0m <script>alert(1)</script>",
    b"",
)
GARBAGE = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"$-7\r\n",
    b"*x\r\n",
    b"\x00" * 64,
    b"!!\r\n",
)
WRONG = (
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"+OK\r\n",
    b":0\r\n",
    b"$3\r\nabc\r\n",
    b"*2\r\n:1\r\n$1\r\nx\r\n",
    b"+QUEUED\r\n",
)
# The longest is more than a client of ours waits for.
LATENESS_S = (0.01, 0.1, 0.7, 3.0)
LOAD = frozenset((b"EVALSHA", b"XADD"))
CONSUMING = frozenset((b"XREADGROUP", b"XACK", b"XAUTOCLAIM", b"XCLAIM", b"XPENDING", b"XGROUP"))
LOOKING = frozenset(
    (b"INFO", b"XRANGE", b"XREVRANGE", b"XLEN", b"XINFO", b"SCAN", b"GET", b"EXISTS", b"TIME", b"CONFIG")
)


class Plan(NamedTuple):
    """What is done to whom, and when.

    Attributes:
        seed: of every draw.
        harms: which are done.
        share: of the replies that are harmed, 0 to 1.
        after: how many replies, of all connections, are passed on first.
        lasting_s: from then on; None: to the end.
        commands: whose replies are harmed; empty: all.
        errors, wrong: from which an error, and a reply of another kind, are drawn.
    """

    seed: int
    harms: tuple[str, ...]
    share: float
    after: int = 0
    lasting_s: float | None = None
    commands: frozenset[bytes] = frozenset()
    errors: tuple[bytes, ...] = ERRORS
    wrong: tuple[bytes, ...] = WRONG

    @classmethod
    def drawn(cls, seed: int) -> Plan:
        """The plan of a seed."""
        draw = random.Random(seed)
        return cls(
            seed,
            tuple(draw.sample(HARMS, draw.choice((1, 1, 2, 3)))),
            share=draw.choice((0.01, 0.1, 0.4, 1.0)),
            # From the first question on, in the middle of what prepares a run, and under load.
            after=draw.choice((draw.randrange(60), draw.randrange(150), draw.randrange(150, 900))),
            lasting_s=draw.choice((None, None, 0.5, 2.0)),
            commands=draw.choice((frozenset(), frozenset(), LOAD, CONSUMING, LOOKING)),
        )


class HostileServer:
    """A forwarder on a port of 127.0.0.1, while it is entered.

    Args:
        port: of the real server, on this machine.
        plan: what is done to its replies.

    Attributes:
        url: where it answers.
        done: how often each harm was done, by harm and command.
    """

    def __init__(self, port: int, plan: Plan) -> None:
        self._port = port
        self._plan = plan
        self._draw = random.Random(plan.seed)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._left = plan.after
        self._begun_s: float | None = None
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="hostile", daemon=True)]
        self.done: collections.Counter[tuple[str, str]] = collections.Counter()
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def calm(self) -> None:
        """Do no harm any more."""
        with self._lock:
            self._plan = self._plan._replace(share=0.0)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        shut_down((self._listener, *self._open), self._threads)
        for each in (self._listener, *self._open):
            each.close()

    def _drawn(self, command: bytes) -> str | None:
        """What is done to the reply to a command; a new connection is one without a name."""
        with self._lock:
            if self._left > 0:
                self._left -= bool(command)
                return None
            now_s = time.monotonic()
            if self._begun_s is None:
                self._begun_s = now_s
            plan = self._plan
            is_over = plan.lasting_s is not None and now_s - self._begun_s > plan.lasting_s
            is_meant = not plan.commands or not command or command in plan.commands
            if is_over or not is_meant or self._draw.random() >= plan.share:
                return None
            harm = self._draw.choice(plan.harms)
            if (harm == "refused") != (not command):
                return None
            self.done[harm, command.decode("latin-1")] += 1
            return harm

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                client = self._listener.accept()[0]
                if self._drawn(b"") is not None:
                    with contextlib.suppress(OSError):
                        client.sendall(b"-ERR max number of clients reached\r\n")
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._port))
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += (client, server)
                asked: collections.deque[bytes] = collections.deque()
                for target, arguments in (
                    (self._pass_commands, (client, server, asked)),
                    (self._pass_replies, (server, client, asked)),
                ):
                    thread = threading.Thread(target=target, args=arguments, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass_commands(
        self, client: socket.socket, server: socket.socket, asked: collections.deque[bytes]
    ) -> None:
        buffer = b""
        with contextlib.suppress(OSError, ValueError):
            while data := client.recv(1 << 18):
                buffer += data
                while (parsed := parse_command(buffer)) is not None:
                    command, buffer = parsed
                    asked.append(command[0].upper())
                server.sendall(data)
        _shut(server)

    def _pass_replies(self, server: socket.socket, client: socket.socket, asked: collections.deque[bytes]) -> None:
        with contextlib.suppress(OSError):
            for reply in replies_of(server):
                command = asked.popleft() if asked else b"?"
                harm = self._drawn(command)
                if harm is None:
                    client.sendall(reply)
                elif not self._harm(harm, reply, client):
                    break
        _shut(client)
        _shut(server)

    def _harm(self, harm: str, reply: bytes, client: socket.socket) -> bool:
        """Do it; whether the connection goes on."""
        with self._lock:
            draw = random.Random(self._draw.random())
        if harm == "error":
            client.sendall(b"-" + draw.choice(self._plan.errors) + b"\r\n")
        elif harm == "late":
            self._ended.wait(draw.choice(LATENESS_S))
            client.sendall(reply)
        elif harm == "halves":
            at = draw.randrange(1, len(reply))
            client.sendall(reply[:at])
            self._ended.wait(draw.choice((0.001, 0.05, 0.3)))
            client.sendall(reply[at:])
        elif harm == "garbage":
            client.sendall(draw.choice(GARBAGE))
        elif harm == "wrong":
            client.sendall(draw.choice(self._plan.wrong))
        elif harm == "cut":
            client.sendall(reply[: draw.randrange(1, len(reply))])
            return False
        elif harm == "silent":
            self._ended.wait()
            return False
        return harm != "closed"


def replies_of(server: socket.socket) -> Iterator[bytes]:
    """The whole replies of a connection, each as it came, until the server closes it."""
    buffer = b""
    while True:
        end = end_of_reply(buffer, 0)
        if end is not None:
            yield buffer[:end]
            buffer = buffer[end:]
            continue
        data = server.recv(1 << 18)
        if not data:
            return
        buffer += data


def end_of_reply(buffer: bytes, at: int) -> int | None:
    """Where the RESP2 reply ends that begins at a place of a buffer; None: it is not whole yet."""
    line_end = buffer.find(b"\r\n", at)
    if line_end < 0:
        return None
    kind, after = buffer[at : at + 1], line_end + 2
    if kind in b"+-:":
        return after
    size = int(buffer[at + 1 : line_end])
    if kind == b"$":
        end = after + size + 2 if size >= 0 else after
        return end if end <= len(buffer) else None
    place: int | None = after
    for _ in range(max(size, 0)):
        place = end_of_reply(buffer, after)
        if place is None:
            return None
        after = place
    return after


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
