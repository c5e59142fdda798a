"""The shared connection: answers in order, bounded waits, and a way back."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ordershop.embedded import redis_service, wait_for_redis
from ordershop.event_store import connect
from ordershop.resp import LostError, ReplyError, Resp
from ordershop.supervisor import Supervisor, free_port
from tests.waiting import until


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Supervisor, str]]:
    """A Redis that a test may stop, kill and freeze, and its URL."""
    port = free_port()
    with Supervisor() as supervisor:
        supervisor.start(redis_service(port, tmp_path_factory.mktemp("redis")), wait=False)
        yield supervisor, wait_for_redis(supervisor, port)


def _with(url: str, work: Callable[[Resp], Awaitable[None]], timeout_s: float = 2.0) -> None:
    async def run() -> None:
        resp = Resp(url, timeout_s=timeout_s)
        try:
            await work(resp)
        finally:
            await resp.close()

    asyncio.run(run())


def test_each_caller_gets_his_own_answer(redis: tuple[Supervisor, str]) -> None:
    """A thousand calls at once share the connection, and each is answered with what it asked for."""

    async def work(resp: Resp) -> None:
        answers = await asyncio.gather(*(resp.call("ECHO", f"{i}" * (i % 50)) for i in range(1_000)))
        assert answers == [(f"{i}" * (i % 50)).encode() for i in range(1_000)]
        clients = await resp.call("CLIENT", "LIST")
        assert clients.count(b"\n") == 1

    _with(redis[1], work)


def test_a_cancelled_caller_does_not_shift_the_answers(redis: tuple[Supervisor, str]) -> None:
    """The answer that nobody waits for any more is read and dropped."""

    async def work(resp: Resp) -> None:
        await resp.call("PING")
        cancelled = asyncio.create_task(resp.call("ECHO", "first"))
        second = asyncio.create_task(resp.call("ECHO", "second"))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await second == b"second"

    _with(redis[1], work)


def test_commands_in_one_piece(redis: tuple[Supervisor, str]) -> None:
    """A transaction stays whole among the calls of others; the first error among its answers is raised."""

    async def work(resp: Resp) -> None:
        together = [("MULTI",), ("SET", "k", "1"), ("INCR", "k"), ("EXEC",)]
        answers = await asyncio.gather(*(resp.call_many(together) for _ in range(50)))
        assert all(answer[-1] == [b"OK", 2] for answer in answers)
        with pytest.raises(ReplyError, match="WRONGTYPE"):
            await resp.call_many([("SET", "k", "x"), ("LPUSH", "k", "1"), ("PING",)])
        assert await resp.call("PING") == b"PONG"

    _with(redis[1], work)


def test_no_answer(redis: tuple[Supervisor, str]) -> None:
    """A frozen server is given up after the bound, by all who wait; thawed, it is found again."""
    supervisor, url = redis

    async def work(resp: Resp) -> None:
        await resp.call("PING")
        supervisor.freeze("redis")
        failed = await asyncio.gather(*(resp.call("ECHO", i) for i in range(10)), return_exceptions=True)
        supervisor.thaw("redis")
        assert {str(error) for error in failed} == {"no answer after 0.3 s"}
        assert await resp.call("PING") == b"PONG"

    _with(url, work, timeout_s=0.3)


def test_a_killed_server_and_its_successor(redis: tuple[Supervisor, str]) -> None:
    """What waits fails at once; while nobody listens, so does every call; the next server is found."""
    supervisor, url = redis

    async def work(resp: Resp) -> None:
        await resp.call("PING")
        blocked = asyncio.create_task(resp.call("BLPOP", "nothing", 0))
        await asyncio.sleep(0)
        supervisor.kill("redis")
        with pytest.raises(LostError, match="the connection was lost"):
            await blocked
        failed = await asyncio.gather(*(resp.call("PING") for _ in range(100)), return_exceptions=True)
        assert {type(error) for error in failed} == {LostError}
        supervisor.start_again("redis", wait=False)
        wait_for_redis(supervisor, int(url.rpartition(":")[2]))
        await asyncio.sleep(0.15)  # the pause after the failed attempt, whose bound is 0.1 s
        assert await resp.call("PING") == b"PONG"

    _with(url, work, timeout_s=5)


def test_user_password_and_database(redis: tuple[Supervisor, str]) -> None:
    """The URL's user, password and database are used; a wrong password is said in words."""
    _, url = redis
    host = url.removeprefix("redis://")

    async def write(resp: Resp) -> None:
        await resp.call("SET", "where", "three")

    async def refused(resp: Resp) -> None:
        with pytest.raises(LostError, match="refused the connection: WRONGPASS"):
            await resp.call("PING")

    with connect(url) as admin:
        admin.execute_command("ACL", "SETUSER", "ada", "on", ">secret", "~*", "+@all")
        _with(f"redis://ada:secret@{host}/3", write)
        _with(f"redis://ada:wrong@{host}/3", refused)
    with connect(f"{url}/3") as third:
        assert third.get("where") == b"three"


@asynccontextmanager
async def _server(answer: bytes) -> AsyncIterator[int]:
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        try:
            while await reader.read(4096):
                pass
        except ConnectionError:
            pass
        writer.close()
        done.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await done.wait()


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n"])
def test_a_server_that_is_none(said: bytes) -> None:
    """Bytes that are no RESP, or that nobody asked for, end the connection and are said to be wrong."""

    async def run() -> None:
        async with _server(said) as port:
            resp = Resp(f"redis://127.0.0.1:{port}", timeout_s=0.3)
            with pytest.raises(LostError):
                await resp.call_many([("PING",), ("PING",)])
            await resp.close()

    asyncio.run(run())


def _listens(path: Path) -> bool:
    """Whether somebody listens there; a server's file is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def test_unix_and_tls(tmp_path: Path) -> None:
    """`unix://` and `rediss://` lead to the same server as `redis://`."""
    program, openssl = shutil.which("redis-server"), shutil.which("openssl")
    if program is None or openssl is None:
        pytest.skip("needs a redis-server with TLS, and openssl")
    key, certificate, path = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "s"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1", "-days", "1", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    port = free_port()
    server = subprocess.Popen(
        [program, "--port", "0", "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file",
         str(key), "--tls-auth-clients", "no", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip

    async def ping(resp: Resp) -> None:
        assert await resp.call("PING") == b"PONG"

    async def refused(resp: Resp) -> None:
        with pytest.raises(LostError, match="certificate"):
            await resp.call("PING")

    try:
        until(lambda: _listens(path) or server.poll() is not None, "the server listens")
        if server.poll() is not None:
            pytest.skip("this redis-server has no TLS")
        _with(f"unix://{path}", ping)
        _with(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}", ping)
        _with(f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none", ping)
        _with(f"rediss://127.0.0.1:{port}", refused)
    finally:
        server.terminate()
        server.wait()
