"""A rewrite of the server's log, or a snapshot, in the middle of a load: it is asked for, watched, and judged.

    load      |-------------------------------------------------------------------|
    before    |----- whole seconds -----|
    disturbed                           asked  forks, a child writes        done
                                        |------------ lasted_s -------------|
    during                              |----- the seconds that it was in ------|

For either the server forks; while it forks it answers nobody, and afterwards each page that it writes to is copied
first. Both grow with what it holds, so that an empty server shows little: `filled_mb` gives it other keys to hold.

Latencies are counted by the second in which they were due, so `during` is of whole seconds. One of these may be
disturbed in a part of it only: a rewrite of a tenth of a second shows in its highest quantiles, not in its median.

What was asked for counts as done when INFO says so: a fork more than before, nothing in progress any more, and its
status. `disturbed` is PASS where that was within the load; FAIL where the server's child has failed; else UNKNOWN,
since then nothing is known of a load that was disturbed.

Rejected: a fault of a plan. During a fault of the server a load need not arrive; here it must, and is judged.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import redis
from msgspec import Struct

from harness.check.judge import Checker
from harness.check.loads import named
from harness.conduct.findings import Findings
from harness.host.clock import Clock
from harness.host.threads import at_work
from harness.measure.curves import SECOND_NS
from harness.measure.timeline import History, Phase
from harness.record.load_report import section_of
from harness.record.run import Record, Verdict
from harness.server.lock import is_refused
from harness.server.server import Server, ServerError
from scenarios.told import Told

Disturbance = Literal["none", "rewrite", "snapshot"]
# What it is called on the timeline and in a sentence, the command, and INFO's names for it.
SAID = {"rewrite": "a rewrite of the log", "snapshot": "a snapshot"}
COMMANDS = {"rewrite": "BGREWRITEAOF", "snapshot": "BGSAVE"}
_PROGRESS = {
    "rewrite": ("aof_rewrite_in_progress", "aof_rewrite_scheduled"),
    "snapshot": ("rdb_bgsave_in_progress",),
}
_STATUS = {"rewrite": "aof_last_bgrewrite_status", "snapshot": "rdb_last_bgsave_status"}
_COPIED = {"rewrite": "aof_last_cow_size", "snapshot": "rdb_last_cow_size"}

# What `add_disturbance` adds, for `figure_names`.
DISTURBED = """
    s       disturbance.{began,lasted}_s
    µs      disturbance.fork
    bytes   disturbance.copied_bytes
    events  {before,during}.answered
    µs      {before,during}.response.{p50,p90,p99,p99.9,max}
