"""The contract of `shopbench gate`, kept by an event store of one's own; copy this beside yours."""

from __future__ import annotations

from plain_store import target

from harness.system.contract import TargetContract
from harness.system.target import OpenTarget


class TestPlainStore(TargetContract):
    """All tests are inherited."""

    @staticmethod
    def open_target() -> OpenTarget:
        """What opens the store."""
        return target
