"""Does anything grow that should not, in hours of appends, consumers and trimming?

Customers come and go at a steady rate, consumers have a mail sent for each, and a trimmer removes what every group
has acknowledged. Nothing is broken on purpose. What the server holds is looked at all the time, and after
`warm_up_s` each of these may not grow by more than was said, by the bounds of its slope (`harness.check.growth`):

    memory           used_memory, in % of its median an hour
    resident         used_memory_rss, likewise: what the server has of the machine
    fragmentation    mem_fragmentation_ratio, the one by the other, an hour
    pending          entries that were delivered and not acknowledged, in all streams, an hour
    streams          entries in all streams, an hour

The store keeps the IDs by which it recognises repeated appends for two minutes at least, and drops them two
minutes at a time. So memory rises and falls with that period, as the teeth of a saw, and what the server has of
the machine rises for four minutes before it stays. A warm-up that is shorter, or a run of few such periods, has
growth that is none. What a run of minutes cannot tell is UNKNOWN: its bounds are wide.

It takes as long as it is told, and a whole run leaves it out: it is run by its name.

Rejected: a limit on the highest reading. It is met by what leaks slowly, and missed by a burst.
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import redis
from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.check.figures import figure_names
from harness.check.growth import Growth, growth_of, steady
from harness.check.judge import Checker
from harness.conduct.findings import PUMPED, Findings
from harness.conduct.scenario import ParameterError, Stage
from harness.load.pacing import constant
from harness.locust.locustfile import locustfile
from harness.measure.probes import Sample
from harness.measure.timeline import History
from harness.record.files import TIMELINE
from harness.record.run import KeyFigure, Record, Verdict
from scenarios.commands import CONSUMERS, PRODUCERS
from scenarios.line.account import ACCOUNT, add_account, add_lag, add_line_arrival, line_checkers
from scenarios.line.line import Line
from scenarios.line.settings import LineSettings
from scenarios.operations.trimmer import Policy, Trimmer, Trimming
from scenarios.told import Told, add_by_hand, arrived_said, has_command, lost_said, told_of

LOOK_EVERY_NS = 1_000_000_000


class Watched(Struct, frozen=True, kw_only=True):
    """What may not grow.

    Attributes:
        reading: on the timeline.
        said: how a sentence begins that tells of it.
        unit: of its growth.
        by_level: whether that is in % of its median.
        most: the parameter that says how much it may be.
    """

    reading: str
    said: str
    unit: str
    by_level: bool
    most: str


WATCHED = {
    "memory": Watched(
        reading="server.used_memory_bytes",
        said="The memory that the server uses",
        unit="% of its median",
        by_level=True,
        most="most_memory",
    ),
    "resident": Watched(
        reading="server.resident_bytes",
        said="The memory that the server has of the machine",
        unit="% of its median",
        by_level=True,
        most="most_memory",
    ),
    "fragmentation": Watched(
        reading="server.fragmentation", said="Fragmentation", unit="", by_level=False, most="most_fragmentation"
    ),
    "pending": Watched(
        reading="lag.pending", said="What is pending", unit="events", by_level=False, most="most_events"
    ),
    "streams": Watched(
        reading="stream.length", said="What is in the streams", unit="events", by_level=False, most="most_events"
    ),
}


class SoakParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `soak`.

    Attributes:
        rate_per_s: all the time.
        duration_s: of the load.
        warm_up_s: at its beginning, of which no growth is judged.
        consumers (consumers): that share the group's events.
        page (events): that a consumer reads at once of each stream.
        policy: what is trimmed: what every group has acknowledged, all beyond a length, or nothing.
        trim_every_s: from one round of the trimmer to the next.
        maxlen (events): that stay in each stream, for the policy of that name.
        most_memory (% an hour): of its median, that the server's memory may grow by.
        most_fragmentation (an hour): that the ratio of fragmentation may grow by.
        most_events (events an hour): that the streams, and what is pending, may grow by.
        durability: what a server that we start does before it answers: none, a log that is synced each second, or
            before each answer.
        drain_timeout_s: that the consumers may take to catch up when the load is over. Where nothing moves when
            it is up, they get more: until something moves, or nothing has for 3 claim times and 2 s.
        send_lag_budget_ms: how late, at p99, the instrument may send; beyond it the measurement is not valid.

    Raises:
        ValueError: a warm-up that leaves nothing to be judged.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 500
    duration_s: Annotated[float, Meta(gt=0, le=604_800)] = 1_800
    warm_up_s: Annotated[float, Meta(ge=0, le=86_400)] = 360
    consumers: Annotated[int, Meta(ge=1, le=64)] = 2
    page: Annotated[int, Meta(ge=1, le=10_000)] = 500
    policy: Policy = "acknowledged"
    trim_every_s: Annotated[float, Meta(gt=0, le=86_400)] = 1
    maxlen: Annotated[int, Meta(ge=1, le=100_000_000)] = 50_000
    most_memory: Annotated[float, Meta(ge=0)] = 2
    most_fragmentation: Annotated[float, Meta(ge=0)] = 0.1
    most_events: Annotated[float, Meta(ge=0)] = 1_000
    durability: Literal["none", "everysec", "always"] = "everysec"
    drain_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 20

    def __post_init__(self) -> None:
        if self.warm_up_s >= self.duration_s:
            raise ValueError(f"of {self.duration_s:g} s a warm-up of {self.warm_up_s:g} s leaves nothing")


class HeapOf:
    """Probes what the server has of the machine, and how much of that it does not use.

    Args:
        client: of the server.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def read(self) -> list[Sample]:
        """`server.resident_bytes` and `server.fragmentation`; nothing while the server does not say."""
        try:
            memory = self._client.info("memory")
        except redis.RedisError:
            return []
        return [
            Sample("server.resident_bytes", float(memory["used_memory_rss"]), "bytes"),
            Sample("server.fragmentation", float(memory["mem_fragmentation_ratio"]), "×"),
        ]


