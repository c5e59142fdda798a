"""What is around a load: a rewrite or a snapshot in the middle of it, other keys, a link that is longer.

with surrounded(stage, server, chosen) as around:        the server filled, the link set up
    pump = ... around.url ...
    with around.beside(under_load, pacer, label):        disturbed, and the link watched, while it lasts
        result = under_load.run(...)
    around.add(findings, history, operation, result)     figures and evidence
around_checkers("append", label, chosen)                 whether it was so
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from harness.check.judge import Checker
from harness.conduct.findings import Findings
from harness.conduct.scenario import Stage
from harness.load.pacing import Pacer
from harness.load.settings import PumpResult
from harness.measure.timeline import History
from harness.server.server import Server
from harness.server.url import ServerUrl
from scenarios.disturbance import (
    DISTURBED,
    Disturbance,
    Disturbing,
    add_disturbance,
    disturbance_checker,
    disturbed_said,
    fill,
)
from scenarios.far_link import LINKED, Link, RoundTrips, add_link, far_link, link_checker, link_said
from scenarios.load import Load
from scenarios.told import Told
from scenarios.under_load import UnderLoad

# What `Around.add` adds, for `figure_names`.
AROUND = f"{DISTURBED}{LINKED}"


class SurroundedLoad(Load, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be chosen of a load, and of what is around it.

    Attributes:
        disturb: what the server does besides when a third of the load is over: it rewrites its log, takes a
            snapshot, or nothing.
        filled_mb (MB): of other keys that the server holds before the load; what forks takes longer with them.
        round_trip_ms: that a PING takes to the server and back, by a proxy that waits; 0: without a proxy.
    """

    disturb: Disturbance = "none"
    filled_mb: Annotated[float, Meta(ge=0, le=100_000)] = 0
    round_trip_ms: Annotated[float, Meta(ge=0, le=10_000)] = 0

    @property
    def commands(self) -> frozenset[str]:
        """What it needs of a server. Whether it may be disturbed is asked by doing it: there is no form that does
        nothing.
        """
        return frozenset({"mset"} if self.filled_mb else ())


class Around:
    """What is around one load.

    Args:
        stage: of the run.
        server: under load.
        chosen: what is around it.
        link: to the server; None: the usual one.
    """

    def __init__(self, stage: Stage, server: Server, chosen: SurroundedLoad, link: Link | None) -> None:
        self._stage = stage
        self._server = server
        self._chosen = chosen
        self._link = link
        self._disturbing: Disturbing | None = None
        self._label = ""
        self._offset_ns = self._load_ns = 0
        self._proxy_cpu_share: float | None = None

    @property
    def url(self) -> ServerUrl:
        """Where the load goes."""
        return self._server.url if self._link is None else self._link.url

    @contextlib.contextmanager
    def beside(self, under_load: UnderLoad, pacer: Pacer, label: str) -> Iterator[None]:
        """Disturb a load that is about to come, and watch its link, while it is entered.

        Args:
            pacer: of the load.
            label: of it, in the names of its figures.
        """
        self._label, self._offset_ns, self._load_ns = label, under_load.offset_ns, pacer.duration_ns
        clock = self._stage.clock
        with contextlib.ExitStack() as stack:
            if self._chosen.disturb != "none":
                self._disturbing = Disturbing(
                    self._server,
                    self._chosen.disturb,
                    clock=clock,
                    origin_ns=under_load.origin_ns,
                    load_ns=pacer.duration_ns,
                )
                stack.enter_context(self._disturbing.working())
            if self._link is not None:
                trips = stack.enter_context(
                    contextlib.closing(RoundTrips(self._link.url, self._server.url, clock, label))
                )
                stack.enter_context(under_load.sampling([trips]))
                self._link.begin()
            yield
            if self._link is not None:
                self._proxy_cpu_share = self._link.proxy_cpu_share()

    def add(self, findings: Findings, history: History, operation: str, result: PumpResult) -> None:
        """Add figures and evidence of what was around the load.

        Args:
            history: of the load; a disturbance is put on it.
            operation: as the load's is recorded.
            result: of the pump.
        """
        if self._disturbing is not None:
            seen = self._disturbing.seen
            add_disturbance(findings, history, seen, operation, offset_ns=self._offset_ns, name=self._label)
        if self._link is not None:
            known = replace(
                self._link.known,
                offset_ns=self._offset_ns,
                load_ns=self._load_ns,
                floor_us=None if result.floor is None else result.floor.ping.service.p50_ns / 1000,
                proxy_cpu_share=self._proxy_cpu_share,
            )
            add_link(findings, history, known, name=self._label)


@contextlib.contextmanager
def surrounded(stage: Stage, server: Server, chosen: SurroundedLoad) -> Iterator[Around]:
    """Fill a server, and set up the link to it, which is there while entered.

    Raises:
        ServerError: it takes no keys, or does not answer.
        ScenarioError: there can be no such link.
    """
    if chosen.filled_mb:
        fill(server, chosen.filled_mb, stage.seed)
    with far_link(stage, server, chosen.round_trip_ms) as link:
        yield Around(stage, server, chosen, link)


def around_checkers(prefix: str, label: str, chosen: SurroundedLoad) -> list[Checker]:
    """What finds whether a load was surrounded as it should be.

    Args:
        prefix: the scenario's name.
        label: of the load.
    """
    found = [disturbance_checker(prefix, label)] if chosen.disturb != "none" else []
    return [*found, link_checker(prefix, label)] if chosen.round_trip_ms else found


def around_said(told: Told, label: str, chosen: SurroundedLoad) -> str:
    """A part of a sentence on what was around a load; empty where nothing was."""
    return link_said(told, label, chosen.round_trip_ms) + disturbed_said(told, label, chosen.disturb)
