"""The lock of somebody else's database: it lives as long as its run, and only that long."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from harness.host.clock import SystemClock, VirtualClock
from harness.host.process_identity import is_provably_dead, this_process
from harness.server.foreign import ForeignServer
from harness.server.lock import HeldError, Lock, NoLockError
from harness.server.namespace import LOCK, MARKER, NAMESPACE
from harness.server.open import open_server
from harness.server.own import OwnServer
from harness.server.server import ServerError, client_for
from tests.stores import PROGRAMS, open_own
from tests.waiting import in_threads, until


@pytest.fixture(params=PROGRAMS)
def their_server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    """Every server that is found here, in turn, for one test; it stands for somebody else's."""
    with open_own(request.param) as one:
        yield one


@pytest.fixture
def client(own_server: OwnServer) -> Iterator[redis.Redis]:
    with own_server.client() as one:
        yield one


def allow(server: OwnServer, *rules: str) -> str:
    """Make a user with some rights; the URL with which they come."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rules)
    return str(server.url).replace("//", "//app:pw@")


# One run at a time -------------------------------------------------------------------------------------------


def test_the_lock_outlives_idle_connections(their_server: OwnServer) -> None:
    """A server that ends idle connections does not free the lock: a second run is refused, keys stay."""
    with their_server.client() as admin:
        admin.config_set("timeout", 1)
        with ForeignServer(their_server.url) as first:
            admin.set(f"{NAMESPACE}mine", "x")
            until(lambda: len(admin.client_list()) == 1, "the end of every idle connection")
            with pytest.raises(ServerError, match="another run of shopbench"):
                ForeignServer(their_server.url)
            assert admin.get(f"{NAMESPACE}mine") == b"x"
            assert first.lock_said == "held"
        assert admin.dbsize() == 0


@pytest.mark.parametrize("rules", [("+@all", "-client"), ("+@all", "-@dangerous")])
def test_who_may_not_run_client_has_a_lock(own_server: OwnServer, rules: tuple[str, ...]) -> None:
    """The lock needs no CLIENT, and nothing else that is called dangerous."""
    url = allow(own_server, "~*", "&*", *rules)
    with ForeignServer(url), pytest.raises(ServerError, match="another run of shopbench"):
        ForeignServer(url)


def test_a_renamed_client_is_not_missed() -> None:
    """On a server whose CLIENT has another name a second run is refused."""
    with (
        _renamed("CLIENT") as server,
        ForeignServer(server.url),
        pytest.raises(ServerError, match="another run of shopbench"),
    ):
        ForeignServer(server.url)


@contextlib.contextmanager
def _renamed(*commands: str) -> Iterator[OwnServer]:
    """A `redis-server` in which some commands have no name that anybody knows."""

    class Renaming(OwnServer):
        def _arguments(self) -> list[str]:
            return [*super()._arguments(), *(w for c in commands for w in ("--rename-command", c, f"X{c}X"))]

    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server here")
    with Renaming(Path(program), SystemClock()) as server:
        yield server


def _idle_for_two_seconds(server: OwnServer) -> str:
    with server.client() as admin:
        admin.config_set("timeout", 2)
    return str(server.url)


# How a server may be, and the address by which runs then come.
SERVERS: dict[str, Callable[[OwnServer], str]] = {
    "plain": lambda server: str(server.url),
    "timeout 2": _idle_for_two_seconds,
    "no CLIENT": lambda server: allow(server, "~*", "&*", "+@all", "-client"),
    "no scripts": lambda server: allow(server, "~*", "&*", "+@all", "-@scripting"),
    "no INFO, no UNLINK": lambda server: allow(server, "~*", "&*", "+@all", "-info", "-unlink"),
}


@pytest.mark.parametrize("kind", SERVERS)
def test_of_runs_that_begin_at_once_one_has_the_database(their_server: OwnServer, kind: str) -> None:
    """Four at the same moment, again and again: one holds it, the others are refused, and its keys stay."""
    url = SERVERS[kind](their_server)
    with their_server.client() as admin:
        for turn in range(3):
            began: list[ForeignServer] = []
            refused: list[str] = []

            def begin(_: int, began: list[ForeignServer] = began, refused: list[str] = refused) -> None:
                try:
                    began.append(ForeignServer(url))
                except ServerError as error:
                    refused.append(str(error))

            in_threads(4, begin)
            assert len(began) == 1
            assert ["another run of shopbench" in said for said in refused] == [True] * 3
            admin.set(f"{NAMESPACE}turn", turn)
            with pytest.raises(ServerError, match="another run of shopbench"):
                ForeignServer(url)
            assert admin.get(f"{NAMESPACE}turn") == b"%d" % turn
            began[0].close()
            assert admin.dbsize() == 0


@pytest.mark.parametrize(("first", "second"), [("plain", "no CLIENT"), ("no CLIENT", "plain"), ("plain", "plain")])
def test_whoever_comes_second_is_refused(own_server: OwnServer, first: str, second: str) -> None:
    """In either order, by users who may do different things; when the first has ended the second can begin."""
    urls = [SERVERS[kind](own_server) for kind in (first, second)]
    with own_server.client() as admin:
        admin.config_set("timeout", 2)
        with ForeignServer(urls[0]):
            admin.set(f"{NAMESPACE}mine", 1)
            with pytest.raises(ServerError, match="another run of shopbench"):
                ForeignServer(urls[1])
            assert admin.get(f"{NAMESPACE}mine") == b"1"
        with ForeignServer(urls[1]) as server:
            assert server.lock_said == "held"
            assert not admin.exists(f"{NAMESPACE}mine")


def test_a_foreign_key_keeps_every_run_out(own_server: OwnServer, client: redis.Redis) -> None:
    """Two that come to somebody's data are both refused, and it is as it was."""
    client.set("theirs", "precious")
    for _ in range(2):
        with pytest.raises(ServerError, match="a key that is not ours"):
            ForeignServer(own_server.url)
    assert client.keys() == [b"theirs"]


