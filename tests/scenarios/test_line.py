"""A real line: each class of loss made on purpose is read rightly from the streams and the group.

The consumer is stopped while events are appended, so that what was delivered by then is known: nothing. Then
something is taken from it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.account.event_ids import sequences_of
from harness.conduct.findings import Findings
from harness.load.pacing import constant
from harness.nemesis.targets import abilities_of
from harness.record.sections import Sections
from ordershop.events import Keys
from scenarios.line.account import Accounted, accounted
from scenarios.line.line import Line
from scenarios.line.settings import LineSettings
from scenarios.line.targets import TARGETS
from scenarios.shop.shop import GROUP
from tests.lines import shop_of, stage_in
from tests.waiting import until

pytestmark = pytest.mark.slow

RATE_PER_S, LOAD_S = 400, 0.5
TOTAL = 200


@contextlib.contextmanager
def stopped_line(directory: Path, settings: LineSettings) -> Iterator[tuple[Line, Any]]:
    """A line whose consumer was stopped before the first event; and a client of its server."""
    with Line(stage_in(directory), constant(RATE_PER_S, LOAD_S), settings) as line, line.server.client() as client:
        shop_of(line).supervisor.stop("crm")
        line.run_load(Findings("line"))
        assert line.ledger.account().acknowledged == TOTAL
        yield line, client


def found_of(line: Line) -> Accounted:
    """What became of the events of a line, by what its streams and its group say now."""
    sections = Sections()
    line.gather(sections, waited_s=20.0)
    return accounted(sections)


def test_its_targets_can_what_they_are_known_for(tmp_path: Path) -> None:
    """What a fault is chosen by, before there is a line, is what the line has then; a command can more."""
    of_commands = {"crm": {"leader_kill", "survivors"}, "mail": {"refuse"}}
    settings = LineSettings(durability="none", has_links=True)
    with Line(stage_in(tmp_path), constant(RATE_PER_S, LOAD_S), settings) as line:
        found = {target.name: set(abilities_of(target)) for target in line.targets}
    assert found == {name: set(known.can) - of_commands.get(name, set()) for name, known in TARGETS.items()}


def losses(found: Accounted) -> dict[str, int]:
    """The classes that are not empty."""
    return {where: count for where, count in found.losses.counts.items() if count}


def streams(line: Line) -> list[str]:
    return [Keys(line.server.namespace).stream("customer", action) for action in ("created", "deleted")]


def test_deleted_entries_are_not_in_the_stream(tmp_path: Path) -> None:
    """Three entries deleted by XDEL before their delivery: those are lost, and all others have their effect."""
    with stopped_line(tmp_path, LineSettings(durability="none")) as (line, client):
        [first, second] = streams(line)
        gone = client.xrange(first, count=2) + client.xrange(second, count=1)
        client.xdel(first, gone[0][0], gone[1][0])
        client.xdel(second, gone[2][0])
        shop_of(line).supervisor.start_again("crm")
        assert line.wait_until_drained(20.0, quiet_s=0.5)
        found = found_of(line)
        assert losses(found) == {"not_in_stream": 3}
        expected = sorted(
            sequences_of(line.producer, [fields[b"event_id"].decode() for _, fields in gone]).tolist()
        )
        assert list(found.losses.not_in_stream.examples) == expected
        assert (found.stored, found.account.lost, line.ledger.account().lost) == (TOTAL - 3, 3, 3)


def test_what_a_group_never_reached_was_never_delivered(tmp_path: Path) -> None:
    """Without a consumer all is lost, and never delivered; a group set forward has skipped what lies behind it."""
    with stopped_line(tmp_path, LineSettings(durability="none")) as (line, client):
        assert losses(found_of(line)) == {"never_delivered": TOTAL}
        # The server then counts what was skipped as delivered, and nobody has it pending.
        for stream in streams(line):
            client.xgroup_setid(stream, GROUP, client.xrange(stream, count=30)[-1][0])
        assert losses(found_of(line)) == {"not_pending": 60, "never_delivered": TOTAL - 60}
        for stream in streams(line):
            client.xgroup_setid(stream, GROUP, "$")
        assert losses(found_of(line)) == {"not_pending": TOTAL}
        # And a group that is set back has its events before it again.
        for stream in streams(line):
            client.xgroup_setid(stream, GROUP, "0")
        assert losses(found_of(line)) == {"never_delivered": TOTAL}


def test_a_group_set_back_hands_out_again(tmp_path: Path) -> None:
    """Applied before, delivered again: with a mail service that knows no IDs every effect happens twice."""
    settings = LineSettings(durability="none", is_idempotent=False)
    with Line(stage_in(tmp_path), constant(RATE_PER_S, LOAD_S), settings) as line, line.server.client() as client:
        line.run_load(Findings("line"))
        assert line.wait_until_drained(20.0)
        assert (line.ledger.account().applied, line.ledger.account().duplicated) == (TOTAL, 0)
        for stream in streams(line):
            client.xgroup_setid(stream, GROUP, "0")
        until(lambda: line.ledger.account().duplicated == TOTAL, "each event had its effect again")
        assert losses(found_of(line)) == {}


def test_what_a_killed_consumer_had_in_hand_is_pending(tmp_path: Path) -> None:
    """Killed while nothing answers its mail: what it had read is pending, and what came later not delivered."""
    settings = LineSettings(durability="none", page=20)
    with stopped_line(tmp_path, settings) as (line, client):
        # A mail service that is silent, so that the consumer reads, waits, and reads no more.
        shop_of(line).supervisor.freeze("mail")
        shop_of(line).supervisor.start_again("crm")
        until(lambda: any(client.xpending(stream, GROUP)["pending"] for stream in streams(line)), "it has read")
        shop_of(line).supervisor.kill("crm")
        pending = sum(client.xpending(stream, GROUP)["pending"] for stream in streams(line))
        assert losses(found_of(line)) == {"pending": pending, "never_delivered": TOTAL - pending}
        shop_of(line).supervisor.thaw("mail")


def test_without_a_group_a_loss_has_no_class(tmp_path: Path) -> None:
    """Who subscribes as tutorials do leaves no position: what it lost is in the stream, and that is all."""
    with Line(
        stage_in(tmp_path), constant(RATE_PER_S, LOAD_S), LineSettings(durability="none", delivery="from_now")
    ) as line:
        shop_of(line).supervisor.stop("crm")
        line.run_load(Findings("line"))
        assert losses(found_of(line)) == {"unclassed": TOTAL}


def test_effects_that_come_late_count(tmp_path: Path) -> None:
    """Drained is said only when for a while nothing else has come, so that an effect that comes twice is seen."""
    settings = LineSettings(durability="none", is_idempotent=False)
    with stopped_line(tmp_path, settings) as (line, client):
        stream = streams(line)[1]
        [(_, fields)] = client.xrevrange(stream, count=1)
        # The last event once more, as a producer's retry without idempotency would have it.
        client.xadd(stream, fields)
        shop_of(line).supervisor.start_again("crm")
        assert line.wait_until_drained(20.0)
        account = line.ledger.account()
        assert (account.applied, account.duplicated, account.lost) == (TOTAL, 1, 0)
        # What came twice is no progress.
        assert line.applied_at[-1][1] == TOTAL
