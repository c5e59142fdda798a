"""Many groups on a stream: there were so many, with so much pending; the rest is told beside one group."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hiredis
import pytest
from msgspec.structs import replace

from harness.account.event_ids import event_id
from harness.conduct.findings import Findings
from harness.conduct.scenario import ParameterError, parameters_of
from harness.load.pacing import constant
from harness.load.striped import StripedSource
from harness.load.workload import StampedCommand, placeholder
from harness.measure.timeline import History, Reading
from harness.record.run import Run, Status
from harness.server.own import OwnServer
from harness.server.server import Server, ServerError
from scenarios.groups import GroupsParameters, scenario
from scenarios.many_groups.costs import in_turns, server_cost_us
from scenarios.many_groups.reading import Reader, WasRead, readers_of
from scenarios.many_groups.reading import Reading as Readers
from scenarios.many_groups.seen import GroupsSeen, GroupsThere, groups_read, groups_there, pending_full
from scenarios.many_groups.staging import group_names, stage_groups, sweep
from scenarios.many_groups.turns import InTurns, Turns
from tests.histories import S, latencies
from tests.lines import assert_declared, stage_in
from tests.stores import PROGRAMS, new_namespace
from tests.verdicts import judged, settled

SEEN = GroupsSeen(groups=3, read=1, pending=5, load_ns=2 * S, there=3, moved=1, least_before=5, least_after=5)
TENTHS = [at * S // 10 for at in range(21)]


def streams_of(namespace: str) -> tuple[str, str]:
    return f"{namespace}one", f"{namespace}many"


# Turns ------------------------------------------------------------------------------------------------------


def test_turns_go_there_and_back() -> None:
    """Every second round is the other way about, so that what drifts meets both kinds alike."""
    turns = Turns(rate_per_s=10, turn_s=2, rounds=3)
    assert turns.order == (0, 1, 1, 0, 0, 1)
    assert turns.load_s == 12
    assert turns.spans_s(1) == [(2, 4), (4, 6), (10, 12)]
    assert [turns.kind_at(at * S) for at in (-1, 0, 2, 5, 6, 99)] == [0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize("rate_per_s", [1.0, 3.3, 333.333, 1_000.0, 70_000.7])
def test_an_event_goes_where_it_is_due(rate_per_s: float) -> None:
    """The turn of each event is the one in which its pacer has it due."""
    turns = Turns(rate_per_s=rate_per_s, turn_s=1, rounds=2)
    pacer = constant(rate_per_s, turns.load_s)
    due = pacer.due_ns(0, pacer.total)
    firsts = [turns.first_of(turn) for turn in range(5)]
    assert firsts == sorted(firsts)
    for turn, (first, after) in enumerate(itertools.pairwise(firsts)):
        assert {turns.turn_of(number) for number in {first, max(first, after - 1)}} == {turn}
        assert abs(int(due[first]) - turn * S) <= S / rate_per_s + 1


@pytest.mark.parametrize(("first", "count", "step"), [(0, 40, 1), (7, 10, 1), (3, 12, 3), (19, 1, 1)])
def test_commands_in_turns(first: int, count: int, step: int) -> None:
    """However they are packed, each carries its own number, and goes to the stream whose turn it is."""
    turns = Turns(rate_per_s=5, turn_s=2, rounds=2)
    sources = [StampedCommand("append", ["XADD", name, "*", "id", placeholder(7)], 7) for name in ("one", "many")]
    reader = hiredis.Reader()
    reader.feed(InTurns(turns, sources).pack(first, count, step))
    found = list(iter(reader.gets, False))
    names = [("one", "many")[turns.order[turns.turn_of(first + at * step)]] for at in range(count)]
    assert [command[1].decode() for command in found] == names
    assert [command[-1].decode() for command in found] == [event_id(7, first + at * step) for at in range(count)]


def test_commands_of_workers() -> None:
    """What several send together is what one would send."""
    turns = Turns(rate_per_s=5, turn_s=2, rounds=2)
    sources = [StampedCommand("append", ["XADD", name, "*", "id", placeholder(7)], 7) for name in ("one", "many")]
    whole = InTurns(turns, sources)
    parts = [StripedSource(whole, worker, 3) for worker in range(3)]
    assert b"".join(parts[at % 3].pack(at // 3, 1) for at in range(30)) == whole.pack(0, 30)


# Groups on a server -----------------------------------------------------------------------------------------


def test_groups_with_entries_pending(any_server: OwnServer) -> None:
    """Each group of the second stream has as many pending as it should; the first stream's only one has none."""
    streams = streams_of(new_namespace())
    staged = stage_groups(any_server, streams, 60, 7)
    many, one = sweep(any_server, streams[1]), sweep(any_server, streams[0])
    assert (many.groups, many.least_pending, sorted(many.positions)) == (60, 7, sorted(group_names(60)))
    assert (one.groups, one.least_pending) == (1, 0)
    assert staged.bare_bytes is not None
    assert staged.grouped_bytes is not None
    assert staged.pending_bytes is not None
    assert staged.bare_bytes < staged.grouped_bytes < staged.pending_bytes


