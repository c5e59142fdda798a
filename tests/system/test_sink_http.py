"""The sink speaks HTTP as clients do, and says in one line what is wrong with what it cannot take."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.system.sink import Attempts, Sink
from harness.system.sink.body import MAX_ID_BYTES, UnreadableError, ids_in
from harness.system.sink.connection import MAX_BODY_BYTES
from tests.sinks import Client, Said, raw
from tests.waiting import until


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the sink of this file."""
    return tmp_path_factory.mktemp("sink") / "attempts.log"


@pytest.fixture(scope="module")
def sink(log: Path) -> Iterator[Sink]:
    """A sink that nothing breaks."""
    with Sink(log) as one:
        yield one


class Seen:
    """The effects since a test began."""

    def __init__(self, log: Path) -> None:
        self._attempts = Attempts(log)
        self._attempts.poll()
        self._before = self._attempts.counts["A"]

    def __call__(self) -> list[str]:
        return self._attempts.effects(self._before)


@pytest.fixture
def seen(sink: Sink, log: Path) -> Seen:
    """Tells the effects since the test began."""
    return Seen(log)


@pytest.fixture
def client(sink: Sink) -> Iterator[Client]:
    """Somebody who posts."""
    with contextlib.closing(Client(sink)) as one:
        yield one


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ('["a", "b"]', "application/json", ["a", "b"]),
        ('[{"event_id": "a", "n": [1]}, {"event_id": "b"}]', "application/json; charset=utf-8", ["a", "b"]),
        ('["a", {"event_id": "b"}]', "application/json", ["a", "b"]),
        ('{"n": 1, "event_id": "a"}', "application/json", ["a"]),
        ('"a"', "application/json", ["a"]),
        ("[]", "application/json", []),
        ("a\r\nb\n\n", "text/plain", ["a", "b"]),
        ("[a]", "text/plain; charset=utf-8", ["[a]"]),
        (' ["a"]', "application/x-www-form-urlencoded", ["a"]),
        ("a", "application/x-www-form-urlencoded", ["a"]),
        ("é-1", "text/plain", ["é-1"]),
        ("x" * 256, "", ["x" * 256]),
    ],
)
def test_bodies_that_have_ids(client: Client, seen: Seen, body: str, kind: str, expected: list[str]) -> None:
    """JSON, or text with one ID a line; a content type that a client has by default does not matter."""
    assert client.post(body, Content_Type=kind).status == 200
    assert seen() == expected


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ("", "", "the body has no ID"),
        ("\n\n", "text/plain", "the body has no ID"),
        ("[", "", "the body is not JSON: Input data was truncated"),
        ("a", "application/json", "the body is not JSON: "),
        (b"\xff\x00\xfe", "", "the body is neither JSON nor text in UTF-8: "),
        (b'["\xff"]', "", "the body is not JSON: "),
        (b'["\\ud800"]', "", "the body is not JSON: "),
        ("[" * 100_000, "", "the body is JSON that is nested too deeply"),
        ("[" * 900 + "]" * 900, "", "item 1 is an array, neither an ID, which is a text, nor an object"),
        ('["a", null]', "", "item 2 is null, neither an ID, which is a text, nor an object"),
        ('[{"event_id": "a"}, {"id": 1}]', "", "object 2 has no member event_id"),
        ('{"event_id": 17}', "", "object 1: its event_id is the number 17, not a text"),
        ('["a", ""]', "", "ID 2 of 2 is empty"),
        ('["a b"]', "", "ID 1 of 1 has whitespace in it: 'a b'"),
        ("a\tb", "", "ID 1 of 1 has whitespace in it: 'a\\tb'"),
        ("a\rb", "", "ID 1 of 1 has whitespace in it: 'a\\rb'"),
        ("a\u2028b", "", "ID 1 of 1 has whitespace in it: 'a\\u2028b'"),
        ("a\0b", "", "ID 1 of 1 has a character that cannot be printed in it: 'a\\x00b'"),
        ("x" * 257, "", f"ID 1 of 1 is longer than 256 bytes: '{'x' * 60}...'"),
        ("é" * 129, "", "ID 1 of 1 is longer than 256 bytes: '\\xe9"),
    ],
)
def test_bodies_that_have_none(client: Client, seen: Seen, body: str | bytes, kind: str, expected: str) -> None:
    """One line says what is wrong, and nothing of the request is an effect."""
    answer = client.post(body, Content_Type=kind)
    assert answer.status == 400
    assert answer.text.startswith(expected)
    assert answer.text.count("\n") == 1
    assert seen() == []


