"""The table of libraries and faults: what it says of repeats, and where it writes it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.consumer_check import result
from harness.consumer_check.result import Check, Played, Settings, Side
from harness.consumer_check.rows import Row, rows_of
from tests.consumer_checks import check_of, played, trial

# As for the program itself: `examples` is no package that is installed.
sys.path.insert(0, str(Path(__file__).parents[2]))

from examples.consumers.table import Table
from examples.consumers.table_words import (
    BEGINS,
    ENDS,
    Tried,
    accepted_row,
    cell,
    report,
    row_words,
    verdict,
    written,
)
from examples.consumers.tried import (
    ACCEPTED,
    CONSUMERS,
    NAMES,
    ROOT,
    Consumer,
    Said,
    is_exact,
    is_kept_and_repeats,
    pending,
)

SAID = Said("faststream", ("kill",), "some tens are stuck, pending", pending(10))
FASTSTREAM = next(each for each in CONSUMERS if each.name == "faststream")


def kills(*stuck: int) -> list[Played]:
    """Repeats of a kill with so many events stuck."""
    return [
        played("kill", "FAIL" if count else "PASS", stuck=count, repeat=number)
        for number, count in enumerate(stuck, 1)
    ]


def row(*of: Played) -> Row:
    """The one row of a check in which these were played."""
    [found] = rows_of(check_of(*of))
    return found


def test_in_how_many_repeats_something_was_seen() -> None:
    """What was seen, in how many of those that were tried, and the lowest and the highest number."""
    assert row_words(row(*kills(32, 0, 28))) == "stuck in 2 of 3 (28–32): pending"
    assert row_words(row(*kills(0, 0))) == "none lost or stuck in 2 of 2"
    assert cell(row(*kills(32, 0, 28))) == "**stuck 2/3**"
    assert cell(row(*kills(0, 0))) == "0/2"


def test_what_was_not_seen_is_not_said() -> None:
    """A repeat that was not tried counts for nothing, one that is undecided is named."""
    away = played("kill", "UNKNOWN", repeat=2, not_tried="it had nothing in hand")
    undecided = played("kill", "UNKNOWN", repeat=3)
    undecided = Played(**{**as_dict(undecided), "counts": result.Counts(acknowledged=1_000)})
    both = row(*kills(0), away, undecided)
    assert row_words(both) == "none lost or stuck in 1 of 2; not decided in 1 of 2; not tried in 1 more"
    assert cell(both) == "0/1, ? 1"
    assert row_words(row(away)) == "not tried: it had nothing in hand"
    assert cell(row(away)) == "not tried"
    assert cell(None) == "not tried"


def as_dict(one: Any) -> dict[str, Any]:
    """The fields of a struct."""
    return {name: getattr(one, name) for name in one.__struct_fields__}


def test_a_sentence_is_borne_out_by_each_repeat_or_not_at_all() -> None:
    """One repeat in which it is not so makes it untrue; without any that was tried it is not so either."""
    assert verdict(SAID, check_of(*kills(32, 28)))[0]
    assert not verdict(SAID, check_of(*kills(32, 9)))[0]
    assert not verdict(SAID, check_of(played("kill", "UNKNOWN", not_tried="it had nothing in hand")))[0]
    assert not verdict(SAID, check_of(played("stop")))[0]
    assert verdict(SAID, None) == (False, "nothing was played")
    assert "| **no** |" in accepted_row(FASTSTREAM, SAID, "nothing was played", is_so=False)


@pytest.mark.parametrize("holds", [is_exact, is_kept_and_repeats, *(said.holds for said in ACCEPTED)])
def test_what_is_not_known_bears_nothing_out(holds: Any) -> None:
    """No sentence is so where the account was not closed."""
    unknown = Played(**{**as_dict(played("kill", "UNKNOWN")), "counts": result.Counts()})
    assert not holds(unknown)


def test_what_could_not_be_done_to_a_consumer_is_named() -> None:
    """Whether it does not apply to it, or is not offered: all else is enough, and has to be played."""
    said = Said("good", ("kill", "kill_leader", "refuse"), "nothing is lost or stuck", is_exact)
    away = played("kill_leader", "UNKNOWN", not_tried="it was a plain kill")
    assert trial("kill_leader").may_not_apply
    is_so, seen = verdict(said, check_of(*kills(0), away))
    assert is_so
    assert seen.endswith("; not tried: refuse, kill_leader")
    is_so, seen = verdict(said, check_of(away))
    assert not is_so
    assert "not played: kill" in seen


def test_results_go_between_the_two_lines() -> None:
    """What stands before and behind them stays; without them nothing is written."""
    page = f"before\n{BEGINS}\nold\n{ENDS}\nbehind\n"
    assert written(page, "new") == f"before\n{BEGINS}\n\nnew\n\n{ENDS}\nbehind\n"
    with pytest.raises(SystemExit, match="has to have the lines"):
        written("before\n", "new")


def test_the_page_has_the_two_lines() -> None:
    """It can be written with one command."""
    assert written((ROOT / "docs" / "consumers.md").read_text(), "new")


def test_the_report_says_of_what_it_is() -> None:
    """Version, command, date, server, machine, and a row for each fault."""
    text = report([Tried(FASTSTREAM, check_of(*kills(32, 0), played("stop")))], 2)
    for part in (FASTSTREAM.version, "2026-11-28", "valkey 8.1.1", "2 cores", "`python examples/consumers/"):
        assert part in text
    assert "| killed with events in hand (`kill`) | **stuck 1/2** |" in text
    assert "| stopped, as a deploy does (`stop`) | none lost or stuck in 1 of 1 |" in text


def test_each_consumer_can_be_made() -> None:
    """Its program is there, its library is pinned, and so is all that its environment is made of."""
    for consumer in (each for each in CONSUMERS if each.directory):
        assert (ROOT / consumer.here / "consumer.py").exists()
        assert consumer.version.startswith(consumer.library)
        assert all("==" in line for line in consumer.requirements.read_text().split())
        assert consumer.command("/x y/").startswith("'/x y/bin/")


def test_each_sentence_is_about_a_trial_that_there_is() -> None:
    """And about a consumer that there is."""
    for said in ACCEPTED:
        assert said.consumer in {each.name for each in CONSUMERS}
        assert {*said.trials} <= {*NAMES}


def test_what_was_played_is_not_played_again(tmp_path: Path) -> None:
    """A check that is complete is found; with other files of the consumer it would not be."""
    done = check_of(*kills(0), settings=Settings(sides=(Side(consumer="ordershop", label="ordershop"),)))
    crm = Consumer("crm", "The CRM", words="ordershop")
    directory = tmp_path / f"crm-{crm.digest()}" / "kill" / "20261128-120000-consumer-check"
    directory.mkdir(parents=True)
    result.save(directory, done)
    found: Check | None = Table(tmp_path / "cache", tmp_path).check(crm, ("kill",), 1)
    assert found == result.load(directory)
