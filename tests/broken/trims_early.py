"""Trims the streams to a few events after each batch, also those that it has not read yet."""

from __future__ import annotations

from collections.abc import Sequence

from ordershop.services.crm import SOURCES, Crm
from ordershop.subscription import Delivery
from tests.broken import start

KEPT = 20


class TrimsEarly(Crm):
    """Knows how much it wants to keep, and not how much has been handled."""

    def __call__(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Have mails sent, then trim."""
        failed = super().__call__(deliveries)
        for topic, action in SOURCES:
            self._store.client.xtrim(self._store.keys.stream(topic, action), maxlen=KEPT, approximate=False)
        return failed


if __name__ == "__main__":
    start(effect=TrimsEarly)
