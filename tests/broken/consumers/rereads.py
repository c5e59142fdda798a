"""Sets its group back to 0 at each start: what was done has its effect again, after each restart.

Shown by `kill`, if effects are promised once. Named by `nothing_twice`.
"""

from __future__ import annotations

from plain import GROUP, STREAMS, Consumer


class Rereads(Consumer):
    """It makes sure that nothing is lost."""

    has_begun = False

    def make_groups(self) -> None:
        """And back to where all began."""
        super().make_groups()
        if not self.has_begun:
            for stream in STREAMS:
                self.client.xgroup_setid(stream, GROUP, "0")
            self.has_begun = True


if __name__ == "__main__":
    Rereads().run()
