"""How long does a bare PING take? A scenario of one's own: once its package is installed, `shopbench` has it.

    pip install ./examples/ping
    shopbench list ping
    shopbench run ping -p pings=1000

The package says by an entry point that it has one (`pyproject.toml` beside this); nothing else names it.
"""

from __future__ import annotations

import contextlib
import statistics
from typing import Annotated, Any

from msgspec import Meta, Struct

from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.conduct.conduct import Findings, Stage
from harness.record.run import Record, Verdict
from harness.server.open import open_server

# By which factor p99 may be above the median.
LIMIT = 1_000.0


class PingParameters(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be chosen for `ping`.

    Attributes:
        pings (PINGs): one after the other.
    """

    pings: Annotated[int, Meta(ge=100, le=1_000_000)] = 10_000


class Ping:
    """PINGs over one connection, each once the one before has been answered."""

    name = "ping"
    summary = "how long does a bare PING take?"
    parameters = PingParameters
    figures = figure_names("ping", "µs {p50,p99}")
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"pings": 100},
        "quick": {},
    }

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Measure each PING."""
        chosen: PingParameters = parameters
        findings.closed_loop()
        took_us = []
        with (
            open_server(stage.server, stage.clock, durability="none", port=stage.port) as server,
            contextlib.closing(server.client()) as client,
        ):
            findings.server = server.describe()
            for _ in range(chosen.pings):
                begun_ns = stage.clock.now_ns()
                client.ping()
                took_us.append((stage.clock.now_ns() - begun_ns) / 1_000)
        percentiles = statistics.quantiles(took_us, n=100)
        for name, rank in (("p50", 50), ("p99", 99)):
            findings.figure(name, percentiles[rank - 1], "µs", samples=len(took_us))
        findings.concluded()

    def checkers(self, parameters: PingParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - of the record
        """What finds its verdict in a record of a run."""
        return [Checker("ping.steady", _steady)]

    def headline(self, parameters: PingParameters, record: Record) -> str:
        """What came out of a run, in a sentence, from its record."""
        return f"{parameters.pings:,} PINGs took {record.run.figure('ping.p50') or 0:,.0f} µs at the median."


def _steady(record: Record) -> Verdict:
    p50_us, p99_us = (record.run.figure(f"ping.{name}") for name in ("p50", "p99"))
    if not p50_us or p99_us is None:
        return Verdict(name="ping.steady", status="UNKNOWN", detail="no PING was measured")
    detail = f"p99 is {p99_us / p50_us:.1f} × the median, the limit {LIMIT:g}"
    return Verdict(name="ping.steady", status="PASS" if p99_us <= LIMIT * p50_us else "FAIL", detail=detail)


scenario = Ping()