def test_what_a_server_refuses(server: OwnServer) -> None:
    """A key that is no stream is an error in one line."""
    streams = streams_of(new_namespace())
    with server.client() as client:
        client.set(streams[1], "no stream")
    with pytest.raises(ServerError, match="the groups cannot be made or asked: WRONGTYPE"):
        stage_groups(server, streams, 2, 0)


def test_probes_see_a_group_that_goes(any_server: OwnServer) -> None:
    """How many groups there are, and the fewest entries that one of those asked has pending."""
    streams = streams_of(new_namespace())
    stage_groups(any_server, streams, 3, 4)
    with any_server.client() as client:
        probe = GroupsThere(client, streams[1], group_names(3))
        assert [(sample.name, sample.value) for sample in probe.read()] == [
            ("groups.count", 3),
            ("groups.pending", 4),
        ]
        last = client.xpending_range(streams[1], "g1", "-", "+", 1)[0]["message_id"]
        client.xack(streams[1], "g1", last)
        assert [sample.value for sample in probe.read()] == [3, 3]
        client.xgroup_destroy(streams[1], "g2")
        assert [sample.value for sample in GroupsThere(client, streams[1], []).read()] == [2]


def read_by(server: Server, streams: tuple[str, str], turns: Turns, **how: Any) -> list[WasRead]:
    """What readers have done who have the time of the turns for what lies there."""
    how = {"groups": group_names(4), "processes": 2, "page": 3, "every_ms": 20, **how}
    readers = Readers(list(readers_of(server.url, turns, streams, **how)))
    try:
        readers.wait_until_ready()
        # It began long ago enough to have come to its last turn.
        readers.begin(stage_in(Path()).clock.now_ns() - 3 * S)
        return readers.results()
    finally:
        readers.close()


def test_readers_read_their_groups_and_no_others(any_server: OwnServer) -> None:
    """Of six groups four are given all that there is, and acknowledge it; what was pending stays so."""
    streams = streams_of(new_namespace())
    stage_groups(any_server, streams, 6, 2)
    with any_server.client() as client:
        for number in range(10):
            client.xadd(streams[1], {"n": number})
    before = sweep(any_server, streams[1])
    done = read_by(any_server, streams, Turns(rate_per_s=1, turn_s=2, rounds=1))
    after = sweep(any_server, streams[1])
    assert [each.error for each in done] == ["", "", ""]
    assert [sum(each.delivered[1] for each in done), sum(each.acked[1] for each in done)] == [40, 40]
    moved = {name for name, last in after.positions.items() if last != before.positions[name]}
    assert moved == set(group_names(4))
    assert after.least_pending == 2
    witness = done[0]
    assert witness.claimed[1] >= 2
    assert {each.tag.partition(".")[0] for each in witness.intervals} == {"read", "ack", "claim"}


def test_a_reader_without_its_group(server: OwnServer) -> None:
    """One that is refused ends, and says why; the verdict is then that nothing is known."""
    streams = streams_of(new_namespace())
    stage_groups(server, streams, 1, 0)
    done = read_by(server, streams, Turns(rate_per_s=1, turn_s=2, rounds=1), groups=group_names(2), processes=1)
    assert "NOGROUP" in done[1].error
    verdict = groups_read("x", replace(SEEN, trouble=done[1].error))
    assert (verdict.status, "NOGROUP" in verdict.detail) == ("UNKNOWN", True)


def test_who_reads_what() -> None:
    """The first group has its witness on both streams; the others are dealt to as many processes as there are."""
    found = list(
        readers_of(
            OwnServer.__new__(OwnServer).__dict__.get("url"),  # type: ignore[arg-type] - nobody connects
            Turns(rate_per_s=1, turn_s=1, rounds=1),
            ("one", "many"),
            groups=group_names(5),
            processes=2,
            page=1,
            every_ms=1,
        )
    )
    assert [(each.groups, each.is_witness) for each in found] == [
        ((("g0",), ("g0",)), True),
        (((), ("g1", "g3")), False),
        (((), ("g2", "g4")), False),
    ]
    assert all(isinstance(each, Reader) for each in found)


# Verdicts ---------------------------------------------------------------------------------------------------


def looks(values: Sequence[float], times: Sequence[int] = TENTHS) -> list[tuple[int, float]]:
    return list(zip(times, values, strict=False))


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (looks([3.0] * 21), "PASS"),
        (looks([3.0] * 20 + [2.0]), "FAIL"),
        (looks([3.0] * 20 + [4.0]), "FAIL"),
        (looks([3.0] * 21 + [0.0], [*TENTHS, 3 * S]), "PASS"),
        (looks([3.0] * 9), "UNKNOWN"),
        (looks([3.0] * 2, [0, 2 * S]), "UNKNOWN"),
        ([], "UNKNOWN"),
    ],
)
def test_so_many_groups_throughout(seen: list[tuple[int, float]], status: Status) -> None:
    """One look that saw another number is enough against; for it somebody has to have looked all the time."""
    assert groups_there("x", SEEN, seen).status == status