@pytest.mark.parametrize("missing", ["-set", "-get", "-expire"])
def test_where_no_lock_is_possible_that_is_said(own_server: OwnServer, missing: str) -> None:
    """A user who lacks what a lock needs can run, and the record says that nobody would be noticed."""
    url = allow(own_server, "~*", "&*", "+@all", missing)
    with open_server(url, SystemClock()) as server:
        said = server.describe()["lock"]
    assert said.startswith("none: ")
    assert missing[1:] in said
    assert "would not be noticed" in said


def test_the_lock_is_renewed_over_new_connections(own_server: OwnServer, client: redis.Redis) -> None:
    """Renewal goes on when every connection is ended again and again: the token outlives its time to live."""
    lock = Lock(lambda: client_for(own_server.url), LOCK, ttl_s=3, renew_s=0.1)
    lock.take()
    seconds = [client.time()[0]]
    while seconds[-1] - seconds[0] < 7:
        now = client.time()[0]
        if now > seconds[-1]:
            client.client_kill_filter(_type="normal", skipme=True)
            seconds.append(now)
        assert client.get(LOCK) is not None
    with client_for(own_server.url) as other:
        assert lock.is_ours(other)
        lock.give_back(other)
    assert client.exists(LOCK) == 0
    assert lock.doubt == ""


def test_a_lock_that_another_has_taken_is_not_given_back(own_server: OwnServer, client: redis.Redis) -> None:
    """Whoever was away too long removes neither the other's token nor any key, and says so."""
    first = ForeignServer(own_server.url)
    facts = first.describe()
    client.set(LOCK, "another's")
    client.set(f"{NAMESPACE}theirs", 1)
    first.close()
    assert client.get(LOCK) == b"another's"
    assert client.exists(f"{NAMESPACE}theirs") == 1
    assert "another run of shopbench has taken this database" in facts["left_behind"]


def test_a_lock_that_went_away_is_taken_again_and_doubted(own_server: OwnServer, client: redis.Redis) -> None:
    """A server that has lost its data has lost the token, too: taken again, and the record has the doubt."""
    lock = Lock(lambda: client_for(own_server.url), LOCK, ttl_s=30, renew_s=0.05)
    lock.take()
    client.delete(LOCK)
    until(lambda: client.exists(LOCK), "the lock is there again")
    until(lambda: lock.doubt, "the doubt")
    lock.give_back(client)
    assert "may have used" in lock.doubt


def test_a_lock_is_not_taken_from_whoever_cannot_be_seen(own_server: OwnServer, client: redis.Redis) -> None:
    """A token of another host, of another container, or that nobody can read, is one of a living run."""
    here = this_process()
    for owner in (
        msgspec.structs.replace(here, host="elsewhere", pid=1),
        msgspec.structs.replace(here, namespace="pid:[1]", pid=2**22 - 1),
        msgspec.structs.replace(here, boot="another", pid=2**22 - 1),
    ):
        client.set(LOCK, msgspec.json.encode({"owner": owner, "nonce": "x"}), ex=20)
        with pytest.raises(HeldError, match=r"gone in (19|20) s"):
            Lock(lambda: client_for(own_server.url), LOCK).take()
    client.set(LOCK, b"\xff")
    with pytest.raises(HeldError):
        Lock(lambda: client_for(own_server.url), LOCK).take()


def test_a_process_is_dead_when_its_id_is_another_ones() -> None:
    """The id lives, the start differs: whoever had it before is dead; this process is not."""
    here = this_process()
    assert not is_provably_dead(here)
    assert is_provably_dead(msgspec.structs.replace(here, started="1"))
    assert is_provably_dead(msgspec.structs.replace(here, pid=2**22 - 1))
    assert not is_provably_dead(msgspec.structs.replace(here, started=""))


def test_keys_are_removed_where_the_lock_was_evicted(own_server: OwnServer, client: redis.Redis) -> None:
    """A full server has removed the lock like any other key: nobody else came, so our keys go, with the doubt."""
    server = ForeignServer(own_server.url)
    facts = server.describe()
    client.set(f"{NAMESPACE}k", 1)
    client.delete(LOCK)
    server.close()
    assert client.dbsize() == 0
    assert "left_behind" not in facts
    assert "may have used" in facts["lock"]


