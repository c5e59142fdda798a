"""Never asks for what is pending, its own or others': what it had in hand when it died stays there."""

from __future__ import annotations

from ordershop.subscription import Subscription
from tests.broken import start


class Forgets(Subscription):
    """Reads what is new, and nothing else."""

    def _join(self) -> None:
        super()._join()
        self._reader.begin(with_pending=False)

    def _claim(self) -> None:
        """What others had in hand is no concern of its."""


if __name__ == "__main__":
    start(subscription=Forgets)
