"""TLS over a socket that stays ours: what is encrypted passes through memory, so that the kernel can be asked.

    bytes ---- SSLObject ---- outgoing ---- send --------> kernel
    bytes ---- SSLObject ---- incoming <--- recvmsg_into - kernel, with the date of the last segment that was read

`ssl.SSLSocket` reads and writes by itself. It hands over no date of what arrives (`harness.host.kernel_dates`),
reads each record in two calls, and says nothing of a write of which a part is out. Here one call reads whatever
is there.

A record cannot be decrypted before it is whole. So what one read decrypts was completed by a segment of that read,
whose last one has the date: late by less than a read would be, never early.

What is encrypted cannot be taken back, for the records of a connection are numbered. So a piece counts as sent
once it is encrypted, but for its last byte, which counts when the kernel has all of it:

    send(100,000 bytes)            65,535      four records are encrypted, the kernel has three and a half
    send(the other 34,465)         34,465      the half, and then the rest

Whoever calls goes on with what did not count, as with any socket, and there is something left for as long as the
kernel has to be waited for. A command is begun with its first encrypted byte.

A server may say more than data at any time: tickets for a next session, new keys, a handshake once more. It is
answered when that is read; new keys, and where the kernel takes nothing then, with the next write.

Rejected: the kernel's own TLS, which would date by itself. Python cannot hand it the keys.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Protocol, Self

# The most that is in one record, and what may be left of one read: of a record and of what was read beyond it.
_RECORD_BYTES = 1 << 14
_LEFT_BYTES = 3 * _RECORD_BYTES

Buffer = bytes | bytearray | memoryview
Ancillary = list[tuple[int, int, bytes]]


class Connection(Protocol):
    """What measures wants of a connection: a `socket.socket` has it, and so has a `TlsStream`."""

    @property
    def family(self) -> int:
        """The family of its address."""
        ...

    def fileno(self) -> int:
        """The descriptor to wait for."""
        ...

    def settimeout(self, value: float | None, /) -> None:
        """How many seconds a call may wait; 0: not at all, None: as long as it takes."""
        ...

    def getsockopt(self, level: int, option: int, /) -> int:
        """An option of the socket."""
        ...

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None:
        """Set an option of the socket."""
        ...

    def send(self, data: Buffer, /) -> int:
        """Send what can be sent now; how many bytes of it count as sent."""
        ...

    def sendall(self, data: Buffer, /) -> None:
        """Send all of it."""
        ...

    def recv(self, most_bytes: int, /) -> bytes:
        """What has arrived; nothing where the other side has closed."""
        ...

    def recvmsg_into(
        self, buffers: Iterable[bytearray], ancillary_bytes: int, /
    ) -> tuple[int, Ancillary, int, Any]:
        """What has arrived, into a buffer: how many bytes, what the kernel says of them, flags, and from where."""
        ...

    def close(self) -> None:
        """Close it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class TlsStream:
    """An encrypted connection, which has shaken hands.

    Args:
        raw: connected, with a timeout; the stream owns it from now on, and closes it where this fails.
        context: of `tls_context`.
        server_hostname: for whom the certificate must be.

    Raises:
        OSError: the connection is lost, or silent for too long; `ssl.SSLError` where there is no agreement.
    """

    def __init__(self, raw: socket.socket, context: ssl.SSLContext, server_hostname: str) -> None:
        self._raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        # Encrypted, and not taken by the kernel; and whether a byte is yet to be counted for it.
        self._unsent = b""
        self._is_owed = False
        self.family: int = raw.family
        self.fileno = raw.fileno
        self.settimeout = raw.settimeout
        self.setsockopt = raw.setsockopt
        self.getsockopt = raw.getsockopt
        self.close = raw.close
        try:
            self._shake_hands()
        except BaseException:
            raw.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _shake_hands(self) -> None:
        is_done = False
        while not is_done:
            try:
                self._tls.do_handshake()
                is_done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                # The server is told why, if it still listens.
                with contextlib.suppress(OSError):
                    self._raw.sendall(self._outgoing.read())
                raise
            self._raw.sendall(self._outgoing.read())
            if not is_done:
                chunk = self._raw.recv(_RECORD_BYTES)
                if chunk:
                    self._incoming.write(chunk)
                else:
                    self._incoming.write_eof()

    def send(self, data: Buffer) -> int:
        """Encrypt and send what the kernel takes.

        Args:
            data: what is left of the last call, if that did not take all; then whatever else.

        Returns:
            How many bytes of it count as sent.

        Raises:
            BlockingIOError: none; the kernel, or a new handshake, has to be waited for.
            OSError: the connection is lost.
        """
        taken = 0
        if self._unsent:
            if not self._push():
                raise BlockingIOError
            taken = int(self._is_owed)
            self._is_owed = False
        view, length = memoryview(data), len(data)
        # Record by record: the server may read, and answer, the first one while the next is encrypted.
        while taken < length:
            try:
                written = self._tls.write(view[taken : taken + _RECORD_BYTES])
                is_out = self._push()
            except ssl.SSLWantReadError:
                # The server shakes hands once more, and what it says is to be read first.
                self._push()
                if not taken:
                    raise BlockingIOError from None
                break
            except OSError:
                # What is out is out; the next call is told.
                if not taken:
                    raise
                break
            if not is_out:
                self._is_owed = True
                return taken + written - 1
            taken += written
        return taken

    def _push(self) -> bool:
        """Give the kernel what is encrypted; whether it has all of it."""
        self._unsent += self._outgoing.read()
        if self._unsent:
            try:
                self._unsent = self._unsent[self._raw.send(self._unsent) :]
            except BlockingIOError:
                return False
        return not self._unsent

    def sendall(self, data: Buffer) -> None:
        """Send all of it, on a connection whose calls wait.

        Raises:
            OSError: the connection is lost, or takes nothing for too long.
        """
        view = memoryview(data)
        while view:
            view = view[self.send(view) :]

    def recv(self, most_bytes: int) -> bytes:
        """What has arrived, on a connection whose calls wait; nothing where the server has closed.

        Raises:
            OSError: the connection is lost, or silent for too long.
        """
        while True:
            try:
                return self._tls.read(most_bytes)
            except ssl.SSLWantReadError:
                self._push()
            chunk = self._raw.recv(_RECORD_BYTES)
            if not chunk:
                return b""
            self._incoming.write(chunk)

    def recvmsg_into(self, buffers: Iterable[bytearray], ancillary_bytes: int) -> tuple[int, Ancillary, int, Any]:
        """Read once, and decrypt all that is whole by now.

        Args:
            buffers: one, of 64 KiB at least.
            ancillary_bytes: room for what the kernel says of it.

        Returns:
            How many bytes are in the buffer, 0 where the server has closed; what the kernel says of what was read
            last; flags, and from where.

        Raises:
            BlockingIOError: nothing has arrived; on a connection whose calls wait: in time.
            ssl.SSLWantReadError: something has, and there is nothing in it, or not yet.
            OSError: the connection is lost.
        """
        (buffer,) = buffers
        view = memoryview(buffer)
        # Whatever is decrypted then fits into the buffer: nothing stays here, where no selector would tell of it.
        length, ancillary, flags, address = self._raw.recvmsg_into(
            (view[: len(view) - _LEFT_BYTES],), ancillary_bytes
        )
        if length:
            self._incoming.write(view[:length])
            length = self._decrypt_into(view)
        return length, ancillary, flags, address

    def _decrypt_into(self, view: memoryview) -> int:
        length = 0
        try:
            while self._incoming.pending or not length:
                # Into a buffer it answers a length, of which its stub knows nothing.
                more: int = self._tls.read(len(view) - length, view[length:])  # type: ignore[assignment]
                if not more:
                    raise ssl.SSLZeroReturnError
                length += more
        except ssl.SSLWantReadError:
            if not length:
                raise
        except ssl.SSLError as end:
            if length:
                # First what came before the end, which the kernel is made to tell of once more.
                with contextlib.suppress(OSError):
                    self._raw.shutdown(socket.SHUT_RD)
            elif not isinstance(end, ssl.SSLZeroReturnError):
                raise
        finally:
            if self._outgoing.pending:
                # A connection that is lost says so to the next call.
                with contextlib.suppress(OSError):
                    self._push()
        return length
