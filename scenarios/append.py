"""How fast is an append, at a rate, for each durability?

Customers are created through the shop's one write path (`append.lua`: ID, idempotency, stream entry, entity cache)
on a schedule, and each response is counted from when the append was due. Durabilities are measured one after the
other, each on a server of its own; the first is the one that the figures `append.response.*` speak of.

What is appended can be chosen (`scenarios.load`): a bare XADD, updates of some entities of which a few are hot,
payloads of one size or many, one stream or many. All of it follows from the seed, and from the producer's number
that the record names; both given again, `--seed S --param producer=P`, the same commands go out, byte for byte.
"""

from __future__ import annotations

if "." not in __name__ and __name__ != "__main__":  # Locust looks first where it was started, which is not ours
    import sys
    from pathlib import Path

    sys.path.sort(key=lambda each: Path(each).absolute() == Path.cwd() != Path(__file__).resolve().parents[1])

import contextlib
from typing import Annotated, Any, Literal

from msgspec import Meta
from msgspec.structs import replace

from harness import checking
from harness.conduct.figures import figure_names
from harness.conducting import PUMPED, Findings, Stage, answered
from harness.history import History
from harness.ledger import PRODUCER_BITS
from harness.load.settings import PumpResult, PumpSettings
from harness.measure.server_events import server_probes
from harness.pacing import Pacer, Poisson, Shape, shaped
from harness.probes import HostLoad, Probe, Sampler
from harness.recording import LatencyLog
from harness.server.named import is_url
from harness.server.url import ServerUrl
from harness.servers import Durability
from scenarios.arrival import Arriving, Judged, add_arrival
from scenarios.commands import PRODUCERS
from scenarios.load import Load
from scenarios.shop import LEAD_NS, durability_in_words, floor_before, producer_of, run_pump, server_for
from scenarios.told import has_arrived, limit_said, told_of

Choice = Literal["everysec", "always", "none", "all"]


class AppendParameters(Load, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be chosen for `append`: its load, and how that comes.

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
    summary = "how fast is an append, at a rate, for each durability?"
    parameters = AppendParameters
    commands = PRODUCERS
    figures = figure_names(
        # The first durability is the one without a name.
        "append",
        PUMPED,
        within="{,always.,none.}",
    )
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"rate_per_s": 500, "duration_s": 2, "send_lag_budget_ms": 250},
        "quick": {},
        "standard": {"duration_s": 60},
        "full": {"duration_s": 600},
    }

    def scheduled_s(self, parameters: AppendParameters) -> float:
        """How long its load lasts, of all durabilities."""
        return parameters.duration_s * len(_durabilities(parameters.durability, ""))

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Measure each durability; the first one names the figures without a durability."""
        chosen: AppendParameters = parameters
        durabilities = _durabilities(chosen.durability, stage.server)
        producer = chosen.producer or producer_of(stage)
        arrivals = chosen.arrivals if chosen.shape == "steady" else chosen.shape
        findings.open_loop(connections=chosen.connections, arrivals=arrivals, producer=producer)
        run_origin_ns = stage.clock.now_ns()
        results = []
        for at, durability in enumerate(durabilities):
            results.append(
                _measure(stage, chosen, findings, durability, producer, run_origin_ns, at, len(durabilities))
            )
        findings.headline = _headline(chosen, findings, durabilities, results)

    def commands_with(self, parameters: AppendParameters) -> frozenset[str]:
        """The commands that it needs of a server: for a bare XADD fewer than for the shop's path."""
        return frozenset({"xadd"}) if parameters.path == "xadd" else self.commands

    def lasting(self, parameters: AppendParameters, duration_s: float, server: str) -> AppendParameters:
        """The parameters with which all durabilities together take some seconds."""
        return replace(parameters, duration_s=duration_s / len(_durabilities(parameters.durability, server)))


def _durabilities(choice: Choice, server: ServerUrl | str) -> list[Durability]:
    if is_url(server):
        # A server at a URL has a durability of its own, which is not ours to change.
        return ["everysec"]
    return ["everysec", "always", "none"] if choice == "all" else [choice]


