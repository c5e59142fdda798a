"""A server that is far away: a link to it on which a round trip takes so long, by a proxy that waits.

    pump  <==>  proxy: waits on both ways  <==>  server        beside it, directly: probes, what counts arrivals

    round_trip_ms   0.5    another zone of the same region
                    1      a managed service in another zone, or behind a balancer
                    20     another region

The proxy takes time of its own, and so do the kernel's timers: what it is told to wait is what is left. It is
found before the load, by PINGs through the link, until the lower quartile of them is `round_trip_ms` or no wait is
left: what a busy machine adds to the others now and then is not the link's, and no shorter wait makes up for it.

    direct_us     a PING without the proxy           pass_us    through the proxy that does not wait: its own cost
    delayed_us    through the link as the load has it

Whether the link was as far as it should be is judged twice: by the pump's own PINGs just before its load (the
floor), and while it lasts by a PING over the link beside one without it, ten times a second. What a server that
has much to do adds is in both of the latter, and so is not taken for the link's: of their medians the difference
counts, with `direct_us`. What comes out has to be within `TOLERANCE` of what was asked, or `SLACK_US`; else the
verdict `far_link` is UNKNOWN, as the load was another one.

What the proxy lets through is bounded by its own core: some 100,000 small appends a second. A load that is more
than that does not arrive, and `proxy_cpu_share` says why.

Rejected: `tc netem`, which needs root and delays the whole loopback; Lua that sleeps, which stops the server.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator

import hiredis
import psutil
from msgspec import Struct

from harness.check.judge import Checker
from harness.check.loads import named
from harness.conduct.findings import Findings
from harness.conduct.scenario import ScenarioError, Stage
from harness.host.clock import Clock
from harness.load.driver import OwnProcesses
from harness.measure.probes import Sample
from harness.measure.timeline import History
from harness.nemesis.proxy import Proxy
from harness.record.files import TIMELINE
from harness.record.load_report import section_of
from harness.record.run import Record, Verdict
from harness.server.dial import DialError, open_socket, packed, read_replies
from harness.server.server import Server, ServerError
from harness.server.tls_stream import Connection
from harness.server.url import ServerUrl
from harness.system.address import address_behind
from harness.system.port import NotStartedError
from scenarios.told import Told

# What `add_link` adds, for `figure_names`.
LINKED = """
    µs      link.{direct,pass,delayed,floor,meanwhile,direct_meanwhile}_us
    ms      link.one_way_ms
    cores   link.proxy_cpu_share
