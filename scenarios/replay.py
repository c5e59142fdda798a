"""How fast is the past read back, and does it stay so as it grows?

A store is filled with customers that are created, updated and deleted, at several sizes. The topic is replayed to
typed entities, three streams merged in the order of events, and must come out as the entity cache has it.

    shopbench run replay                one replay after the other, in this very process, at three sizes
    locust -f scenarios/replay.py       users who replay all of it (`scenarios/replayer.py`), each again and again,
                                        until the time is over

The first tells what a replay costs; the second, what many cost each other. They are not to be compared: Locust's
sockets are another implementation, and users of one process share its processor.
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import contextlib
import itertools
from collections.abc import Iterator
from statistics import median
from typing import Annotated, Any

import numpy as np
import redis
from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.account.event_ids import event_id
from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.check.loads import answered_checker
from harness.conduct.conduct import PUMPED, Findings, Stage
from harness.load.driver import Drive, Journeys
from harness.load.pacing import ClosedLoop
from harness.load.settings import PumpResult
from harness.locust.locustfile import locustfile
from harness.measure.probes import HostLoad, Probe, Sampler
from harness.measure.server_events import server_probes
from harness.record.run import KeyFigure, Record, Verdict
from harness.server.server import Server
from ordershop.entities import Customer, Topic
from ordershop.event_store import EventStore
from ordershop.events import Action, Event
from scenarios.commands import PRODUCERS, READERS
from scenarios.shop.shop import LEAD_NS, as_scenario_errors, producer_of, run_pump, server_for
from scenarios.told import told_of

REPLAYER = "scenarios.replayer:Replayer"

TOPIC: Topic = "customer"


# The section of the evidence.
COMPARED = "compared"


class Past(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen of what there is to replay.

    Attributes:
        events (events): that are replayed, at the largest of three sizes.
        deleted_share: the share, 0 to 1, of the entities that are deleted in the end.
        updated_share: the share, 0 to 1, of the events that are updates.
    """

    events: Annotated[int, Meta(ge=100, le=50_000_000)] = 100_000
    deleted_share: Annotated[float, Meta(ge=0, le=1)] = 0.1
    updated_share: Annotated[float, Meta(ge=0, le=1)] = 0.4


class ReplayParameters(Past, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `replay`.

    Attributes:
        rounds: how often each size is replayed.
    """

    rounds: Annotated[int, Meta(ge=1, le=1_000)] = 3


class UsersParameters(Past, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `replay` by Locust's users.

    Attributes:
        duration_s: of the load.
        users (users): who replay, each one time after the other.
    """

    duration_s: Annotated[float, Meta(gt=0, le=86_400)] = 10
    users: Annotated[int, Meta(ge=1, le=10_000)] = 2


class Replay:
    """Replays a topic to its entities, at three sizes."""

    name = "replay"
    place = 20
    summary = "how fast are entities rebuilt from their events, and does the speed hold as the history grows?"
    parameters = ReplayParameters
    commands = PRODUCERS | READERS
    figures = figure_names(
        "replay",
        "1/s     events_per_s *.events_per_s",
        "bytes   bytes_per_event",
        "events  events",
        "×       rate_of_all_to_a_tenth",
        # By Locust's users.
        PUMPED,
    )
    key_figures = (
        KeyFigure("replay.events_per_s", "Replay speed"),
        KeyFigure("replay.events", "Events replayed"),
    )
    sections = ("replay",)
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"events": 5_000, "rounds": 1},
        "quick": {},
        "standard": {"events": 1_000_000},
        "full": {"events": 5_000_000, "rounds": 5},
    }

    @as_scenario_errors()
    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Fill, replay and compare, at a tenth, a third and all of the events."""
        chosen: ReplayParameters = parameters
        findings.closed_loop()
        sizes = sorted({max(100, chosen.events // 10), max(100, chosen.events // 3), chosen.events})
        rates = {}
        with server_for(stage, "none") as server:
            findings.server = server.describe()
            with contextlib.closing(server.client(timeout_s=60.0)) as client:
                store = EventStore(client, server.namespace)
                stored = 0
                generator = _events(stage, chosen)
                for at, size in enumerate(sizes):
                    stage.progress(at / len(sizes), f"filling up to {size:,} events")
                    store.append_many(itertools.islice(generator, size - stored))
                    stored = size
                    rates[size] = _measure(stage, store, size, chosen.rounds, at / len(sizes))
                    findings.figure(f"{size}.events_per_s", rates[size], "1/s")
                findings.evidence.add_json(COMPARED, _compare(store))
                findings.figure("bytes_per_event", _bytes_per_event(server, stored), "bytes")
        findings.figure("events", float(sizes[-1]), "events")
        findings.figure("events_per_s", rates[sizes[-1]], "1/s")
        findings.figure("rate_of_all_to_a_tenth", rates[sizes[-1]] / rates[sizes[0]], "×")
        findings.concluded()

    def checkers(self, parameters: ReplayParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - none is chosen
        """What finds its verdicts in a record of a run."""
        by_users = [answered_checker("replay")] if _is_by_users(record) else []
        return [_equals_cache_checker(), *by_users]

    def headline(self, parameters: ReplayParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record."""
        if _is_by_users(record):
            return _headline_of_users(record)
        told = told_of(record)
        events, rate = told.value("events") or 0, told.value("events_per_s") or 0
        return (
            f"{events:,.0f} events were replayed to entities at {rate:,.0f} events/s, "
            f"{told.value('rate_of_all_to_a_tenth') or 0:.2f} × the rate of "
            f"{max(100, parameters.events // 10):,} events."
        )


