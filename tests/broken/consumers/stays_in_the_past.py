"""After a restart it reads from 0 instead of `>`: its own pending entries, and never again anything new.

Shown by `kill` or `stop`. Named by `nothing_lost`: never delivered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import redis
from plain import BLOCK_MS, GROUP, STREAMS, Consumer, Entry


class StaysInThePast(Consumer):
    """The position of the first start is that of each read."""

    read_from = "0"

    def make_groups(self) -> None:
        """Who makes the group reads what is new."""
        try:
            for stream in STREAMS:
                self.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
            self.read_from = ">"
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def new(self) -> Iterator[tuple[str, list[Entry]]]:
        """From where it was told to."""
        yield from self.read(dict.fromkeys(STREAMS, self.read_from))
        if self.read_from != ">":
            time.sleep(BLOCK_MS / 1000)  # it never has to wait for its past


if __name__ == "__main__":
    StaysInThePast().run()
