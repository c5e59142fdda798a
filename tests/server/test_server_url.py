"""The address of a server: what it is read as, what may be told of it, and that both houses have the same one."""

from __future__ import annotations

import argparse
import asyncio
import base64
import copy
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
import redis
import redis.connection
from hypothesis import given
from hypothesis import strategies as st

from harness.server import options as harness_options
from harness.server.named import VARIABLE, environment_for, server_named
from harness.server.own import OwnServer
from harness.server.server import client_for
from harness.server.url import ServerUrl, UrlError, address_given, without_secrets
from ordershop.event_store import EventStore, StoreError, connect
from ordershop.resp import ReplyError, Resp
from ordershop.server.url import ServerUrl as ShopsUrl
from ordershop.services.store_option import add_store_option

ROOT = Path(__file__).parents[2]
# Everything that can be sent: no halves of characters.
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
# Long ones with pieces that stand in no message of ours.
SECRETS = st.text(st.sampled_from("ŻqßQ@/#?&=%:;+ []\\\"'\n\t€"), min_size=8, max_size=40)
FREE = sorted(name for name, kind in harness_options.OPTIONS.items() if kind is harness_options.TEXT)


def written(user: str, password: str, others: dict[str, str]) -> str:
    """A URL that means just that, escaped."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in others.items())
    return f"rediss://{quote(user, safe='')}:{quote(password, safe='')}@db.example:7000/15?{query}"


def others_of(secret: str) -> dict[str, str]:
    """Each option of free text."""
    return {name: secret for name in FREE if name not in {"username", "password"}}


@pytest.mark.parametrize("name", ["url.py", "options.py", "tls.py"])
def test_both_houses_have_the_same(name: str) -> None:
    """What the shop reads of an address is what the instrument reads of it, byte for byte."""
    assert (ROOT / "harness/server" / name).read_bytes() == (ROOT / "ordershop/server" / name).read_bytes()


def test_an_address_goes_from_one_house_to_the_other() -> None:
    """The instrument's address is taken by the shop, and the other way round."""
    url = ServerUrl("rediss://ada:p%40ss@h:1/2?ssl_check_hostname=no")
    assert ServerUrl(ShopsUrl(url)) == url


# What redis-py can be given as an object only, or is its own business.
OBJECTS = {
    *(
        "self",
        "kwargs",
        "connection_class",
        "cache_factory",
        "maint_notifications_config",
        "parser_class",
        "retry",
    ),
    *("driver_info", "redis_connect_func", "credential_provider", "command_packer", "event_dispatcher"),
    *("maint_notifications_pool_handler", "maintenance_state", "maintenance_notification_hash"),
    *("orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout", "himport_registry"),
    *("oss_cluster_maint_notifications_handler", "socket_keepalive_options", "socket_type", "connection_kwargs"),
    # These stand in front of the query.
    *("host", "port", "path"),
}


def redis_options() -> Iterator[str]:
    """Every name that redis-py takes of a URL."""
    yield from redis.connection.URL_QUERY_ARGUMENT_PARSERS
    for kind in (
        redis.connection.AbstractConnection,
        redis.connection.Connection,
        redis.connection.SSLConnection,
        redis.connection.UnixDomainSocketConnection,
        redis.ConnectionPool,
    ):
        yield from inspect.signature(kind.__init__).parameters


def test_every_option_of_redis_py_is_known() -> None:
    """Each is used, or ours wins, or it is refused by name; a new one fails here, and is thought about."""
    known = {*harness_options.OPTIONS, *harness_options.OURS_WIN, *harness_options.REFUSED, *OBJECTS}
    assert set(redis_options()) - known == set()


@given(TEXTS, TEXTS, TEXTS)
def test_what_is_read_is_what_was_written(user: str, password: str, value: str) -> None:
    """Any user, password and option come through, and redis-py reads the same from what we hand on."""
    url = ServerUrl(written(user, password, others_of(value)))
    expected = {"username": user, "password": password, "db": 15, **others_of(value)}
    assert url.options == expected
    read = redis.connection.parse_url(url.unmasked)
    assert {name: read[name] for name in expected} == expected
    assert (read["host"], read["port"]) == (url.host, url.port) == ("db.example", 7000)
    assert copy.deepcopy(url) == url == ServerUrl(url.unmasked)
    assert pickle.loads(pickle.dumps(url)) == url  # noqa: S301 - made a moment ago
    auth, name, select = url.greeting()
    assert (auth, name, select) == (("AUTH", user, password), ("CLIENT", "SETNAME", value), ("SELECT", "15"))


