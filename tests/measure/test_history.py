"""The timeline: what it answers, and that it comes back from disk as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.timeline import (
    Entry,
    FaultWindow,
    History,
    HistoryError,
    Mark,
    Reading,
    SlowMark,
    read_timeline,
    write_timeline,
)

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)

int64s = st.integers(-(2**63), 2**63 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
entries = st.lists(
    st.one_of(
        st.builds(
            Reading,
            t_ns=int64s,
            name=st.text(),
            value=st.none() | finite,
            unit=st.text(),
            labels=st.dictionaries(st.text(), st.text(), max_size=2),
        ),
        st.builds(FaultWindow, name=st.text(), target=st.text(), start_ns=int64s, end_ns=st.none() | int64s),
        st.builds(Mark, t_ns=int64s, name=st.text()),
        st.builds(SlowMark, operation=st.text(), due_ns=int64s, response_ns=int64s),
    ),
    max_size=6,
)


def reading(t_ns: int, value: float | None, name: str = "lag.events", **labels: str) -> Reading:
    return Reading(t_ns=t_ns, name=name, value=value, unit="events", labels=labels)


@unhurried
@given(entries)
def test_a_timeline_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, written: list[Entry]
) -> None:
    """Every entry, whatever stands in its text, comes back from disk in its place."""
    path = tmp_path_factory.getbasetemp() / "round-trip.jsonl"
    write_timeline(path, History(written))

    assert written == read_timeline(path).entries


def test_a_timeline_s_lines(tmp_path: Path) -> None:
    """On disk an entry is an object on a line of its own, its kind in the field `type`."""
    path = tmp_path / "timeline.jsonl"
    kill = FaultWindow(name="kill", target="crm", start_ns=3, end_ns=None)
    slow = SlowMark(operation="append", due_ns=5, response_ns=6)
    write_timeline(
        path, History([reading(1, 2.5, group="crm"), reading(2, None), kill, Mark(t_ns=4, name="up"), slow])
    )

    assert path.read_text().splitlines() == [
        '{"type":"reading","t_ns":1,"name":"lag.events","value":2.5,"unit":"events","labels":{"group":"crm"}}',
        '{"type":"reading","t_ns":2,"name":"lag.events","value":null,"unit":"events"}',
        '{"type":"fault","name":"kill","target":"crm","start_ns":3,"end_ns":null}',
        '{"type":"mark","t_ns":4,"name":"up"}',
        '{"type":"slow","operation":"append","due_ns":5,"response_ns":6}',
    ]


def test_a_number_that_is_none_is_no_reading(tmp_path: Path) -> None:
    """A reading that is not a number comes back as one that the probe could not take."""
    path = tmp_path / "timeline.jsonl"
    write_timeline(path, History([reading(1, float("nan"))]))

    assert [reading(1, None)] == read_timeline(path).entries


@pytest.mark.parametrize(
    "content",
    [
        b'{"type":"mark","t_ns":1,"name":"cut o',
        b'{"type":"mark","t_ns":1,"name":"\xff"}',
        b'{"type":"mark","t_ns":1}',
        b'{"type":"mark","t_ns":"soon","name":"x"}',
        b'{"type":"comet","t_ns":1}',
        b'{"t_ns":1}',
        b"[]",
        b'{"type":"mark","zzz":' + b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_entry_is_refused(tmp_path: Path, content: bytes) -> None:
    """A line that is no entry is refused, and the error names the file."""
    path = tmp_path / "timeline.jsonl"
    path.write_bytes(b'{"type":"mark","t_ns":0,"name":"fine"}\n' + content + b"\n")

    with pytest.raises(HistoryError, match=r"timeline\.jsonl: "):
        read_timeline(path)


def test_a_timeline_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Reading no file is a `HistoryError`."""
    with pytest.raises(HistoryError, match=r"timeline\.jsonl: "):
        read_timeline(tmp_path / "timeline.jsonl")


def test_an_empty_timeline_is_one(tmp_path: Path) -> None:
    """A run in which nothing was seen has a timeline without entries."""
    write_timeline(tmp_path / "timeline.jsonl", History())

    assert read_timeline(tmp_path / "timeline.jsonl").entries == []


def test_readings_are_chosen_by_name_and_labels() -> None:
    """Readings of a name, of which each carries all of the labels that are asked for."""
    crm, mail = reading(1, 1.0, group="crm", stream="a"), reading(2, 2.0, group="mail", stream="a")
    history = History([crm, mail, reading(3, 3.0, name="cpu"), Mark(t_ns=4, name="lag.events")])

    assert list(history.readings("lag.events")) == [crm, mail]
    assert list(history.readings("lag.events", group="mail")) == [mail]
    assert list(history.readings("lag.events", group="crm", stream="b")) == []
    assert history.reading_names == ["cpu", "lag.events"]


def test_the_timeline_is_answered_in_the_order_of_time() -> None:
    """Faults and marks come in the order of time, slow operations slowest first, however added."""
    late, early = (FaultWindow(name="kill", target="crm", start_ns=at, end_ns=None) for at in (9, 3))
    up, down = Mark(t_ns=7, name="up"), Mark(t_ns=5, name="down")
    slow, slower = (SlowMark(operation="append", due_ns=0, response_ns=ns) for ns in (1, 2))
    history = History([late, up, slow])
    for entry in (slower, down, early):
        history.add(entry)

    assert ([early, late], [down, up], [slower, slow]) == (history.faults, history.marks, history.slowest)


def test_a_mark_is_the_first_of_its_name() -> None:
    """The time of a mark is that of the first of its name, and None where there is none."""
    history = History([Mark(t_ns=9, name="restart"), Mark(t_ns=4, name="restart")])

    assert (history.mark("restart"), history.mark("drained")) == (4, None)
