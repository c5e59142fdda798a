"""Goes on at the end of the streams after a reconnect: what was published meanwhile is skipped."""

from __future__ import annotations

from ordershop.subscription import Subscription
from tests.broken import start


class Skips(Subscription):
    """Sets its group's position forward when it joins again; the server then counts all before it as delivered."""

    joined = False

    def _join(self) -> None:
        super()._join()
        if self.joined:
            for stream in self._sources:
                self._link.call(bytes.decode, "XGROUP", "SETID", stream, self._name, "$")
        self.joined = True


if __name__ == "__main__":
    start(subscription=Skips)
