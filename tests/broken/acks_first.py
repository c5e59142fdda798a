"""Acknowledges a batch, and then has its effect: what it had in hand when it was killed is gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ordershop.subscription import Delivery, Effect, Stop, Subscription
from tests.broken import start


class AcksFirst(Subscription):
    """At most once, though it says at least once."""

    def run(self, effect: Effect, stop: Stop) -> None:
        """Handle events, acknowledging them first."""

        def acknowledged_first(deliveries: Sequence[Delivery]) -> Iterable[Delivery]:
            self._note_done(deliveries)
            self._group.acknowledge()
            return effect(deliveries)

        super().run(acknowledged_first, stop)


if __name__ == "__main__":
    start(subscription=AcksFirst)
