"""What a consumer check comes to, in words: its sentence, the cells of its table, and what was seen in a row.

    fault                       lost  stuck  repeated  out of order  recovered  verdict
    killed with events in hand     0     32        12             0          ?  FAIL 3 of 3

Every shape of the result (terminal, Markdown, JUnit, page) takes its words from here. A sentence says what was
seen in a trial, and no more: what passes has passed in these trials, and what was not done has shown nothing.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from harness.consumer_check.result import Check, Counts, Played, told_verdicts, undecided_by
from harness.consumer_check.rows import Row, is_tried, rows_of, side_status
from harness.consumer_check.trials import NOT_ASKED, UNDISTURBED, Trial
from reports.quantities import quantity
from reports.summaries import STYLES, Console, Options, one_line

COLUMNS = ("lost", "stuck", "repeated", "out of order", "recovered after")
# What each column counts.
MEANINGS = {
    "lost": "appended events without an effect that no consumer will be given any more",
    "stuck": "appended events without an effect that are still pending, or were never delivered, "
    "when nothing had moved any more",
    "repeated": "effects beyond the first one of an event",
    "out of order": "effects that came after the effect of a later event of the same entity",
    "recovered after": "from the end of the fault until all that had waited was handled",
}
# Of a consumer that ends with 0, and is started again, and ends.
FOREGROUND = (
    ", and was started again: if it goes into the background by itself, have it stay in the foreground, "
    "or what it leaves behind is ended with each start"
)
_LOST, _DRAINED = ".nothing_lost", ".drained"
_OF = re.compile(r"(\d+) of (\d+)")
NOT_KNOWN, NOT_SEEN, NONE = "?", "not seen", "–"
WHERE = {
    "trimmed_unread": "trimmed before they were read",
    "trimmed_in_hand": "trimmed while a consumer had them in hand",
    "not_in_stream": "no longer in the stream",
    "never_delivered": "never delivered",
    "pending": "pending",
    "without_effect": "acknowledged without an effect",
    "dropped_with_consumer": "pending of a consumer when it was deleted",
    "dropped_with_group": "pending when the group was destroyed",
    "skipped_by_group": "skipped by a group that was made anew, or set",
    "unkept": "read with NOACK",
    "group_gone": "in a stream without a group",
    "not_pending": "passed by the group and not pending; why was not seen",
    "unclassed": "stopped at a place that is not known",
}


class Cells(Struct, frozen=True, kw_only=True):
    """A row of the table in words.

    Attributes:
        counts: a cell for each of `COLUMNS`.
        verdict: PASS, FAIL, UNKNOWN or not tried, and of how many.
    """

    counts: tuple[str, ...]
    verdict: str


def cells_of(row: Row) -> Cells:
    """A row of the table in words."""
    counts = counts_said([each.counts for each in row.tried])
    return Cells(counts=counts if row.trial.recovers else (*counts[:-1], NONE), verdict=verdict_said(row))


def counts_said(counts: Sequence[Counts]) -> tuple[str, ...]:
    """What became of the events of some repeats, a cell for each of `COLUMNS`."""

    def whole(value: Callable[[Counts], int | None]) -> str:
        return _range([value(each) for each in counts], lambda number: f"{number:,.0f}")

    return (
        whole(lambda each: each.lost),
        whole(lambda each: each.stuck),
        whole(lambda each: each.repeated),
        whole(lambda each: each.disordered),
        _recovered_said(counts),
    )


def _recovered_said(counts: Sequence[Counts]) -> str:
    """How soon they had recovered; where events are lost or stuck, it was not seen that they had."""
    if any(each.lost or each.stuck for each in counts):
        return NOT_SEEN
    return _range([each.recovered_s for each in counts], lambda seconds: quantity(seconds, "s"))


def _range(values: Sequence[float | None], said: Callable[[float], str]) -> str:
    """Values of repeats: the one that all have, or the lowest and the highest; and `?` where one is not known."""
    known = [value for value in values if value is not None]
    if not values:
        return NONE
    if not known:
        return NOT_KNOWN
    low, high = said(min(known)), said(max(known))
    also = f", {NOT_KNOWN}" if len(known) < len(values) else ""
    return (low if low == high else f"{low} to {high}") + also


def verdict_said(row: Row) -> str:
    """What a row comes to, of how many: `FAIL 2 of 3`."""
    tried, not_tried = len(row.tried), len(row.played) - len(row.tried)
    if not tried:
        return "not tried" if len(row.played) == 1 else f"not tried, {len(row.played)} times"
    if len(row.played) == 1:
        return row.status
    also = f", {not_tried} not tried" if not_tried else ""
    return f"{row.status} {row.count} of {tried}{also}"


def labels_of(check: Check) -> list[str]:
    """What to call each consumer: its command."""
    return [one_line(side.label) for side in check.settings.sides]


def where_said(played: Played) -> str:
    """Where what had no effect stopped, as a part of a sentence; empty where all had one, or a verdict says it."""
    if any(verdict.status == "FAIL" and verdict.name.endswith(_LOST) for verdict in played.verdicts):
        return ""
    named = ((WHERE.get(name, name.replace("_", " ")), count) for name, count in played.counts.where.items())
    return ", ".join(f"{count:,} {where}" for where, count in named)


def seen_said(played: Played) -> list[str]:
    """What was seen in a trial: each verdict on the consumer that does not pass; else what passes."""
    if played.status != "complete":
        return [_unfinished(played)]
    measured = [verdict for verdict in undecided_by(played) if verdict not in told_verdicts(played)]
    about = [*measured, *told_verdicts(played)]
    if any(verdict.status == "FAIL" and verdict.name.endswith(_LOST) for verdict in about):
        # It says the same, of fewer events.
        about = [verdict for verdict in about if not verdict.name.endswith(_DRAINED)]
    notable = [verdict.detail for verdict in about if verdict.status != "PASS"]
    said = [f"not tried: {played.not_tried}"] if played.not_tried else []
    if said and is_tried(played):
        said = [f"it fails, though its fault was not what this trial is meant for: {played.not_tried}"]
    seen = [*said, *notable] if said or notable else [verdict.detail for verdict in about]
    if exits := exits_said(played):
        seen.append(f"the consumer {exits}{FOREGROUND if ends_in_peace(played) else ''}")
    return seen


def undecided_said(played: Played) -> str:
    """The first reason why a trial decides nothing; empty: it decides, or was not tried."""
    if played.outcome != "UNKNOWN" or not is_tried(played):
        return ""
    if played.status != "complete":
        return _unfinished(played)
    return next((each.detail for each in undecided_by(played)), "")


def _unfinished(played: Played) -> str:
    return played.reason or f"the run did not come to its end ({played.status})"


def exits_said(played: Played) -> str:
    """How often a consumer has ended by itself, and with which codes; empty: it has not."""
    exits = played.figure("exits")
    if not exits:
        return ""
    codes = ", ".join(str(code) for code in dict.fromkeys(played.exit_codes))
    with_codes = f" (code {codes})" if codes else ""
    return f"ended by itself {'once' if exits == 1 else f'{exits:,.0f} times'}{with_codes}"


def ends_in_peace(played: Played) -> bool:
    """Whether a consumer ended again and again, each time with 0: as one that goes into the background does."""
    return (played.figure("exits") or 0) > 1 and bool(played.exit_codes) and not any(played.exit_codes)


# The sentence ----------------------------------------------------------------------------------------------------


def sentence(check: Check, side: int) -> str:
    """What a consumer's check comes to, in a sentence or a few."""
    rows = [row for row in rows_of(check) if row.side == side]
    promise = check.settings.promise
    parts = [_interrupted(check, side)]
    failed = [row for row in rows if row.status == "FAIL"]
    passed = [row for row in rows if row.status == "PASS"]
    if failed:
        named = "; ".join(f"{row.trial.title} ({_harm(row)})" for row in failed)
        parts.append(f"In {_of(failed, rows)} the promise {promise} was not kept: {named}.")
    elif passed:
        parts.append(f"In {_of(passed, rows)} the promise {promise} was kept.")
    if any(row.trial.name == UNDISTURBED for row in failed) and len(failed) > 1:
        parts.append(
            "It was not kept where nothing was done either: what else fails need not be due to its fault."
        )
    undecided = [row for row in rows if row.status == "UNKNOWN" and row.tried]
    if undecided:
        has_ended = side in check.ended_early
        parts.append(f"Not decided: {'; '.join(_undecided(row, has_ended=has_ended) for row in undecided)}.")
    untried = [row for row in rows if not row.tried]
    if untried:
        named = "; ".join(f"{row.trial.title} ({row.played[0].not_tried})" for row in untried)
        parts.append(f"Not tried: {named}.")
    if any(ends_in_peace(each) for row in rows for each in row.played):
        parts.append(f"The consumer ended by itself again and again (code 0){FOREGROUND}.")
    return " ".join(filter(None, parts)) or "Nothing was tried."


