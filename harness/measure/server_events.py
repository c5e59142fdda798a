"""What the server did meanwhile, as events on the timeline: whoever sees a stall looks here for its cause.

    fork             for a snapshot, a rewrite of its log, or a replica; it answers nobody while it forks
    snapshot, rewrite    begun and done: a child writes, and each page that changes meanwhile is copied
    delayed sync     a write that waited for the sync before it
    eviction         keys that the server removed since its memory was full
    rejected connections, role, restart, end

Counters of INFO are looked at each time a sampler asks. An event so has happened between two looks, and both stand
in it: `t_ns` is when it was seen, `within_ns` how long before that the look before it was. A fork says itself how
long it took. What happens all the time (expired keys, new connections) is no event but a reading, written when it
changes; counters begin at 0 with the run, and go on over a restart, at which a server forgets them.

    between (pure)     previous and present INFO  ->  what has happened between them
    ServerEvents       asks, and dates it

A user who may not run INFO leaves a gap: no events, no readings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import redis

from harness.host.clock import Clock
from harness.measure.probes import Happening, Probe, Sample, ServerLoad
from harness.measure.timeline import ServerEvent
from harness.server.lock import is_refused
from harness.server.server import Server

# Counters that are readings: by which name, in which unit.
COUNTERS = {
    "evicted_keys": ("server.evicted_keys", "keys"),
    "expired_keys": ("server.expired_keys", "keys"),
    "total_connections_received": ("server.connections", "connections"),
    "rejected_connections": ("server.rejected_connections", "connections"),
}
# A server is asked for what seldom changes once in so many looks, and whenever it was away.
SELDOM = 10
Info = Mapping[str, Any]


def server_probes(server: Server, client: redis.Redis, clock: Clock) -> list[Probe]:
    """What every scenario looks at of its server: its load, and what it does meanwhile.

    Args:
        server: under test.
        client: of it, for these probes alone.
        clock: of the run.
    """
    return [ServerLoad(client, lambda: server.pid, clock), ServerEvents(client, clock, lambda: server.end)]


def between(before: Info, now: Info) -> list[ServerEvent]:
    """What has happened between two answers of INFO of the same server, undated."""
    if before.get("run_id") != now.get("run_id"):
        return [_event("restart", detail=f"another run_id: {str(now.get('run_id'))[:8]}")]
    return [*_forks(before, now), *_writers(before, now), *_counted(before, now), *_role(before, now)]


def grown(before: Info, now: Info, name: str) -> int:
    """By how much a counter grew; after a restart it has begun at 0."""
    then, present = int(before.get(name, 0)), int(now.get(name, 0))
    return present - then if present >= then else present


def _event(name: str, *, detail: str = "", lasted_ns: int = 0, count: int = 1) -> ServerEvent:
    return ServerEvent(t_ns=0, within_ns=0, name=name, detail=detail, lasted_ns=lasted_ns, count=count)


def _forks(before: Info, now: Info) -> Iterator[ServerEvent]:
    count = grown(before, now, "total_forks")
    is_another = now.get("latest_fork_usec") != before.get("latest_fork_usec")
    if count or ("total_forks" not in now and is_another):
        cause = "for a snapshot" if now.get("rdb_bgsave_in_progress") else ""
        cause = "to rewrite the log" if now.get("aof_rewrite_in_progress") else cause
        took_ns = int(now.get("latest_fork_usec", 0)) * 1000
        yield _event("fork", detail=cause, lasted_ns=took_ns, count=max(1, count))


def _writers(before: Info, now: Info) -> Iterator[ServerEvent]:
    for flag, name, status in (
        ("rdb_bgsave_in_progress", "snapshot", "rdb_last_bgsave_status"),
        ("aof_rewrite_in_progress", "rewrite of the log", "aof_last_bgrewrite_status"),
    ):
        if now.get(flag) and not before.get(flag):
            yield _event(f"{name} begun")
        if before.get(flag) and not now.get(flag):
            yield _event(f"{name} done", detail=str(now.get(status, "")))
    if before.get("aof_last_write_status") == "ok" and now.get("aof_last_write_status") == "err":
        yield _event("log not written", detail="aof_last_write_status: err")


def _counted(before: Info, now: Info) -> Iterator[ServerEvent]:
    for counter, name, unit in (
        ("aof_delayed_fsync", "delayed sync", "writes waited"),
        ("evicted_keys", "eviction", "keys"),
        ("rejected_connections", "rejected connections", "connections"),
    ):
        count = grown(before, now, counter)
        if count:
            yield _event(name, detail=f"{count:,} {unit}", count=count)


def _role(before: Info, now: Info) -> Iterator[ServerEvent]:
    if before.get("role") != now.get("role"):
        yield _event("role", detail=f"{before.get('role')} to {now.get('role')}")
    if before.get("connected_slaves") != now.get("connected_slaves"):
        yield _event("replicas", detail=f"{before.get('connected_slaves')} to {now.get('connected_slaves')}")


class ServerEvents:
    """Asks a server for its counters, and tells what has happened since it was asked before.

    Args:
        client: of the server.
        clock: of the run.
        end: answers how the server has ended by itself, or None.
    """

    def __init__(self, client: redis.Redis, clock: Clock, end: Callable[[], str | None]) -> None:
        self._client = client
        self._clock = clock
        self._end = end
        self._is_end_told = False
        self._before: dict[str, Any] | None = None
        self._looked_ns = clock.now_ns()
        self._looks = 0
        self._is_away = False
        self._is_forbidden = False
        self._totals = dict.fromkeys(COUNTERS, 0)

    def read(self) -> list[Sample | Happening]:
        """Counters that have changed, and events."""
        found = self._read_end()
        if self._is_forbidden:
            return found
        try:
            now = self._ask()
        except redis.RedisError as error:
            if is_refused(error):
                self._is_forbidden = True
                return found
            self._client.connection_pool.disconnect()
            self._is_away = True
            return found
        self._is_away = False
        return found + self._compare(now)

    def _read_end(self) -> list[Sample | Happening]:
        said = self._end()
        if said is None:
            self._is_end_told = False
        elif not self._is_end_told:
            self._is_end_told = True
            return [self._dated(_event("end", detail=said))]
        return []

    def _ask(self) -> dict[str, Any]:
        sections = ["stats", "persistence"]
        if self._is_away or self._looks % SELDOM == 0:
            sections += ["server", "replication"]
        self._looks += 1
        with self._client.pipeline(transaction=False) as ask:
            for section in sections:
                ask.info(section)
            answers: list[dict[str, Any]] = ask.execute()
        # What was not asked for is as it was.
        whole = dict(self._before or {})
        for answer in answers:
            whole |= answer
        return whole

    def _compare(self, now: dict[str, Any]) -> list[Sample | Happening]:
        before, self._before = self._before, now
        found: list[Sample | Happening] = []
        for counter, (name, unit) in COUNTERS.items():
            # Another run_id is another count: what it says of this run is not known.
            is_same = before is not None and before.get("run_id") == now.get("run_id")
            more = grown(before or {}, now, counter) if is_same else 0
            self._totals[counter] += more
            if more or before is None:
                found.append(Sample(name, float(self._totals[counter]), unit))
        if before is not None:
            found += [self._dated(event) for event in between(before, now)]
        self._looked_ns = self._clock.now_ns()
        return found

    def _dated(self, event: ServerEvent) -> Happening:
        now_ns = self._clock.now_ns()
        return Happening(event, seen_ns=now_ns, within_ns=max(0, now_ns - self._looked_ns))