# Killed runs -------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from harness.host.clock import SystemClock, VirtualClock
from harness.server.namespace import NAMESPACE
from harness.server.open import open_server

server = open_server(sys.argv[1], SystemClock())
with server.client() as client:
    client.mset({f"{NAMESPACE}k{i}": i for i in range(10)})
print("holds", flush=True)
time.sleep(3600)
"""


@contextlib.contextmanager
def holder(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the database of a URL, with ten keys of ours in it."""
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_next_run_cleans_after_one_that_was_killed(their_server: OwnServer) -> None:
    """SIGKILL in the middle: the next run on this host begins at once, and of both nothing is left."""
    with their_server.client() as admin:
        admin.select(3)
        admin.set("theirs", "precious")
        admin.select(0)
        with holder(str(their_server.url)) as process:
            with pytest.raises(ServerError, match=f"process {process.pid} on"):
                ForeignServer(their_server.url)
            process.kill()
            # Not waited for: a process that has ended and that nobody has reaped is dead, too.
            until(lambda: is_provably_dead(_owner(admin)), "the end of the process")
            with open_server(their_server.url, SystemClock()):
                assert set(admin.scan_iter()) == {MARKER.encode(), LOCK.encode()}
        assert admin.dbsize() == 0
        admin.select(3)
        assert admin.get("theirs") == b"precious"


def _owner(client: redis.Redis) -> Any:
    token: Any = client.get(LOCK)
    return msgspec.convert(msgspec.json.decode(token)["owner"], type(this_process()))


def test_without_scripts_a_dead_ones_lock_has_to_expire(own_server: OwnServer, client: redis.Redis) -> None:
    """Where no script can be run, two could take a dead one's place: the run is refused until it expires."""
    url = allow(own_server, "~*", "&*", "+@all", "-@scripting")
    dead = msgspec.structs.replace(this_process(), pid=2**22 - 1)
    client.set(LOCK, msgspec.json.encode({"owner": dead, "nonce": "x"}), px=300)
    client.set(MARKER, "x")
    with pytest.raises(ServerError, match="another run of shopbench"):
        ForeignServer(url)
    until(lambda: not client.exists(LOCK), "the end of the dead one's lock")
    with ForeignServer(url) as server:
        assert server.lock_said == "held"


def test_of_two_that_find_a_dead_ones_lock_one_takes_it(own_server: OwnServer, client: redis.Redis) -> None:
    """Who has seen the dead one's token, and comes second, finds another's and takes nothing."""
    dead = msgspec.structs.replace(this_process(), pid=2**22 - 1)
    token = msgspec.json.encode({"owner": dead, "nonce": "x"})
    client.set(LOCK, token)
    first, second = (Lock(lambda: client_for(own_server.url), LOCK) for _ in range(2))
    first.take()
    assert second._takes_over(client, token) is False
    with pytest.raises(HeldError):
        second.take()
    assert first.is_ours(client)
    first.give_back(client)


def test_a_lock_of_ones_own_that_was_not_given_back_is_taken(own_server: OwnServer, client: redis.Redis) -> None:
    """Where a server did not answer as it was given back, this very process takes it again; never one it holds."""
    first, second, third = (Lock(lambda: client_for(own_server.url), LOCK) for _ in range(3))
    first.take()
    with pytest.raises(HeldError):
        second.take()
    first.stop()
    second.take()
    assert second.is_ours(client)
    with pytest.raises(HeldError):
        third.take()
    second.give_back(client)


# At the end --------------------------------------------------------------------------------------------------


def test_keys_are_removed_where_the_first_connection_is_gone(own_server: OwnServer, client: redis.Redis) -> None:
    """Every connection was ended meanwhile, as an idle timeout does: dialled again, nothing stays."""
    with open_server(own_server.url, SystemClock()) as server:
        facts = server.describe()
        client.set(f"{NAMESPACE}k", 1)
        client.client_kill_filter(_type="normal", skipme=True)
    assert client.dbsize() == 0
    assert "left_behind" not in facts


def test_what_stays_is_named(own_server: OwnServer) -> None:
    """A server that is away for good at the end: the record says which keys stay, and where."""
    server = ForeignServer(own_server.url, VirtualClock())
    facts = server.describe()
    own_server.kill()
    server.close()
    assert NAMESPACE in facts["left_behind"]
    assert "the server is away" in facts["left_behind"]


def test_a_user_who_may_not_unlink_deletes(own_server: OwnServer, client: redis.Redis) -> None:
    """UNLINK is refused: DEL removes our keys as well."""
    url = allow(own_server, "~*", "&*", "+@all", "-unlink")
    with open_server(url, SystemClock()):
        client.set(f"{NAMESPACE}k", 1)
    assert client.dbsize() == 0


def test_no_lock_is_an_error_with_its_reason(own_server: OwnServer) -> None:
    """The server's own words say what is missing."""
    url = allow(own_server, "~*", "+@all", "-set")
    with pytest.raises(NoLockError, match="'set' command"):
        Lock(lambda: client_for(url), LOCK).take()