class ReplayByUsers:
    """Replays of a topic by users, each again and again; recorded as the scenario that it is one way of."""

    name = Replay.name
    summary = Replay.summary
    parameters = UsersParameters
    key_figures = (
        *Replay.key_figures[:1],
        KeyFigure("replay.response.p99", "Response, p99"),
        *Replay.key_figures[1:],
    )
    # One size, again and again: latencies, and no speeds by size.
    sections = ("latency", "throughput")
    profiles: dict[str, dict[str, Any]] = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"events": 5_000, "duration_s": 2},
        "quick": {},
        "standard": {"events": 300_000, "duration_s": 60},
        "full": {"events": 1_000_000, "duration_s": 600},
    }

    @as_scenario_errors()
    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Fill, let users replay, and compare."""
        chosen: UsersParameters = parameters
        findings.closed_loop()
        pacer = ClosedLoop(chosen.duration_s)
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(server_for(stage, "none"))
            findings.server = server.describe()
            client = stack.enter_context(contextlib.closing(server.client(timeout_s=60.0)))
            store = EventStore(client, server.namespace)
            stage.progress(0.0, f"filling up to {chosen.events:,} events")
            store.append_many(itertools.islice(_events(stage, chosen), chosen.events))
            journeys = Journeys(
                entry=REPLAYER,
                host=server.url,
                users=chosen.users,
                seed=stage.seed,
                given={"namespace": server.namespace, "entities": len(store.replay(TOPIC))},
            )
            load = stack.enter_context(contextlib.closing(stage.driver.users(journeys, pacer)))
            load.wait_until_ready()
            result = _let_them_replay(stage, server, load, pacer, findings)
            findings.evidence.add_json(COMPARED, _compare(store))
        _conclude(chosen, findings, result)

    def checkers(self, parameters: UsersParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - none is chosen
        """What finds its verdicts in a record of a run."""
        return [_equals_cache_checker(), answered_checker("replay")]

    def headline(self, parameters: UsersParameters, record: Record) -> str:  # noqa: ARG002 - as the record has them
        """What came out of a run with these parameters, in a sentence, from its record."""
        return _headline_of_users(record)

    def lasting(self, parameters: UsersParameters, duration_s: float, _: str) -> UsersParameters:
        """The parameters with which users replay for some seconds."""
        return replace(parameters, duration_s=duration_s)


def _let_them_replay(
    stage: Stage, server: Server, load: Drive, pacer: ClosedLoop, findings: Findings
) -> PumpResult:
    origin_ns = stage.clock.now_ns() + LEAD_NS
    findings.origin_ns, findings.progress = origin_ns, lambda: load.progress

    def keep(result: PumpResult) -> None:
        findings.pumped("replay", result)
        findings.host_steal(findings.history)

    with contextlib.closing(server.client(timeout_s=0.5)) as client:
        probes: list[Probe] = [*server_probes(server, client, stage.clock), HostLoad()]
        sampler = Sampler(
            probes,
            clock=stage.clock,
            origin_ns=origin_ns,
            history=findings.history,
            on_error=findings.probe_failed,
        )
        with sampler:
            return run_pump(
                stage,
                load,
                origin_ns,
                pacer.duration_ns,
                lambda share: stage.progress(share * 0.9, "users are replaying"),
                keep,
            )


def _conclude(chosen: UsersParameters, findings: Findings, result: PumpResult) -> None:
    rate = result.ok * chosen.events / (result.wall_ns / 1e9)
    findings.figure("events", float(chosen.events), "events")
    findings.figure("events_per_s", rate, "1/s")
    findings.concluded()


def _is_by_users(record: Record) -> bool:
    """Whether Locust's users have replayed: `replay` has no parameter of that name otherwise."""
    return "users" in record.run.parameters