"""

# It comes when so much of the load is over.
AFTER_SHARE = 1 / 3
_LOOK_S = 0.01
_LONGER = "give it a longer `duration_s`"
# Of a key that fills a server, and how many are sent at once.
_VALUE_BYTES, _AT_ONCE = 1_000, 500


class Disturbed(Struct, frozen=True, kw_only=True):
    """What was seen of a disturbance.

    Attributes:
        what: it was.
        load_ns: how long the load's schedule was.
        began_ns: when the command was sent that the server has taken, from the load's origin; None: none was.
        ended_ns: when INFO said that nothing was in progress any more; None: it has not, as long as it was asked.
        forks: how many there were meanwhile; None: the server does not count them.
        status: how the server says that its child has ended; empty: it does not.
        fork_us: how long the fork took; None: not known.
        copied_bytes: of pages that were copied while the child wrote; None: not known.
        refused: why the server did not do it, or could not be asked; empty: it did.
    """

    what: Literal["rewrite", "snapshot"]
    load_ns: int
    began_ns: int | None = None
    ended_ns: int | None = None
    forks: int | None = None
    status: str = ""
    fork_us: float | None = None
    copied_bytes: float | None = None
    refused: str = ""


def fill(server: Server, megabytes: float, seed: int) -> None:
    """Give a server other keys to hold, of values that cannot be made smaller.

    Args:
        server: that gets them.
        megabytes: of values.
        seed: from which the values are drawn.

    Raises:
        ServerError: it does not take them.
    """
    left = int(megabytes * 1e6) // _VALUE_BYTES
    generator = np.random.default_rng([seed, left])
    try:
        with contextlib.closing(server.client(timeout_s=60.0)) as client:
            while left > 0:
                count = min(left, _AT_ONCE)
                values = generator.bytes(count * _VALUE_BYTES)
                client.mset(
                    {
                        f"{server.namespace}filler:{left - at}": values[
                            at * _VALUE_BYTES : (at + 1) * _VALUE_BYTES
                        ]
                        for at in range(count)
                    }
                )
                left -= count
    except redis.RedisError as error:
        raise ServerError(f"the server does not take {megabytes:g} MB of other keys: {error}") from error


class Disturbing:
    """Asks a server for a rewrite or a snapshot in the middle of a load, and watches it.

    Args:
        server: under load.
        what: it is asked for.
        clock: of the run.
        origin_ns: of the load, by that clock.
        load_ns: how long the load is.

    Attributes:
        seen: of it so far.
    """

    def __init__(
        self, server: Server, what: Literal["rewrite", "snapshot"], *, clock: Clock, origin_ns: int, load_ns: int
    ) -> None:
        self._server = server
        self._what: Literal["rewrite", "snapshot"] = what
        self._clock = clock
        self._origin_ns = origin_ns
        self._stop = threading.Event()
        self.seen = Disturbed(what=what, load_ns=load_ns)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Do it while entered; one that goes on at the end is no longer watched."""
        with at_work(self._work, self._stop, "disturbing"):
            yield

    def _work(self) -> None:
        if self._stop.wait(max(0.0, (self._origin_ns + due_ns(self.seen.load_ns) - self._clock.now_ns()) / 1e9)):
            return
        with contextlib.closing(self._server.client(timeout_s=5.0)) as client:
            try:
                self._watch(client)
            except (redis.RedisError, OSError) as error:
                text = " ".join(self._server.url.masked(str(error)).split())
                why = f"the server refuses {COMMANDS[self._what]}: {text}" if is_refused(error) else text
                self._see(refused=why or type(error).__name__)

    def _watch(self, client: Any) -> None:
        before = _forks(client.info("stats"))
        # The fork is in the command's own time, and a part of the disturbance.
        began_ns = self._clock.now_ns() - self._origin_ns
        client.execute_command(COMMANDS[self._what])
        self._see(began_ns=began_ns)
        while not self._stop.wait(_LOOK_S):
            now, stats = client.info("persistence"), client.info("stats")
            ended_ns = self._clock.now_ns() - self._origin_ns
            forks = _forks(stats)
            has_forked = forks is None or before is None or forks > before
            if has_forked and not any(now.get(name) for name in _PROGRESS[self._what]):
                self._see(
                    ended_ns=ended_ns,
                    forks=None if forks is None or before is None else forks - before,
                    status=str(now.get(_STATUS[self._what], "")),
                    fork_us=_number(stats.get("latest_fork_usec")),
                    copied_bytes=_number(now.get(_COPIED[self._what])),
                )
                return

    def _see(self, **changed: Any) -> None:
        self.seen = Disturbed(
            **({name: getattr(self.seen, name) for name in Disturbed.__struct_fields__} | changed)
        )


def _forks(stats: dict[str, Any]) -> int | None:
    count = _number(stats.get("total_forks"))
    return None if count is None else int(count)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


# What is found ----------------------------------------------------------------------------------------------


def add_disturbance(
    findings: Findings, history: History, seen: Disturbed, operation: str, *, offset_ns: int, name: str
) -> None:
    """Add what was seen of a disturbance, and the latencies before and during it.

    Args:
        history: gets it as a part of the load.
        seen: of it.
        operation: of the load.
        offset_ns: from the run's origin to the load's.
        name: of the load, in front of its figures' names.
    """
    findings.evidence.add_json(section_of("disturbance", name), seen)
    for figure, ns in (("began_s", seen.began_ns), ("lasted_s", _lasted_ns(seen))):
        findings.figure(f"{name}.disturbance.{figure}", None if ns is None else ns / 1e9, "s")
    findings.figure(f"{name}.disturbance.fork", seen.fork_us, "µs")
    findings.figure(f"{name}.disturbance.copied_bytes", seen.copied_bytes, "bytes")
    if seen.began_ns is None:
        return
    ended_ns = seen.load_ns if seen.ended_ns is None else min(seen.ended_ns, seen.load_ns)
    start_ns, end_ns = seen.began_ns + offset_ns, max(ended_ns, seen.began_ns) + offset_ns
    history.add(Phase(name=SAID[seen.what].removeprefix("a "), start_ns=start_ns, end_ns=end_ns))
    mine = [each for each in findings.intervals if each.tag == f"{operation}.response"]
    for part, (from_ns, to_ns) in seconds_around(seen.began_ns, ended_ns).items():
        # A second that begins with a part may stand a rounding before it.
        within = [each for each in mine if from_ns <= (each.start_s + 1e-3) * 1e9 - offset_ns < to_ns]
        findings.figure(f"{name}.{part}.answered", sum(each.histogram.total for each in within), "events")
        findings.quantiles(f"{name}.{part}.response", within)


