"""A replayer: who reads the past back, again and again; a user of Locust.

Each replay is one step of a closed loop: the next begins when the one before is done. Between pages the others of
the process get their turn, and so do Locust's heartbeats, for folding a page is pure computing.
"""

from __future__ import annotations

from locust.env import Environment

from harness.locust.users import ActingUser, StepError, step

# isort: split
import gevent

from ordershop.event_store import EventStore, connect
from scenarios.replay import TOPIC


class Replayer(ActingUser):
    """Somebody who replays a topic from its events; the load's host is the URL of a server."""

    abstract = True
    operation = "replay"

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._store: EventStore | None = None

    @step(1)
    def replay(self) -> None:
        """Replay the topic."""
        journeys, clock = self.pool.journeys, self.pool.clock
        if self._store is None:
            self._store = EventStore(connect(journeys.host, timeout_s=60.0), journeys.given["namespace"])
        before_ns = clock.now_ns()
        found = len(self._store.replay(TOPIC, after_page=lambda: gevent.sleep(0)))
        self.environment.events.request.fire(
            request_type="RESP",
            name="replay",
            response_time=(clock.now_ns() - before_ns) / 1e6,
            response_length=0,
            exception=None,
            context={},
        )
        if found != journeys.given["entities"]:
            raise StepError(f"{found:,} entities instead of {journeys.given['entities']:,}")

    def on_stop(self) -> None:
        """Close the connection, and leave the seat."""
        if self._store is not None:
            self._store.client.close()
            self._store.close()
        super().on_stop()