class Soak:
    """A steady load for a long time, with what the server holds over that time."""

    name = "soak"
    only_by_name = True
    takes_consumers = True
    place = 105
    summary = "does memory, fragmentation or a list grow in hours of appends, consumers and trimming?"
    parameters = SoakParameters
    commands = PRODUCERS | CONSUMERS | {"xtrim", "memory|usage"}
    figures = figure_names(
        "soak",
        PUMPED,
        ACCOUNT,
        "%       {memory,resident}.{per_h,low_per_h,high_per_h}",
        "×       fragmentation.{per_h,low_per_h,high_per_h,median}",
        "events  {pending,streams}.{per_h,low_per_h,high_per_h,median} trimmed",
        "bytes   {memory,resident}.median",
    )
    key_figures = (
        KeyFigure("soak.memory.per_h", "Growth of memory an hour"),
        KeyFigure("soak.streams.per_h", "Growth of streams an hour"),
        KeyFigure("soak.lost", "Events lost"),
    )
    sections = ("latency", "throughput", "lag", "events")
    profiles: dict[str, dict[str, Any]] = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {
            "rate_per_s": 200,
            "duration_s": 6,
            "warm_up_s": 1,
            "trim_every_s": 0.2,
            "maxlen": 50,
            "send_lag_budget_ms": 250,
        },
        "quick": {},
        "standard": {"duration_s": 7_200, "warm_up_s": 600},
        "full": {"rate_per_s": 1_000, "duration_s": 28_800, "warm_up_s": 1_200},
    }

    def scheduled_s(self, parameters: SoakParameters) -> float:
        """How long its load lasts."""
        return parameters.duration_s

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Load with a trimmer beside it, drain; then the account."""
        chosen: SoakParameters = parameters
        settings = LineSettings(
            durability=chosen.durability,
            consumers=chosen.consumers,
            page=chosen.page,
            is_trimmed=chosen.policy != "none",
        )
        trimming = Trimming(policy=chosen.policy, every_s=chosen.trim_every_s, keep=0, maxlen=chosen.maxlen)
        with Line(stage, constant(chosen.rate_per_s, chosen.duration_s), settings) as line:
            findings.server = line.server.describe()
            trimmer = Trimmer(trimming, line)
            line.run_load(findings, beside=lambda: _watching(line, trimmer))
            line.wait_until_drained(chosen.drain_timeout_s)
            trimmer.conclude()
            _conclude(chosen, line, trimmer, findings)

    def checkers(self, parameters: SoakParameters, record: Record) -> list[Checker]:
        """What finds its verdicts in a record of a run."""
        # What was trimmed has no place; somebody else's consumers may promise an order of the rest.
        leave_out = () if has_command(record) else {"in_order"}
        return [
            *line_checkers("soak", record=record, leave_out=leave_out),
            *(_steady_checker(what, parameters) for what in WATCHED),
        ]

    def headline(self, parameters: SoakParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def lasting(self, parameters: SoakParameters, duration_s: float, _: str) -> SoakParameters:
        """The parameters with which the load takes some seconds.

        Raises:
            ParameterError: the warm-up does not fit.
        """
        if parameters.warm_up_s >= duration_s:
            raise ParameterError(
                f"soak: a warm-up of {parameters.warm_up_s:g} s does not fit into {duration_s:g} s"
            )
        return replace(parameters, duration_s=duration_s)


@contextlib.contextmanager
def _watching(line: Line, trimmer: Trimmer) -> Iterator[None]:
    """Trim, and look at the server's heap, as long as the load lasts."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(line.server.client(timeout_s=0.5)))
        stack.enter_context(line.sampling([HeapOf(client)], period_ns=LOOK_EVERY_NS))
        stack.enter_context(trimmer.trimming())
        yield