"""

# Of what was asked for; or so much, where that is little.
TOLERANCE, SLACK_US = 0.1, 150.0
ROUND_TRIP_US = "link.round_trip_us"
_PINGS, _ROUNDS, _TIMEOUT_S = 16, 4, 5.0
_CLOSE_US = 20.0


class FarLink(Struct, frozen=True, kw_only=True):
    """What is known of a link before its load.

    Attributes:
        round_trip_ms: that it should take.
        one_way_ms: that the proxy waits on each way.
        direct_us, pass_us, delayed_us: the median of PINGs without the proxy, through it, and as it waits.
        offset_ns: from the run's origin to the load's; None: it has not begun.
        load_ns: how long the load's schedule was.
        floor_us: the median of the pump's own PINGs before its load; None: they could not be had.
        proxy_cpu_share: of a core, that the proxy used during the load; None: not known.
    """

    round_trip_ms: float
    one_way_ms: float
    direct_us: float
    pass_us: float
    delayed_us: float
    offset_ns: int | None = None
    load_ns: int = 0
    floor_us: float | None = None
    proxy_cpu_share: float | None = None


class Link:
    """A link that is there, with what is known of it.

    Args:
        url: of the server, through it.
        known: before the load.
        pid: of its proxy.
        clock: of the run.
    """

    def __init__(self, url: ServerUrl, known: FarLink, pid: int | None, clock: Clock) -> None:
        self.url = url
        self.known = known
        self._clock = clock
        self._process = None if pid is None else psutil.Process(pid)
        self._begun: tuple[int, float] | None = None

    def begin(self) -> None:
        """Count what the proxy uses from now on."""
        self._begun = self._clock.now_ns(), self._cpu_s()

    def proxy_cpu_share(self) -> float | None:
        """Of a core, that the proxy has used since `begin`; None: not known."""
        if self._begun is None or self._process is None:
            return None
        begun_ns, before_s = self._begun
        lasted_s = (self._clock.now_ns() - begun_ns) / 1e9
        return (self._cpu_s() - before_s) / lasted_s if lasted_s > 0 else None

    def _cpu_s(self) -> float:
        return 0.0 if self._process is None else sum(self._process.cpu_times()[:2])


@contextlib.contextmanager
def far_link(stage: Stage, server: Server, round_trip_ms: float) -> Iterator[Link | None]:
    """A link to a server on which a round trip takes so long, while it is entered; None where that is 0.

    Args:
        stage: whose load goes over it.
        server: that is reached by it.
        round_trip_ms: of a PING.

    Raises:
        ScenarioError: such a link cannot be had to this server, or by who makes the load.
        ServerError: the server does not answer.
    """
    if not round_trip_ms:
        yield None
        return
    if not server.owned and not isinstance(stage.driver, OwnProcesses):
        raise ScenarioError(
            "a link with a `round_trip_ms` begins on this machine: Locust's workers may be elsewhere"
        )
    try:
        host, port = address_behind(server.url)
    except NotStartedError as error:
        raise ScenarioError(str(error)) from error
    with Proxy(port, server_host=host) as proxy:
        url = server.url.through(proxy.port)
        try:
            known = _set_up(proxy, server.url, url, round_trip_ms, stage.clock)
        except (OSError, DialError, hiredis.ProtocolError) as error:
            raise ServerError(f"{server.url}: no PING comes back through a link: {error}") from error
        yield Link(url, known, proxy.pid, stage.clock)


def _set_up(proxy: Proxy, direct: ServerUrl, through: ServerUrl, round_trip_ms: float, clock: Clock) -> FarLink:
    """Have a proxy wait for what is left of a round trip."""
    asked_us = round_trip_ms * 1000
    direct_us, pass_us = (statistics.median(pings_us(url, clock)) for url in (direct, through))
    one_way_us = max(0.0, (asked_us - pass_us) / 2)
    tried: list[tuple[float, float, float]] = []
    for _ in range(_ROUNDS):
        proxy.delay(latency_ms=one_way_us / 1000)
        took_us = pings_us(through, clock)
        beyond_us = took_us[len(took_us) // 4] - asked_us
        tried.append((abs(beyond_us), one_way_us, statistics.median(took_us)))
        if abs(beyond_us) <= _CLOSE_US or (beyond_us > 0 and not one_way_us):
            break
        one_way_us = max(0.0, one_way_us - beyond_us / 2)
    # A round in which the machine was busy leads astray: the nearest counts, not the last.
    _, one_way_us, delayed_us = min(tried)
    proxy.delay(latency_ms=one_way_us / 1000)
    return FarLink(
        round_trip_ms=round_trip_ms,
        one_way_ms=one_way_us / 1000,
        direct_us=direct_us,
        pass_us=pass_us,
        delayed_us=delayed_us,
    )


def pings_us(url: ServerUrl, clock: Clock) -> list[float]:
    """How long some PINGs took, one at a time on one connection, from the quickest on.

    Raises:
        OSError, DialError, hiredis.ProtocolError: there is no answer.
    """
    with contextlib.closing(open_socket(url, _TIMEOUT_S)) as connection:
        _ping_us(connection, clock)  # the first one pays for what is made only once
        return sorted(_ping_us(connection, clock) for _ in range(_PINGS))


def _ping_us(connection: Connection, clock: Clock) -> float:
    before_ns = clock.now_ns()
    connection.sendall(packed("PING"))
    read_replies(connection, 1)
    return (clock.now_ns() - before_ns) / 1000


class RoundTrips:
    """Probes how long a PING takes over a link, and without it.

    Args:
        link: the server's URL through the link.
        direct: the server's own.
        clock: for the time.
        load: which of several loads; empty: the only one.
    """

    def __init__(self, link: ServerUrl, direct: ServerUrl, clock: Clock, load: str = "") -> None:
        self._urls = {"link": link, "direct": direct}
        self._clock = clock
        self._labels = {"load": load} if load else {}
        self._connections: dict[str, Connection] = {}

    def read(self) -> list[Sample]:
        """`link.round_trip_us` of both ways; nothing while no PING comes back."""
        try:
            for way, url in self._urls.items():
                if way not in self._connections:
                    self._connections[way] = open_socket(url, _TIMEOUT_S)
                    _ping_us(self._connections[way], self._clock)
            return [
                Sample(ROUND_TRIP_US, _ping_us(connection, self._clock), "µs", {**self._labels, "way": way})
                for way, connection in self._connections.items()
            ]
        except (OSError, DialError, hiredis.ProtocolError):
            self.close()
            return []

    def close(self) -> None:
        """Close its connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


