"""The lock of somebody else's database: one run of ours at a time, and each removes only its own keys.

    SET ordershop-bench:lock {host, boot, pid ...} NX EX 30        taken
        every 5 s, by a thread that dials anew each time:          GET, and if it is ours, EXPIRE 30
    GET, and if it is ours, EXPIRE 0                               given back

A token in the database lives as long as its run: it survives an idle connection that the server ends, a
failover behind the address, and a user who may not run CLIENT. It expires when its run is killed. Whoever finds
the token of a process of this very host that is provably dead (`harness.host.process_identity`), or one of its own
that it could not give back, takes its place at once, by a script, so that of two who find it only one does.

Renewal needs no script: between GET and EXPIRE another's token can only take the place of ours when ours has
expired, and then EXPIRE gives that other one a few seconds more, which harms nobody.

A user may lack SET, GET or EXPIRE, or they may be renamed. Then there is no lock (`NoLockError`), and whoever
wanted one says so. Rejected: a connection with a name, found by CLIENT LIST. It is gone as soon as it idles for
too long, and CLIENT is often forbidden.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import redis

from harness.host.process_identity import ProcessIdentity, is_provably_dead, this_process

# The tokens that this process holds by now. Another one of it was not given back: the server did not answer then.
_HELD: set[bytes] = set()
TTL_S = 30
RENEW_S = 5.0
RETRY_S = 0.5

# KEYS[1] the lock, ARGV[1] the dead one's token, ARGV[2] ours, ARGV[3] seconds.
_TAKE_OVER = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class HeldError(Exception):
    """Another run holds the lock; its text says which, and until when at the latest."""


class NoLockError(Exception):
    """No lock can be had from this server by this user; its text says why."""


class _Token(msgspec.Struct, frozen=True):
    owner: ProcessIdentity
    nonce: str


def is_refused(error: Exception) -> bool:
    """Whether an error says that this user, or this server, has no such command."""
    return isinstance(error, redis.exceptions.NoPermissionError) or "unknown command" in str(error).lower()


class Lock:
    """A token in a database, renewed from `take` to `give_back`.

    Args:
        dial: makes a new client of the server.
        key: that holds the token.
        ttl_s: after which a token that nobody renews is gone, in whole seconds.
        renew_s: between two renewals.

    Attributes:
        doubt: why somebody else may have used the database meanwhile; empty: nobody of ours has.
    """

    def __init__(
        self, dial: Callable[[], redis.Redis], key: str, *, ttl_s: int = TTL_S, renew_s: float = RENEW_S
    ) -> None:
        self._dial = dial
        self._key = key
        self._ttl_s = ttl_s
        self._renew_s = renew_s
        self._token = msgspec.json.encode(_Token(this_process(), secrets.token_hex(8)))
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.doubt = ""

    def take(self) -> None:
        """Take it, and renew it from now on.

        Raises:
            HeldError: another run holds it.
            NoLockError: this user may not run a command that it needs, or the server has none.
            redis.RedisError: the server does not answer, or not as it should.
        """
        # Before it is there: nobody else of this process is to find it and think that it was left.
        _HELD.add(self._token)
        try:
            self._take()
        except BaseException:
            _HELD.discard(self._token)
            raise
        self._thread = threading.Thread(target=self._renew_until_stopped, name="lock", daemon=True)
        self._thread.start()

    def _take(self) -> None:
        with contextlib.closing(self._dial()) as client:
            try:
                if not self._set(client):
                    self._take_from_the_dead(client)
                # What it takes to renew it: who may not do that is to know now, not in half a minute.
                if self.is_ours(client):
                    client.expire(self._key, self._ttl_s)
            except redis.ResponseError as error:
                if not is_refused(error):
                    raise
                raise NoLockError(" ".join(str(error).split())) from error

    def is_ours(self, client: redis.Redis) -> bool:
        """Whether the token in the database is this one.

        Raises:
            redis.RedisError: the server does not answer.
        """
        return self._read(client) == self._token

    def give_back(self, client: redis.Redis) -> None:
        """Renew it no more, and remove the token if it is ours.

        Raises:
            redis.RedisError: the server does not answer; the token then expires.
        """
        self.stop()
        if self.is_ours(client):
            client.expire(self._key, 0)

    def stop(self) -> None:
        """Renew it no more."""
        self._stop.set()
        _HELD.discard(self._token)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _read(self, client: redis.Redis) -> bytes | None:
        # redis-py's type allows an awaitable and text, which this client never answers.
        found: Any = client.get(self._key)
        return found  # type: ignore[no-any-return]

    def _set(self, client: redis.Redis) -> bool:
        return bool(client.set(self._key, self._token, nx=True, ex=self._ttl_s))

    def _take_from_the_dead(self, client: redis.Redis) -> None:
        found = self._read(client)
        if found is None:
            # It went away between the two questions.
            if self._set(client):
                return
            found = self._read(client) or b""
        owner = _owner_of(found)
        is_left = owner is not None and (
            is_provably_dead(owner) or (owner == this_process() and found not in _HELD)
        )
        if is_left and self._takes_over(client, found):
            return
        left_s = 0
        with contextlib.suppress(redis.exceptions.NoPermissionError):
            left_s = int(client.ttl(self._key))
        raise HeldError(_said(owner, left_s))

    def _takes_over(self, client: redis.Redis, found: bytes) -> bool:
        try:
            return bool(client.register_script(_TAKE_OVER)([self._key], [found, self._token, self._ttl_s]))
        except redis.ResponseError as error:
            if is_refused(error):
                return False  # without a script two could take it; then it has to expire
            raise

    def _renew_until_stopped(self) -> None:
        wait_s = self._renew_s
        while not self._stop.wait(wait_s):
            try:
                with contextlib.closing(self._dial()) as client:
                    self.renew(client)
                wait_s = self._renew_s
            except (redis.RedisError, OSError):
                wait_s = RETRY_S  # away, or failing over: tried again soon, and told of if it took too long

    def renew(self, client: redis.Redis) -> bool:
        """Renew it, or take it again where it is gone; whether it is ours then.

        Raises:
            redis.RedisError: the server does not answer.
        """
        found = self._read(client)
        if found == self._token:
            client.expire(self._key, self._ttl_s)
        elif found is None and self._set(client):
            # Evicted, or lost with the server's data, or expired while that was away.
            self.doubt = self.doubt or "the lock was gone for a while: another run may have used this database"
        else:
            self.doubt = "another run of shopbench took this database during this run"
            return False
        return True


def _owner_of(token: bytes) -> ProcessIdentity | None:
    try:
        return msgspec.json.decode(token, type=_Token).owner
    except msgspec.MsgspecError:
        return None


def _said(owner: ProcessIdentity | None, left_s: int) -> str:
    who = f" (process {owner.pid} on {owner.host})" if owner is not None else ""
    until = f"; if it was killed, its lock is gone in {left_s} s at the latest" if left_s > 0 else ""
    return f"another run of shopbench{who} is using this database{until}"