@given(TEXTS, TEXTS, TEXTS)
def test_as_text_it_does_not_depend_on_a_secret(user: str, password: str, value: str) -> None:
    """Two URLs that differ in secrets alone are the same text, however they become one: so none can be in it."""
    url, other = (
        ServerUrl(written(*which)) for which in [(user, password, others_of(value)), ("u", "p", others_of("x"))]
    )
    for as_text in (str, repr, "{}".format, "{:>90}".format, lambda it: f"{it} {it!r}", lambda it: str([it])):
        assert as_text(url) == as_text(other)
        assert as_text(url.through(7)).replace("127.0.0.1:7", "") == as_text(other.through(7)).replace(
            "127.0.0.1:7", ""
        )
    assert str(UrlError(url)) == str(UrlError(other))


def forms_of(secret: str) -> set[str]:
    """How a secret may stand somewhere: raw, escaped, in base64, and each piece of eight of these."""
    whole = {secret, quote(secret, safe=""), quote(secret), repr(secret)[1:-1]}
    whole.add(base64.b64encode(secret.encode()).decode())
    return {form[at : at + 8] for form in whole for at in range(max(1, len(form) - 7))}


def as_told(text: str) -> list[str]:
    """What an address says of itself, or why it is none, with what a traceback would show."""
    try:
        url = ServerUrl(text)
    except UrlError as error:
        return [str(error), repr(error), *([] if error.__suppress_context__ else [repr(error.__context__)])]
    return [str(url), repr(url), str([url])]