@pytest.mark.parametrize(
    ("changed", "value", "status"),
    [
        ({}, 5.0, "PASS"),
        ({}, 6.0, "PASS"),
        ({}, 4.0, "FAIL"),
        ({"least_before": 4}, 5.0, "FAIL"),
        ({"least_after": 4}, 5.0, "FAIL"),
        ({"least_before": None}, 5.0, "UNKNOWN"),
        ({"least_after": None}, 5.0, "UNKNOWN"),
    ],
)
def test_so_many_pending_throughout(changed: dict[str, Any], value: float, status: Status) -> None:
    """Before the load, while it lasts, and after it."""
    assert pending_full("x", replace(SEEN, **changed), looks([value] * 21)).status == status


@pytest.mark.parametrize(
    ("changed", "status"),
    [({}, "PASS"), ({"moved": 0}, "FAIL"), ({"moved": 3}, "FAIL"), ({"moved": None}, "UNKNOWN")],
)
def test_so_many_groups_read(changed: dict[str, Any], status: Status) -> None:
    """Those that are read are as many as should be, and all others lag."""
    assert groups_read("x", replace(SEEN, **changed)).status == status


# Costs ------------------------------------------------------------------------------------------------------


def test_seconds_of_a_kind_stand_together() -> None:
    """The seconds of a kind's turns, one after the other, whatever came in between."""
    turns = Turns(rate_per_s=100, turn_s=1, rounds=2)
    intervals = latencies("append", [(0, 1), (0, 2), (0, 3), (0, 4)])
    found = [in_turns(intervals, "append.response", turns, kind) for kind in (0, 1)]
    assert [[round((each.histogram.max_us or 0) / 1000) for each in side] for side in found] == [[1, 4], [2, 3]]
    assert [[each.start_s for each in side] for side in found] == [[0, 1], [0, 1]]


def test_what_a_command_costs_the_server() -> None:
    """By its own account, in the spans only; where it was not asked, nothing is known."""
    history = History()
    for at in range(9):
        for name, value in (("command.calls", 10.0 * at), ("command.us", 30.0 * at if at < 4 else 90.0)):
            reading = Reading(t_ns=at * S // 2, name=name, value=value, unit="x", labels={"command": "xadd"})
            history.add(reading)
    assert server_cost_us(history, "xadd", [(0, 1)]) == pytest.approx(3.0)
    assert server_cost_us(history, "xadd", [(0, 1), (2, 3)]) == pytest.approx(1.5)
    assert server_cost_us(history, "xadd", [(5, 9)]) is None
    assert server_cost_us(history, "xack", [(0, 1)]) is None


# Parameters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"groups": "5", "read_groups": "6"}, "of 5 groups no 6 can be read"),
        ({"groups": "5000", "pending": "5000"}, "are more than 20,000,000"),
    ],
)
def test_what_cannot_be_had_together(given: dict[str, str], why: str) -> None:
    """It is refused before anything is measured."""
    with pytest.raises(ParameterError, match=why):
        parameters_of(scenario, "quick", given)


def test_how_long_it_lasts() -> None:
    """Turns are whole seconds, and as many as before."""
    chosen = GroupsParameters(rounds=2)
    assert scenario.lasting(chosen, 41, "embedded").turns.load_s == 40
    assert scenario.lasting(chosen, 1, "embedded").turns.load_s == 4


# Whole programs ---------------------------------------------------------------------------------------------


def measured(directory: Path, server: str, **given: str) -> Run:
    findings = Findings("groups")
    chosen = parameters_of(scenario, "smoke", given)
    scenario.run(replace(stage_in(directory), server=server), chosen, findings)
    run = judged(scenario, chosen, findings)
    assert_declared(scenario, run)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_run_with_many_groups(tmp_path: Path, program: str) -> None:
    """There were so many, each with a full pending list, and each kind has its latencies, costs and ratios."""
    server = PROGRAMS[program]
    if server is None:
        pytest.skip(f"no {program} here")
    run = measured(tmp_path, server, pending="200")
    assert {v.name.removeprefix("groups."): v.status for v in settled(run.verdicts) if v.status != "PASS"} == {}
    assert {v.name for v in run.verdicts} >= {
        f"groups.{name}" for name in ("groups_there", "groups_read", "pending_full")
    }
    values = {f.name.removeprefix("groups."): f.value for f in run.figures}
    assert values["one.answered"] == values["many.answered"] == 500
    # Each of five groups is given each event of its stream, the first group also those of the other.
    assert (values["one.delivered"] or 0) <= 500
    assert (values["many.delivered"] or 0) > 500
    assert values["one.claimed"] == 0
    assert (values["many.claimed"] or 0) > 0
    for name in ("ratio.append.p50", "ratio.read.p50", "ratio.ack.p50", "ratio.claim.p50", "group_bytes"):
        assert (values[name] or 0) > 0, name
    for command in ("xadd", "xreadgroup", "xack", "xautoclaim"):
        assert (values[f"many.server.{command}"] or 0) > 0, command
    assert "each with 200 entries pending" in run.headline
