"""TLS as an address says: every way of connecting takes the same options, on a real server that speaks TLS."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from harness.host.clock import SystemClock
from harness.load.pacing import constant
from harness.load.pump_process import PumpProcess
from harness.load.settings import PumpError, PumpSettings
from harness.load.workload import StampedCommand, placeholder
from harness.nemesis.proxy import Proxy
from harness.server.dial import DialError, open_socket
from harness.server.open import open_server
from harness.server.server import ServerError, client_for
from harness.server.tls import tls_context
from harness.server.url import ServerUrl
from ordershop.event_store import connect
from ordershop.resp import LostError, Resp
from ordershop.supervisor import free_port
from tests.waiting import until

SERVER, OPENSSL = shutil.which("redis-server"), shutil.which("openssl")
pytestmark = pytest.mark.skipif(
    SERVER is None or OPENSSL is None,
    reason="wants a redis-server with TLS, which the embedded Valkey is not, and openssl",
)
PASSWORD = "s3cret key"


class Files(NamedTuple):
    """An authority; a server's certificate, which is for another host; and a client's, whose key is encrypted."""

    authority: Path
    hashed: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]


def _openssl(*arguments: str | Path) -> str:
    command = [str(OPENSSL), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Certificates, made for this module."""
    where = tmp_path_factory.mktemp("tls")
    authority, authority_key = where / "ca.pem", where / "ca.key"
    new = ("-newkey", "rsa:2048", "-days", "2")
    _openssl("req", "-x509", *new, "-nodes", "-subj", "/CN=authority", "-keyout", authority_key, "-out", authority)
    made = []
    for name, key_is in (("server", ("-nodes",)), ("client", ("-passout", f"pass:{PASSWORD}"))):
        key, certificate = where / f"{name}.key", where / f"{name}.pem"
        _openssl(
            *("req", "-x509", *new, *key_is, "-CA", authority, "-CAkey", authority_key, "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=DNS:db.example", "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", key, "-out", certificate),
        )
        made.append((certificate, key))
    hashed = where / "hashed"
    hashed.mkdir()
    shutil.copy(authority, hashed / f"{_openssl('x509', '-hash', '-noout', '-in', authority)}.0")
    return Files(authority, hashed, made[0], made[1])


