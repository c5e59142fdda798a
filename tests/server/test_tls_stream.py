"""A connection is a connection, encrypted or not; and what only an encrypted one has: records, ends, new keys."""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.host.clock import SystemClock
from harness.host.kernel_dates import ANCILLARY_BYTES, ask_for_dates, date_ns
from harness.server.tls_stream import Connection, TlsStream
from ordershop.supervisor import free_port
from tests.waiting import until

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="no openssl program here to make a certificate with")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux dates what comes")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    where = tmp_path_factory.mktemp("tls")
    certificate, key = where / "certificate.pem", where / "key.pem"
    command = [str(OPENSSL), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def client_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """What trusts the certificate."""
    return ssl.create_default_context(cafile=str(certificate[0]))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection over the loopback, with small buffers, so that they are full soon."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        near = socket.socket()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        near.settimeout(5)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    far.settimeout(5)
    return near, far


class PlainPeer:
    """The other end of a plain connection."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw

    def packed(self, data: bytes) -> bytes:
        """What stands for some bytes on the wire."""
        return data

    def send(self, data: bytes) -> None:
        """Send some bytes."""
        self.raw.sendall(self.packed(data))

    def received(self, length: int) -> bytes:
        """So many bytes, as soon as they are there."""
        found = b""
        while len(found) < length:
            chunk = self.raw.recv(1 << 16)
            assert chunk, "the connection is closed"
            found += chunk
        return found


class TlsPeer(PlainPeer):
    """The other end of an encrypted connection, whose wire is in the test's hands."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(raw)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def shake_hands(self) -> None:
        """Agree with the client."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.raw.sendall(self._outgoing.read())
                self._incoming.write(self.raw.recv(1 << 16))
                continue
            self.raw.sendall(self._outgoing.read())  # with tickets
            return

    def packed(self, data: bytes) -> bytes:
        while data:
            data = data[self._tls.write(data) :]
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """A `close_notify`."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._outgoing.read()

    def received(self, length: int) -> bytes:
        found = b""
        while len(found) < length:
            try:
                found += self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                chunk = self.raw.recv(1 << 16)
                assert chunk, "the connection is closed"
                self._incoming.write(chunk)
        return found


Open = Callable[[], contextlib.AbstractContextManager[tuple[Connection, PlainPeer]]]


@contextlib.contextmanager
def plain() -> Iterator[tuple[Connection, PlainPeer]]:
    """A plain connection, and its other end."""
    near, far = tcp_pair()
    with near, far:
        near.settimeout(0)
        yield near, PlainPeer(far)


@contextlib.contextmanager
def shaken(
    certificate: tuple[Path, Path], ends: tuple[socket.socket, socket.socket]
) -> Iterator[tuple[TlsStream, TlsPeer]]:
    """An encrypted connection over two ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    near, far = ends
    peer = TlsPeer(far, context)
    server = threading.Thread(target=peer.shake_hands)
    server.start()
    with far, TlsStream(near, client_context(certificate), "127.0.0.1") as stream:
        server.join(10)
        stream.settimeout(0)
        yield stream, peer


@pytest.fixture
def encrypted(certificate: tuple[Path, Path]) -> Iterator[tuple[TlsStream, TlsPeer]]:
    with shaken(certificate, tcp_pair()) as ends:
        yield ends


@pytest.fixture(params=["plain", "tls"])
def opened(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Open:
    """How either kind of connection is opened."""
    return plain if request.param == "plain" else lambda: shaken(certificate, tcp_pair())


def arrived(connection: Connection, seconds: float = 5) -> tuple[bytes, int | None]:
    """What has arrived, as soon as a selector tells of data, and its date."""
    buffer = bytearray(1 << 18)
    while select.select([connection], [], [], seconds)[0]:
        try:
            length, ancillary, _, _ = connection.recvmsg_into((buffer,), ANCILLARY_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            continue  # a ticket, or a part of a record
        return bytes(buffer[:length]), date_ns(ancillary)
    raise AssertionError("nothing arrives")


def wait_for_dates(connection: Connection, peer: PlainPeer) -> None:
    """Ask for dates, and wait until they come: the kernel begins to make them a moment after it was asked."""

    def is_dated() -> bool:
        peer.send(b"+PONG\r\n")
        return arrived(connection)[1] is not None

    assert ask_for_dates(connection)
    until(is_dated, "a date")


def sent(connection: Connection, data: bytes) -> int:
    """How much of it counts as sent right now."""
    try:
        return connection.send(data)
    except BlockingIOError:
        return 0


# Either kind -----------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.one_of(st.integers(1, 300), st.sampled_from([16_384, 16_385, 70_000])), max_size=12),
    reads=st.lists(st.booleans(), max_size=30),
)
def test_what_is_sent_arrives_once_and_in_order(opened: Open, lengths: list[int], reads: list[bool]) -> None:
    """However often the kernel takes nothing: whoever goes on with what did not count has sent all, once."""
    data = b"".join(bytes([at % 251]) * length for at, length in enumerate(lengths))
    with opened() as (connection, peer):
        found, rest = b"", memoryview(data)
        for is_read in reads:
            count = sent(connection, bytes(rest))
            assert 0 <= count <= len(rest)
            rest = rest[count:]
            # What has counted has arrived or is on its way, but for what is encrypted and waits for its last byte.
            if is_read and len(data) - len(rest) > len(found) + 16_384:
                found += peer.received(1)
        reader = threading.Thread(target=lambda: parts.append(peer.received(len(data) - len(found))))
        parts: list[bytes] = []
        reader.start()
        while rest:
            select.select([], [connection], [], 5)
            rest = rest[sent(connection, bytes(rest)) :]
        reader.join(10)
        assert found + b"".join(parts) == data


def test_a_full_kernel_counts_less_than_all_and_then_nothing(opened: Open) -> None:
    """While a peer does not read, something is left to be sent, so that somebody waits for the kernel."""
    with opened() as (connection, _):
        rest = memoryview(b"x" * 10_000_000)
        counts = []
        while (count := sent(connection, bytes(rest))) > 0:
            counts.append(count)
            rest = rest[count:]
        assert counts
        assert rest
        assert not select.select([], [connection], [], 0)[1]
        with pytest.raises(BlockingIOError):
            connection.send(bytes(rest))


def test_a_silent_peer_has_nothing_to_read(opened: Open) -> None:
    """Without data there is none, also where a server has said something else, as after a handshake."""
    with opened() as (connection, _):
        for _ in range(3):
            with pytest.raises((BlockingIOError, ssl.SSLWantReadError)):
                connection.recvmsg_into((bytearray(1 << 16),), ANCILLARY_BYTES)


def test_all_that_has_arrived_is_read_at_once(opened: Open) -> None:
    """Nothing stays behind, where no selector would tell of it: 40 small records, and three large ones."""
    with opened() as (connection, peer):
        told = b"".join(bytes([number]) * 99 for number in range(40))
        wire = b"".join(peer.packed(told[at : at + 99]) for at in range(0, len(told), 99))
        assert len(wire) < 8_192
        peer.raw.sendall(wire)
        found = b""
        while len(found) < len(told):
            found += arrived(connection)[0]
        assert found == told
        large = b"y" * 50_000
        sender = threading.Thread(target=peer.send, args=(large,))
        sender.start()
        found = b""
        while len(found) < len(large):
            found += arrived(connection)[0]
        sender.join(10)
        assert found == large


def test_what_came_before_the_end_is_read_before_it(opened: Open) -> None:
    """A peer that says something and closes has said it."""
    with opened() as (connection, peer):
        peer.send(b"last words")
        peer.raw.close()
        assert arrived(connection)[0] == b"last words"
        assert arrived(connection)[0] == b""


@linux_only
def test_a_date_lies_between_send_and_read(opened: Open) -> None:
    """The kernel dates what arrives: not before it was sent, and not after it was read."""
    clock = SystemClock()
    with opened() as (connection, peer):
        wait_for_dates(connection, peer)
        before_ns = clock.wall_ns()
        peer.send(b"+PONG\r\n")
        _, date = arrived(connection)
        assert date is not None
        assert before_ns <= date <= clock.wall_ns()


def test_a_connection_that_waits(opened: Open) -> None:
    """With a timeout, as for a greeting: all is sent, an answer is waited for, and silence has an end."""
    with opened() as (connection, peer):
        connection.settimeout(5)
        reader = threading.Thread(target=lambda: peer.send(peer.received(200_000)[:3]))
        reader.start()
        connection.sendall(b"z" * 200_000)
        assert connection.recv(4_096) == b"zzz"
        reader.join(10)
        connection.settimeout(0.01)
        with pytest.raises(TimeoutError):
            connection.recv(4_096)
        peer.raw.close()
        connection.settimeout(5)
        assert connection.recv(4_096) == b""


# Encrypted -------------------------------------------------------------------------------------------------


@linux_only
def test_the_date_is_that_of_what_completed_a_record(encrypted: tuple[TlsStream, TlsPeer]) -> None:
    """Half a record is no reply. The date is of the other half's arrival, never of the first one's."""
    stream, peer = encrypted
    clock = SystemClock()
    wait_for_dates(stream, peer)
    wire = peer.packed(b"$5\r\nhello\r\n")
    peer.raw.sendall(wire[:10])
    assert select.select([stream], [], [], 5)[0]
    read_nothing(stream)
    between_ns = clock.wall_ns()
    peer.raw.sendall(wire[10:])
    data, date = arrived(stream)
    assert data == b"$5\r\nhello\r\n"
    assert date is not None
    assert between_ns <= date <= clock.wall_ns()


def test_a_farewell_is_an_end_though_the_line_stays_open(encrypted: tuple[TlsStream, TlsPeer]) -> None:
    """A `close_notify` in one piece with data: first the data, then a selector tells of the end."""
    stream, peer = encrypted
    peer.raw.sendall(peer.packed(b"+OK\r\n") + peer.farewell())
    assert arrived(stream)[0] == b"+OK\r\n"
    assert arrived(stream)[0] == b""


def test_a_farewell_alone_is_an_end(encrypted: tuple[TlsStream, TlsPeer]) -> None:
    """A `close_notify` and nothing else reads as closed."""
    stream, peer = encrypted
    peer.raw.sendall(peer.farewell())
    assert arrived(stream)[0] == b""


def test_a_forged_record_is_an_error_after_what_came_before(encrypted: tuple[TlsStream, TlsPeer]) -> None:
    """What was decrypted is read; what cannot be is no reply, and no silence either."""
    stream, peer = encrypted
    good, forged = peer.packed(b"+OK\r\n"), bytearray(peer.packed(b"+OK\r\n"))
    forged[-1] ^= 1
    peer.raw.sendall(good + forged)
    assert arrived(stream)[0] == b"+OK\r\n"
    assert select.select([stream], [], [], 5)[0]
    with contextlib.suppress(ssl.SSLError):
        assert arrived(stream)[0] == b""


def test_a_forged_record_alone_is_an_error(encrypted: tuple[TlsStream, TlsPeer]) -> None:
    """What cannot be decrypted ends the connection."""
    stream, peer = encrypted
    forged = bytearray(peer.packed(b"+OK\r\n"))
    forged[-1] ^= 1
    peer.raw.sendall(forged)
    with pytest.raises(ssl.SSLError, match="bad record mac"):
        arrived(stream)


def test_an_answer_in_plain_text_is_an_error(encrypted: tuple[TlsStream, TlsPeer]) -> None:
    """A server that goes on in plain text has not been understood."""
    stream, peer = encrypted
    peer.raw.sendall(b"-ERR what?\r\n" * 10)
    with pytest.raises(ssl.SSLError):
        arrived(stream)


class Broken(socket.socket):
    """A socket whose other end is closed after its next send."""

    far: socket.socket | None = None

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override]
        written = super().send(data, flags)
        if self.far is not None:
            self.far.close()
        return written


def test_what_was_out_when_the_line_broke_counts_as_sent(certificate: tuple[Path, Path]) -> None:
    """Of 100,000 bytes a record was out: it counts, so that nobody sends it once more; then the error shows."""
    near, far = socket.socketpair()
    broken = Broken(fileno=near.detach())
    with shaken(certificate, (broken, far)) as (stream, _):
        broken.far = far
        assert stream.send(b"x" * 100_000) == 16_384
        with pytest.raises(OSError, match="pipe"):
            stream.send(b"x" * 83_616)


def test_a_server_is_told_why_its_certificate_is_refused(certificate: tuple[Path, Path]) -> None:
    """Who trusts nobody has no stream, and says so."""
    near, far = tcp_pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    said: list[BaseException] = []

    def serve() -> None:
        try:
            TlsPeer(far, context).shake_hands()
        except ssl.SSLError as error:
            said.append(error)

    server = threading.Thread(target=serve)
    server.start()
    with far:
        with pytest.raises(ssl.SSLCertVerificationError):
            TlsStream(near, ssl.create_default_context(), "127.0.0.1")
        server.join(10)
    assert near.fileno() == -1
    assert "unknown ca" in str(said[0])


@pytest.mark.parametrize(("is_closed", "error"), [(True, ssl.SSLError), (False, TimeoutError)])
def test_a_server_that_does_not_shake_hands(
    certificate: tuple[Path, Path], is_closed: bool, error: type[Exception]
) -> None:
    """One that closes is an error at once, one that is silent in time; the socket is closed either way."""
    near, far = tcp_pair()
    near.settimeout(0.05)
    with far:
        if is_closed:
            far.shutdown(socket.SHUT_WR)
        with pytest.raises(error):
            TlsStream(near, client_context(certificate), "127.0.0.1")
    assert near.fileno() == -1


@contextlib.contextmanager
def openssl(certificate: tuple[Path, Path], version: str) -> Iterator[tuple[TlsStream, subprocess.Popen[bytes]]]:
    """A connection to OpenSSL's own server, which takes orders, and says what it gets; tickets are read."""
    port = free_port()
    command = [str(OPENSSL), "s_server", "-accept", f"127.0.0.1:{port}", version, "-msg"]
    command += ["-cert", str(certificate[0]), "-key", str(certificate[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as server:
        try:
            said(server, rb"ACCEPT")
            raw = socket.create_connection(("127.0.0.1", port), 5)
            with TlsStream(raw, client_context(certificate), "127.0.0.1") as stream:
                stream.settimeout(0)
                assert stream.send(b"before\n") == 7
                said(server, rb"before\n")
                order(server, b"first\n")
                assert arrived(stream)[0] == b"first\n"
                yield stream, server
        finally:
            server.kill()


def order(server: subprocess.Popen[bytes], what: bytes) -> None:
    """Have it say something, or do what a letter stands for."""
    assert server.stdin is not None
    server.stdin.write(what)


def said(server: subprocess.Popen[bytes], wanted: bytes) -> None:
    """Read what it says until it has said something, a pattern."""
    assert server.stdout is not None
    output = b""
    while not re.search(wanted, output):
        assert select.select([server.stdout], [], [], 10)[0], output
        chunk = server.stdout.read(4_096)
        assert chunk, output
        output += chunk


def read_nothing(stream: TlsStream) -> None:
    """Read what is no data, if there is any."""
    with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
        pytest.fail(f"{stream.recvmsg_into((bytearray(1 << 16),), ANCILLARY_BYTES)}")


@pytest.mark.parametrize(
    ("version", "letter"),
    [("-tls1_2", b"r\n"), ("-tls1_3", b"k\n"), ("-tls1_3", b"K\n")],
    ids=["a new handshake", "new keys of the server", "new keys of both"],
)
def test_a_server_may_shake_hands_again(certificate: tuple[Path, Path], version: str, letter: bytes) -> None:
    """What is said before, meanwhile and after arrives on both sides, once."""
    with openssl(certificate, version) as (stream, server):
        order(server, letter)
        assert select.select([stream], [], [], 5)[0]
        rest = b"meanwhile\n"

        def is_out() -> bool:
            nonlocal rest
            read_nothing(stream)
            rest = rest[sent(stream, rest) :]
            return not rest

        until(is_out, "a write")
        order(server, b"answer\n")
        assert arrived(stream)[0] == b"answer\n"
        said(server, rb"meanwhile\n")


def test_a_server_is_answered_as_it_is_read(certificate: tuple[Path, Path]) -> None:
    """Who has nothing to send shakes hands nevertheless, when it reads that the server wants to."""
    with openssl(certificate, "-tls1_2") as (stream, server):
        order(server, b"r\n")
        assert select.select([stream], [], [], 5)[0]
        read_nothing(stream)
        said(server, rb"<<<[^\n]*ClientHello")
