"""Has the effect of each batch twice; a mail service that knows event IDs hides it, one that does not shows it."""

from __future__ import annotations

from collections.abc import Sequence

from ordershop.services.crm import Crm
from ordershop.subscription import Delivery
from tests.broken import start


class AppliesTwice(Crm):
    """Twice is once too often."""

    def __call__(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Have the mails of a batch sent, all of them, and all of them again."""
        super().__call__(deliveries)
        return super().__call__(deliveries)


if __name__ == "__main__":
    start(effect=AppliesTwice)
