"""Consumers by command at work: the sink of their effects, the links that they go through, and their processes.

    consumer, consumer-2 ...    each a command of its own, in a session of its own, kept running
    consumer-redis              the proxy through which all of them reach Redis
    consumer-effects            the proxy through which all of them reach the sink
    effects                     the sink

A thread looks at them, fifty times a second: one that has ended by itself is started again, and whether anybody
has effects while all are down is noted.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import redis
from msgspec.structs import replace

from harness.host.clock import SystemClock
from harness.host.threads import at_work
from harness.nemesis.proxy import LOOPBACK, Proxy, ProxyError
from harness.nemesis.targets import Part, Target, line_can, process_can
from harness.system.address import address_behind
from harness.system.command import CommandProcess
from harness.system.kept import KeptCommand
from harness.system.outage import Outages
from harness.system.port import ConsumerFacts, NotStartedError, Place
from harness.system.probed import ProbedEffects
from harness.system.readiness import MOST_EXITS, Readiness, ready_prefix
from harness.system.sink import Attempts, Sink, SinkError
from harness.system.telling import Telling
from harness.system.trimming import trim_acknowledged

if TYPE_CHECKING:
    from harness.system.consumer import ConsumerCommand

GROUP = "shopbench"
CONSUMER = "consumer"
WATCH_S = 0.02
# Of one whose every end was with 0.
_IN_PEACE = " (if it goes into the background by itself, have it stay in the foreground)"


class RunningConsumers:
    """The sink, the links and the consumers, ready for load, while it is entered.

    Args:
        place: where they are started.
        chosen: what is started.
        streams: that it reads.
        ready_s: within which the consumers have to be ready.

    Attributes:
        attempts: to have effects, as the sink has noted them.
        told: the file with what the proxy has noted that the group was told.

    Raises:
        NotStartedError: a part of it does not start, or the consumers do not get ready.
    """

    def __init__(self, place: Place, chosen: ConsumerCommand, streams: Sequence[str], *, ready_s: float) -> None:
        self._place = place
        self._until_ready_s = ready_s
        self._chosen = chosen
        self._streams = list(streams)
        self._clock = SystemClock()
        self._directory = Path.cwd()
        self._stack = contextlib.ExitStack()
        self._stop = threading.Event()
        self._kept: dict[str, KeptCommand] = {}
        self._hidden = ready_prefix(place.producer)
        # Where, among all effects, those are that tell only whether consumers are ready.
        self._ready_at: list[int] = []
        self._poisoned: list[str] = []
        self._counting = threading.Lock()
        self._ready_s = 0.0
        self._nudged = 0
        self.targets: list[Target] = []

    def __enter__(self) -> Self:
        with self._stack:
            try:
                self._start()
            except (SinkError, ProxyError) as error:
                raise NotStartedError(str(error)) from error
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # Start ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        place, enter = self._place, self._stack.enter_context
        log = place.directory / f"effects-{place.producer:x}.log"
        self.told = place.directory / f"told-{place.producer:x}.log"
        for path in (log, self.told):
            # Working files; what they prove is in the evidence.
            self._stack.callback(path.unlink, missing_ok=True)
        self.sink = enter(Sink(log))
        if place.wanted.effect_ms:
            self.sink.slow(place.wanted.effect_ms)
        self.attempts = Attempts(log)
        self._outages = Outages(
            self._count_attempts, self._clock.now_ns, late_ns=int(place.wanted.effect_ms * 1e6)
        )
        address, port = address_behind(place.server.url)
        # Of each consumer, whoever is first: what the group was told goes through here.
        self.redis_link = enter(Proxy(port, server_host=address, told=self.told))
        self.effects_link = enter(Proxy(self.sink.port))
        self._probed = self._probe()
        begun_ns = self._clock.now_ns()
        for number in range(1, place.wanted.consumers + 1):
            self.add_consumer(CONSUMER if number == 1 else f"{CONSUMER}-{number}")
        self.targets += [
            self.sink.target,
            Part(f"{CONSUMER}-redis", line_can(self.redis_link)),
            Part(f"{CONSUMER}-effects", line_can(self.effects_link)),
        ]
        enter(at_work(self._watch, self._stop, "consumers"))
        self._wait_until_ready()
        self._ready_s = (self._clock.now_ns() - begun_ns) / 1e9

    def _probe(self) -> ProbedEffects | None:
        arguments = self._chosen.probe_arguments
        if not arguments:
            return None
        environment = {
            "SHOPBENCH_REDIS_URL": self._place.server.url.unmasked,
            "SHOPBENCH_STREAMS": " ".join(self._streams),
            "SHOPBENCH_GROUP": GROUP,
        }
        probed = ProbedEffects(
            arguments, self._place.producer, self._clock, environment=environment, directory=self._directory
        )
        try:
            probed.skip()
        except OSError as error:
            raise NotStartedError(str(error)) from error
        return probed

    def _environment(self, name: str) -> dict[str, str]:
        place = self._place
        return {
            "SHOPBENCH_REDIS_URL": place.server.url.through(self.redis_link.port).unmasked,
            "SHOPBENCH_STREAMS": " ".join(self._streams),
            "SHOPBENCH_GROUP": GROUP,
            "SHOPBENCH_CONSUMER": name,
            "SHOPBENCH_CLAIM_MS": str(place.wanted.claim_after_ms),
            "SHOPBENCH_PAGE": str(place.wanted.page),
            "SHOPBENCH_EFFECTS": f"http://{LOOPBACK}:{self.effects_link.port}/",
            "SHOPBENCH_FACTS": str(self._facts(name)),
            # What one in Python prints is in its log, also when it is killed.
            "PYTHONUNBUFFERED": "1",
        }

    def _facts(self, name: str) -> Path:
        """The file in which a consumer may say more."""
        return self._place.directory.absolute() / f"facts-{name}.jsonl"

    def add_consumer(self, name: str) -> None:
        """Start one more consumer of the group.

        Args:
            name: of it, here and in the group.

        Raises:
            NotStartedError: it does not start.
        """
        command = self._stack.enter_context(
            CommandProcess(
                name,
                self._chosen.arguments,
                log=self._place.directory / f"{name}.log",
                environment=self._environment(name),
                directory=self._directory,
            )
        )
        kept = KeptCommand(
            command,
            restarts=self._chosen.restart == "always",
            now_ns=self._clock.now_ns,
            before_back=self._outages.end,
        )
        can: dict[str, Callable[..., object]] = {**process_can(kept), "leader_kill": kept.kill_leader}
        can["survivors"] = lambda: kept.others
        if not self._kept:
            can["poison"] = self._plant
        self._kept = {**self._kept, name: kept}
        self.targets.append(Part(name, can))

    def _wait_until_ready(self) -> None:
        place = self._place
        readiness = Readiness(place.server, self._streams, GROUP, self._chosen.shape, place.producer)
        try:
            readiness.wait(self._clock, self._all_effects, self._refuse_ended, within_s=self._until_ready_s)
        except NotStartedError as error:
            raise NotStartedError(f"the consumer is not ready: {error}{self._log_said()}") from error

    def _refuse_ended(self) -> None:
        """Refuse consumers that end again and again, or are not started again."""
        for each in list(self._kept.values()):
            exits = each.exits
            if len(exits) >= MOST_EXITS or (exits and not each.is_running):
                times = "once" if len(exits) == 1 else f"{len(exits)} times"
                raise NotStartedError(
                    f"{each.name} has ended {times}, the last time with {exits[-1].status}"
                    f"{_IN_PEACE if not any(exit_.status for exit_ in exits) else ''}"
                )

    def _log_said(self) -> str:
        said = next(filter(None, (each.last_lines() for each in self._kept.values())), "")
        return f"; its log ends with: {said}" if said else "; its log is empty"

    # While it works ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_S):
            kept = list(self._kept.values())
            for each in kept:
                each.look()
            # What a probe finds came at a time that nobody knows.
            is_all_down = self._probed is None and all(each.is_down and not each.lives_on for each in kept)
            self._outages.look(is_all_down=is_all_down)

    def _count_attempts(self) -> int:
        # Both a drain and an outage are looked at.
        with self._counting:
            self.attempts.poll()
            return sum(self.attempts.counts.values())

    @property
    def consumers(self) -> list[str]:
        """The names of the consumers."""
        return list(self._kept)

    @property
    def followers(self) -> Mapping[str, Proxy]:
        """All of them go through one link to the server, which notes what the group is told."""
        return dict.fromkeys(self._kept, self.redis_link)

    @property
    def group_names(self) -> Mapping[str, str]:
        """What each is to call itself in the group."""
        return {name: name for name in self._kept}

    @property
    def roles(self) -> Mapping[str, str]:
        """What a plan calls crm and mail are the consumer and its effects."""
        named = {name.replace(CONSUMER, "crm", 1): name for name in self._kept}
        return {
            **named,
            "mail": self.sink.target.name,
            "crm-redis": f"{CONSUMER}-redis",
            "crm-mail": f"{CONSUMER}-effects",
        }

    def is_running(self, name: str) -> bool:
        """Whether a consumer runs, or is about to be started again."""
        return self._kept[name].is_running

    def listens(self) -> bool:
        """They were ready before this could be asked."""
        return True

    def effects(self, after: int) -> list[str]:
        """The `event_id` of each effect but the first ones; those that told that consumers are ready are left out.

        Raises:
            OSError: nobody can tell at the moment.
        """
        before = after
        for at in self._ready_at:
            if at > before:
                break
            before += 1
        found = []
        for at, event_id in enumerate(self._all_effects(before), before):
            if not event_id.startswith(self._hidden):
                found.append(event_id)
            elif not self._ready_at or at > self._ready_at[-1]:
                self._ready_at.append(at)
        return found

    def _all_effects(self, after: int) -> list[str]:
        return self.attempts.effects(after) if self._probed is None else self._probed.effects(after)

    def _plant(self) -> None:
        """Append an event whose effect is refused for ever."""
        event_id = f"poison-{self._place.producer:x}-{len(self._poisoned) + 1}"
        self.sink.poison(event_id)
        self._poisoned.append(event_id)
        self._append(self._streams[0], event_id)

    def nudge(self) -> None:
        """Append one event to each stream that is nobody's account, for who waits until something comes.

        Raises:
            OSError: the server is away.
        """
        self._nudged += 1
        try:
            for stream in self._streams:
                self._append(stream, f"{self._hidden}nudge-{self._nudged}")
        except redis.RedisError as error:
            raise OSError(str(error)) from error

    def _append(self, stream: str, event_id: str) -> None:
        entry = self._chosen.shape.entry(event_id, event_id)
        with contextlib.closing(self._place.server.client(timeout_s=5.0)) as client:
            client.execute_command("XADD", stream, "*", *entry)

    def attempts_since(self, epoch_s: float, event_ids: Sequence[str]) -> dict[str, int] | None:
        """How many attempts there were at the effect of some events since a moment; None: a probe tells.

        Raises:
            OSError: nobody can tell at the moment.
        """
        return self.attempts.since(epoch_s, event_ids) if self._probed is None else None

    def trim(self, keep: int) -> int:
        """Remove from each stream's front what every group has acknowledged; answer how many entries.

        Raises:
            OSError: the server is away.
            NotStartedError: it refuses.
        """
        with contextlib.closing(self._place.server.client(timeout_s=5.0)) as client:
            return sum(trim_acknowledged(client, stream, keep=keep) for stream in self._streams)

    def telling(self) -> Telling:
        """What can be told at this moment."""
        self._count_attempts()
        return Telling(
            promise=self._chosen.promise,
            attempts=dict(self.attempts.counts),
            poisoned=self.sink.poisoned,
            sees_repeats=self._probed is None,
            ready_s=self._ready_s,
            facts=[self._facts(name) for name in self._kept],
        )

    def facts(self, origin_ns: int) -> ConsumerFacts:
        """What was seen of them so far; times count from an origin."""
        kept = list(self._kept.values())
        exits = [exit_ for each in kept for exit_ in each.exits]
        return ConsumerFacts(
            ready_s=self._ready_s,
            exits=sorted((replace(e, at_ns=e.at_ns - origin_ns) for e in exits), key=lambda e: e.at_ns),
            downs=self._outages.count,
            attempts_while_down=self._outages.attempts,
            strays=sum(each.strays for each in kept),
        )
