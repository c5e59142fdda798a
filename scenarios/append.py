"""How fast is an append, at a rate, for each durability?

Customers are created through the shop's one write path (`append.lua`: ID, idempotency, stream entry, entity cache)
on a schedule, and each response is counted from when the append was due. Durabilities are measured one after the
other, each on a server of its own:

    everysec    written before the answer, synced each second       append.everysec.response.p99
    always      written and synced before each answer               append.always.response.p99
    none        in memory only                                      append.none.response.p99
    given       as a server at a URL has it, which is not ours      append.given.response.p99

The durability stands in the name of each operation (`append_always`), figure and verdict. What is fast because it
promises less has another name, so that no limit on the one is kept by measuring the other.

What is appended can be chosen (`scenarios.load`): a bare XADD, updates of some entities of which a few are hot,
payloads of one size or many, one stream or many. All of it follows from the seed, and from the producer's number
that the record names; both given again, `--seed S --param producer=P`, the same commands go out, byte for byte.
So can what is around it (`scenarios.around`): a rewrite of the log or a snapshot in the middle, other keys that
the server holds, and a link to the server on which a round trip takes so long.
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import contextlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.account.event_ids import PRODUCER_BITS
from harness.check.arrival import ArrivalRule, arrival_checker
from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.check.loads import answered_checker, send_lag_checker
from harness.conduct.findings import PUMPED, Findings
from harness.conduct.scenario import ParameterError, Probing, ScenarioError, Stage
from harness.load.pacing import Pacer, Poisson, Shape, shaped
from harness.load.settings import PumpSettings
from harness.load.workload import Source
from harness.locust.locustfile import locustfile
from harness.measure.probes import HostLoad, Probe
from harness.measure.server_events import server_probes
from harness.measure.timeline import History
from harness.record.run import KeyFigure, Record
from harness.server.open import kind_of
from harness.server.server import Durability, Server
from harness.server.url import ServerUrl
from scenarios.around import AROUND, SurroundedLoad, around_checkers, around_said, surrounded
from scenarios.arrival import add_arrival
from scenarios.commands import PRODUCERS
from scenarios.load import Load
from scenarios.payloads import PayloadError, Payloads
from scenarios.shop.shop import (
    DURABILITY_LABELS,
    durability_in_words,
    floor_before,
    producer_of,
    server_for,
)
from scenarios.told import Told, add_by_hand, capital, has_arrived, limit_said, told_of
from scenarios.trimmed import TRIMMED_FIGURES, StreamSizes, add_trimmed, trimmed_checker, trimmed_of
from scenarios.under_load import UnderLoad

Choice = Literal["everysec", "always", "none", "all"]
# What figures call it.
Label = Literal["everysec", "always", "none", "given"]
LABELS: tuple[Label, ...] = ("everysec", "always", "none", "given")


class AppendParameters(SurroundedLoad, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be chosen for `append`: its load, how that comes, and what is around it.

    Attributes:
        rate_per_s: where most are due.
        duration_s: of each durability.
        durability: what the server does before it answers; all: each of the three, one after the other.
        connections (connections): that the appends come over.
        max_in_flight (appends): that may be unanswered at once; what is due beyond them is dropped, and counted.
        arrivals: evenly, or independently of one another, as those of many users are.
        shape: how the rate goes: steady, a ramp, steps, or a spike.
        producer: the number that events carry; 0: one that no run before has had.
        send_lag_budget_ms: how late, at p99, the instrument may send; beyond it the measurement is not valid.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 2_000
    duration_s: Annotated[float, Meta(gt=0, le=86_400)] = 10
    durability: Choice = "all"
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 1
    max_in_flight: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    arrivals: Literal["constant", "poisson"] = "constant"
    shape: Shape = "steady"
    producer: Annotated[int, Meta(ge=0, lt=1 << PRODUCER_BITS)] = 0
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 10

    def __post_init__(self) -> None:
        Load.__post_init__(self)
        if self.arrivals == "poisson" and self.shape != "steady":
            raise ValueError(f"arrivals that are `poisson` have one mean rate: `shape` cannot be `{self.shape}`")


class Append:
    """Appends at a fixed rate, open loop."""

    name = "append"
    place = 10
    takes_systems = True
    summary = "how fast is an append, at a rate, for each durability?"
    parameters = AppendParameters
    commands = PRODUCERS
    figures = figure_names("append", PUMPED, TRIMMED_FIGURES, AROUND, within="{everysec.,always.,none.,given.}")
    probing = Probing(
        rate="rate_per_s", operations="appends", chosen={"durability": "everysec", "rate_per_s": "8000"}
    )
    key_figures = (
        KeyFigure("append.*.response.p99", "Response, p99"),
        KeyFigure("append.*.response.max", "Slowest response of all", is_worst=True),
    )
    sections = ("latency", "throughput")
    words = DURABILITY_LABELS
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"rate_per_s": 500, "duration_s": 2, "send_lag_budget_ms": 250},
        "quick": {},
        "standard": {"duration_s": 60},
        "full": {"duration_s": 600},
    }

    def scheduled_s(self, parameters: AppendParameters) -> float:
        """How long its load lasts, of all durabilities."""
        return parameters.duration_s * len(_parts(parameters.durability, ""))

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Measure each durability, one after the other."""
        chosen: AppendParameters = parameters
        parts = _parts(chosen.durability, stage.server)
        producer = chosen.producer or producer_of(stage)
        arrivals = chosen.arrivals if chosen.shape == "steady" else chosen.shape
        findings.open_loop(connections=chosen.connections, arrivals=arrivals, producer=producer)
        payloads = _payloads_of(chosen)
        if payloads is not None:
            findings.load["payloads"] = payloads.told()
        run_origin_ns = stage.clock.now_ns()
        for at, (label, durability) in enumerate(parts):
            doing = replace(stage, progress=_share_of(stage, at, len(parts), label))
            part = _Part(label, durability, producer, payloads)
            _measure(doing, chosen, findings, part, run_origin_ns)
        add_by_hand(findings)

    def look_at(self, parameters: AppendParameters) -> None:
        """See to it that each line of a file of payloads is one.

        Raises:
            ValueError: the file cannot be read, or has a line that is no JSON.
        """
        parameters.payloads()

    def checkers(self, parameters: AppendParameters, record: Record) -> list[Checker]:
        """What finds its verdicts in a record of a run: three for each durability, and its premises."""
        return [
            checker
            for label in LABELS
            if any(figure.name == f"append.{label}.offered_per_s" for figure in record.run.figures)
            for checker in (
                arrival_checker("append", label),
                send_lag_checker("append", f"append_{label}", label),
                answered_checker("append", label),
                *([trimmed_checker("append", label)] if parameters.trim != "none" else []),
                *around_checkers("append", label, parameters),
            )
        ]

    def headline(self, parameters: AppendParameters, record: Record) -> str:
        """What came out of a run with these parameters, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def alone(self, parameters: AppendParameters, part: str) -> AppendParameters:
        """The parameters that measure one durability only: `append.always`, or the one that a URL has."""
        label = part.removeprefix("append.")
        every: tuple[Durability, ...] = ("everysec", "always", "none")
        return next((replace(parameters, durability=each) for each in every if each == label), parameters)

    def at_rate(self, parameters: AppendParameters, rate_per_s: float, duration_s: float) -> AppendParameters:
        """The parameters with which appends of one durability come steadily at a rate.

        Raises:
            ParameterError: of several durabilities, or with another shape.
        """
        if parameters.durability == "all":
            raise ParameterError("append: each durability has a rate of its own: give one, as durability=everysec")
        if parameters.shape != "steady":
            raise ParameterError(f"append: the rate is steady here: `shape` cannot be `{parameters.shape}`")
        return replace(parameters, rate_per_s=rate_per_s, duration_s=duration_s)

    def probed_operation(self, parameters: AppendParameters, server: ServerUrl | str = "embedded") -> str:
        """The operation of the one durability that is measured."""
        return f"append_{_parts(parameters.durability, server)[0][0]}"

    def probed_said(self, parameters: AppendParameters, server: Mapping[str, Any]) -> str:
        """What an append has been through when it is answered."""
        if server.get("owned") is False:
            return DURABILITY_LABELS["given"]
        every: tuple[Durability, ...] = ("everysec", "always", "none")
        return next((durability_in_words(each, server) for each in every if each == parameters.durability), "")

    def commands_with(self, parameters: AppendParameters) -> frozenset[str]:
        """The commands that it needs of a server: for a bare XADD fewer than for the shop's path."""
        own = self.commands
        if parameters.path == "xadd":
            trims = {"xlen", "xinfo|stream", "memory|usage"} if parameters.trim != "none" else set()
            own = frozenset({"xadd", *trims})
        return own | parameters.commands

    def lasting(self, parameters: AppendParameters, duration_s: float, server: str) -> AppendParameters:
        """The parameters with which all durabilities together take some seconds."""
        return replace(parameters, duration_s=duration_s / len(_parts(parameters.durability, server)))


