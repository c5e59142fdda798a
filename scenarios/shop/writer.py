"""A writer: who reads an entity, thinks, and writes it back, expecting that it is as he has read it.

Update i is of the entity that follows from the seed and i, whoever makes it. Where somebody else was faster, the
store refuses it: that is a conflict, and no fault of anybody's. The writer reads again, and tries again, as often
as he may; then he gives up, which is recorded as such. How it ended stands in the operation's name:

    contention.update      written at once
    contention.retried     written, after a conflict or several
    contention.given_up    not written

A repeated attempt has the event ID of the first, for only one of them can be written.

Locust imports this file; `shopbench` does not, but in the process of its users.
"""

from __future__ import annotations

from locust.env import Environment

from harness.locust.users import ActingUser, StepError, step

# isort: split
import functools

import gevent

from harness.account.event_ids import event_id
from harness.arrays import Int64s
from harness.load.workload import Mix, entity_id
from harness.measure.outcomes import FAIL, UNKNOWN
from ordershop.entities import Customer
from ordershop.event_store import EventStore, RefusedError, StoreError, UnavailableError, connect
from ordershop.events import Event
from scenarios.load import EMAIL
from scenarios.shop.versions import CONFLICT, note, word


@functools.lru_cache(maxsize=8)
def _entities(mix: Mix, block: int) -> Int64s:
    """The entities of a block of updates; writers are near one another in the schedule, so few are kept."""
    return mix.draw(block * Mix.BLOCK, Mix.BLOCK)[0]


class Writer(ActingUser):
    """Somebody who updates entities that others update, too; the load's host is the URL of a server."""

    abstract = True
    operation = "contention"

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._store: EventStore | None = None

    @step(1)
    def update(self) -> None:
        """Update an entity, as it was read."""
        given, number, clock = self.pool.journeys.given, self.number, self.pool.clock
        before_ns = clock.now_ns()
        attempts = 0
        while True:
            attempts += 1
            version = self._try_to_update(number)
            if version is None:
                break
            if attempts > given["retries"]:
                self.doing = "given_up"
                self.tell(str(number), word("refused", attempts))
                raise StepError(CONFLICT, FAIL, f"it has version {version}")
        self.doing = "update" if attempts == 1 else "retried"
        self.tell(str(number), word("written", attempts))
        self.environment.events.request.fire(
            request_type="RESP",
            name=self.doing,
            response_time=(clock.now_ns() - before_ns) / 1e6,
            response_length=0,
            exception=None,
            context={},
        )

    def _try_to_update(self, number: int) -> str | None:
        """Read, think and write once; after a conflict it answers the version that the entity has by now."""
        given = self.pool.journeys.given
        mix = Mix(seed=self.pool.journeys.seed, entities=given["entities"], skew=given["skew"])
        block, at = divmod(number, Mix.BLOCK)
        identity = entity_id(given["producer"], int(_entities(mix, block)[at]))
        if self._store is None:
            client = connect(self.pool.journeys.host, timeout_s=given["timeout_s"])
            self._store = EventStore(client, given["namespace"])
        try:
            found = self._store.find_versioned("customer", identity)
            if found is None:
                raise StepError("an entity is not there")
            _, version = found
            gevent.sleep(given["think_ms"] / 1000)
            changed = Customer(identity, note(version), EMAIL)
            event = Event("updated", changed, event_id(given["producer"], number))
            self._store.append(event, expect=version if given["expects"] else None)
        except RefusedError as error:
            if error.reason != "version":
                raise StepError(f"refused: {error.reason}", FAIL, error.detail) from error
            return error.detail
        except UnavailableError as error:
            raise StepError("no answer", UNKNOWN, str(error)) from error
        except StoreError as error:
            raise StepError("an error of the store", FAIL, str(error)) from error
        return None

    def on_stop(self) -> None:
        """Close the connection, and leave the seat."""
        if self._store is not None:
            self._store.close()
            self._store.client.close()
        super().on_stop()
