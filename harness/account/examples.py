"""Examples of lost events: where each is, and which commands were about it, for whoever wants to know why."""

from __future__ import annotations

import msgspec

# The section of a run's evidence.
SECTION = "examples"


class CommandRow(msgspec.Struct, frozen=True, kw_only=True):
    """One command, as it is shown.

    Attributes:
        t_s: when it was answered, in seconds since the load began.
        connection: which of those that were followed.
        what: the command, or what it did to an entry.
        reply: as text; empty: there was none, or `what` says it.
    """

    t_s: float
    connection: str
    what: str
    reply: str = ""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One lost event.

    Attributes:
        where: the class of its loss (`harness.account.losses`).
        event_id: of the event.
        stream, entry_id: where its entry is; empty: it is in no stream.
        entry: what was told of the entry.
        group: the commands on the group of its stream.
    """

    where: str
    event_id: str
    stream: str = ""
    entry_id: str = ""
    entry: list[CommandRow] = []
    group: list[CommandRow] = []

    @property
    def commands(self) -> list[CommandRow]:
        """All of them, in the order of time."""
        return sorted([*self.entry, *self.group], key=lambda row: row.t_s)
