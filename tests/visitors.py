"""Users for tests of users. It imports Locust, so only processes that tests start may import it."""

from __future__ import annotations

from typing import Any

from harness.locust.pool import UserPool
from harness.locust.users import JourneyUser, step

# isort: split
import gevent
from locust.env import Environment

from harness.host.child import Channel
from harness.host.clock import VirtualClock
from harness.load.driver import Journeys
from harness.load.pacing import Pacer, constant
from harness.load.settings import PumpError


class Visitor(JourneyUser):
    """Asks for the pages that it was given, one after the other; one of them it cannot bear."""

    abstract = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._turn = 0

    @step(1)
    def visit(self) -> None:
        """Ask for the next page."""
        given = self.pool.journeys.given
        page = given["pages"][self._turn % len(given["pages"])]
        self._turn += 1
        if page == "unbearable":
            raise LookupError("unbearable")
        self.call(given.get("method", "GET"), f"/{page}")
        self.tell(f"visitor {self.seat}", f"seen {self._turn}")


class Leaping(VirtualClock):
    """A clock that goes a second each time somebody looks at it."""

    def now_ns(self) -> int:
        self.sleep_ns(1_000_000_000)
        return super().now_ns()


def absent_main(channel: Channel) -> None:
    """What who waits for three users is told, when one comes only after he has begun to wait."""
    journeys = Journeys(entry="", host="", users=3, seed=1, given={})
    pool = UserPool(journeys, constant(1, 1), first_user=0, here=3, clock=Leaping())
    gevent.spawn(pool.take_seat)
    try:
        pool.wait_until_ready()
    except PumpError as error:
        channel.send(str(error))


def pool_main(channel: Channel, pacer: Pacer, portions: list[tuple[int, int]], stop_at_ns: int | None) -> None:
    """What pools with a share of the users each have to do, on a clock that does not go by itself.

    Args:
        portions: the first user of each pool, and how many it has; together they are all.
        stop_at_ns: when the schedule is ended early; None: never.
    """
    journeys = Journeys(entry="", host="", users=sum(here for _, here in portions), seed=1, given={})
    told: list[dict[str, Any]] = []
    for first_user, here in portions:
        clock = VirtualClock(now_ns=1_000)
        pool = UserPool(journeys, pacer, first_user=first_user, here=here, clock=clock)
        pool.begin(1_000)
        if stop_at_ns is not None:
            clock.sleep_ns(stop_at_ns)
            pool.stop()
        due: dict[int, list[int]] = {}
        for _ in range(here):
            seat = pool.take_seat()
            assert seat is not None
            due[seat] = []
            while (due_ns := pool.next_due_ns(seat)) is not None:
                due[seat].append(due_ns - 1_000)
        first = min((times[0] for times in due.values() if times), default=None)
        if first is not None and pool.begin_step(first + 1_000):
            pool.end_step("journey.visit", (first + 1_000, first + 1_000, first + 3_000), 0, "")
        clock.sleep_ns(pacer.duration_ns + 60_000_000_000)
        result = pool.result(0.0)
        counts = [result.arrivals, result.ok, result.failed, result.unknown, result.dropped]
        told.append({"due": due, "counts": counts, "is_done": pool.is_done(), "full": pool.take_seat() is None})
    channel.send(told)
