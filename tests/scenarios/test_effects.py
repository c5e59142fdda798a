"""What a line counts: first effects, of lists of mails; every append that was sent; and what looking costs."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.account.event_ids import event_id
from harness.account.ledger import Ledger
from harness.host.clock import SystemClock
from harness.load.pacing import constant
from harness.load.settings import PumpResult
from harness.measure.outcomes import DROPPED, FAIL, OK, UNKNOWN
from harness.measure.timeline import History
from scenarios.line.effects import AWAY_NS, Effects
from scenarios.line.line import Line, asked_us
from scenarios.line.recovery import Applied, recovery
from scenarios.line.settings import LineSettings
from scenarios.ordershop_system import Mails
from tests.lines import stage_in
from tests.waiting import until

PRODUCER, CAPACITY = 7, 12
S = 1_000_000_000

Answer = tuple[int, bytes]


def ids(*sequences: int) -> list[str]:
    return [event_id(PRODUCER, sequence) for sequence in sequences]


def mails(*sequences: int) -> Answer:
    return 200, b"".join(b'{"to":"a","msg":"b","event_id":"%s"}\n' % each.encode() for each in ids(*sequences))


# Progress ---------------------------------------------------------------------------------------------------


def looks_at(batches: Sequence[Sequence[int]]) -> tuple[Effects, Applied]:
    """Effects that were seen batch by batch, a second apart; and what was told of them, at which time."""
    now_s = itertools.count(1)
    told: list[tuple[int, int]] = []
    at_ns = 0
    effects = Effects(
        lambda _: [], Ledger(PRODUCER, CAPACITY), lambda: 0, lambda count: told.append((at_ns, count))
    )
    for batch in batches:
        at_ns = next(now_s) * S
        effects.note(ids(*batch))
    return effects, told


batches = st.lists(st.lists(st.integers(0, CAPACITY - 1), max_size=8), max_size=12)


@settings(deadline=None)
@given(batches, st.integers(0, 12), st.integers(0, CAPACITY))
def test_a_repeated_effect_is_no_progress(seen: list[list[int]], restart_s: int, backlog_until: int) -> None:
    """Counts over time, and so an outage's recovery, are those of the first effects alone."""
    once: set[int] = set()
    first: list[list[int]] = []
    for batch in seen:
        first.append([each for each in dict.fromkeys(batch) if each not in once])
        once |= set(batch)
    effects, told = looks_at(seen)
    expected = looks_at(first)[1]

    assert expected == told
    assert effects.count == sum(map(len, seen))
    assert effects.sequences.tolist() == [each for batch in seen for each in batch]
    found, wanted = (
        recovery(applied, History(), restart_ns=restart_s * S, backlog_until=lambda _: backlog_until)
        for applied in (told, expected)
    )
    assert wanted == found


def test_what_is_noted_is_of_one_moment() -> None:
    """Effects that are seen later change nothing of what was noted before, neither the sets nor the order."""
    effects, _ = looks_at([[0, 1], [1]])
    noted, parts = effects.noted()
    effects.note(ids(2, 0))
    assert (noted.effects, set(noted.applied)) == (3, {0, 1})
    assert [part.tolist() for part in parts] == [[0, 1], [1]]


def test_lag_is_not_lessened_by_repeats(tmp_path: Path) -> None:
    """Of ten appended events three have had their effect, one of them four times: seven are to come."""

    class TenAppended(Line):
        @property
        def appended(self) -> int:
            return 10

    line = TenAppended(stage_in(tmp_path), constant(10, 1), LineSettings())
    line.ledger.apply([event_id(line.producer, each) for each in (0, 1, 1, 1, 1, 2)])

    assert line.unapplied == 7


def test_what_was_answered_with_an_error_was_attempted(tmp_path: Path) -> None:
    """Of five arrivals four were sent, whatever came of them; what was dropped was not."""
    line = Line(stage_in(tmp_path), constant(5, 1), LineSettings())
    outcomes = np.array([OK, FAIL, UNKNOWN, DROPPED, OK], np.uint8)
    line._close_attempts(
        PumpResult(
            arrivals=5, ok=2, failed=1, unknown=1, dropped=1, errors={"OOM": 1}, reconnects=0, intervals=[],
            slowest=[], outcomes=outcomes, cpu_share=0.0, wall_ns=1,
        )
    )  # fmt: skip
    account = line.ledger.account()

    assert (account.attempted, account.acknowledged, account.unknown) == (4, 2, 1)


@pytest.mark.parametrize("name", ["xinfo", "xinfo|groups"])
def test_what_probes_cost_is_seen_on_every_server(name: str) -> None:
    """XINFO is one command to Redis 6, and one for each of its subcommands to Redis 7."""
    spent = {"cmdstat_time": {"usec": 3}, f"cmdstat_{name}": {"usec": 40}, "cmdstat_evalsha": {"usec": 500}}
    assert asked_us(spent) == 43.0


# Answers ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(*answers: Answer) -> Iterator[int]:
    """A mail service that gives these answers, and the last one from then on; its port."""
    given = itertools.chain(answers, itertools.repeat(answers[-1]))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = next(given)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


NO_MAILS: list[Answer] = [
    (500, b'{"error":"out of order"}\n'),
    (404, mails(3)[1]),
    (200, b"<html>"),
    (200, b"\xff\xfe\n"),
    (200, b"[" * 100_000),
]


@pytest.mark.parametrize("answer", NO_MAILS)
def test_what_is_no_list_of_mails_is_no_effect(answer: Answer) -> None:
    """An error, or what cannot be read, is told as one, and nothing of it is noted."""
    ledger = Ledger(PRODUCER, CAPACITY)
    with answering(answer) as port:
        effects = Effects(Mails(port).effects, ledger, SystemClock().now_ns, lambda _: None)
        with pytest.raises(OSError, match=r"its answer is not a list of mails|it answered"):
            effects.poll()

    assert (effects.count, ledger.applied, ledger.account().unexpected) == (0, 0, 0)


def test_mails_that_come_after_an_error_are_seen() -> None:
    """Whoever follows the mails goes on after an answer that is none, and misses no mail by it."""
    ledger = Ledger(PRODUCER, CAPACITY)
    with (
        answering(*NO_MAILS, mails(4, 5), (200, b"")) as port,
        Effects(Mails(port).effects, ledger, SystemClock().now_ns, lambda _: None) as effects,
    ):
        until(lambda: effects.count == 2, "two mails are seen")

    assert (effects.lost_sight, ledger.applied, ledger.account().unexpected) == (None, 2, 2)


def test_a_mail_service_that_only_errs_is_lost_sight_of() -> None:
    """After a minute of errors nobody looks any more, and the reason is told, so that no drain waits for it."""
    now_ns = itertools.count(0, AWAY_NS + 1)
    with (
        answering(NO_MAILS[2]) as port,
        Effects(Mails(port).effects, Ledger(PRODUCER, CAPACITY), lambda: next(now_ns), lambda _: None) as effects,
    ):
        until(lambda: effects.lost_sight, "it is given up")

    assert effects.lost_sight is not None
    assert effects.lost_sight.startswith("nobody tells of effects any more: its answer is not a list of mails")