def test_what_it_is(client: Client) -> None:
    """Whoever opens it in a browser is told; whoever posts elsewhere, or not at all, too."""
    assert client.post("", method="GET").text.startswith("This is the effects sink of ordershop-bench")
    assert client.post("", method="HEAD") == Said(200, "")
    assert client.post("a", "/effects") == Said(404, "nothing is here: POST to / and not to '/effects'\n")
    assert client.post("a", method="PUT") == Said(405, "POST the IDs, not PUT\n")
    assert client.post("a", "/?from=me").status == 200


_HEAD = b"POST / HTTP/1.1\r\nHost: sink\r\n"
_OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nUpgrade: h2c\r\n"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(_HEAD + b"Content-Length: 1\r\n\r\na", ["a"], id="content-length"),
        pytest.param(
            _HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n1;x=y\r\nb\r\n0\r\nTrailer: t\r\n\r\n",
            ["a", "b"],
            id="chunked",
        ),
        pytest.param(b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\na", ["a"], id="1.0"),
        pytest.param(_HEAD + _OFFER + b"Content-Length: 1\r\n\r\na", ["a"], id="h2c"),
        pytest.param(
            _HEAD + _OFFER + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", ["a"], id="h2c, chunked"
        ),
        pytest.param(b"\r\n" + _HEAD + b"content-LENGTH:1\r\n\r\na", ["a"], id="as it may be written"),
        pytest.param(b"POST http://sink/ HTTP/1.1\r\nHost: sink\r\nContent-Length: 1\r\n\r\na", ["a"], id="proxy"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1_000])
