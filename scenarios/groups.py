"""What do many groups on a stream cost, and full pending lists? Beside one group, in the same run.

Events are appended by bare XADDs at a steady rate, in turns to two streams: one has a single group with nothing
pending, the other has `groups` groups, each with `pending` entries that somebody was given and never acknowledged.
Some of the groups are read; the others lag behind, as those of services that are down do.

    turns     one  many many one ...        on one server, in one load: what drifts meets both alike
    read      the first group of each stream, by a witness, which times each of its commands; and on the second
              stream `read_groups` - 1 more, by a crowd of few processes, which read and acknowledge many at a time

    many.response.p50     an append while there are many groups       ratio.append.p50   beside one group
    many.read.p50         an XREADGROUP of one of them; ack, claim    ratio.read.p50
    many.server.xadd      what a command costs the server alone, by its own account (INFO commandstats)

With `groups=1` and `pending=N` only the pending list is another. An append does not know of groups; what it pays
for is that the server has others to answer, and how many these are is `read_groups`, not `groups`.

Rejected: two runs, and their ratio. What the machine did in between is then in it.
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

from harness.check.arrival import ArrivalRule, arrival_checker
from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.check.loads import answered_checker, send_lag_checker
from harness.conduct.findings import PUMPED, Findings
from harness.conduct.scenario import ScenarioError, Stage
from harness.host.child import ChildError
from harness.load.pacing import constant
from harness.load.settings import PumpSettings
from harness.load.workload import StampedCommand
from harness.locust.locustfile import locustfile
from harness.measure.probes import HostLoad
from harness.measure.server_events import server_probes
from harness.measure.timeline import Phase
from harness.record.run import KeyFigure, Record
from harness.server.server import Server, ServerError
from scenarios.arrival import add_arrival
from scenarios.load import EVENT_BYTES, bare_append
from scenarios.many_groups.costs import COSTS, add_costs
from scenarios.many_groups.reading import Reading, WasRead, readers_of
from scenarios.many_groups.seen import SECTION, CommandCosts, GroupsSeen, GroupsThere, premise_checkers
from scenarios.many_groups.staging import Staged, Swept, group_names, stage_groups, sweep
from scenarios.many_groups.turns import InTurns, Turns
from scenarios.shop.shop import floor_before, producer_of, server_for
from scenarios.told import Told, add_by_hand, arrived_said, told_of
from scenarios.under_load import UnderLoad

# What can be pending in all groups together: some gigabytes of a server's memory.
MOST_PENDING = 20_000_000
COMMANDS = ("xadd", "xreadgroup", "xack", "xautoclaim")


class GroupsParameters(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be chosen for `groups`.

    Attributes:
        groups (groups): on the second stream.
        read_groups (groups): of these, that are read; the others lag behind.
        pending (events): that each group of the second stream has pending before the load.
        rate_per_s: all the time.
        turn_s: that the load goes to one of the streams before it goes to the other.
        rounds (rounds): of two turns.
        page (events): that a group may be given at once.
        every_ms: from one reading of a group to the next.
        readers (processes): that the groups besides the first are read by.
        connections (connections): that appends come over.
        durability: what a server that we start does before it answers: none, a log that is synced each second, or
            before each answer.
        send_lag_budget_ms: how late, at p99, the instrument may send; beyond it the measurement is not valid.

    Raises:
        ValueError: choices that cannot be had together.
    """

    groups: Annotated[int, Meta(ge=1, le=20_000)] = 200
    read_groups: Annotated[int, Meta(ge=1, le=20_000)] = 10
    pending: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 1_000
    turn_s: Annotated[int, Meta(ge=1, le=86_400)] = 1
    rounds: Annotated[int, Meta(ge=1, le=1_000)] = 3
    page: Annotated[int, Meta(ge=1, le=10_000)] = 500
    every_ms: Annotated[float, Meta(ge=1, le=60_000)] = 20
    readers: Annotated[int, Meta(ge=1, le=16)] = 1
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 1
    durability: Literal["none", "everysec", "always"] = "everysec"
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 10

    def __post_init__(self) -> None:
        if self.read_groups > self.groups:
            raise ValueError(f"of {self.groups:,} groups no {self.read_groups:,} can be read")
        if self.groups * self.pending > MOST_PENDING:
            raise ValueError(
                f"{self.groups:,} groups with {self.pending:,} entries pending each are more than {MOST_PENDING:,}"
            )

    @property
    def turns(self) -> Turns:
        """When the load goes to which stream."""
        return Turns(rate_per_s=self.rate_per_s, turn_s=self.turn_s, rounds=self.rounds)