# What is found ----------------------------------------------------------------------------------------------


def add_link(findings: Findings, history: History, seen: FarLink, *, name: str) -> None:
    """Add what was seen of a link.

    Args:
        history: with the readings of its round trips.
        seen: of it.
        name: of the load, in front of its figures' names.
    """
    findings.evidence.add_json(section_of("link", name), seen)
    for figure, value in (
        ("direct_us", seen.direct_us),
        ("pass_us", seen.pass_us),
        ("delayed_us", seen.delayed_us),
        ("floor_us", seen.floor_us),
        ("meanwhile_us", _median_us(history, seen, name, "link")),
        ("direct_meanwhile_us", _median_us(history, seen, name, "direct")),
    ):
        findings.figure(f"{name}.link.{figure}", value, "µs")
    findings.figure(f"{name}.link.one_way_ms", seen.one_way_ms, "ms")
    findings.figure(f"{name}.link.proxy_cpu_share", seen.proxy_cpu_share, "cores")


def _median_us(history: History, seen: FarLink, name: str, way: str) -> float | None:
    """The median of what PINGs took during a load, on a way; None where there were none."""
    if seen.offset_ns is None:
        return None
    from_ns, to_ns = seen.offset_ns, seen.offset_ns + seen.load_ns
    readings = history.readings(ROUND_TRIP_US, **({"load": name} if name else {}), way=way)
    found = [each.value for each in readings if each.value is not None and from_ns <= each.t_ns <= to_ns]
    return statistics.median(found) if found else None


def is_far(name: str, seen: FarLink, meanwhile_us: float | None, direct_us: float | None) -> Verdict:
    """Whether a link was as far as was asked, before its load and while that lasted.

    Args:
        meanwhile_us: the median of what PINGs took over the link during the load; None: there were none.
        direct_us: the same without the link.
    """
    asked_us = seen.round_trip_ms * 1000
    slack_us = max(TOLERANCE * asked_us, SLACK_US)
    if seen.floor_us is None:
        return Verdict(name=name, status="UNKNOWN", detail="no PING was seen before the load")
    if meanwhile_us is None or direct_us is None:
        return Verdict(name=name, status="UNKNOWN", detail="no PING was seen during the load")
    within_us = meanwhile_us - direct_us + seen.direct_us
    own_us = max(0.0, seen.pass_us - seen.direct_us)
    detail = (
        f"a PING took {seen.floor_us / 1000:.2f} ms before the load and {within_us / 1000:.2f} ms during it "
        f"(medians, without what the load adds), {seen.round_trip_ms:g} ms were asked for; "
        f"the proxy's own {own_us:.0f} µs are in it"
    )
    is_so = all(abs(value - asked_us) <= slack_us for value in (seen.floor_us, within_us))
    if not is_so:
        detail += f"; {slack_us / 1000:.2f} ms more or less are allowed, so this was another load"
    return Verdict(name=name, status="PASS" if is_so else "UNKNOWN", detail=detail)


def link_checker(prefix: str, load: str) -> Checker:
    """What finds whether a load's link was as far as was asked: `<prefix>.<load>.far_link`."""
    name, section = named(prefix, load, "far_link"), section_of("link", load)

    def check(record: Record) -> Verdict:
        seen = record.evidence.value(section, FarLink)
        meanwhile_us, direct_us = (_median_us(record.history, seen, load, way) for way in ("link", "direct"))
        return is_far(name, seen, meanwhile_us, direct_us)

    return Checker(name, check, reads=(section, TIMELINE), part=load)


def link_said(told: Told, name: str, round_trip_ms: float) -> str:
    """How far a server was, for a sentence; empty where it was near, or that was not seen."""
    meanwhile_us = told.value(f"{name}.link.meanwhile_us")
    if not round_trip_ms or meanwhile_us is None:
        return ""
    return f" over a link of {meanwhile_us / 1000:.2f} ms"