def _parts(choice: Choice, server: ServerUrl | str) -> list[tuple[Label, Durability]]:
    """What is measured one after the other: the name in figures, and what a server of ours is started with."""
    if "configure" not in kind_of(server).can:
        # A server at a URL has a durability of its own, which is not ours to change.
        return [("given", "everysec")]
    every: list[Durability] = ["everysec", "always", "none"]
    return [(each, each) for each in every if choice in {"all", each}]


class _Part(Struct, frozen=True):
    """One of the loads of a run: on a server of which durability, by which producer, and of which payloads."""

    label: Label
    durability: Durability
    producer: int
    payloads: Payloads | None


def _payloads_of(chosen: AppendParameters) -> Payloads | None:
    """The lines of the file that is named; None where none is.

    Raises:
        ScenarioError: it was right when it was looked at, and is not any more.
    """
    try:
        return chosen.payloads()
    except PayloadError as error:
        raise ScenarioError(str(error)) from error


def _share_of(stage: Stage, at: int, of: int, label: Label) -> Callable[[float, str], None]:
    return lambda share, _: stage.progress((at + share) / of, f"durability {label}")


def _measure(
    stage: Stage,
    chosen: AppendParameters,
    findings: Findings,
    part: _Part,
    run_origin_ns: int,
) -> None:
    label = part.label
    operation = f"append_{label}"
    pacer = _pacer(stage, chosen)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(server_for(stage, part.durability))
        described = server.describe()
        findings.server = findings.server or described
        stage.progress(0.0, "")
        if stage.system is None:
            chosen.create_entities(server, part.producer)
        around = stack.enter_context(surrounded(stage, server, chosen))
        load = _load_of(stage, chosen, server, operation, part)
        settings = PumpSettings(
            url=around.url,
            connections=chosen.connections,
            max_in_flight=chosen.max_in_flight,
            scripts=load.scripts,
            floor=floor_before(stage, server, pacer, load.event_bytes),
            quotes=part.payloads is None,
        )
        pump = stage.driver.pump(settings, pacer, load.source)
        stack.callback(pump.close)
        pump.wait_until_ready()
        client = stack.enter_context(contextlib.closing(server.client(timeout_s=0.5)))
        history = History()
        # The timeline counts from the first of all loads.
        under_load = UnderLoad(stage, findings, history=history, since_ns=run_origin_ns)
        probes: list[Probe] = [*server_probes(server, client, stage.clock), HostLoad()]
        is_trimmed = chosen.trim != "none"
        if is_trimmed:
            probes.append(StreamSizes(client, load.streams, label))
        stack.callback(lambda: findings.history.entries.extend(history.entries))
        stack.enter_context(under_load.sampling(probes))
        arriving = stack.enter_context(under_load.arriving(server, load.streams, trims=is_trimmed, load=label))
        with around.beside(under_load, pacer, label):
            result = under_load.run(pump, pacer, operation, lambda share: stage.progress(share, ""), name=label)
        arriving.end()
        around.add(findings, history, operation, result)
        if is_trimmed:
            found = trimmed_of(client, load.streams, chosen, result.ok)
            add_trimmed(findings, history, found, label)
    rule = ArrivalRule(
        budget_ms=chosen.send_lag_budget_ms,
        name=label,
        operation=operation,
        offset_ns=under_load.offset_ns,
        blind=arriving.blind,
    )
    add_arrival(findings, history, result.report(), rule)
    findings.concluded(label)