def _headline_of_users(record: Record) -> str:
    told, chosen = told_of(record), record.parameters(UsersParameters)
    return (
        f"{told.value('ok') or 0:,.0f} replays of {chosen.events:,} events by {chosen.users:,} users "
        f"(closed loop), {told.value('events_per_s') or 0:,.0f} events/s together."
    )


def _events(stage: Stage, chosen: Past) -> Iterator[Event]:
    """Customers that come, change and go, each event possible when it happens; endless, from the seed."""
    generator = np.random.default_rng(stage.seed)
    producer = producer_of(stage)
    alive: list[str] = []
    number = 0
    while True:
        for draw, pick in zip(generator.random(4096), generator.random(4096), strict=True):
            number += 1
            identity = event_id(producer, number)
            action: Action = "created"
            customer_id = identity
            if alive and draw < chosen.deleted_share + chosen.updated_share:
                at = int(pick * len(alive))
                customer_id = alive[at]
                action = "updated"
                if draw < chosen.deleted_share:
                    action = "deleted"
                    alive[at] = alive[-1]
                    alive.pop()
            if action == "created":
                alive.append(customer_id)
            yield Event(action, Customer(customer_id, f"Customer {number}", "ada@example.org"), identity)


def _measure(stage: Stage, store: EventStore, size: int, rounds: int, share: float) -> float:
    """The median rate of some replays, in events per second."""
    rates = []
    for number in range(rounds):
        stage.progress(share, f"replaying {size:,} events, round {number + 1} of {rounds}")
        before_ns = stage.clock.now_ns()
        store.replay(TOPIC)
        rates.append(size / ((stage.clock.now_ns() - before_ns) / 1e9))
    return median(rates)


class Compared(Struct, frozen=True, kw_only=True):
    """What a replay gave, beside the entity cache.

    Attributes:
        replayed, cached: how many entities each has.
        differing: how many entities of either are not the same in the other.
    """

    replayed: int
    cached: int
    differing: int


def _compare(store: EventStore) -> Compared:
    replayed = store.replay(TOPIC)
    cached = {entity.id: entity for entity in store.find_all(TOPIC)}
    differing = sum(replayed.get(i) != cached.get(i) for i in replayed.keys() | cached.keys())
    return Compared(replayed=len(replayed), cached=len(cached), differing=differing)


def equals_cache(name: str, found: Compared) -> Verdict:
    """Whether a replay gave the entities of the cache."""
    if not found.replayed:
        return Verdict(name=name, status="UNKNOWN", detail="nothing was replayed")
    if not found.differing:
        detail = f"the replay gives the {found.cached:,} entities of the cache"
        return Verdict(name=name, status="PASS", detail=detail)
    return Verdict(
        name=name,
        status="FAIL",
        detail=f"the replay gives {found.replayed:,} entities, the cache has {found.cached:,}; "
        f"{found.differing:,} differ",
    )


def _equals_cache_checker() -> Checker:
    name = "replay.equals_cache"
    return Checker(
        name, lambda record: equals_cache(name, record.evidence.value(COMPARED, Compared)), reads=(COMPARED,)
    )


def _bytes_per_event(server: Server, events: int) -> float | None:
    """What the server has in memory for an event; None where it does not tell this user."""
    with contextlib.closing(server.client()) as client:
        try:
            return float(client.info("memory")["used_memory"]) / events
        except redis.ResponseError:
            return None


scenario = Replay()
ReplayUser = locustfile(ReplayByUsers(), __name__, REPLAYER)