def _undecided(row: Row, *, has_ended: bool) -> str:
    """What was not decided, and why, by the first repeat that says so.

    Args:
        has_ended: whether the check ended early; why one was not carried out is said with that.
    """
    asked = (each for each in row.tried if each.status == "complete" or not has_ended)
    why = next(filter(None, map(undecided_said, asked)), "")
    return f"{row.trial.title} ({why})" if why else row.trial.title


def _interrupted(check: Check, side: int) -> str:
    if side in check.ended_early:
        return f"The check ended early: {check.ended_early[side].rstrip('.')}."
    if check.status in {"interrupted", "running"}:
        return "The check did not come to its end."
    return ""


def _of(some: Sequence[Row], rows: Sequence[Row]) -> str:
    return f"{len(some)} of {len(rows)} trials" if len(rows) != 1 else "the one trial that was played"


def _harm(row: Row) -> str:
    """What happened to events where a trial fails, of the repeat with the most without an effect."""
    failed = [each for each in row.played if each.outcome == "FAIL"]
    worst = max(failed, key=lambda each: (each.counts.lost or 0) + (each.counts.stuck or 0))
    counts = worst.counts
    most = "up to " if len(row.tried) > 1 else ""
    parts = [
        f"{most}{number:,} {word}"
        for number, word in (
            (counts.lost, "lost"),
            (counts.stuck, "stuck"),
            (counts.repeated, "repeated"),
            (counts.disordered, "out of order"),
        )
        if number
    ]
    often = f", {len(failed)} of {len(row.tried)} times" if len(row.played) > 1 else ""
    return f"{', '.join(parts) or 'see below'}{often}"


