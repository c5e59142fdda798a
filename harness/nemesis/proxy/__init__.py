"""A TCP proxy that breaks on purpose: between a consumer and Redis, or a service that it asks.

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

The proxy is a process of its own, since in the harness it would share an interpreter lock with probes and user
interface. Its standard input is one end of a pair of sockets; when the other end is gone, so is the harness, and
the proxy ends. While a cut refuses connections, its port is kept by a socket that is bound and does not listen.

What it costs, beside a direct connection to the same server, in twice 120 interleaved rounds on two busy cores
(medians of the paired ratios): a PING takes 1.8 times as long, pipelined XADDs pass at 0.96 to 1.0 of their rate,
values of 1 MB at 0.74 to 0.78 of it. A delayed chunk comes 0.1 to 0.5 ms after it is due, by the kernel's timers.
So what was measured through a proxy is compared only with what was also measured through one.

Asked to (`told`), it also follows what passes, and notes what consumer groups are told, replies included
(`follower`). At 5,000 events a second, beside a proxy that does not, in twice 8 interleaved rounds on two crowded
cores: the server's time was 1.03 times as long where a page is acknowledged at once, 0.88 times where each event
is (both within what rounds differ by, 0.5 to 1.2), the delay until an event is read 1.06 and 1.08 times. The proxy
itself took 4 to 13 µs more an event over all runs, which is 2 to 6.5 % of a core. The log takes 5 to 10 bytes an
event that is handed out and acknowledged.

Limits: the kernel accepts a connection before the proxy hears of it, so connecting is not delayed; and it
acknowledges what the proxy has read, so a half-open cut shows as silence, not as retransmissions.

Rejected: `tc netem` and iptables, which need root and hit the whole host; asyncio, whose transports
stand between us and the RST; toxiproxy, a program that would have to be there.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from harness.host.own_python import own_environment, own_module
from harness.nemesis.proxy.messages import Ask, Counts, Cut, Delay, Message, Pass, Variant

ANSWER_TIMEOUT_S = 10.0
# So long it may take to write down the last of what it has noted.
_ENDS_WITHIN_S = 5.0
LOOPBACK = "127.0.0.1"


class ProxyError(Exception):
    """A proxy that could not be started, has ended, or does not answer."""


class Proxy:
    """A proxy in front of a port of this machine; runs from its making until it is left.

    Args:
        server_port: where the server listens.
        port: where to listen, on loopback; None for a free one.
        server_host: the server's address, as a number: the proxy looks up no names.
        told: where to note what consumer groups are told; None: nowhere. `counts` returns when all is noted that
            has passed until then.

    Raises:
        ProxyError: it could not be started.

    All methods may be called from any thread. Each returns when what it asks for is in force.
    """

    def __init__(
        self,
        server_port: int,
        *,
        port: int | None = None,
        server_host: str = LOOPBACK,
        told: Path | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self.told = told
        log = [] if told is None else [str(told)]
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                own_module("harness.nemesis.proxy", str(server_port), str(port or 0), server_host, *log),
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
        if self.told is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDS_WITHIN_S)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