class Groups:
    """Many groups on a stream, beside one."""

    name = "groups"
    place = 95
    summary = "what do many groups on a stream cost, and full pending lists, beside one group?"
    parameters = GroupsParameters
    commands = frozenset(
        (
            *("xadd", "xlen", "xgroup|create", "xreadgroup", "xack", "xautoclaim", "xpending"),
            *("xinfo|stream", "xinfo|groups", "unlink", "info"),
        )
    )
    figures = figure_names("groups", PUMPED, COSTS)
    key_figures = (
        KeyFigure("groups.*.response.p99", "An append, p99"),
        KeyFigure("groups.ratio.append.p50", "An append's median, beside one group"),
        KeyFigure("groups.ratio.read.p50", "A read's median, beside one group"),
    )
    sections = ("latency", "throughput")
    words = {"one": "one group", "many": "many groups"}  # noqa: RUF012 - as `profiles`
    profiles: dict[str, dict[str, Any]] = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {
            "groups": 50,
            "read_groups": 5,
            "rate_per_s": 500,
            "turn_s": 1,
            "rounds": 1,
            "send_lag_budget_ms": 250,
        },
        "quick": {},
        "standard": {"groups": 500, "read_groups": 25, "turn_s": 5, "rounds": 6},
        "full": {"groups": 5_000, "read_groups": 100, "turn_s": 10, "rounds": 20, "readers": 2},
    }

    def scheduled_s(self, parameters: GroupsParameters) -> float:
        """How long its load lasts."""
        return parameters.turns.load_s

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Make the groups, load and read in turns, and look at the groups again."""
        chosen: GroupsParameters = parameters
        producer = producer_of(stage)
        findings.open_loop(connections=chosen.connections, arrivals="constant", producer=producer)
        with server_for(stage, chosen.durability) as server:
            findings.server = server.describe()
            _measure(stage, chosen, findings, server, producer)
        add_by_hand(findings)

    def checkers(self, parameters: GroupsParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - as asked for
        """What finds its verdicts in a record of a run."""
        return [
            *premise_checkers("groups", has_pending=bool(parameters.pending)),
            arrival_checker("groups"),
            send_lag_checker("groups"),
            answered_checker("groups"),
        ]

    def headline(self, parameters: GroupsParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def lasting(self, parameters: GroupsParameters, duration_s: float, _: str) -> GroupsParameters:
        """The parameters with which the load takes some seconds, in as many turns: to a whole second each."""
        return replace(parameters, turn_s=max(1, round(duration_s / (2 * parameters.rounds))))


def _measure(stage: Stage, chosen: GroupsParameters, findings: Findings, server: Server, producer: int) -> None:
    streams = f"{server.namespace}groups:one", f"{server.namespace}groups:many"
    stage.progress(0.0, f"making {chosen.groups:,} groups")
    staged = stage_groups(server, streams, chosen.groups, chosen.pending)
    before = sweep(server, streams[1])
    names, turns = group_names(chosen.groups), chosen.turns
    pacer = constant(chosen.rate_per_s, turns.load_s)
    with contextlib.ExitStack() as stack:
        readers = readers_of(
            server.url,
            turns,
            streams,
            groups=names[: chosen.read_groups],
            processes=chosen.readers,
            page=chosen.page,
            every_ms=chosen.every_ms,
        )
        reading = stack.enter_context(contextlib.closing(_reading(list(readers))))
        settings = PumpSettings(
            url=server.url,
            connections=chosen.connections,
            floor=floor_before(stage, server, pacer, EVENT_BYTES),
        )
        source = InTurns(turns, [_appends(stream, producer) for stream in streams])
        pump = stage.driver.pump(settings, pacer, source)
        stack.callback(pump.close)
        pump.wait_until_ready()
        client: Any = stack.enter_context(contextlib.closing(server.client(timeout_s=0.5)))
        asking: Any = stack.enter_context(contextlib.closing(server.client(timeout_s=0.5)))
        under_load = UnderLoad(stage, findings)
        stack.enter_context(under_load.sampling([*server_probes(server, client, stage.clock), HostLoad()]))
        there = GroupsThere(asking, streams[1], names if chosen.pending else [])
        stack.enter_context(under_load.sampling([there, CommandCosts(asking, COMMANDS)]))
        arriving = stack.enter_context(under_load.arriving(server, streams))
        with _as_scenario_errors():
            reading.begin(under_load.origin_ns)
        result = under_load.run(pump, pacer, "append", lambda share: stage.progress(share, "appending"))
        arriving.end()
        with _as_scenario_errors():
            was_read = reading.results()
    _conclude(chosen, findings, staged, was_read, _seen(chosen, server, streams[1], before, was_read))
    rule = ArrivalRule(budget_ms=chosen.send_lag_budget_ms, blind=arriving.blind)
    add_arrival(findings, findings.history, result.report(), rule)
    findings.concluded()


@contextlib.contextmanager
def _as_scenario_errors() -> Any:
    try:
        yield
    except ChildError as error:
        raise ScenarioError(str(error)) from error


def _reading(readers: list[Any]) -> Reading:
    """Readers that are connected.

    Raises:
        ScenarioError: one is not.
    """
    with _as_scenario_errors():
        reading = Reading(readers)
        try:
            reading.wait_until_ready()
        except BaseException:
            reading.close()
            raise
        return reading


def _appends(stream: str, producer: int) -> StampedCommand:
    return StampedCommand("append", bare_append(stream, producer), producer, reply=bytes)


def _seen(
    chosen: GroupsParameters, server: Server, stream: str, before: Swept, was_read: list[WasRead]
) -> GroupsSeen:
    """What was there of the groups; what the server does not say at the end is not known."""
    try:
        after: Swept | None = sweep(server, stream)
    except ServerError:
        after = None
    trouble = next((each.error for each in was_read if each.error), "")
    moved = None
    if after is not None:
        moved = sum(before.positions.get(name) != last for name, last in after.positions.items())
    return GroupsSeen(
        groups=chosen.groups,
        read=chosen.read_groups,
        pending=chosen.pending,
        load_ns=chosen.turns.load_s * 1_000_000_000,
        there=None if after is None else after.groups,
        moved=moved,
        least_before=before.least_pending,
        least_after=None if after is None else after.least_pending,
        trouble=trouble,
    )


def _conclude(
    chosen: GroupsParameters, findings: Findings, staged: Staged, was_read: list[WasRead], seen: GroupsSeen
) -> None:
    findings.evidence.add_json(SECTION, seen)
    for from_s, to_s in chosen.turns.spans_s(1):
        start_ns, end_ns = from_s * 1_000_000_000, to_s * 1_000_000_000
        findings.history.add(Phase(name=f"{chosen.groups:,} groups", start_ns=start_ns, end_ns=end_ns))
    findings.intervals += [interval for each in was_read for interval in each.intervals]
    findings.figure("there", seen.there, "groups")
    findings.figure("read", seen.moved, "groups")
    findings.figure("pending.least", seen.least_after, "events")
    for name, more, fewer, by in (
        ("group_bytes", staged.grouped_bytes, staged.bare_bytes, chosen.groups + 1),
        ("pending_bytes", staged.pending_bytes, staged.grouped_bytes, chosen.groups * chosen.pending),
    ):
        is_known = more is not None and fewer is not None and by
        findings.figure(name, (more - fewer) / by if is_known and more and fewer else None, "bytes")
    add_costs(findings, chosen.turns, was_read, COMMANDS)


def headline(chosen: GroupsParameters, told: Told) -> str:
    """What came out, in a sentence.

    Args:
        told: of a run with these parameters.
    """
    pending = f", each with {chosen.pending:,} entries pending" if chosen.pending else ""
    groups = "1 group" if chosen.groups == 1 else f"{chosen.groups:,} groups"
    what = f"With {groups} on a stream, {chosen.read_groups:,} of them read{pending}"
    parts = []
    for operation, said in (("append", "an append"), ("read", "a read"), ("ack", "an acknowledgement")):
        ratio = told.value(f"ratio.{operation}.p50")
        took = told.value(f"many.{'response' if operation == 'append' else operation}.p50")
        if ratio is not None and took is not None:
            parts.append(f"{said} {took / 1000:.2f} ms ({ratio:.2f} times as long)")
    if not parts:
        return f"{what}, nothing was measured{arrived_said(told)}."
    beside = "in brackets beside one group with nothing pending"
    return (
        f"{what}, these took at the median, {beside}: {', '.join(parts)}{_server_said(told)}{arrived_said(told)}."
    )


def _server_said(told: Told) -> str:
    """What an append and a read cost the server alone, as it says itself; empty where it does not."""
    parts = []
    for command in ("xadd", "xreadgroup"):
        cost_us, ratio = told.value(f"many.server.{command}"), told.value(f"ratio.server.{command}")
        if cost_us is not None and ratio is not None:
            parts.append(f"{cost_us:.1f} µs for an {command.upper()} ({ratio:.2f} times as long)")
    return f"; the server itself took {' and '.join(parts)}" if parts else ""


scenario = Groups()
GroupsUser = locustfile(scenario, __name__)
