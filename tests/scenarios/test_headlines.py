"""Headlines: each sentence that one can say, from figures; and no number in any that is not the record's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.conduct.scenario import parameters_of
from harness.measure.timeline import FaultWindow
from scenarios import (
    append,
    consumers,
    contention,
    crm_outage,
    groups,
    journey,
    lag,
    mix,
    random_faults,
    redis_crash,
    retention,
    soak,
)
from scenarios.told import Told

S = 1_000_000_000
FULL = {"": "the server's core was full"}
KILLED = FaultWindow(name="kill", target="crm", start_ns=5 * S, end_ns=8 * S + S // 10, by_hand=True)
HANDLED = {"acknowledged": 20_000.0, "lost": 0.0, "duplicated": 0.0, "short_s": 0.0}
WAITS = HANDLED | {"lost": None}


def said(
    module: Any, figures: dict[str, float | None], *, told: dict[str, Any] | None = None, **given_: Any
) -> str:
    chosen = parameters_of(module.scenario, "quick", {name: str(value) for name, value in given_.items()})
    headline: Callable[..., str] = module.headline
    return headline(chosen, Told(prefix=module.scenario.name, figures=figures, **(told or {})))


BURST = HANDLED | {"events.max": 4_330.0, "seconds.max": 0.69, "drain_s": 2.48}
LIMITED = {
    "short_s": 6.0,
    "burst.offered_per_s": 12_000.0,
    "burst.reached_per_s": 6_900.4,
    "burst.arrived_s": 2.18,
}
OUTAGE = HANDLED | {
    "outage_s": 10.0, "backlog_events": 10_660.0, "first_effect_s": 1.3, "draining_s": 0.42, "caught_up_s": 1.95,
    "predicted_drain_s": 1.9,
}  # fmt: skip

EACH = {
    f"{label}.{name}": value
    for label, (p50, p99) in {"everysec": (480.0, 7_300.0), "always": (3_120.0, 275_000.0)}.items()
    for name, value in {
        "response.p50": p50, "response.p99": p99, "ok": 20_000.0, "short_s": 0.0,
        "offered_per_s": 2_000.0, "reached_per_s": 2_000.0,
    }.items()
}  # fmt: skip
AROUND = {name: value for name, value in EACH.items() if name.startswith("always.")} | {
    "always.link.meanwhile_us": 20_100.0,
    "always.disturbance.lasted_s": 0.42,
    "always.before.response.p99": 21_000.0,
    "always.during.response.p99": 90_000.0,
}
MET = {
    "attempts": 4_000.0, "conflicts": 612.0, "conflict_share": 0.153, "given_up": 612.0, "overwritten": 0.0,
    "users": 16.0, "response.p99": 8_020.0,
}  # fmt: skip
BESIDE = {
    "read_share": 0.8, "misses": 0.0, "append.response.p99": 1_200.0, "entity.response.p99": 800.0,
    "page.response.p99": 2_400.0, "tail.response.p99": 900.0,
}  # fmt: skip
ON_DISK = {"data_directory": {"file_system": "ext4", "is_synced": True}}
IN_MEMORY = {"data_directory": {"file_system": "tmpfs", "is_synced": False}}


@pytest.mark.parametrize(
    ("module", "figures", "more", "sentence"),
    [
        (append, EACH, {"told": {"server": ON_DISK}},
         "Appends at 2,000/s (open loop, 1 connection), counted from when each was due: synced each second "
         "0.48 ms at the median and 7.30 ms at p99, 20,000 succeeded; synced before each answer 3.12 ms at the "
         "median and 275.00 ms at p99, 20,000 succeeded."),
        (append, {name: value for name, value in EACH.items() if name.startswith("always.")},
         {"durability": "always", "connections": 4, "told": {"server": IN_MEMORY}},
         "Appends at 2,000/s (open loop, 4 connections), counted from when each was due: with appendfsync "
         "always on tmpfs, where nothing is synced, 3.12 ms at the median and 275.00 ms at p99, 20,000 "
         "succeeded."),
        (append, EACH | {"always.short_s": 9.0, "always.reached_per_s": 690.4},
         {"told": {"limited_by": {"always": "they waited at the server, whose core was not full"}}},
         "Appends due at 2,000/s (open loop, 1 connection), counted from when each was due: synced each second "
         "0.48 ms at the median and 7.30 ms at p99, 20,000 succeeded; synced before each answer 3.12 ms at the "
         "median and 275.00 ms at p99, 20,000 succeeded. Synced before each answer, 2,000/s were due; 690/s "
         "arrived: they waited at the server, whose core was not full."),
        (append, EACH | {"everysec.short_s": None},
         {"path": "xadd", "shape": "ramp"},
         "Bare XADDs due at up to 2,000/s (ramp, open loop, 1 connection), counted from when each was due: "
         "synced each second 0.48 ms at the median and 7.30 ms at p99, 20,000 succeeded; synced before each "
         "answer 3.12 ms at the median and 275.00 ms at p99, 20,000 succeeded."),
        (append, {"given.offered_per_s": 7.0, "given.response.p50": 480.0, "given.response.p99": 990.0,
                  "given.ok": 7.0, "given.short_s": 0.0},
         {},
         "Appends at 2,000/s (open loop, 1 connection), counted from when each was due: on this server 0.48 ms "
         "at the median and 0.99 ms at p99, 7 succeeded."),
        (append, {"none.offered_per_s": 2_000.0, "none.response.p50": None, "none.response.p99": None}, {},
         "Appends due at 2,000/s (open loop, 1 connection), counted from when each was due: kept in memory only "
         "none was answered."),
        (lag, BURST, {"base_per_s": 1000, "peak_per_s": 12000},
         "In a burst of 12,000/s for 4 s the CRM fell 4,330 events behind, 0.69 s; it had caught up 2.48 s "
         "after the burst; of the events none was lost."),
        (lag, BURST | LIMITED, {"told": {"limited_by": FULL}, "peak_per_s": 12000},
         "In a burst of 4 s 12,000/s were due; 6,900/s arrived: the server's core was full; the CRM fell "
         "4,330 events behind, 0.69 s; the last of it arrived 2.18 s after its end, and it had caught up "
         "2.48 s after the burst; of the events none was lost."),
        (lag, BURST | {"by_hand": 1.0, "by_hand.1.lasted_s": 3.1},
         {"told": {"by_hand": (KILLED,)}, "peak_per_s": 12000},
         "In a burst of 12,000/s for 4 s the CRM fell 4,330 events behind, 0.69 s, with 1 fault by hand "
         "(kill, 3.1 s); it had caught up 2.48 s after the burst; of the events none was lost."),
        (lag, BURST | {"short_s": None}, {"peak_per_s": 12000},
         "In a burst in which 12,000/s were due for 4 s the CRM fell 4,330 events behind, 0.69 s; it had "
         "caught up 2.48 s after the burst; of the events none was lost."),
        (lag, WAITS | {"events.max": 9.0, "drain_s": None}, {"peak_per_s": 12000},
         "In a burst of 12,000/s for 4 s the CRM fell 9 events behind; it had not caught up when the run "
         "stopped waiting; of the events whether any was lost is not known, since not all waiting "
         "events were handled."),
        (lag, BURST | {"growth_per_s": 3.0}, {"shape": "steady", "base_per_s": 1000},
         "At 1,000/s lag did not grow; it had caught up 2.48 s after the load; of the events none was lost."),
        (lag, BURST | {"growth_per_s": 300.0, "lost": 2.0}, {"shape": "steady", "base_per_s": 1000},
         "At 1,000/s lag grew by 300 events a second; it had caught up 2.48 s after the load; of the events "
         "2 were lost."),
        (lag, BURST | {"growth_per_s": 3.0, "short_s": 6.0, "offered_per_s": 20_000.0, "reached_per_s": 6_900.0},
         {"shape": "steady", "base_per_s": 20000, "told": {"limited_by": FULL}},
         "20,000/s were due; 6,900/s arrived: the server's core was full; of what arrived lag did not grow; "
         "it had caught up 2.48 s after the load; of the events none was lost."),
        (lag, BURST | {"growth_per_s": 3.0, "short_s": None}, {"shape": "steady", "base_per_s": 1000},
         "1,000/s were due, and it was not seen how many arrived; lag did not grow; it had caught up 2.48 s after"
         " the load; of the events none was lost."),
        (lag, BURST | {"capacity_per_s": 7_012.0, "ramped_to_per_s": 9_000.0}, {"shape": "ramp"},
         "The CRM can handle 7,012 events a second: from there on lag grew without bound; it had caught up 2.48 s"
         " after the load; of the events none was lost."),
        (lag, BURST | {"capacity_per_s": None, "ramped_to_per_s": 6_800.0, "short_s": 4.0},
         {"shape": "ramp", "told": {"limited_by": FULL}},
         "The CRM can handle at least 6,800 events a second: beyond that rate the load did not arrive in full: "
         "the server's core was full; it had caught up 2.48 s after the load; of the events none was lost."),
        (crm_outage, OUTAGE, {},
         "The CRM was killed and away for 10.0 s; 10,660 events waited at most; none was lost, none had its "
         "effect twice; the first effect came 1.30 s after its return; the events that waited then were drained "
         "0.42 s later, and the events that came meanwhile 1.95 s after its return (1.90 s predicted)."),
        (crm_outage, OUTAGE | {"lost": 2.0, "duplicated": 3.0, "draining_s": None}, {"fault": "stop"},
         "The CRM was stopped for 10.0 s; 10,660 events waited at most; 2 were lost, 3 effects happened "
         "twice; the moment when it had caught up is not known."),
        (crm_outage, OUTAGE | {"lost": None, "draining_s": None}, {},
         "The CRM was killed and away for 10.0 s; 10,660 events waited at most; whether any was lost is not "
         "known, since not all waiting events were handled, no effect had happened twice until then; it had not "
         "caught up when the run stopped waiting."),
        (crm_outage, OUTAGE | {"lost": 32.0, "stuck": 32.0, "still_s": 5.2, "draining_s": None}, {},
         "The CRM was killed and away for 10.0 s; 10,660 events waited at most; 32 are stuck: nothing had moved "
         "for 5 s, none had its effect twice; it had not caught up when nothing moved any more."),
        (lag, BURST | {"lost": 40.0, "stuck": 32.0, "still_s": 92.0, "drain_s": None}, {"peak_per_s": 12000},
         "In a burst of 12,000/s for 4 s the CRM fell 4,330 events behind, 0.69 s; it had not caught up when "
         "nothing moved any more; of the events 40 were lost, 32 of them stuck: nothing had moved for 92 s."),
        (crm_outage, OUTAGE | {"offered_per_s": 20_000.0, "reached_per_s": 6_900.0, "caught_up_s": None},
         {"told": {"limited_by": FULL}},
         "The CRM was killed and away for 10.0 s; 10,660 events waited at most; none was lost, none had its "
         "effect twice; the first effect came 1.30 s after its return; the events that waited then were drained "
         "0.42 s later; of the load, 20,000/s were due; 6,900/s arrived: the server's core was full."),
        (random_faults, HANDLED | {"outages": 8.0}, {},
         "8 outages at random while 20,000 events were appended: none was lost, none had its effect twice."),
        (consumers, HANDLED | {"handled_again": 0.0, "removed.claimed_s": 0.52}, {"rate_per_s": 500},
         "3 consumers were killed one by one and came back, one was removed and one added, at 500/s: of "
         "20,000 events none was lost, none was handled twice; another consumer had taken over the events in "
         "hand after 0.52 s at most."),
        (consumers,
         HANDLED | {"handled_again": 4.0, "short_s": 1.0, "offered_per_s": 500.0, "reached_per_s": 90.0},
         {"told": {"limited_by": FULL}},
         "3 consumers were killed one by one and came back, one was removed and one added: of 20,000 events "
         "none was lost, 4 were handled again, none of them with a second effect; of the load, 500/s were "
         "due; 90/s arrived: the server's core was full."),
        (retention, HANDLED | {"trimmed": 19_000.0, "before.length.max": 59.0}, {},
         "The events that every group had acknowledged were trimmed, 19,000 events in all: the streams held "
         "at most 59 before the consumer went away; of 20,000 acknowledged events none was lost."),
        (append, AROUND, {"durability": "always", "disturb": "rewrite", "round_trip_ms": "20",
                          "told": {"server": ON_DISK}},
         "Appends at 2,000/s (open loop, 1 connection), counted from when each was due: synced before each "
         "answer 3.12 ms at the median and 275.00 ms at p99, 20,000 succeeded over a link of 20.10 ms (21.00 ms "
         "at p99 before a rewrite of the log of 0.42 s, 90.00 ms in the seconds of it)."),
        (append, AROUND | {"always.link.meanwhile_us": None, "always.disturbance.lasted_s": None},
         {"durability": "always", "disturb": "snapshot", "round_trip_ms": "20", "told": {"server": ON_DISK}},
         "Appends at 2,000/s (open loop, 1 connection), counted from when each was due: synced before each "
         "answer 3.12 ms at the median and 275.00 ms at p99, 20,000 succeeded."),
        (groups,
         {"ratio.append.p50": 1.02, "many.response.p50": 98.0, "ratio.read.p50": 1.5, "many.read.p50": 60.0},
         {"groups": 500, "pending": 1000},
         "With 500 groups on a stream, 10 of them read, each with 1,000 entries pending, these took at the "
         "median, in brackets beside one group with nothing pending: an append 0.10 ms (1.02 times as long), "
         "a read 0.06 ms (1.50 times as long)."),
        (groups,
         {"ratio.append.p50": 1.02, "many.response.p50": 98.0, "many.server.xadd": 5.07,
          "ratio.server.xadd": 0.961},
         {},
         "With 200 groups on a stream, 10 of them read, these took at the median, in brackets beside one group "
         "with nothing pending: an append 0.10 ms (1.02 times as long); the server itself took 5.1 µs for an XADD "
         "(0.96 times as long)."),
        (groups, {"ratio.ack.p50": None, "many.ack.p50": 4.0}, {"groups": 1, "read_groups": 1},
         "With 1 group on a stream, 1 of them read, nothing was measured."),
        (soak, HANDLED | {"memory.per_h": 0.1234, "memory.low_per_h": -0.2, "memory.high_per_h": 0.45,
                          "streams.per_h": 0.0, "streams.low_per_h": -12.0, "streams.high_per_h": 1_300.0},
         {"duration_s": 7200},
         "In 7,200 s at 500/s memory grew by 0.12 % an hour (-0.20 to 0.45 %), the streams by 0 events (-12 to "
         "1,300), the growth of what is pending was not seen; of the events none was lost."),
        (retention,
         HANDLED | {"trimmed": 19_000.0, "lost": 700.0, "lost.trimmed_unread": 690.0,
                    "lost.trimmed_in_hand": 10.0},
         {"policy": "maxlen"},
         "The streams were trimmed to a length, whatever was acknowledged, 19,000 events in all: the length of "
         "the streams was not seen; of 20,000 acknowledged events 700 were lost (trimmed 690 before they were "
         "read and 10 while the consumer had them in hand)."),
        (redis_crash, {"always.acknowledged": 399.0, "always.gone": 0.0, "always.restart_s": 0.1},
         {"durability": "always"},
         "Redis was killed under load. Of the acknowledged events, synced before each answer, none of 399 "
         "were gone, and appends were answered 0.10 s after the restart. Killing a process is not a power "
         "failure: the kernel keeps what the process had written."),
        (journey, {"ok": 2_400.0, "users": 50.0, "response.p50": 4_010.0, "response.p99": 11_520.0, "short_s": 0.0,
                   "browse.answered": 9.0, "browse.response.p99": 11_940.0}, {"rate_per_s": 200},
         "2,400 steps of 50 users at 200/s, counted from when each was due: 4.01 ms at the median and 11.52 "
         "ms at p99; slowest is 'browse', 11.94 ms at p99."),
        (journey, {"ok": 900.0, "users": 50.0, "response.p50": 4e6, "response.p99": 9e6, "short_s": 9.0,
                   "offered_per_s": 600.0, "achieved_per_s": 190.0}, {"told": {"limited_by": FULL}},
         "900 steps of 50 users, counted from when each was due: 4000.00 ms at the median and 9000.00 ms at "
         "p99; 600 steps/s were due, 190/s were answered: the server's core was full."),
        (contention, MET, {"users": 16},
         "16 writers made 4,000 attempts to update 8 entities, 5 ms after a read: 612 (15.3%) met a conflict, 612 "
         "updates were given up; none was written over; 8.02 ms at p99."),
        (contention, MET | {"retried": 400.0, "given_up": 0.0}, {"entities": 1},
         "16 writers made 4,000 attempts to update 1 entity, 5 ms after a read: 612 (15.3%) met a conflict, 400 "
         "updates took more than one attempt; none was written over; 8.02 ms at p99."),
        (contention, MET | {"conflicts": 0.0, "conflict_share": 0.0, "given_up": 0.0, "overwritten": 640.0},
         {"expects": "nothing"},
         "16 writers made 4,000 attempts to update 8 entities, 5 ms after a read, expecting no version; 640 "
         "updates were written over; 8.02 ms at p99."),
        (mix, BESIDE, {},
         "With 80% reads, due at 2,000/s in all, counted from when each was due, at p99: appends 1.20 ms, "
         "entities read 0.80 ms, pages read 2.40 ms, tails read 0.90 ms."),
        (mix, BESIDE | {"misses": 7.0, "tail.response.p99": None}, {"shape": "ramp"},
         "With 80% reads, due at up to 2,000/s in all, counted from when each was due, at p99: appends 1.20 ms, "
         "entities read 0.80 ms, pages read 2.40 ms; 7 reads did not find what was there."),
    ],
)  # fmt: skip
def test_what_a_headline_says(
    module: Any, figures: dict[str, float | None], more: dict[str, Any], sentence: str
) -> None:
    """The sentence that these figures make, word by word."""
    assert said(module, figures, **more) == sentence


COMMAND: dict[str, Any] = {"system": "node app.js", "has_command": True}


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"lost": 0.0}, "none was lost, none had its effect twice; "),
        (
            {"lost": 0.0, "emptied": 412.0, "parked": 2.0},
            "none was lost (2 parked by the consumer, 412 gone with the ",
        ),
        ({"lost": 1.0, "poisoned": 1.0}, "1 were lost (1 refused for ever), none had its effect twice; "),
        ({"lost": 0.0, "duplicated": None}, "none was lost, whether any had its effect twice was not seen; "),
        ({"lost": 0.0, "duplicated": 3.0}, "none was lost, 3 effects happened twice; "),
    ],
)
def test_what_is_said_of_a_command(figures: dict[str, float | None], words: str) -> None:
    """What is not lost and had no effect is told with its reason; what nobody could see is not said to be none."""
    assert words in said(crm_outage, OUTAGE | figures, told=COMMAND)


NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w])|(?<![\w.,])\d[\d,]*(?:\.\d+)?(?=/s)")
# Names of quantiles hold numbers, too.
NAMES = re.compile(r"\bp\d+(?:\.\d+)?\b")
FIGURES = (
    "stuck", "still_s",
    "events.max", "seconds.max", "drain_s", "growth_per_s", "capacity_per_s", "ramped_to_per_s", "offered_per_s",
    "reached_per_s", "burst.offered_per_s", "burst.reached_per_s", "burst.arrived_s", "acknowledged", "lost",
    "duplicated", "short_s", "outage_s", "backlog_events", "first_effect_s", "draining_s", "caught_up_s",
    "predicted_drain_s", "outages", "handled_again", "roll.claimed_s.max", "removed.claimed_s", "trimmed",
    "before.length.max", "away.length.max", "after.length.max", "ok", "users", "response.p50", "response.p99",
    *(f"{part}.{name}per_h" for part in ("memory", "streams", "pending") for name in ("", "low_", "high_")),
    *(f"{part}.server.{name}" for part in ("ratio", "many") for name in ("xadd", "xreadgroup")),
    *(f"{part}.{name}.p50" for part in ("ratio", "many") for name in ("append", "response", "read", "ack")),
    "browse.answered", "browse.response.p99", "achieved_per_s", "by_hand", "by_hand.1.lasted_s",
    "attempts", "conflicts", "conflict_share", "retried", "given_up", "overwritten",
    "read_share", "misses", "lost.trimmed_unread", "lost.trimmed_in_hand",
    *(f"{kind}.response.p99" for kind in ("append", "entity", "page", "tail")),
    *(f"{durability}.{name}" for durability in ("always", "everysec", "none", "given")
      for name in ("acknowledged", "gone", "gone_from_s", "gone_until_s", "restart_s", "offered_per_s",
                   "reached_per_s", "short_s", "ok", "response.p50", "response.p99")),
)  # fmt: skip


def forms_of(value: float) -> set[str]:
    """How a headline may write a number."""
    shares = {f"{value:.0%}".removesuffix("%"), f"{value:.1%}".removesuffix("%")}
    return {f"{value:,.0f}", f"{value:.1f}", f"{value:.2f}", f"{value:g}", f"{value / 1000:.2f}", *shares}


@pytest.mark.parametrize(
    "module",
    [
        *(append, lag, crm_outage, random_faults, consumers, retention, groups, redis_crash, journey, contention),
        soak,
    ],
)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_no_number_that_is_not_the_record_s(module: Any, data: st.DataObject) -> None:
    """Whatever was measured or was not, each number in a headline is a figure or a parameter of its record."""
    values = st.none() | st.just(0.0) | st.floats(0.001, 9e6)
    figures = {name: data.draw(values, label=name) for name in FIGURES}
    limited = data.draw(st.sampled_from([{}, FULL, {"always": "so it was"}]))
    by_hand = data.draw(st.sampled_from([(), (KILLED,)]))
    # Of a fault by hand there is always the count.
    figures["by_hand"] = float(len(by_hand))
    more = {"shape": data.draw(st.sampled_from(["burst", "ramp", "steady"]))} if module is lag else {}
    chosen = parameters_of(module.scenario, "quick", more)
    sentence = module.headline(
        chosen, Told(prefix=module.scenario.name, figures=figures, limited_by=limited, by_hand=by_hand)
    )
    known = {form for value in figures.values() if value is not None for form in forms_of(value)}
    known |= {form for name in chosen.__struct_fields__ for form in _of_parameter(getattr(chosen, name))}
    # What could not be counted is counted as none.
    known.add("0")
    known.add("0.0")
    assert [n for n in NUMBER.findall(NAMES.sub("", sentence)) if n not in known] == [], sentence


def _of_parameter(value: Any) -> set[str]:
    return forms_of(float(value)) if isinstance(value, int | float) else set()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("kill", "The CRM was killed and away for 10.0 s; "),
        ("kill_in_batch", "The CRM was killed in the middle of a batch and away for 10.0 s; "),
        ("stop", "The CRM was stopped for 10.0 s; "),
        ("freeze", "The CRM was frozen for 10.0 s; "),
        ("cut", "The connection crm-mail was cut for 10.0 s; "),
        ("cut_half_open", "The connection crm-mail was silent for 10.0 s; "),
        ("delay", "The connection crm-mail was delayed by 70 ms for 10.0 s; "),
        ("slow", "The mail service took 70 ms for each request for 10.0 s; "),
        ("poison", "An event that always fails was there for 10.0 s; "),
        ("pause", "Redis was paused for 10.0 s; "),
        ("restart_empty", "Redis was away, and came back empty, for 10.0 s; "),
    ],
)
def test_each_fault_has_its_words(fault: str, words: str) -> None:
    """What was done, to what, and for how long; of a link that was chosen, by its name."""
    assert said(crm_outage, OUTAGE, fault=fault, link="crm-mail", delay_ms=70).startswith(words)