def due_ns(load_ns: int) -> int:
    """When it is asked for, from the load's origin: with a whole second, where the load has one before."""
    if load_ns < 2 * SECOND_NS:
        return int(load_ns * AFTER_SHARE)
    return max(SECOND_NS, int(load_ns * AFTER_SHARE) // SECOND_NS * SECOND_NS)


def seconds_around(began_ns: int, ended_ns: int) -> dict[str, tuple[int, int]]:
    """From when to when, in whole seconds: `before` a disturbance, without the load's first, and `during` it.

    The first second of a load is that in which everybody begins; where nothing else was before, it stands for it.
    """
    first = began_ns // SECOND_NS
    last = max(first + 1, -(-ended_ns // SECOND_NS))
    return {
        "before": (SECOND_NS if first > 1 else 0, first * SECOND_NS),
        "during": (first * SECOND_NS, last * SECOND_NS),
    }


def _lasted_ns(seen: Disturbed) -> int | None:
    return None if seen.began_ns is None or seen.ended_ns is None else seen.ended_ns - seen.began_ns


def disturbed(name: str, seen: Disturbed) -> Verdict:
    """Whether a load was disturbed as it was asked for, from its beginning to its end within the load."""
    what = SAID[seen.what]

    def unknown(why: str) -> Verdict:
        return Verdict(name=name, status="UNKNOWN", detail=why)

    if seen.refused:
        return unknown(f"{what} could not be had: {seen.refused}")
    if seen.began_ns is None:
        return unknown(f"the load ended before {what} was asked for")
    if seen.ended_ns is None:
        return unknown(
            f"{what} began {seen.began_ns / 1e9:.2f} s after the load, and had not ended with it: {_LONGER}"
        )
    if seen.status and seen.status != "ok":
        detail = (
            f"{what} began {seen.began_ns / 1e9:.2f} s after the load, and failed: the server says {seen.status}"
        )
        return Verdict(name=name, status="FAIL", detail=detail)
    if seen.ended_ns > seen.load_ns:
        late_s = (seen.ended_ns - seen.load_ns) / 1e9
        return unknown(f"{what} ended {late_s:.2f} s after the load: {_LONGER}")
    if seen.forks is None or not seen.status:
        return unknown(f"{what} was asked for; the server does not say whether it forked and how that ended")
    forked = "" if seen.fork_us is None else f", forked in {seen.fork_us / 1000:.2f} ms"
    lasted_s = (seen.ended_ns - seen.began_ns) / 1e9
    detail = (
        f"{what} began {seen.began_ns / 1e9:.2f} s after the load{forked}, and was done {lasted_s:.2f} s later"
    )
    return Verdict(name=name, status="PASS", detail=detail)


def disturbance_checker(prefix: str, load: str) -> Checker:
    """What finds whether a load was disturbed: `<prefix>.<load>.disturbed`."""
    name, section = named(prefix, load, "disturbed"), section_of("disturbance", load)

    def check(record: Record) -> Verdict:
        return disturbed(name, record.evidence.value(section, Disturbed))

    return Checker(name, check, reads=(section,), part=load)


def disturbed_said(told: Told, name: str, what: Disturbance) -> str:
    """A part of a sentence on the latency beside a disturbance; empty where there was none, or it was not seen."""
    before, during = (told.value(f"{name}.{part}.response.p99") for part in ("before", "during"))
    lasted_s = told.value(f"{name}.disturbance.lasted_s")
    if what == "none" or before is None or during is None or lasted_s is None:
        return ""
    return (
        f" ({before / 1000:.2f} ms at p99 before {SAID[what]} of {lasted_s:.2f} s, "
        f"{during / 1000:.2f} ms in the seconds of it)"
    )
