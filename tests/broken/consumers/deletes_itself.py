"""On SIGTERM it ends at once and deletes its consumer, and so what that one had pending: a graceful stop, it says.

Shown by `stop_while_away`, and by a `stop` that hits in the middle. Named by `nothing_lost`:
dropped with its consumer.
"""

from __future__ import annotations

import os

from plain import CONSUMER, GROUP, STREAMS, Consumer


class DeletesItself(Consumer):
    """It leaves nothing behind, not even what is to be done."""

    def stop(self) -> None:
        """Between two instructions of whatever it is at."""
        client = self.client.from_url(os.environ["SHOPBENCH_REDIS_URL"], protocol=2)
        for stream in STREAMS:
            client.xgroup_delconsumer(stream, GROUP, CONSUMER)
        os._exit(0)


if __name__ == "__main__":
    DeletesItself().run()