@given(
    SECRETS,
    st.sampled_from(
        [
            *("redis://:{}@h:1/2", "rediss://{}:pw@h", "redis://{}@h", "redis://h?password={}", "redis://[{}]"),
            *("redis://h/3?username=u&password={}", "rediss://h?ssl_password={}", "unix://u:{}@/tmp/s.sock"),
            *(
                "redis://h/{}",
                "redis://:{}",
                "redis://h?{}=1",
                "{}://h",
                "redis://h:{}",
                ":{}@h",
                "redis://h?db={}",
            ),
            *("redis://u:1?client_name={}@h", "http://u:{}@h/x"),
        ]
    ),
)
def test_no_piece_of_a_raw_secret_is_told(secret: str, pattern: str) -> None:
    """Wherever any secret stands raw, what is said of the text holds no piece of it: if it is read, or refused."""
    text = pattern.format(secret)
    told = [without_secrets(text), without_secrets(f"--server={text}"), *as_told(text)]
    assert all("\n" not in each for each in told)
    for form in forms_of(secret):
        assert all(form not in each for each in told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("redis://127.0.0.1:6379/2", "redis://127.0.0.1:6379/2"),
        ("redis://127.0.0.1", "redis://127.0.0.1:6379"),
        ("redis://:pw@h:1/2", "redis://***@h:1/2"),
        ("redis://bob@h:1", "redis://***@h:1"),
        ("rediss://user:p@ss@h:1", "rediss://***@h:1"),
        ("redis://:my pass@h:1", "redis://***@h:1"),
        ("redis://h:1?password=my pass", "redis://***@h:1"),
        ("redis://h:1?password=p@ss", "redis://***"),
        ("redis://:pa/ss@h", "redis://***"),
        ("redis://:pa#ss@h", "redis://***"),
        ("redis://:pa?ss@h", "redis://***"),
        ("redis://:pw@[::1", "redis://***"),
        ("redis://[::1]:7/2", "redis://[::1]:7/2"),
        ("rediss://h:1?ssl_password=pw&ssl_cert_reqs=none", "rediss://h:1?ssl_password=***&ssl_cert_reqs=none"),
        ("redis://h:1?protocol=3&socket_timeout=2", "redis://h:1?socket_timeout=2"),
        ("unix://u:pw@/tmp/s.sock?db=3", "unix://***@/tmp/s.sock?db=3"),
        ("http://u:pw@h", "http://***"),
        ("http://127.0.0.1:5000/x", "http://127.0.0.1:5000/x"),
        ("embedded", "embedded"),
        ("rate_per_s=5", "rate_per_s=5"),
        ("/usr/bin/redis-server", "/usr/bin/redis-server"),
        (":pw@h", "***"),
    ],
)
def test_a_word_of_a_command_line_as_it_is_recorded(text: str, told: str) -> None:
    """What is no secret stays readable, alone or behind the name of an option."""
    assert without_secrets(text) == told
    assert without_secrets(f"--server={text}") == f"--server={told}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("redis://127.0.0.1:7101/abc", "behind the / stands the number of a database"),
        ("redis://127.0.0.1:7101/-1", "behind the / stands the number of a database"),
        ("redis://127.0.0.1:7101/1/2", "behind the / stands the number of a database"),
        ("redis://h/1?db=2", "db is given twice"),
        ("redis://:a@h?password=b", "password is given twice"),
        ("redis://h:0", "a port is a number from 1 to 65535"),
        ("redis://h?client_nam=x", "perhaps client_name"),
        ("redis://h?host=x", "it has an option that there is not"),
        ("redis://h?socket_timeout=nan", "socket_timeout is a number of seconds above 0"),
        ("rediss://h?ssl_check_hostname=maybe", "ssl_check_hostname is true or false"),
        ("rediss://h?ssl_cert_reqs=some", "ssl_cert_reqs is none, optional or required"),
        ("rediss://h?ssl_min_version=1.2", "ssl_min_version is the number of a TLS version"),
        ("rediss://h?ssl_validate_ocsp=true", "ssl_validate_ocsp cannot be kept here"),
        ("redis://h?ssl_ca_certs=ca.pem", "options of TLS want a URL that begins with rediss://"),
        ("redis://:p\nw@h", "it holds a control character"),
        ("redis://:%FF@h", "an escape like %FF is not UTF-8"),
        ("unix://", "a Unix socket is written as unix:///path"),
        ("unix://tmp/s", "a Unix socket is written as unix:///path"),
        ("valkey://h", "it begins with redis://, rediss:// or unix://"),
        ("", "it begins with redis://, rediss:// or unix://"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(text: str, why: str) -> None:
    """In one line that says what is wrong."""
    with pytest.raises(UrlError, match="not the URL of a Redis server") as raised:
        ServerUrl(text)
    assert why in str(raised.value)


def test_a_clients_own_ways_are_ours() -> None:
    """Options that other programs want of the same URL change nothing here."""
    text = "protocol=3&decode_responses=True&retry_on_timeout=yes&max_connections=3&encoding=latin-1&timeout=1"
    assert ServerUrl(f"redis://h:1/2?{text}") == ServerUrl("redis://h:1/2")


def test_another_way_loses_nothing() -> None:
    """Through a proxy user, password, database and all options are the same; and so is the name that is proven."""
    url = ServerUrl("rediss://ada:p%40ss@db.example:6380/15?ssl_ca_certs=ca.pem&client_name=a&socket_timeout=2")
    through = url.through(40123)
    assert (through.host, through.port, through.server_hostname) == ("127.0.0.1", 40123, "db.example")
    assert through.greeting() == url.greeting()
    assert through.options == {**url.options, "ssl_server_hostname": "db.example"}
    assert ServerUrl(through.unmasked) == through
    assert through.through(7).server_hostname == "db.example"
    with pytest.raises(UrlError, match="a Unix socket cannot be reached through a TCP port"):
        ServerUrl("unix:///tmp/s.sock").through(1)


def test_it_is_recorded_by_nobody() -> None:
    """What writes records does not take it, masked or not: who wants its text asks for that."""
    for encode in (msgspec.json.encode, msgspec.msgpack.encode):
        with pytest.raises(TypeError) as raised:
            encode({"url": ServerUrl("redis://:s3cret@h")})
        assert "s3cret" not in str(raised.value)


def test_an_error_of_a_server_that_names_the_user() -> None:
    """Newer servers say whom they refuse; that is left out, and the rest stays."""
    url = ServerUrl("redis://ada:s3cret%2F@h")
    text = "NOPERM User ada has no permissions to run the 'info' command; adamant, s3cret/, s3cret%2F"
    assert url.masked(text) == "NOPERM User *** has no permissions to run the 'info' command; adamant, ***, ***"


# Who names it ----------------------------------------------------------------------------------------------


def test_an_option_goes_before_a_file_and_a_file_before_the_environment(tmp_path: Path) -> None:
    """One of them names the server; an option and a file together are a mistake."""
    file = tmp_path / "server"
    file.write_text("  redis://:s3cret@in-a-file\n")
    around = {VARIABLE: "redis://around"}
    assert server_named(None, None, {}) == "embedded"
    assert server_named(None, None, {VARIABLE: ""}) == "embedded"
    assert server_named(None, None, around) == ServerUrl("redis://around")
    assert server_named(None, file, around) == ServerUrl("redis://:s3cret@in-a-file")
    assert server_named("/bin/redis", None, around) == "/bin/redis"
    with pytest.raises(UrlError, match="not by both"):
        server_named("embedded", file, {})


@pytest.mark.parametrize("content", [b"", b"\n", b"redis://a\nredis://b\n", b"\xff\xfe", b"x" * (2 << 20)])
def test_a_file_that_holds_no_address(tmp_path: Path, content: bytes) -> None:
    """Said in one line that names the file, and nothing of what is in it."""
    file = tmp_path / "server"
    file.write_bytes(content)
    with pytest.raises(UrlError, match=r"^/\S*/server: (holds one line|is no text)[^\n]*$"):
        address_given(None, file, {}, VARIABLE)
    with pytest.raises(UrlError, match=r"^/\S*/away: cannot be read \(No such file or directory\)$"):
        address_given(None, tmp_path / "away", {}, VARIABLE)


def test_a_process_of_ours_is_told_by_its_environment() -> None:
    """All of the address, for there nobody else can read it."""
    assert environment_for(ServerUrl("redis://:s3cret@h:1")) == {VARIABLE: "redis://:s3cret@h:1"}
    assert environment_for("embedded") == {VARIABLE: "embedded"}


def test_a_service_finds_its_store(capsys: pytest.CaptureFixture[str]) -> None:
    """By its command line, else by the environment, else not at all; what is wrong is told without it."""
    around = {"ORDERSHOP_SERVER": "redis://:around@h"}
    parsed = add_store_option(argparse.ArgumentParser(), around).parse_args([])
    assert parsed.server == ShopsUrl("redis://:around@h")
    parsed = add_store_option(argparse.ArgumentParser(), around).parse_args(["--server", "redis://given"])
    assert parsed.server == ShopsUrl("redis://given")
    for environment, arguments in [
        ({}, []),
        ({}, ["--server", "redis://:s3c/ret@h"]),
        ({"ORDERSHOP_SERVER": "s3cret@h"}, []),
    ]:
        with pytest.raises(SystemExit) as ended:
            add_store_option(argparse.ArgumentParser(), environment).parse_args(arguments)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "--server" in said
        assert "s3c" not in said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("NOPERM User ada has no permissions to run", "NOPERM User *** has no permissions to run"),
        ("NOPERM this user has no permissions to run", "NOPERM this user has no permissions to run"),
        (
            "ERR unknown 'AUTH', with args beginning with: 'a' 's\nt'",
            "ERR unknown 'AUTH', with args beginning with: ***",
        ),
        (
            "WRONGPASS invalid username-password pair or user is",
            "WRONGPASS invalid username-password pair or user is",
        ),
    ],
)
def test_what_a_server_quotes_when_it_refuses(said: str, told: str) -> None:
    """Whom it refuses, and with which arguments; the rest is told word by word."""
    assert harness_options.withheld(said) == told


def test_an_error_names_no_user_whoever_reads_it(own_server: OwnServer) -> None:
    """A server that says whom it refuses is quoted without that by every way of asking it."""
    with own_server.client() as client:
        client.acl_setuser("somebody", enabled=True, nopass=True, commands=["+ping", "+client"])
    url = f"redis://somebody@127.0.0.1:{own_server.port}"

    async def ask() -> None:
        resp = Resp(url)
        try:
            await resp.call("INFO")
        finally:
            await resp.close()

    told = []
    for way in (lambda: asyncio.run(ask()), client_for(url).info, connect(url).info):
        with pytest.raises((ReplyError, redis.ResponseError), match="has no permissions to run") as raised:
            way()
        told.append(str(raised.value))
    assert [each for each in told if "somebody" in each] == []
    store = EventStore(connect(url))
    with pytest.raises(StoreError) as refused:
        store.find_one("customer", "c")
    assert "somebody" not in str(refused.value)
    assert "no permissions" in str(refused.value)
