"""Handles each batch from its end: who came and went in one batch is sent a good-bye, and then a welcome."""

from __future__ import annotations

from collections.abc import Sequence

from ordershop.services.crm import Crm
from ordershop.subscription import Delivery
from tests.broken import start


class Reverses(Crm):
    """Loses nothing, and repeats nothing."""

    def __call__(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Have mails sent, the last first."""
        return super().__call__(deliveries[::-1])


if __name__ == "__main__":
    start(effect=Reverses)