class _Sent(Struct, frozen=True):
    """What is appended: commands, the scripts that they call, the bytes of an event, and its streams."""

    source: Source
    scripts: tuple[str, ...]
    event_bytes: int
    streams: list[str]


def _load_of(stage: Stage, chosen: AppendParameters, server: Server, operation: str, part: _Part) -> _Sent:
    """What is appended: by the parameters, or by the system that is named.

    Raises:
        ScenarioError: the parameters are OrderShop's, and another system is measured.
    """
    system = stage.system
    if system is None:
        source = chosen.source(server, operation, part.producer, stage.seed, part.payloads)
        middle = chosen.middle_bytes if part.payloads is None else part.payloads.middle_bytes
        return _Sent(source, chosen.scripts, middle, chosen.stream_names(server))
    plain = AppendParameters()
    changed = [each for each in Load.__struct_fields__ if getattr(chosen, each) != getattr(plain, each)]
    if changed:
        raise ScenarioError(f"append: {', '.join(changed)} {'is' if len(changed) == 1 else 'are'} OrderShop's")
    source = system.source(server, operation, part.producer)
    return _Sent(source, tuple(system.scripts), system.event_bytes, system.streams(server))


def _pacer(stage: Stage, chosen: AppendParameters) -> Pacer:
    if chosen.arrivals == "poisson":
        return Poisson(chosen.rate_per_s, chosen.duration_s, stage.seed)
    return shaped(chosen.shape, chosen.rate_per_s, chosen.duration_s)


