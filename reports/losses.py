"""One lost event of each kind, with the commands about it, as rows of a table."""

from __future__ import annotations

from harness.account.examples import SECTION, CommandRow, Example
from harness.check.checkers import where_lost
from harness.record.evidence import EvidenceError
from harness.record.run import Record


def lost_examples(record: Record) -> list[list[str]]:
    """A row for each command about an example; the first of each says what became of the event, and where it is.

    There are none where no consumer was followed, nothing was lost, or the evidence cannot be read, which its
    verdicts say.
    """
    try:
        sections = record.evidence.sections() if record.evidence.exists else {}
        found = [
            example
            for name in sections
            if name == SECTION or name.startswith(f"{SECTION}.")
            for example in record.evidence.value(name, list[Example])
        ]
    except EvidenceError:
        return []
    return [row for example in found for row in _rows(example)]


def _rows(example: Example) -> list[list[str]]:
    entry = example.entry_id or "in no stream"
    first = [where_lost(example.where), example.event_id, example.stream, entry]
    commands = [_cells(row) for row in example.commands] or [["", "no command about it was seen", "", ""]]
    return [[*(first if at == 0 else [""] * len(first)), *cells] for at, cells in enumerate(commands)]


def _cells(row: CommandRow) -> list[str]:
    return [f"{row.t_s:.3f} s", row.what, row.reply, row.connection]
