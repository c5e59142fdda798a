"""Probes: what a run looks at while it lasts, each 100 ms, onto the timeline.

A `Probe` answers readings when it is asked. A `Sampler` asks all of them at a fixed period in a thread, stamps the
answers, and measures its own cost. A probe whose server is away reads nothing: the timeline then has a gap,
never a zero. An XINFO lag of NULL is such a gap, too. A probe that fails in a way that it does not know itself
stops no other, is asked again, and is told of at the end: a run with a gap that nobody foresaw is not complete.

    lag.events        appended and not applied, from our own counts on both ends of the line
    lag.pending       delivered and not acknowledged, as the server sees the group
    lag.undelivered   what the server calls lag: a cross-check, and NULL more often than one would think
    lag.seconds       the age of the oldest event that is not applied: the smallest of what is pending, and
                      the first that was not delivered, by the time in its ID
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Protocol, Self

import msgspec
import psutil
import redis

from harness.host.clock import Clock
from harness.measure.timeline import History, Reading, ServerEvent
from harness.server.lock import is_refused

PERIOD_NS = 100_000_000


class Sample(NamedTuple):
    """A reading that has no time yet."""

    name: str
    value: float | None
    unit: str
    labels: Mapping[str, str] = MappingProxyType({})


class Happening(NamedTuple):
    """An event of the server that has no place on the timeline yet: when it was seen, by the clock, and since when
    it may have begun.
    """

    event: ServerEvent
    seen_ns: int
    within_ns: int


class Probe(Protocol):
    """Something that can be asked for readings, and for what has happened since it was asked before."""

    def read(self) -> Sequence[Sample | Happening]:
        """The readings of this moment."""
        ...


class Sampler:
    """Asks probes at a fixed period while it is entered.

    Args:
        probes: asked in this order.
        clock: stamps and paces.
        origin_ns: the clock's time at which the run begins.
        history: gets the readings.
        on_error: told, when the sampler is left, of each probe that has failed: which, how often, and why first.
        period_ns: between two rounds.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        *,
        clock: Clock,
        origin_ns: int,
        history: History,
        on_error: Callable[[str], None],
        period_ns: int = PERIOD_NS,
    ) -> None:
        self._probes = list(probes)
        self._clock = clock
        self._origin_ns = origin_ns
        self._history = history
        self._on_error = on_error
        self._failed: Counter[int] = Counter()
        self._reasons: dict[int, str] = {}
        self._period_ns = period_ns
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="sampler", daemon=True)
        self.busy_ns = 0
        self.rounds = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for at, count in sorted(self._failed.items()):
            times = "once" if count == 1 else f"{count:,} times"
            self._on_error(f"{type(self._probes[at]).__name__} failed {times}: {self._reasons[at]}")

    def _sample(self) -> None:
        next_ns = self._clock.now_ns()
        while not self._stop.is_set():
            before_ns = self._clock.now_ns()
            for at, probe in enumerate(self._probes):
                try:
                    self._read(probe)
                except Exception as error:  # noqa: BLE001 - whatever it is, others go on, and it is told at the end
                    self._failed[at] += 1
                    self._reasons.setdefault(at, f"{type(error).__name__}: {error}")
            after_ns = self._clock.now_ns()
            self.busy_ns += after_ns - before_ns
            self.rounds += 1
            # A round that took too long skips the ones that it has missed; readings are states, not counts.
            next_ns = max(next_ns + self._period_ns, after_ns)
            self._stop.wait((next_ns - after_ns) / 1e9)

    def _read(self, probe: Probe) -> None:
        t_ns = self._clock.now_ns() - self._origin_ns
        for sample in probe.read():
            if isinstance(sample, Happening):
                seen_ns = sample.seen_ns - self._origin_ns
                self._history.add(msgspec.structs.replace(sample.event, t_ns=seen_ns, within_ns=sample.within_ns))
                continue
            self._history.add(
                Reading(
                    t_ns=t_ns, name=sample.name, value=sample.value, unit=sample.unit, labels=dict(sample.labels)
                )
            )


class GroupLag:
    """How far a consumer group is behind on some streams.

    Args:
        client: of the server.
        streams: that the group reads.
        group: its name.
        epoch_s_of: the time in an entry's ID, seconds since 1970 by the server's clock.
    """

    def __init__(
        self, client: redis.Redis, streams: Sequence[str], group: str, epoch_s_of: Callable[[bytes], float]
    ) -> None:
        self._client = client
        self._streams = list(streams)
        self._group = group
        self._epoch_s_of = epoch_s_of
        self._labels = {"group": group}

    def read(self) -> list[Sample]:
        """Pending, undelivered, and the age of the oldest event that is not acknowledged."""
        try:
            return self._ask()
        except redis.RedisError:
            return []  # the server is away, or the group is not there: a gap on the timeline

    def _ask(self) -> list[Sample]:
        with self._client.pipeline(transaction=False) as ask:
            ask.time()
            for stream in self._streams:
                ask.xinfo_groups(stream)
                ask.xpending(stream, self._group)
            answers: list[Any] = ask.execute()
        now_s = answers[0][0] + answers[0][1] / 1e6
        pending, undelivered = 0, 0
        known = True
        oldest: list[bytes] = []
        undelivered_from = []
        for at, stream in enumerate(self._streams):
            groups, waiting = answers[1 + 2 * at], answers[2 + 2 * at]
            group = next((g for g in groups if g["name"] == self._group.encode()), None)
            if group is None:
                return []  # it was made after the first of the two questions: as if it were not there yet
            pending += waiting["pending"]
            if waiting["min"] is not None:
                oldest.append(waiting["min"])
            if group.get("lag") is None:
                known = False
            else:
                undelivered += group["lag"]
            undelivered_from.append((stream, group["last-delivered-id"]))
        oldest += self._first_undelivered(undelivered_from)
        age_s = max((now_s - self._epoch_s_of(raw) for raw in oldest), default=0.0)
        return [
            Sample("lag.pending", pending, "events", self._labels),
            Sample("lag.undelivered", undelivered if known else None, "events", self._labels),
            Sample("lag.seconds", max(0.0, age_s), "s", self._labels),
        ]

    def _first_undelivered(self, positions: list[tuple[str, bytes]]) -> list[bytes]:
        with self._client.pipeline(transaction=False) as ask:
            for stream, last in positions:
                ask.xrange(stream, "(" + last.decode(), "+", count=1)
            return [entries[0][0] for entries in ask.execute() if entries]


