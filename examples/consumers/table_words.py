"""What was seen of consumers, as Markdown: no sentence says more than the repeats that were tried.

matrix     faults by consumers: in how many of the repeats something was lost or stuck
details    one consumer: how it was started, on what, and what was seen after each fault
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from examples.consumers.tried import Consumer, Said
from harness.consumer_check.result import Check, Played
from harness.consumer_check.rows import Row, rows_of
from harness.consumer_check.trials import CLAIM_MS, NOT_ASKED, TRIALS
from reports.consumer_words import WHERE

BEGINS, ENDS = "<!-- results: written by examples/consumers/table.py -->", "<!-- end of the results -->"


@dataclass(frozen=True)
class Tried:
    """A consumer with the check that was played of it."""

    consumer: Consumer
    check: Check


def span(numbers: Iterable[int]) -> str:
    """The lowest and the highest."""
    found = sorted(numbers)
    return f"{found[0]:,}" if found[0] == found[-1] else f"{found[0]:,}–{found[-1]:,}"


def seen_in(row: Row, what: str, count: Callable[[Played], int | None]) -> str:
    """In how many of the repeats events were lost, and how many; empty: in none."""
    counts = [found for each in row.tried if (found := count(each))]
    return f"{what} in {len(counts)} of {len(row.tried)} ({span(counts)})" if counts else ""


def where_of(row: Row) -> str:
    """Where the events stopped that had no effect, by the classes of the reports."""
    names = dict.fromkeys(itertools.chain.from_iterable(each.counts.where for each in row.tried))
    return ", ".join(WHERE.get(name, name.replace("_", " ")) for name in names)


def row_words(row: Row) -> str:
    """What was seen in the repeats of a trial, no more."""
    tried, known = row.tried, [each for each in row.tried if each.counts.lost is not None]
    if not tried:
        return f"not tried: {row.played[0].not_tried or row.played[0].reason or 'it was not played to its end'}"
    parts = [
        seen_in(row, "stuck", lambda each: each.counts.stuck),
        seen_in(row, "lost", lambda each: each.counts.lost),
    ]
    said = "; ".join(filter(None, parts))
    if said:
        said += f": {where_of(row)}"
    elif known:
        said = f"none lost or stuck in {len(known)} of {len(tried)}"
    repeated = seen_in(row, "repeated", lambda each: each.counts.repeated)
    undecided = len(tried) - len(known)
    return "; ".join(
        filter(
            None,
            [
                said,
                repeated,
                f"not decided in {undecided} of {len(tried)}" if undecided else "",
                f"not tried in {len(row.played) - len(tried)} more" if len(row.played) > len(tried) else "",
            ],
        )
    )


def cell(row: Row | None) -> str:
    """A trial of a consumer in the matrix: in how many of its repeats something was lost or stuck."""
    if row is None or not row.tried:
        return "not tried"
    tried = len(row.tried)
    bad = [
        f"{what} {n}/{tried}"
        for what, n in (
            ("stuck", sum(bool(each.counts.stuck) for each in row.tried)),
            ("lost", sum(bool(each.counts.lost) for each in row.tried)),
        )
        if n
    ]
    known = sum(each.counts.lost is not None for each in row.tried)
    if bad:
        return "**" + ", ".join(bad) + "**"
    return f"0/{tried}" if known == tried else f"0/{known}, ? {tried - known}"


def matrix(found: Sequence[Tried]) -> list[str]:
    """Faults by consumers."""
    rows = [{row.trial.name: row for row in rows_of(each.check)} for each in found]
    head = [f"[{number}] {each.consumer.title}" for number, each in enumerate(found, 1)]
    lines = [
        "| fault | " + " | ".join(head) + " |",
        "|---|" + "---|" * len(found),
    ]
    for trial in TRIALS:
        if any(trial.name in each for each in rows):
            cells = [cell(each.get(trial.name)) for each in rows]
            lines.append(f"| {trial.title} (`{trial.name}`) | " + " | ".join(cells) + " |")
    return lines


def details(number: int, each: Tried) -> list[str]:
    """One consumer: how it was started, on what, and what was seen after each fault."""
    consumer, check = each.consumer, each.check
    servers = dict.fromkeys(
        f"{played.server['name']} {played.server['version']}" for played in check.played if played.server
    )
    host = check.host
    machine = f"{host.get('cpu', '?')}, {host.get('cores', '?')} cores, {host.get('system', '?')}"
    facts = [
        f"Version: {consumer.version or 'that of this repository'}",
        f"command: `{consumer.command()}`"
        + (f" with `--shape {consumer.here / consumer.shape}`" if consumer.shape else ""),
        f"promise: `{check.settings.promise}`",
        f"date: {check.started_at[:10]}",
        f"server: {', '.join(servers) or 'none was started'}",
        f"machine: {machine}",
        f"{host.get('python', '?')}",
        f"shopbench {host.get('shopbench', '?')}, revision `{host.get('revision', '?')}`",
    ]
    lines = [f"### [{number}] {consumer.title}", "", "; ".join(facts) + ".", ""]
    if check.status != "complete":
        lines += [f"The check is not complete ({check.status}).", ""]
    lines += ["| fault | what was seen |", "|---|---|"]
    lines += [f"| {row.trial.title} (`{row.trial.name}`) | {row_words(row)} |" for row in rows_of(check)]
    away = [each for each in check.left_out if each.why != NOT_ASKED]
    lines += [f"| {each.title} (`{each.trial}`) | not tried: {each.why} |" for each in away]
    return [*lines, ""]


def report(found: Sequence[Tried], repeat: int) -> str:
    """All that stands between the two lines."""
    lines = [f"Each fault was played {repeat} times to each consumer.", "", *matrix(found), ""]
    for number, each in enumerate(found, 1):
        lines += details(number, each)
    return "\n".join(lines).rstrip()


def written(page: str, text: str) -> str:
    """A page with other results."""
    before, mark, rest = page.partition(BEGINS)
    _, end, after = rest.partition(ENDS)
    if not mark or not end:
        raise SystemExit(f"the page has to have the lines {BEGINS} and {ENDS}")
    return f"{before}{BEGINS}\n\n{text}\n\n{ENDS}{after}"


def verdict(said: Said, check: Check | None) -> tuple[bool, str]:
    """Whether a sentence is borne out in each repeat of each trial that it is about, and in how many.

    A trial that could not be done to this consumer is named; the others decide.
    """
    if check is None:
        return False, "nothing was played"
    rows = [row for row in rows_of(check) if row.trial.name in said.trials]
    left_out = [each.trial for each in check.left_out if each.trial in said.trials and each.why != NOT_ASKED]
    away = [row.trial.name for row in rows if row.does_not_apply]
    rows = [row for row in rows if not row.does_not_apply]
    good = {row.trial.name: sum(map(said.holds, row.tried)) for row in rows}
    wrong = [row for row in rows if not row.tried or good[row.trial.name] < said.share * len(row.tried)]
    missing = sorted({*said.trials} - {*good, *left_out, *away})
    shown = rows if len(rows) <= 2 else wrong
    parts = [
        f"{row.trial.name}: {good[row.trial.name]} of {len(row.tried)} as said; {row_words(row)}" for row in shown
    ]
    if len(rows) > 2:
        parts.insert(0, f"{len(rows) - len(wrong)} of {len(rows)} trials as said")
    if not_tried := [*left_out, *away]:
        parts.append(f"not tried: {', '.join(not_tried)}")
    if missing:
        parts.append(f"not played: {', '.join(missing)}")
    return bool(rows) and not wrong and not missing, "; ".join(parts)


def accepted_row(consumer: Consumer, said: Said, seen: str, *, is_so: bool) -> str:
    """A sentence about a consumer, and whether it is so."""
    faults = "all" if said.trials == tuple(trial.name for trial in TRIALS) else ", ".join(said.trials)
    if said.claim_ms != CLAIM_MS:
        faults += f", claim {said.claim_ms / 1000:g} s"
    return f"| {consumer.title} | {faults} | {said.words} | {'yes' if is_so else '**no**'} | {seen} |"