def headline(chosen: AppendParameters, told: Told) -> str:
    """What came out of a run, in a sentence, each durability by itself.

    Args:
        chosen: the run's parameters.
        told: what came out.
    """
    parts, limits, arrived = [], [], []
    for label in LABELS:
        p50, p99 = told.value(f"{label}.response.p50"), told.value(f"{label}.response.p99")
        if told.value(f"{label}.offered_per_s") is None:
            continue
        where = "on this server" if label == "given" else durability_in_words(label, told.server)
        limit = limit_said(told, label)
        limits += [f" {capital(where)}, {limit}."] if limit else []
        arrived.append(has_arrived(told, label))
        if p50 is None or p99 is None:
            parts.append(f"{where} none was answered")
            continue
        parts.append(
            f"{where} {p50 / 1000:.2f} ms at the median and {p99 / 1000:.2f} ms at p99, "
            f"{told.value(f'{label}.ok') or 0:,.0f} succeeded{around_said(told, label, chosen)}"
        )
    what = "Bare XADDs" if chosen.path == "xadd" else "Appends"
    # A rate that did not arrive was due, and no more.
    due = "" if arrived and all(arrived) else "due "
    shape, up_to = ("", "") if chosen.shape == "steady" else (f"{chosen.shape}, ", "up to ")
    lines = "1 connection" if chosen.connections == 1 else f"{chosen.connections} connections"
    return (
        f"{what} {due}at {up_to}{chosen.rate_per_s:,.0f}/s ({shape}open loop, {lines}), "
        f"counted from when each was due: {'; '.join(parts) or 'nothing was measured'}.{''.join(limits)}"
    )


scenario = Append()
AppendUser = locustfile(scenario, __name__)