# A terminal ------------------------------------------------------------------------------------------------------


def trial_line(check: Check, played: Played, total: int) -> str:
    """What is told when a trial has ended."""
    trial = next(each for each in check.trials if each.name == played.trial)
    names = [f"{len(check.played)} of {total}", one_line(trial.title)]
    if check.settings.repeat > 1:
        names.append(f"time {played.repeat}")
    if len(check.settings.sides) > 1:
        names.append("ab"[played.side])
    outcome = played.outcome if is_tried(played) else "not tried"
    if played.status != "complete":
        # Why a check ends is said at its end.
        why = "not carried out" if played.side in check.ended_early else one_line(played.reason)
        return f"{', '.join(names)}: {outcome}: {why}"
    counts = played.counts
    told = [("lost", counts.lost), ("stuck", counts.stuck), ("repeated", counts.repeated)]
    said = ", ".join(f"{NOT_KNOWN if number is None else f'{number:,}'} {word}" for word, number in told)
    why = one_line(played.not_tried if outcome == "not tried" else undecided_said(played))
    exits = f"; the consumer {exits_said(played)}" if exits_said(played) else ""
    return f"{', '.join(names)}: {outcome}{f': {why}' if why else ''} ({said}; {played.duration_s:.0f} s{exits})"


def waiting_line(at_work: Sequence[tuple[Trial, float]]) -> str:
    """What is told when no trial has ended for a while.

    Args:
        at_work: the trials that are being played, and for how many seconds they have been.
    """
    named = ", ".join(f"{one_line(trial.title)} ({took_s:.0f} s)" for trial, took_s in at_work)
    return f"still at it: {named}"