def test_requests_as_they_come(sink: Sink, seen: Seen, sent: bytes, expected: list[str], piece: int) -> None:
    """Whole or byte by byte, whatever tells the end of the body; an offer of h2c is not taken up."""
    with socket.create_connection(("127.0.0.1", sink.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin in range(0, len(sent), piece):
            connection.sendall(sent[begin : begin + piece])
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert seen() == expected


def test_many_requests_at_once(sink: Sink, seen: Seen) -> None:
    """Pipelined requests are answered in their order, each once, also behind an offer of h2c."""
    requests = [_HEAD + b"Content-Length: 4\r\n\r\n%04d" % number for number in range(5_000)]
    requests[0] = _HEAD + _OFFER + b"Content-Length: 4\r\n\r\n0000"
    requests[1] = _HEAD + b"Content-Length: 3\r\n\r\na b"
    with socket.create_connection(("127.0.0.1", sink.port), timeout=20) as connection:
        connection.sendall(b"".join(requests))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while received := connection.recv(65_536):
            answer += received
    assert answer.count(b"HTTP/1.1 200 OK") == 4_999
    assert answer.index(b"HTTP/1.1 400") == answer.index(b"accepted 1\n") + len(b"accepted 1\n")
    assert seen() == [f"{number:04d}" for number in range(5_000) if number != 1]


def test_a_client_that_does_not_read(sink: Sink, client: Client) -> None:
    """It is not read from any more, and others are served; what it has asked is answered when it reads again."""
    request = _HEAD + b"Content-Length: 1\r\n\r\n?"
    with socket.create_connection(("127.0.0.1", sink.port), timeout=0.5) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        sent = _until_it_is_blocked(deaf, request * 1_000)
        assert client.post("other").status == 200
        deaf.settimeout(20)
        deaf.shutdown(socket.SHUT_WR)
        answers = bytearray()
        while received := deaf.recv(1 << 20):
            answers += received
    assert answers.count(b"accepted 1\n") == sent // len(request)


def _until_it_is_blocked(connection: socket.socket, lump: bytes) -> int:
    """Send without an end; how many bytes went out before nobody took any more."""
    sent = 0
    while sent < 20_000_000:
        try:
            # A lump goes out in pieces: it begins where the one before was cut.
            begin = sent % len(lump)
            sent += connection.send(lump[begin:])
        except TimeoutError:
            return sent
    raise AssertionError(f"{sent} bytes were taken of a client that reads no answer")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (_HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\na", b"Connection: close\r\n"),
        (b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\na", b"Connection: close\r\n"),
        (
            _HEAD + b"Connection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\na",
            b"Connection: close\r\n",
        ),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed\r\n"),
        (_HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (_HEAD + b"X: " + b"x" * 100_000, b"HTTP/1.1 431 "),
        (_HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde", b"HTTP/1.1 415 "),
    ],
)
def test_connections_that_end(sink: Sink, sent: bytes, expected: bytes) -> None:
    """The sink ends them by itself after its answer."""
    assert expected in raw(sink, sent, ends=False)


def test_old_clients_can_keep_a_connection(sink: Sink) -> None:
    """In HTTP/1.0 that has to be asked for, and is answered."""
    request = b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na"
    assert raw(sink, request * 2).count(b"Connection: keep-alive\r\n") == 2


def test_a_client_that_waits_to_be_told_to_go_on(sink: Sink, seen: Seen) -> None:
    """`Expect: 100-continue` is answered before the body, and a body that is too large is not asked for."""
    with socket.create_connection(("127.0.0.1", sink.port), timeout=20) as connection:
        for _ in range(2):
            connection.sendall(_HEAD + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
            assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"a")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")
        connection.sendall(_HEAD + b"Expect: 100-continue\r\nContent-Length: 5000000\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")
        assert connection.recv(65_536) == b""
    assert seen() == ["a", "a"]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_huge_body(sink: Sink, seen: Seen, is_chunked: bool) -> None:
    """It is refused without being taken in, and the client can read that though it is still sending."""
    body = b"x\n" * (MAX_BODY_BYTES // 2 + 1)
    if is_chunked:
        sent = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        sent = _HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    answer = raw(sink, sent)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"the body is larger than 4194304 bytes\n")
    assert seen() == []


def test_the_largest_body(client: Client, seen: Seen) -> None:
    """One byte less than too much is read."""
    ids = [f"{number:07d}" for number in range(MAX_BODY_BYTES // 8)]
    assert client.post("\n".join(ids) + "\n").status == 200
    assert seen()[:1_000] == ids[:1_000]


def test_half_a_request_is_no_attempt(sink: Sink, seen: Seen) -> None:
    """A client that is killed in the middle of its body has asked for nothing."""
    assert raw(sink, _HEAD + b"Content-Length: 2\r\n\r\na") == b""
    assert seen() == []


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_curl(sink: Sink, seen: Seen, tmp_path: Path) -> None:
    """It waits for 100-continue where the body is large, and calls all a form."""
    file = tmp_path / "ids"
    file.write_text("".join(f"large-{number}\n" for number in range(100_000)))
    for arguments in (
        ["-d", '["a"]'],
        ["--data-binary", f"@{file}"],
        ["-0", "-d", "old"],
        ["--http2", "-d", "new"],
    ):
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "20", *arguments, sink.url], capture_output=True, check=True
        )
        assert done.stdout.startswith(b"accepted ")
    until(lambda: seen()[:2] == ["a", "large-0"], "they are effects")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="there is no Java")
def test_java(sink: Sink, seen: Seen, tmp_path: Path) -> None:
    """Its HttpClient offers h2c with its first request, body and all, and takes HTTP/1.1."""
    program = tmp_path / "Post.java"
    program.write_text(
        textwrap.dedent(
            """
            import java.net.URI;
            import java.net.http.*;
            import java.time.Duration;
            public class Post {
              public static void main(String[] a) throws Exception {
                var client = HttpClient.newHttpClient();
                for (int i = 0; i < 3; i++) {
                  var request = HttpRequest.newBuilder(URI.create(a[0])).expectContinue(i == 2)
                    .timeout(Duration.ofSeconds(20))
                    .POST(HttpRequest.BodyPublishers.ofString("[\\"java-" + i + "\\"]")).build();
                  System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
                }
              }
            }
            """
        )
    )
    done = subprocess.run(["java", str(program), sink.url], capture_output=True, check=True, timeout=120)
    assert done.stdout.split() == [b"200"] * 3
    assert seen() == ["java-0", "java-1", "java-2"]


_texts = st.lists(
    st.text(st.sampled_from('aZ09-_.:é\u00a0\u2028\x7f \t\n"\\😀'), max_size=4) | st.just("é" * 129), max_size=4
)


@given(_texts)
def test_an_id_is_taken_or_not_whatever_it_comes_with(texts: list[str]) -> None:
    """A list of IDs is taken just when each of them is by itself, and comes out as it was."""

    def is_taken(ids: list[str]) -> bool:
        try:
            return ids_in(msgspec.json.encode(ids)) == ids
        except UnreadableError:
            return False

    plain = [
        0 < len(text.encode()) <= MAX_ID_BYTES and text.isprintable() and not any(map(str.isspace, text))
        for text in texts
    ]
    assert [is_taken([text]) for text in texts] == plain
    assert is_taken(texts) == all(plain)