def _measure(
    stage: Stage,
    chosen: AppendParameters,
    findings: Findings,
    durability: Durability,
    producer: int,
    run_origin_ns: int,
    at: int,
    of: int,
) -> PumpResult:
    operation = "append" if at == 0 else f"append_{durability}"
    label = "" if at == 0 else durability
    pacer = _pacer(stage, chosen)
    logs: list[LatencyLog] = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(server_for(stage, durability))
        described = server.describe()
        findings.server = findings.server or described
        stage.progress(at / of, f"durability {durability}")
        chosen.create_entities(server, producer)
        source = chosen.source(server, operation, producer, stage.seed)
        settings = PumpSettings(
            url=server.url,
            connections=chosen.connections,
            max_in_flight=chosen.max_in_flight,
            scripts=chosen.scripts,
            floor=floor_before(stage, server, pacer, chosen.middle_bytes),
        )
        pump = stage.driver.pump(settings, pacer, source)
        stack.callback(pump.close)
        pump.wait_until_ready()
        client = stack.enter_context(contextlib.closing(server.client(timeout_s=0.5)))
        origin_ns = stage.clock.now_ns() + LEAD_NS
        probes: list[Probe] = [*server_probes(server, client, stage.clock), HostLoad()]
        history = History()
        arriving = Arriving(
            stage,
            server,
            chosen.stream_names(server),
            history=history,
            origin_ns=run_origin_ns,
            on_error=findings.probe_failed,
            load=label,
        )
        stack.callback(lambda: findings.history.entries.extend(history.entries))
        stack.enter_context(
            Sampler(
                probes,
                clock=stage.clock,
                origin_ns=run_origin_ns,
                history=history,
                on_error=findings.probe_failed,
            )
        )
        stack.enter_context(arriving)
        result = run_pump(
            stage,
            pump,
            origin_ns,
            pacer.duration_ns,
            lambda share: stage.progress((at + share) / of, f"durability {durability}"),
            lambda done: logs.append(
                findings.pumped(operation, done, offset_ns=origin_ns - run_origin_ns, name=label)
            ),
        )
        arriving.end()
    findings.host_steal(history, name=label)
    how = Judged(
        budget_ms=chosen.send_lag_budget_ms,
        name=label,
        operation=operation,
        offset_ns=origin_ns - run_origin_ns,
        blind=arriving.blind,
    )
    add_arrival(findings, history, result, how)
    name = f"append.{label}." if label else "append."
    findings.verdicts += [
        checking.instrument_kept_up(
            f"{name}send_lag", logs[0].total(f"{operation}.send_lag"), chosen.send_lag_budget_ms * 1000
        ),
        answered(f"{name}answered", result),
    ]
    return result


def _pacer(stage: Stage, chosen: AppendParameters) -> Pacer:
    if chosen.arrivals == "poisson":
        return Poisson(chosen.rate_per_s, chosen.duration_s, stage.seed)
    return shaped(chosen.shape, chosen.rate_per_s, chosen.duration_s)


def _headline(
    chosen: AppendParameters, findings: Findings, durabilities: list[Durability], results: list[PumpResult]
) -> str:
    told = told_of(findings)
    values = {figure.name: figure.value for figure in findings.figures}
    parts, limits = [], []
    for at, durability in enumerate(durabilities):
        label = "append" if at == 0 else f"append.{durability}"
        p50, p99 = values.get(f"{label}.response.p50"), values.get(f"{label}.response.p99")
        if p50 is not None and p99 is not None:
            said = durability_in_words(durability, findings.server)
            where = "on this server" if not findings.server.get("owned") else said
            limit = limit_said(told, "" if at == 0 else durability)
            limits += [f" {where[0].upper()}{where[1:]}, {limit}."] if limit else []
            parts.append(f"{where} {p50 / 1000:.2f} ms at the median and {p99 / 1000:.2f} ms at p99")
    total = sum(result.ok for result in results)
    # A rate that did not arrive was due, and no more.
    is_there = all(has_arrived(told, "" if at == 0 else each) for at, each in enumerate(durabilities))
    at_rate = "at" if is_there else "due at"
    what = "bare XADDs" if chosen.path == "xadd" else "appends"
    up_to = "" if chosen.shape == "steady" else f"in {chosen.shape}, up to "
    lines = "1 connection" if chosen.connections == 1 else f"{chosen.connections} connections"
    return (
        f"{total:,} {what} {at_rate} {up_to}{chosen.rate_per_s:,.0f}/s (open loop, {lines}), "
        f"counted from when each was due: {'; '.join(parts)}.{''.join(limits)}"
    )


scenario = Append()

if "." not in __name__ and __name__ != "__main__":  # Locust loads a file by itself, under the file's own name
    from harness.locust_run import locustfile

    AppendUser = locustfile(scenario)