class CheckSummary:
    """The table of a check that Rich can print, and that `str` turns into plain text."""

    def __init__(self, check: Check) -> None:
        self.check = check

    def __rich_console__(self, console: Console, options: Options) -> Iterator[Any]:
        for style, text in table(self.check, options.max_width):
            yield console.render_str(text, style=style, markup=False, emoji=False, highlight=False)

    def __str__(self) -> str:
        return "\n".join(text for _, text in table(self.check, 110))


def table(check: Check, width: int) -> Iterator[tuple[str, str]]:
    """The result as lines for a terminal, each with its style.

    Args:
        width: of the terminal, in characters.
    """
    for side, label in enumerate(labels_of(check)):
        status = side_status(check, side)
        named = f" ({'ab'[side]})" if len(check.settings.sides) > 1 else ""
        yield STYLES[status], f"{status}  {label}{named}"
        for text in textwrap.wrap(one_line(sentence(check, side)), width):
            yield "", text
    rows = rows_of(check)
    if not rows:
        return
    yield "", ""
    found = list(_lines(check, rows, lambda row: row.trial.title))
    if not _fit(found, width):
        found = list(_lines(check, rows, lambda row: row.trial.name))
    for gap in ("  ", " "):
        if not _fit(found, width):
            found = list(_lines(check, rows, lambda row: row.trial.name, gap, is_short=True))
    yield from found
    for told in left_out_said(check):
        for text in textwrap.wrap(one_line(told), width):
            yield "", text


def _fit(lines: Sequence[tuple[str, str]], width: int) -> bool:
    return all(len(text) <= width for _, text in lines)


def _lines(
    check: Check, rows: Sequence[Row], title: Callable[[Row], str], gap: str = "  ", *, is_short: bool = False
) -> Iterator[tuple[str, str]]:
    """The table.

    Args:
        title: what to call a row.
        gap: between two columns.
        is_short: whether verdicts are `FAIL 2/3`.
    """
    has_sides = len(check.settings.sides) > 1
    titles = [f"{title(row)} ({'ab'[row.side]})" if has_sides else title(row) for row in rows]
    cells = [cells_of(row) for row in rows]
    first = max(map(len, titles))
    heads = [name.removesuffix(" after") for name in COLUMNS]
    widths = [max(len(name), *(len(each.counts[at]) for each in cells)) for at, name in enumerate(heads)]
    head = gap.join(name.rjust(width) for name, width in zip(heads, widths, strict=True))
    yield "bold", f"{gap}{'':{first}}{gap}{head}{gap}verdict"
    for row, named, each in zip(rows, titles, cells, strict=True):
        counts = gap.join(cell.rjust(width) for cell, width in zip(each.counts, widths, strict=True))
        verdict = _OF.sub(r"\1/\2", each.verdict) if is_short else each.verdict
        style = "" if row.status == "PASS" else STYLES[row.status]
        yield style, f"{gap}{named:{first}}{gap}{counts}{gap}{verdict}"


def left_out_said(check: Check) -> list[str]:
    """What was not tried by design, a line for each reason; what nobody asked for is not said."""
    reasons = dict.fromkeys(each.why for each in check.left_out if each.why != NOT_ASKED)
    return [f"Not tried: {'; '.join(e.title for e in check.left_out if e.why == why)} ({why})." for why in reasons]
