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
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta
from msgspec.structs import replace

from harness import checking
from harness.conducting import Findings, Stage, answered
from harness.history import History
from harness.ledger import PRODUCER_BITS
from harness.load.settings import PumpSettings
from harness.pacing import Pacer, Poisson, Shape, shaped
from harness.probes import HostLoad, Probe, Sampler, ServerLoad
from harness.recording import LatencyLog
from harness.run import Figure
from harness.servers import Durability
from scenarios.load import Load
from scenarios.shop import DURABILITY_IN_WORDS, LEAD_NS, producer_of, run_pump, server_for

Choice = Literal["everysec", "always", "none", "all"]
# What figures call it.
Label = Literal["everysec", "always", "none", "given"]
IN_WORDS: dict[Label, str] = {
    "everysec": DURABILITY_IN_WORDS["everysec"],
    "always": DURABILITY_IN_WORDS["always"],
    "none": DURABILITY_IN_WORDS["none"],
    "given": "on this server",
}


class AppendParameters(Load, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be chosen for `append`: its load, and how that comes.

    Attributes:
        rate_per_s: where most is due.
        arrivals: evenly, or independently of one another, as those of many users are.
        shape: how the rate goes, as for `shaped`.
        producer: the number that events carry; 0: one that no run before has had.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 2_000
    duration_s: Annotated[float, Meta(gt=0, le=86_400)] = 10
    durability: Choice = "all"
    connections: Annotated[int, Meta(ge=1, le=1_000)] = 1
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
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"rate_per_s": 500, "duration_s": 2, "send_lag_budget_ms": 250},
        "quick": {},
        "standard": {"duration_s": 60},
        "full": {"duration_s": 600},
    }

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Measure each durability, one after the other."""
        chosen: AppendParameters = parameters
        parts = _parts(chosen.durability, stage.server)
        producer = chosen.producer or producer_of(stage)
        arrivals = chosen.arrivals if chosen.shape == "steady" else chosen.shape
        findings.open_loop(connections=chosen.connections, arrivals=arrivals, producer=producer)
        run_origin_ns = stage.clock.now_ns()
        for at, (label, durability) in enumerate(parts):
            doing = replace(stage, progress=_share_of(stage, at, len(parts), label))
            _measure(doing, chosen, findings, durability, producer, run_origin_ns, label)
        findings.headline = self.headline(chosen, findings.figures)

    def headline(self, parameters: AppendParameters, figures: Sequence[Figure]) -> str:
        """What came out, in a sentence.

        Args:
            figures: of a run with these parameters.
        """
        values = {figure.name: figure.value for figure in figures}
        told = []
        for label, where in IN_WORDS.items():
            p50 = values.get(f"append.{label}.response.p50")
            p99 = values.get(f"append.{label}.response.p99")
            if p50 is not None and p99 is not None:
                told.append(f"{where} {p50 / 1000:.2f} ms at the median and {p99 / 1000:.2f} ms at p99")
        total = sum(values.get(f"append.{label}.ok") or 0 for label in IN_WORDS)
        what = "bare XADDs" if parameters.path == "xadd" else "appends"
        up_to = "" if parameters.shape == "steady" else f"in {parameters.shape}, up to "
        lines = "1 connection" if parameters.connections == 1 else f"{parameters.connections} connections"
        return (
            f"{total:,.0f} {what} at {up_to}{parameters.rate_per_s:,.0f}/s (open loop, {lines}), "
            f"counted from when each was due: {'; '.join(told)}."
        )

    def alone(self, parameters: AppendParameters, part: str) -> AppendParameters:
        """The parameters that measure one durability only: `append.always`, or the one that a URL has."""
        label = part.removeprefix("append.")
        every: tuple[Durability, ...] = ("everysec", "always", "none")
        return next((replace(parameters, durability=each) for each in every if each == label), parameters)

    def lasting(self, parameters: AppendParameters, duration_s: float, server: str) -> AppendParameters:
        """The parameters with which all durabilities together take some seconds."""
        return replace(parameters, duration_s=duration_s / len(_parts(parameters.durability, server)))


def _parts(choice: Choice, server: str) -> list[tuple[Label, Durability]]:
    """What is measured one after the other: the name in figures, and what a server of ours is started with."""
    if "://" in server:
        # A server at a URL has a durability of its own, which is not ours to change.
        return [("given", "everysec")]
    every: list[Durability] = ["everysec", "always", "none"]
    return [(each, each) for each in every if choice in {"all", each}]


def _share_of(stage: Stage, at: int, of: int, label: Label) -> Callable[[float, str], None]:
    return lambda share, _: stage.progress((at + share) / of, f"durability {label}")


def _measure(
    stage: Stage,
    chosen: AppendParameters,
    findings: Findings,
    durability: Durability,
    producer: int,
    run_origin_ns: int,
    label: Label,
) -> None:
    operation = f"append_{label}"
    pacer = _pacer(stage, chosen)
    logs: list[LatencyLog] = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(server_for(stage, durability))
        described = server.describe()
        findings.server = findings.server or described
        stage.progress(0.0, "")
        chosen.create_entities(server, producer)
        source = chosen.source(server, operation, producer, stage.seed)
        settings = PumpSettings(url=server.url, connections=chosen.connections, max_in_flight=chosen.max_in_flight)
        pump = stage.driver.pump(settings, pacer, source)
        stack.callback(pump.close)
        pump.wait_until_ready()
        client = stack.enter_context(contextlib.closing(server.client(timeout_s=0.5)))
        origin_ns = stage.clock.now_ns() + LEAD_NS
        probes: list[Probe] = [ServerLoad(client, lambda: server.pid, stage.clock), HostLoad()]
        history = History()
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
        result = run_pump(
            stage,
            pump,
            origin_ns,
            pacer.duration_ns,
            lambda share: stage.progress(share, ""),
            lambda done: logs.append(
                findings.pumped(operation, done, offset_ns=origin_ns - run_origin_ns, name=label)
            ),
        )
    findings.host_steal(history, name=label)
    findings.verdicts += [
        checking.instrument_kept_up(
            f"append.{label}.send_lag", logs[0].total(f"{operation}.send_lag"), chosen.send_lag_budget_ms * 1000
        ),
        answered(f"append.{label}.answered", result),
    ]


def _pacer(stage: Stage, chosen: AppendParameters) -> Pacer:
    if chosen.arrivals == "poisson":
        return Poisson(chosen.rate_per_s, chosen.duration_s, stage.seed)
    return shaped(chosen.shape, chosen.rate_per_s, chosen.duration_s)


scenario = Append()

if __name__ == "append":  # `locust -f scenarios/append.py` loads a file under its own name
    from harness.locust_run import locustfile

    AppendUser = locustfile(scenario)
