"""Drops one event in a thousand, and acknowledges it as if it had been handled."""

from __future__ import annotations

from collections.abc import Sequence

from ordershop.services.crm import Crm
from ordershop.subscription import Delivery
from tests.broken import start

ONE_IN = 1_000


class Drops(Crm):
    """Its count begins anew with each start."""

    handled = 0

    def __call__(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Have mails sent, but for one in a thousand."""
        first = self.handled + 1
        self.handled += len(deliveries)
        return super().__call__([each for at, each in enumerate(deliveries, first) if at % ONE_IN])


if __name__ == "__main__":
    start(effect=Drops)
