"""Users in a process of their own: each arrival is accounted for, and lateness stands where it belongs."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from harness.host.child import Child
from harness.host.clock import SystemClock
from harness.load.driver import Journeys, UsersProcess
from harness.load.pacing import ClosedLoop, Pacer, constant, shaped
from harness.load.settings import PumpError, PumpResult
from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.measure.outcomes import Counts
from tests.processes import is_alive
from tests.waiting import until

CLOCK = SystemClock()


class Site(http.server.ThreadingHTTPServer):
    """A system that says of a page what its name says.

    Attributes:
        asked: the pages that were asked for.
        before_answer: called before each answer.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.asked: list[str] = []
        self.before_answer: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients go as they like."""


class Visit(http.server.BaseHTTPRequestHandler):
    """One connection of a site."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body in one piece
    server: Site

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        page = self.path.strip("/")
        self.server.asked.append(page)
        self.server.before_answer()
        if page == "cut":
            self.close_connection = True
            return
        status = {"missing": 404, "broken": 500}.get(page, 200)
        body = b"<html>" if page == "garbled" else json.dumps({"page": page}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - its name there

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def visitors(site: Site, users: int, **given: Any) -> Journeys:
    return Journeys(
        entry="tests.visitors:Visitor", host=site.url, users=users, seed=1, given={"pages": ["fine"], **given}
    )


@contextlib.contextmanager
def begun(journeys: Journeys, pacer: Pacer) -> Iterator[UsersProcess]:
    """Users whose schedule has begun."""
    with contextlib.closing(UsersProcess(journeys, pacer)) as users:
        users.wait_until_ready()
        users.begin(CLOCK.now_ns() + 50_000_000)
        yield users


def outcome(users: UsersProcess) -> PumpResult:
    until(users.is_done, "the users are done")
    return users.result(1.0)


def total(result: PumpResult, kind: str) -> Histogram:
    return LatencyLog(result.intervals).total(f"journey.visit.{kind}")


def longer_than(histogram: Histogram, least_us: int) -> int:
    values_us, counts = histogram.distribution()
    return int(counts[values_us > least_us].sum())


PAGES = ["fine", "missing", "broken", "garbled", "cut", "unbearable"]


@pytest.mark.parametrize(
    ("method", "ok", "failed", "unknown"),
    [("GET", 20, 100, 0), ("POST", 20, 40, 60)],
)
def test_every_arrival_has_an_outcome(site: Site, method: str, ok: int, failed: int, unknown: int) -> None:
    """A refusal is FAIL; a command without a proper answer may have happened; a crash is no success."""
    with begun(visitors(site, 10, pages=PAGES, method=method), constant(240, 0.5)) as users:
        result = outcome(users)
    assert [result.arrivals, result.ok, result.failed, result.unknown, result.dropped] == [
        120,
        ok,
        failed,
        unknown,
        0,
    ]
    assert result.errors == {
        f"{method} /missing: 404": 20,
        f"{method} /broken: 500": 20,
        f"{method} /garbled: no JSON": 20,
        f"{method} /cut: no answer": 20,
        "visit: LookupError: unbearable": 20,
    }
    # One example of what the system said of it.
    [broken] = [each.text for each in result.failures if each.kind == f"{method} /broken: 500"]
    assert broken == f'{method} /broken: 500: {{"page": "broken"}}'
    # What is not known to be done has no latency.
    assert [total(result, kind).total for kind in ("response", "service", "send_lag")] == [ok + failed] * 3
    assert {interval.sparse.out_of_range for interval in result.intervals} == {0}
    assert users.progress == Counts(120, ok, failed, unknown, 0)


def test_what_users_were_told(site: Site) -> None:
    """The last word on each thing is in the result, and every user has had its share of the arrivals."""
    with begun(visitors(site, 8), constant(160, 0.3)) as users:
        result = outcome(users)
    assert result.told == {f"visitor {seat}": "seen 6" for seat in range(8)}
    assert len(site.asked) == result.ok == 48


def test_a_stall_shows_at_its_full_length(site: Site) -> None:
    """While the system stalls, everything that falls due counts from then: in response, and not in service."""
    stalled, released = threading.Lock(), threading.Event()

    def stall_once() -> None:
        if len(site.asked) < 30:
            return
        if stalled.acquire(blocking=False):
            threading.Timer(0.6, released.set).start()
        released.wait(5)

    site.before_answer = stall_once
    with begun(visitors(site, 5), constant(100, 1.2)) as users:
        result = outcome(users)
    assert (result.arrivals, result.ok) == (120, 120)
    # Each of five users was waiting for one answer; 100 a second fell due in the 0.3 s and more before the end.
    assert 1 <= longer_than(total(result, "service"), 300_000) <= 5
    assert longer_than(total(result, "response"), 300_000) >= 20


def test_too_few_users_show_in_send_lag(site: Site) -> None:
    """One user for more than one can do: all of it is done, later and later, and the record says who was late."""
    site.before_answer = lambda: threading.Event().wait(0.02) and None
    with begun(visitors(site, 1), constant(100, 0.5)) as users:
        result = outcome(users)
    assert (result.arrivals, result.ok, result.dropped) == (50, 50, 0)
    longest_us = total(result, "send_lag").max_us
    assert longest_us is not None
    assert longest_us > 400_000
    assert (total(result, "service").quantile_us(0.5) or 0) < 300_000


def test_a_schedule_that_is_ended(site: Site) -> None:
    """Ended early, what was due until then is done, and nothing more is due."""
    with begun(visitors(site, 5), constant(100, 60)) as users:
        until(lambda: users.progress.ok > 20, "some visits")
        users.stop()
        result = outcome(users)
    assert 20 < result.arrivals < 2_000
    assert (result.ok, result.dropped) == (result.arrivals, 0)
    assert len(site.asked) == result.ok


def test_ended_before_it_began(site: Site) -> None:
    """Users that are told to end before anything was due have done nothing."""
    with contextlib.closing(UsersProcess(visitors(site, 2), constant(100, 60))) as users:
        users.wait_until_ready()
        users.stop()
        result = outcome(users)
    assert (result.arrivals, result.ok, result.dropped) == (0, 0, 0)


def test_a_stop_that_comes_too_late(site: Site) -> None:
    """Users that have just ended are not stopped, and that is no error."""
    before = set(psutil.Process().children())
    with begun(visitors(site, 2), constant(40, 0.2)) as users:
        [process] = set(psutil.Process().children()) - before
        result = outcome(users)
        until(lambda: not is_alive(process), "the end of their process")
        users.stop()
    assert result.arrivals == 8


def test_closed_loop(site: Site) -> None:
    """Without a schedule each user begins again when it is done, until the time is over; nobody is late."""
    site.before_answer = lambda: threading.Event().wait(0.01) and None
    with begun(visitors(site, 2), ClosedLoop(0.4)) as users:
        result = outcome(users)
    assert result.ok == result.arrivals == len(site.asked)
    assert result.ok > 2
    assert longer_than(total(result, "send_lag"), 300_000) == 0


def test_users_that_do_not_exist(site: Site) -> None:
    """Users that cannot be found are an error, not a wait."""
    nobody = Journeys(entry="tests.visitors:Nobody", host=site.url, users=1, seed=1, given={})
    ended = pytest.raises(PumpError, match="the users' process has ended without a result")
    with contextlib.closing(UsersProcess(nobody, constant(1, 1))) as users, ended:
        users.wait_until_ready()


def pools(pacer: Pacer, portions: list[tuple[int, int]], stop_at_ns: int | None = None) -> list[dict[str, Any]]:
    with contextlib.closing(Child("tests.visitors:pool_main", pacer, portions, stop_at_ns)) as child:
        assert child.has_message(15)
        told: list[dict[str, Any]] = child.receive()
    return told


def test_shares_are_the_schedule() -> None:
    """Arrival i belongs to user i mod n, on whichever worker that is; each pool answers for its own, no more."""
    pacer = shaped("spike", 37, 3)
    schedule = pacer.due_ns(0, pacer.total)
    told = pools(pacer, [(0, 3), (3, 1), (4, 3)])
    due = {seat: times for pool in told for seat, times in pool["due"].items()}
    assert due == {seat: schedule[seat::7].tolist() for seat in range(7)}
    # Of each pool one step was taken; the rest was due, and nobody came for it.
    expected = [[n, 1, 0, 0, n - 1] for n in (sum(map(len, pool["due"].values())) for pool in told)]
    assert [pool["counts"] for pool in told] == expected
    assert [(pool["is_done"], pool["full"]) for pool in told] == [(True, True)] * 3


def test_shares_of_a_schedule_that_is_ended() -> None:
    """Ended early, each pool answers for what was due on its own seats until then, and for nothing later."""
    pacer = shaped("ramp", 50, 4)
    stop_at_ns = 1_234_567_890
    told = pools(pacer, [(0, 2), (2, 3)], stop_at_ns)
    numbers = np.arange(int(np.count_nonzero(pacer.due_ns(0, pacer.total) < stop_at_ns)))
    expected = [int(np.count_nonzero(numbers % 5 < 2)), int(np.count_nonzero(numbers % 5 >= 2))]
    assert [pool["counts"][0] for pool in told] == expected
    assert sum(expected) == numbers.size


def test_users_who_do_not_come() -> None:
    """Who waits for them is told how many are missing by then."""
    with contextlib.closing(Child("tests.visitors:absent_main")) as child:
        assert child.has_message(15)
        assert child.receive() == "of 3 users 2 have not come after 60 s"


def test_more_seats_than_arrivals() -> None:
    """A pool of which nobody has anything to do is done at once."""
    told = pools(constant(2, 1), [(0, 2), (2, 5)])
    assert [pool["counts"] for pool in told] == [[2, 1, 0, 0, 1], [0, 0, 0, 0, 0]]
