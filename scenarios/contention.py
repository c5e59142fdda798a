"""How often do writers meet who expect a version, and is no update lost?

    schedule --> writers: read an entity and its version, think, write it back, expecting that version
                    |
                    +-- written, or a conflict: somebody else was faster --> read again, try again, or give up

Writers (`scenarios/shop/writer.py`, Locust's users) update a few entities that all of them share, each one update
at a time, when it is due by a schedule. The store takes an update that expects a version only where the entity
still has it (`append.lua`). So a conflict is an answer, and counts as one. How often they come is a figure:

    contention.conflicts          attempts that met another version than they expected
    contention.conflict_share     these, of all attempts

    expects version   as said
            nothing   each write is taken, whatever its writer has read: to be set beside it. It loses updates, and
                      the verdict says how many

Afterwards the stream is read: an update says which version its writer had read, and these have to follow one
another (`scenarios/shop/versions.py`).
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import contextlib
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.check.arrival import arrival_checker
from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.check.loads import users_send_lag_checker
from harness.conduct.findings import PUMPED, PUMPED_PART, Findings
from harness.conduct.scenario import Stage
from harness.load.driver import Journeys
from harness.load.pacing import Shape, shaped
from harness.load.settings import PumpResult
from harness.load.workload import entity_id
from harness.locust.locustfile import locustfile
from harness.measure.probes import HostLoad
from harness.measure.server_events import server_probes
from harness.record.run import KeyFigure, Record
from harness.server.server import Server
from ordershop.entities import Customer
from ordershop.event_store import EventStore, connect
from ordershop.events import Event, EventId
from scenarios.arrival import add_users_arrival, in_doubt_of
from scenarios.commands import PRODUCERS
from scenarios.shop.shop import as_scenario_errors, producer_of, server_for
from scenarios.shop.versions import add_updates, conflicts_in, updates_checkers, written_by
from scenarios.told import Told, add_by_hand, arrived_said, told_of
from scenarios.under_load import UnderLoad

WRITER = "scenarios.shop.writer:Writer"

# For one answer of the server.
_TIMEOUT_S = 10.0


class ContentionParameters(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be chosen for `contention`.

    Attributes:
        rate_per_s (updates a second): of all writers together, where most are due.
        duration_s: of the load.
        shape: how the rate goes: steady, a ramp, steps, or a spike.
        users (writers): who update one entity at a time.
        entities (entities): that all writers update; the fewer, the more often they meet.
        skew: the exponent of Zipf's law over the entities; 0: all alike.
        think_ms: that a writer takes between reading an entity and writing it; the longer, the more often they
            meet.
        expects: version, the store refuses what was read before somebody else's write; or nothing, it takes every
            write, and updates are lost.
        retries (attempts): that a writer makes after a conflict, each from a new read; 0: it gives up at once.
        durability: of a server that we start.
        send_lag_budget_ms: how late, at p99, a writer may come to an update.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=100_000)] = 400
    duration_s: Annotated[float, Meta(gt=0, le=86_400)] = 10
    shape: Shape = "steady"
    users: Annotated[int, Meta(ge=1, le=10_000)] = 16
    entities: Annotated[int, Meta(ge=1, le=100_000)] = 8
    skew: Annotated[float, Meta(ge=0, le=10)] = 0
    think_ms: Annotated[float, Meta(ge=0, le=60_000)] = 5
    expects: Literal["version", "nothing"] = "version"
    retries: Annotated[int, Meta(ge=0, le=1_000)] = 0
    durability: Literal["none", "everysec", "always"] = "everysec"
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 50


class Contention:
    """Writers that update the same entities, each expecting the version that it has read."""

    name = "contention"
    place = 65
    only_by_name = True
    summary = "how often do writers meet who expect a version, and is no update lost?"
    parameters = ContentionParameters
    commands = PRODUCERS | {"xrange", "hgetall"}
    figures = (
        *figure_names(
            "contention",
            PUMPED,
            "attempts attempts conflicts",
            "share    conflict_share",
            "updates  retried given_up overwritten",
            "users    users",
        ),
        *figure_names("contention", PUMPED_PART, within="{update,retried,given_up}."),
    )
    key_figures = (
        KeyFigure("contention.conflict_share", "Attempts that met a conflict"),
        KeyFigure("contention.overwritten", "Updates written over"),
        KeyFigure("contention.response.p99", "Response, p99"),
    )
    sections = ("latency", "throughput")
    profiles: dict[str, dict[str, Any]] = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"duration_s": 2, "send_lag_budget_ms": 500},
        "quick": {},
        "standard": {"duration_s": 60},
        "full": {"duration_s": 600},
    }

    def scheduled_s(self, parameters: ContentionParameters) -> float:
        """How long its load lasts."""
        return parameters.duration_s

    @as_scenario_errors()
    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Create the entities, let writers update them, and read the stream."""
        chosen: ContentionParameters = parameters
        pacer = shaped(chosen.shape, chosen.rate_per_s, chosen.duration_s)
        producer = producer_of(stage)
        findings.paced_users(users=chosen.users, arrivals=chosen.shape)
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(server_for(stage, chosen.durability))
            findings.server = server.describe()
            stage.progress(0.0, "creating the entities")
            store = EventStore(connect(server.url, timeout_s=60.0), server.namespace)
            stack.callback(store.client.close)
            stack.callback(store.close)
            created = _create(store, chosen, producer)
            load = stack.enter_context(
                contextlib.closing(stage.driver.users(_writers(stage, chosen, server, producer), pacer))
            )
            load.wait_until_ready()
            client = stack.enter_context(contextlib.closing(server.client(timeout_s=0.5)))
            under_load = UnderLoad(stage, findings)
            with under_load.sampling([*server_probes(server, client, stage.clock), HostLoad()]):
                result = under_load.run(
                    load, pacer, "contention", lambda share: stage.progress(share * 0.9, "writers update")
                )
            stage.progress(0.95, "reading the stream")
            _account(store, chosen, producer, created, result, findings)
        _conclude(chosen, findings, result)

    def checkers(self, parameters: ContentionParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - none is chosen
        """What finds its verdicts in a record of a run."""
        return [
            *updates_checkers("contention"),
            users_send_lag_checker("contention"),
            arrival_checker("contention"),
        ]

    def headline(self, parameters: ContentionParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def lasting(self, parameters: ContentionParameters, duration_s: float, _: str) -> ContentionParameters:
        """The parameters with which writers update for some seconds."""
        return replace(parameters, duration_s=duration_s)


def _create(store: EventStore, chosen: ContentionParameters, producer: int) -> EventId:
    """Create the entities; answers the last event of that."""
    identities = [entity_id(producer, number) for number in range(chosen.entities)]
    events = [Event("created", Customer(each, "Ada Lovelace", "ada@example.org"), each) for each in identities]
    return store.append_many(events)[-1]


def _writers(stage: Stage, chosen: ContentionParameters, server: Server, producer: int) -> Journeys:
    return Journeys(
        entry=WRITER,
        host=server.url,
        users=chosen.users,
        seed=stage.seed,
        given={
            "namespace": server.namespace,
            "producer": producer,
            "entities": chosen.entities,
            "skew": chosen.skew,
            "think_ms": chosen.think_ms,
            "expects": chosen.expects == "version",
            "retries": chosen.retries,
            "timeout_s": _TIMEOUT_S,
        },
    )


def _account(
    store: EventStore,
    chosen: ContentionParameters,
    producer: int,
    created: EventId,
    result: PumpResult,
    findings: Findings,
) -> None:
    written = written_by(store, producer, created)
    identities = [entity_id(producer, number) for number in range(chosen.entities)]
    counts = store.client.hmget(store.keys.updates("customer"), identities)
    writers = add_updates(
        findings.evidence,
        result.told,
        written,
        in_doubt=in_doubt_of(result, also=result.failed - conflicts_in(result.failures)),
        versions=[1 + int(count or 0) for count in counts],
    )
    findings.figure("attempts", writers.attempts, "attempts")
    findings.figure("conflicts", writers.conflicts, "attempts")
    share = writers.conflicts / writers.attempts if writers.attempts else None
    findings.figure("conflict_share", share, "share")
    findings.figure("retried", writers.retried, "updates")
    findings.figure("given_up", conflicts_in(result.failures), "updates")
    findings.figure("overwritten", written.stale(), "updates")


def _conclude(chosen: ContentionParameters, findings: Findings, result: PumpResult) -> None:
    add_users_arrival(findings, "contention", result.report(), chosen.users)
    findings.concluded()
    add_by_hand(findings)


def headline(chosen: ContentionParameters, told: Told) -> str:
    """What came out, in a sentence; empty where nothing was answered.

    Args:
        told: of a run with these parameters.
    """
    attempts, share, p99 = (told.value(name) for name in ("attempts", "conflict_share", "response.p99"))
    if not attempts or share is None or p99 is None:
        return ""
    writers = f"{told.value('users') or chosen.users:,.0f} writers"
    entities = "1 entity" if chosen.entities == 1 else f"{chosen.entities:,} entities"
    lost = told.value("overwritten") or 0
    said = f"{writers} made {attempts:,.0f} attempts to update {entities}, {chosen.think_ms:g} ms after a read"
    if chosen.expects == "nothing":
        said += ", expecting no version"
    else:
        said += f": {told.value('conflicts') or 0:,.0f} ({share:.1%}) met a conflict"
    if retried := told.value("retried"):
        said += f", {retried:,.0f} updates took more than one attempt"
    if given_up := told.value("given_up"):
        said += f", {given_up:,.0f} updates were given up"
    written_over = f"{lost:,.0f} updates were written over" if lost else "none was written over"
    return f"{said}; {written_over}; {p99 / 1000:.2f} ms at p99{arrived_said(told)}."


scenario = Contention()
ContentionUser = locustfile(scenario, __name__, WRITER)