# What is found ----------------------------------------------------------------------------------------------


def growth_in(history: History, what: str, chosen: SoakParameters) -> Growth | None:
    """How something that is watched has grown after the warm-up; None where too little of it was seen."""
    from_ns, to_ns = int(chosen.warm_up_s * 1e9), int(chosen.duration_s * 1e9)
    return growth_of(
        [
            (each.t_ns / 1e9, each.value)
            for each in history.readings(WATCHED[what].reading)
            if each.value is not None and from_ns <= each.t_ns <= to_ns
        ]
    )


def _by_level(watched: Watched, growth: Growth | None) -> Growth | None:
    """Growth as it is judged: in % of the median, where that is what may be."""
    if growth is None or not watched.by_level:
        return growth
    if not growth.level:
        return None
    percent = 100 / growth.level
    return replace(
        growth,
        per_h=growth.per_h * percent,
        low_per_h=growth.low_per_h * percent,
        high_per_h=growth.high_per_h * percent,
    )


def _steady_checker(what: str, chosen: SoakParameters) -> Checker:
    name, watched = f"soak.{what}_steady", WATCHED[what]

    def check(record: Record) -> Verdict:
        growth = _by_level(watched, growth_in(record.history, what, chosen))
        return steady(name, watched.said, growth, getattr(chosen, watched.most), watched.unit)

    return Checker(name, check, reads=(TIMELINE,))


def _conclude(chosen: SoakParameters, line: Line, trimmer: Trimmer, findings: Findings) -> None:
    for what, watched in WATCHED.items():
        growth = growth_in(findings.history, what, chosen)
        judged = _by_level(watched, growth)
        unit = {"memory": "%", "resident": "%", "fragmentation": "×"}.get(what, "events")
        for name in ("per_h", "low_per_h", "high_per_h"):
            findings.figure(f"{what}.{name}", None if judged is None else getattr(judged, name), unit)
        level_unit = "bytes" if watched.by_level else unit
        findings.figure(f"{what}.median", None if growth is None else growth.level, level_unit)
    findings.figure("trimmed", trimmer.removed, "events")
    add_lag(findings)
    add_line_arrival(findings, line, budget_ms=chosen.send_lag_budget_ms)
    add_account(findings, line, timeout_s=chosen.drain_timeout_s)
    add_by_hand(findings)


def headline(chosen: SoakParameters, told: Told) -> str:
    """What came out, in a sentence.

    Args:
        told: of a run with these parameters.
    """
    parts = []
    for what, said in (("memory", "memory"), ("streams", "the streams"), ("pending", "what is pending")):
        per_h, low, high = (told.value(f"{what}.{name}") for name in ("per_h", "low_per_h", "high_per_h"))
        if per_h is None or low is None or high is None:
            parts.append(f"the growth of {said} was not seen")
        elif what == "memory":
            parts.append(f"{said} grew by {per_h:.2f} % an hour ({low:.2f} to {high:.2f} %)")
        else:
            parts.append(f"{said} by {per_h:,.0f} events ({low:,.0f} to {high:,.0f})")
    return (
        f"In {chosen.duration_s:,.0f} s at {chosen.rate_per_s:,.0f}/s {', '.join(parts)}; of the events "
        f"{lost_said(told)}{arrived_said(told)}."
    )


scenario = Soak()
SoakUser = locustfile(scenario, __name__)
