"""After an error it makes its group anew, at `$`: what was published while it was away is skipped.

Shown by `cut`. Named by `nothing_lost`: skipped by a group that was made anew.
"""

from __future__ import annotations

from plain import GROUP, STREAMS, Consumer


class AnewAtEnd(Consumer):
    """A clean start, for whoever does not mind what was there."""

    is_dirty = False

    def after(self, error: Exception) -> None:
        """Note that there was one."""
        self.is_dirty = True

    def make_groups(self) -> None:
        """The old ones away, new ones from the end on."""
        super().make_groups()
        if self.is_dirty:
            for stream in STREAMS:
                self.client.xgroup_destroy(stream, GROUP)
                self.client.xgroup_create(stream, GROUP, id="$")
            self.is_dirty = False


if __name__ == "__main__":
    AnewAtEnd().run()