class InHand:
    """How many events each consumer of a group has been delivered and has not acknowledged.

    Args:
        client: of the server.
        streams: that the group reads.
        group: its name.
        names: answers the consumers to tell of.
    """

    def __init__(
        self, client: redis.Redis, streams: Sequence[str], group: str, names: Callable[[], Sequence[str]]
    ) -> None:
        self._client = client
        self._streams = list(streams)
        self._group = group
        self._names = names

    def read(self) -> list[Sample]:
        """`consumer.pending` of each consumer; nothing while the server, or the group, is not there."""
        try:
            counts = self.counts()
        except redis.RedisError:
            return []
        return [
            Sample("consumer.pending", counts.get(name, 0), "events", {"consumer": name}) for name in self._names()
        ]

    def counts(self) -> dict[str, int]:
        """How many events each consumer has in hand that has any.

        Raises:
            redis.RedisError: as the client library raises it.
        """
        found: dict[str, int] = {}
        with self._client.pipeline(transaction=False) as ask:
            for stream in self._streams:
                ask.xpending(stream, self._group)
            answers: list[Any] = ask.execute()
        for answer in answers:
            for each in answer["consumers"]:
                name = each["name"].decode()
                found[name] = found.get(name, 0) + int(each["pending"])
        return found


class Gauge:
    """A number that something else keeps, such as the count of unapplied events."""

    def __init__(self, name: str, unit: str, value: Callable[[], float | None], **labels: str) -> None:
        self._name = name
        self._unit = unit
        self._value = value
        self._labels = labels

    def read(self) -> list[Sample]:
        """The number as it is now."""
        return [Sample(self._name, self._value(), self._unit, self._labels)]


class ServerLoad:
    """The server's memory, its append-only file if it has one, and its share of a core where we can see that.

    Args:
        client: of the server.
        pid: answers its process id, or None where there is none to see.
        clock: for the share.
    """

    def __init__(self, client: redis.Redis, pid: Callable[[], int | None], clock: Clock) -> None:
        self._client = client
        self._pid = pid
        self._clock = clock
        self._is_forbidden = False
        self._before: tuple[int, float, int] | None = None

    def read(self) -> list[Sample]:
        """`server.used_memory_bytes`, `server.aof_*`, `server.cpu_share`."""
        samples = []
        try:
            samples += [] if self._is_forbidden else self._ask()
        except redis.RedisError as error:
            # Who may not run INFO will not be allowed to in a moment; everything else may pass.
            self._is_forbidden = is_refused(error)
            self._client.connection_pool.disconnect()
        pid = self._pid()
        if pid is not None:
            try:
                cpu_s = sum(psutil.Process(pid).cpu_times()[:2])
            except psutil.NoSuchProcess:
                return samples
            now_ns = self._clock.now_ns()
            if self._before is not None and self._before[0] == pid and now_ns > self._before[2]:
                share = (cpu_s - self._before[1]) / ((now_ns - self._before[2]) / 1e9)
                samples.append(Sample("server.cpu_share", share, "cores"))
            self._before = (pid, cpu_s, now_ns)
        return samples

    def _ask(self) -> list[Sample]:
        with self._client.pipeline(transaction=False) as ask:
            ask.info("memory")
            ask.info("persistence")
            memory, persistence = ask.execute()
        samples = [Sample("server.used_memory_bytes", float(memory["used_memory"]), "bytes")]
        if persistence.get("aof_enabled"):
            # Waiting: asked for and not done. Delayed: a write that waited for one, counted since the start.
            waiting, delayed = persistence["aof_pending_bio_fsync"], persistence["aof_delayed_fsync"]
            samples.append(Sample("server.aof_waiting_fsync", float(waiting), "fsyncs"))
            samples.append(Sample("server.aof_delayed_fsync", float(delayed), "fsyncs"))
        return samples


class HostLoad:
    """The machine's busy and stolen share of CPU time, over all cores, 0 to 1."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def read(self) -> list[Sample]:
        """`host.cpu_share`, `host.steal_share`."""
        now = psutil.cpu_times()
        total = sum(now) - sum(self._before)
        if total <= 0:
            return []
        idle = now.idle - self._before.idle + getattr(now, "iowait", 0.0) - getattr(self._before, "iowait", 0.0)
        steal = getattr(now, "steal", 0.0) - getattr(self._before, "steal", 0.0)
        self._before = now
        return [
            Sample("host.cpu_share", max(0.0, 1 - idle / total), "of all cores"),
            Sample("host.steal_share", max(0.0, steal / total), "of all cores"),
        ]