@pytest.fixture(scope="module")
def port(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server that speaks TLS 1.2 alone, and wants a client's certificate."""
    where, port = tmp_path_factory.mktemp("server"), free_port()
    log = where / "server.log"
    command = [str(SERVER), "--port", "0", "--tls-port", str(port), "--dir", str(where), "--logfile", str(log)]
    command += ["--tls-cert-file", str(files.server[0]), "--tls-key-file", str(files.server[1])]
    command += ["--tls-ca-cert-file", str(files.authority), "--tls-protocols", "TLSv1.2", "--save", ""]
    command += ["--requirepass", "pw"]
    with subprocess.Popen(command) as process:
        try:
            until(lambda: process.poll() is not None or (log.exists() and "Ready" in log.read_text()), "a start")
            if process.poll() is not None:
                pytest.skip(f"{SERVER} was built without TLS")
            yield port
        finally:
            process.kill()


def by_probe(url: str) -> None:
    with client_for(url) as client:
        client.ping()


def by_store(url: str) -> None:
    with connect(url) as client:
        client.ping()


def by_socket(url: str) -> None:
    with open_socket(url) as opened:
        opened.sendall(b"PING\r\n")
        assert opened.recv(100) == b"+PONG\r\n"


def by_asyncio_store(url: str) -> None:
    async def ping() -> None:
        resp = Resp(url)
        try:
            assert await resp.call("PING") == b"PONG"
        finally:
            await resp.close()

    asyncio.run(ping())


def by_pump(url: str) -> None:
    pump = PumpProcess(
        PumpSettings(url=url), constant(100, 0.1), StampedCommand("ping", ["ECHO", placeholder(1)], 1)
    )
    try:
        pump.wait_until_ready()
    finally:
        pump.close()


WAYS = [by_probe, by_store, by_socket, by_asyncio_store, by_pump]
# TLS that cannot be is a ValueError in both houses.
REFUSALS = (redis.RedisError, ServerError, DialError, LostError, ValueError, OSError, PumpError)


def options_of(files: Files) -> dict[str, str]:
    """All that this server wants."""
    return {
        "ssl_ca_certs": str(files.authority),
        "ssl_check_hostname": "false",
        "ssl_certfile": str(files.client[0]),
        "ssl_keyfile": str(files.client[1]),
        "ssl_password": PASSWORD,
    }


def url_of(port: int, options: dict[str, str]) -> str:
    """An address with these options, raw as a user types them."""
    return f"rediss://:pw@127.0.0.1:{port}?" + "&".join(f"{name}={value}" for name, value in options.items())


# What differs from `options_of`; None: left out. Words in capitals stand for a file, or its text.
Changes = dict[str, str | None]
GOOD: dict[str, Changes] = {
    "a certificate for another name, unchecked": {},
    "a certificate for its name": {"ssl_check_hostname": None, "ssl_server_hostname": "db.example"},
    "authorities in a directory": {"ssl_ca_certs": None, "ssl_ca_path": "HASHED"},
    "an authority in the URL": {"ssl_ca_certs": None, "ssl_ca_data": "PEM"},
    "no check at all": {"ssl_ca_certs": None, "ssl_cert_reqs": "none", "ssl_check_hostname": None},
    "a version": {"ssl_min_version": "771"},
    "ciphers": {"ssl_ciphers": "ECDHE-RSA-AES256-GCM-SHA384"},
    "a flag": {"ssl_include_verify_flags": "VERIFY_X509_TRUSTED_FIRST"},
    "no flag": {"ssl_exclude_verify_flags": "[VERIFY_X509_STRICT]"},
    "where ours win": {"protocol": "3", "decode_responses": "True"},
}
BAD: dict[str, Changes] = {
    "a certificate for another name": {"ssl_check_hostname": None},
    "another authority": {"ssl_ca_certs": "CLIENT"},
    "no authority": {"ssl_ca_certs": None},
    "no certificate of the client": {"ssl_certfile": None, "ssl_keyfile": None, "ssl_password": None},
    "a newer version": {"ssl_min_version": "772"},
    "ciphers that the server lacks": {"ssl_ciphers": "ECDHE-ECDSA-AES128-SHA"},
    "a wrong password of the key": {"ssl_password": "s3cret wrong"},
    "no password of the key": {"ssl_password": None},
    "a file that is not there": {"ssl_ca_certs": "/nowhere/s3cret.pem"},
    "ciphers that there are not": {"ssl_ciphers": "s3cret"},
    "a key without a certificate": {"ssl_certfile": None},
    "an authority that is none": {"ssl_ca_certs": None, "ssl_ca_data": "s3cret"},
}


def changed(files: Files, changes: Changes) -> dict[str, str]:
    """The options that are wanted, with some others."""
    pem = files.authority.read_text().replace("+", "%2B").replace("\n", "%0A")
    stand_for = {"HASHED": str(files.hashed), "CLIENT": str(files.client[0]), "PEM": pem}
    wanted = {**options_of(files), **changes}
    return {name: stand_for.get(value, value) for name, value in wanted.items() if value is not None}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", GOOD)
def test_what_one_way_takes_all_take(way: Callable[[str], None], case: str, files: Files, port: int) -> None:
    """Each option that redis-py has leads to the same connection, whoever makes it."""
    way(url_of(port, changed(files, GOOD[case])))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", BAD)
def test_what_one_way_refuses_all_refuse(way: Callable[[str], None], case: str, files: Files, port: int) -> None:
    """In one line, in which no secret stands, and without asking at a terminal."""
    with pytest.raises(REFUSALS) as raised:
        way(url_of(port, changed(files, BAD[case])))
    assert "\n" not in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_server_under_test_with_tls(files: Files, port: int) -> None:
    """It is opened as any other at a URL, and its record names no file, no user and no password."""
    with open_server(url_of(port, options_of(files)), SystemClock()) as server:
        described = str(server.describe())
    assert PASSWORD not in described
    assert str(files.authority) not in described
    assert f"rediss://***@127.0.0.1:{port}?ssl_ca_certs=***&ssl_check_hostname=false" in described


@pytest.mark.parametrize("way", WAYS)
def test_through_a_proxy_the_certificate_is_still_the_servers(
    way: Callable[[str], None], files: Files, port: int
) -> None:
    """The way leads to 127.0.0.1, and the name that is proven is that of the server behind it."""
    options = changed(files, {"ssl_check_hostname": None, "ssl_server_hostname": "db.example"})
    with Proxy(port) as proxy:
        way(ServerUrl(url_of(port, options)).through(proxy.port).unmasked)
        assert proxy.counts().connections >= 1


def test_a_context_is_as_strict_as_redis_py_makes_it() -> None:
    """Without an option: a certificate that an authority vouches for, and for that host."""
    context = tls_context({})
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
    # Some systems leave the oldest version that is allowed to OpenSSL's own configuration.
    assert context.minimum_version == ssl.create_default_context().minimum_version
