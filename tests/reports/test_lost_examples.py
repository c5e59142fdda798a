"""Lost events in the report: one of each kind, with the commands about it in the order of time."""

from __future__ import annotations

from harness.account.examples import CommandRow, Example
from harness.conduct.findings import Findings
from harness.record.run import Record
from harness.record.sections import Sections
from reports.losses import lost_examples
from reports.render import render
from tests.verdicts import record_of


def row(t_s: float, what: str, reply: str = "") -> CommandRow:
    return CommandRow(t_s=t_s, connection="3", what=what, reply=reply)


def record_with(**examples: list[Example]) -> Record:
    """A run that has left these sections."""
    sections = Sections()
    for name, value in examples.items():
        sections.add_json(name.replace("_", "."), value)
    record = record_of("line", None, Findings("line"))
    return Record(record.directory, record.run, evidence=sections)


def test_an_example_and_its_commands() -> None:
    """What became of it stands once; commands of the entry and of the group are in one order."""
    example = Example(
        where="dropped_with_consumer",
        event_id="id-1",
        stream="events",
        entry_id="17-0",
        entry=[row(1.5, "handed out to c")],
        group=[row(0.25, "XGROUP CREATE events g 0", "OK"), row(2.0, "XGROUP DELCONSUMER events g c", "3")],
    )
    record = record_with(examples=[example], examples_always=[Example(where="not_in_stream", event_id="<b>")])
    dropped = "were pending of a consumer when it was deleted from the group"
    assert lost_examples(record) == [
        [dropped, "id-1", "events", "17-0", "0.250 s", "XGROUP CREATE events g 0", "OK", "3"],
        ["", "", "", "", "1.500 s", "handed out to c", "", "3"],
        ["", "", "", "", "2.000 s", "XGROUP DELCONSUMER events g c", "3", "3"],
        ["are not in the stream", "<b>", "", "in no stream", "", "no command about it was seen", "", ""],
    ]
    page = render(record)
    assert "XGROUP DELCONSUMER events g c" in page
    assert "<b>" not in page.partition("Lost events")[2].partition("</table>")[0]


def test_a_run_without_examples() -> None:
    """Where nobody was followed there is no table."""
    assert lost_examples(record_with()) == []
    assert "Lost events" not in render(record_with())
