"""How fast are reads and writes beside each other, at a rate?

    schedule --> append | entity | page | tail    one rate for all of them; each kind has latencies of its own

Entities are updated through the shop's one write path, while they are read from the cache, and while pages of the
past and the newest events are read from the streams (`scenarios/shop/reads.py`). A slow page keeps the server from
everything behind it: that is what to look for here.

    mix.append.response.p99     mix.entity.response.p99     mix.page.response.p99     mix.tail.response.p99

That a mix was the one that was asked for is a verdict: each kind has its share of what was answered, and each read
has found what was there for it before the load began.
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import contextlib
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.check.arrival import ArrivalRule, arrival_checker
from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.check.loads import answered_checker, send_lag_checker
from harness.conduct.findings import PUMPED, PUMPED_PART, Findings
from harness.conduct.scenario import ParameterError, Probing, Stage
from harness.load.pacing import Shape, shaped
from harness.load.settings import PumpSettings
from harness.locust.locustfile import locustfile
from harness.measure.probes import HostLoad
from harness.measure.reached import CoreOf
from harness.measure.server_events import server_probes
from harness.record.files import LATENCIES
from harness.record.load_report import LoadReport, section_of
from harness.record.run import KeyFigure, Record, Verdict
from harness.server.server import Server
from harness.server.url import ServerUrl
from ordershop.event_store import EventStore, connect
from ordershop.events import Event
from scenarios.arrival import PATIENCE_MS, add_arrival
from scenarios.commands import PRODUCERS
from scenarios.load import EVENT_BYTES, Load
from scenarios.shop.reads import MISS, NAMES, MixedReads, Readable, ReadMix, Shares, due_of
from scenarios.shop.shop import (
    DURABILITY_LABELS,
    as_scenario_errors,
    durability_in_words,
    floor_before,
    producer_of,
    server_for,
)
from scenarios.told import Told, add_by_hand, arrived_said, told_of
from scenarios.under_load import UnderLoad

# A kind has its share where it is so near to it, or within so many standard deviations of what chance makes of it.
NEAR, SIGMAS = 0.01, 4.0
# And where so much of what was due of it was answered as it should.
LEAST_ANSWERED = 0.98
# The section of the evidence.
MIX = "mix"


class MixParameters(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be chosen for `mix`.

    Attributes:
        rate_per_s (commands a second): of all kinds together, where most are due.
        duration_s: of the load.
        shape: how the rate goes: steady, a ramp, steps, or a spike.
        read_share: the share, 0 to 1, of reads in all commands.
        page_share: the share, 0 to 1, of reads that are of a page of the past.
        tail_share: the share, 0 to 1, of reads that are of the newest events; what is left reads one entity.
        page_events, tail_events (events): that such a read answers.
        entities (entities): that are there, to be updated and to be read.
        skew: the exponent of Zipf's law over the entities that are updated; 0: all alike.
        connections (connections): that the commands come over, in turn.
        max_in_flight (commands): that may be unanswered at once; what is due beyond them is dropped, and counted.
        durability: what a server that we start does before it answers a write.
        send_lag_budget_ms: how late, at p99, the instrument may send; beyond it the measurement is not valid.

    Raises:
        ValueError: shares of more than 1, or a page that is longer than the past.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 2_000
    duration_s: Annotated[float, Meta(gt=0, le=86_400)] = 10
    shape: Shape = "steady"
    read_share: Annotated[float, Meta(ge=0, le=1)] = 0.8
    page_share: Annotated[float, Meta(ge=0, le=1)] = 0.05
    tail_share: Annotated[float, Meta(ge=0, le=1)] = 0.15
    page_events: Annotated[int, Meta(ge=1, le=10_000)] = 100
    tail_events: Annotated[int, Meta(ge=1, le=10_000)] = 10
    entities: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    skew: Annotated[float, Meta(ge=0, le=10)] = 0
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 4
    max_in_flight: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    durability: Literal["none", "everysec", "always"] = "everysec"
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 10

    def __post_init__(self) -> None:
        if self.page_share + self.tail_share > 1:
            raise ValueError(
                f"`page_share` and `tail_share` are shares of the reads, and add up to 1 at most: "
                f"{self.page_share:g} and {self.tail_share:g} do not"
            )
        if self.page_events > self.entities:
            raise ValueError(
                f"a page of {self.page_events:,} events is more than the {self.entities:,} that there are: "
                "have more `entities`, or fewer `page_events`"
            )

    @property
    def shares(self) -> Shares:
        """Of each kind, of all commands."""
        page, tail = self.read_share * self.page_share, self.read_share * self.tail_share
        return Shares(append=1 - self.read_share, entity=self.read_share - page - tail, page=page, tail=tail)

    def mix(self, seed: int) -> ReadMix:
        """Which command has which number."""
        pages = self.entities - self.page_events + 1
        return ReadMix(seed=seed, shares=self.shares, entities=self.entities, pages=pages)


class MixScenario:
    """Reads and writes of one schedule, open loop."""

    name = "mix"
    place = 15
    only_by_name = True
    summary = "how fast are reads and writes beside each other, at a rate?"
    parameters = MixParameters
    commands = PRODUCERS | {"hgetall", "xrange", "xrevrange"}
    figures = (
        *figure_names("mix", PUMPED, "share read_share", "reads misses"),
        *figure_names("mix", PUMPED_PART, within="{append,entity,page,tail}."),
    )
    probing = Probing(rate="rate_per_s", operations="reads and writes", chosen={"rate_per_s": "8000"})
    key_figures = (
        KeyFigure("mix.append.response.p99", "Appends, p99"),
        KeyFigure("mix.entity.response.p99", "Reads of an entity, p99"),
        KeyFigure("mix.page.response.p99", "Reads of a page, p99"),
        KeyFigure("mix.response.max", "Slowest response of all", is_worst=True),
    )
    sections = ("latency", "throughput")
    profiles: dict[str, dict[str, Any]] = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"rate_per_s": 500, "duration_s": 2, "send_lag_budget_ms": 250},
        "quick": {},
        "standard": {"duration_s": 60},
        "full": {"duration_s": 600},
    }

    def scheduled_s(self, parameters: MixParameters) -> float:
        """How long its load lasts."""
        return parameters.duration_s

    @as_scenario_errors()
    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Make what there is to read; then read and write."""
        chosen: MixParameters = parameters
        pacer = shaped(chosen.shape, chosen.rate_per_s, chosen.duration_s)
        producer = producer_of(stage)
        findings.open_loop(connections=chosen.connections, arrivals=chosen.shape, producer=producer)
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(server_for(stage, chosen.durability))
            findings.server = server.describe()
            stage.progress(0.0, "making what there is to read")
            load = Load(entities=chosen.entities, skew=chosen.skew)
            readable = _made(server, chosen, load, producer)
            settings = PumpSettings(
                url=server.url,
                connections=chosen.connections,
                max_in_flight=chosen.max_in_flight,
                scripts=load.scripts,
                floor=floor_before(stage, server, pacer, EVENT_BYTES),
            )
            appends = load.source(server, "mix", producer, stage.seed)
            pump = stage.driver.pump(settings, pacer, MixedReads(appends, chosen.mix(stage.seed), readable))
            stack.callback(pump.close)
            pump.wait_until_ready()
            client = stack.enter_context(contextlib.closing(server.client(timeout_s=0.5)))
            under_load = UnderLoad(stage, findings)
            core = CoreOf(lambda: server.pid, stage.clock)
            with under_load.sampling([*server_probes(server, client, stage.clock), HostLoad(), core]):
                result = under_load.run(
                    pump, pacer, "mix", lambda share: stage.progress(share, "reads and writes")
                )
        findings.evidence.add_json(MIX, due_of(chosen.mix(stage.seed), result.arrivals))
        _add_figures(findings, result.report())
        rule = ArrivalRule(budget_ms=PATIENCE_MS, operation="mix", reached="answered")
        add_arrival(findings, findings.history, result.report(), rule)
        findings.concluded()
        add_by_hand(findings)

    def checkers(self, parameters: MixParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - none is chosen
        """What finds its verdicts in a record of a run."""
        return [
            _mix_checker(parameters),
            answered_checker("mix"),
            send_lag_checker("mix", "mix"),
            arrival_checker("mix"),
        ]

    def headline(self, parameters: MixParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def lasting(self, parameters: MixParameters, duration_s: float, _: str) -> MixParameters:
        """The parameters with which the load takes some seconds."""
        return replace(parameters, duration_s=duration_s)

    def at_rate(self, parameters: MixParameters, rate_per_s: float, duration_s: float) -> MixParameters:
        """The parameters with which the load comes steadily at a rate, for some seconds.

        Raises:
            ParameterError: it is not steady.
        """
        if parameters.shape != "steady":
            raise ParameterError(f"mix: the rate is steady here, and `shape={parameters.shape}` is not")
        return replace(parameters, rate_per_s=rate_per_s, duration_s=duration_s)

    def probed_operation(self, _: MixParameters, server: ServerUrl | str = "embedded") -> str:  # noqa: ARG002
        """The operation whose latency a budget is on: all kinds together."""
        return "mix"

    def probed_said(self, parameters: MixParameters, server: Mapping[str, Any]) -> str:
        """How much of it reads, and what a write has been through when it is answered."""
        written = DURABILITY_LABELS["given"]
        if server.get("owned") is not False:
            written = durability_in_words(parameters.durability, server)
        return f"{parameters.read_share:.0%} reads, writes {written}"


def _made(server: Server, chosen: MixParameters, load: Load, producer: int) -> Readable:
    """Create the entities, and update one, so that the first read of each kind finds something."""
    with contextlib.closing(connect(server.url, timeout_s=60.0)) as client:
        store = EventStore(client, server.namespace)
        created = store.append_many(load.creations(producer))
        changed = next(iter(load.creations(producer))).entity
        store.append_many(Event("updated", changed, f"{producer:x}-{at}") for at in range(chosen.tail_events))
        store.close()
    return Readable(
        namespace=server.namespace,
        producer=producer,
        event_ids=[str(event_id) for event_id in created[: chosen.entities - chosen.page_events + 1]],
        page_events=chosen.page_events,
        tail_events=chosen.tail_events,
    )


def _add_figures(findings: Findings, report: LoadReport) -> None:
    values = {figure.name: figure.value or 0.0 for figure in findings.figures}
    answered = {name: values.get(f"mix.{name}.answered", 0.0) for name in NAMES}
    total = sum(answered.values())
    findings.figure("read_share", (total - answered["append"]) / total if total else None, "share")
    reads = [count for name, count in misses_in(report).items() if name != "append"]
    findings.figure("misses", sum(reads), "reads")


def misses_in(report: LoadReport) -> dict[str, int]:
    """How many commands of each kind were answered, and not with what was there."""
    counts = {failure.kind: failure.count for failure in report.failures}
    return {name: counts.get(f"{MISS} {name}", 0) for name in NAMES}


def as_asked(
    name: str,
    asked: Mapping[str, float],
    due: Mapping[str, int],
    answered: Mapping[str, int],
    missed: Mapping[str, int],
) -> Verdict:
    """Whether the mix that was answered is the one that was asked for, and its reads found what was there.

    Args:
        asked: the share of each kind.
        due: how many of each were due.
        answered: how many of each were answered, also with an error.
        missed: how many of these had not what was there.
    """
    total = sum(answered.values())
    kinds = [kind for kind, share in asked.items() if share > 0]
    if not total or not all(due.get(kind) for kind in kinds):
        none = ", ".join(kind for kind in kinds if not due.get(kind)) if total else ""
        detail = f"none was due of: {none}" if none else "nothing was answered"
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    if wrong := [f"{missed[kind]:,} of {answered[kind]:,} ({kind})" for kind in kinds if missed.get(kind)]:
        detail = f"these were answered without what was there to be found: {', '.join(wrong)}"
        return Verdict(name=name, status="FAIL", detail=detail)
    shares = {kind: answered.get(kind, 0) / total for kind in kinds}
    said = ", ".join(f"{shares[kind]:.1%} {kind} ({asked[kind]:.1%} asked)" for kind in kinds)
    off = [
        kind
        for kind in kinds
        if abs(shares[kind] - asked[kind]) > max(NEAR, SIGMAS * math.sqrt(asked[kind] * (1 - asked[kind]) / total))
        or answered.get(kind, 0) < LEAST_ANSWERED * due[kind]
    ]
    if off:
        detail = f"the mix that was answered is not the one that was asked for: {said}; off are {', '.join(off)}"
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    detail = f"of what was answered, {said}; each read found what was there"
    return Verdict(name=name, status="PASS", detail=detail)


def _mix_checker(chosen: MixParameters) -> Checker:
    name, load = "mix.as_asked", section_of("load")
    asked = dict(zip(NAMES, chosen.shares.all, strict=True))

    def check(record: Record) -> Verdict:
        due = record.evidence.value(MIX, dict[str, int])
        missed = misses_in(record.evidence.value(load, LoadReport))
        answered = {kind: record.latency.total(f"mix.{kind}.response").total for kind in NAMES}
        return as_asked(name, asked, due, answered, missed)

    return Checker(name, check, reads=(MIX, load, LATENCIES))


def headline(chosen: MixParameters, told: Told) -> str:
    """What came out, in a sentence; empty where nothing was answered.

    Args:
        told: of a run with these parameters.
    """
    called = {"append": "appends", "entity": "entities read", "page": "pages read", "tail": "tails read"}
    each = [
        f"{called[kind]} {p99 / 1000:.2f} ms"
        for kind in NAMES
        if (p99 := told.value(f"{kind}.response.p99")) is not None
    ]
    share = told.value("read_share")
    if not each or share is None:
        return ""
    up_to = "" if chosen.shape == "steady" else "up to "
    missed = f"; {told.value('misses'):,.0f} reads did not find what was there" if told.value("misses") else ""
    return (
        f"With {share:.0%} reads, due at {up_to}{chosen.rate_per_s:,.0f}/s in all, counted from when each was "
        f"due, at p99: {', '.join(each)}{missed}{arrived_said(told)}."
    )


scenario = MixScenario()
MixUser = locustfile(scenario, __name__)
