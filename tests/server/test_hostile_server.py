"""Whatever a server answers, a run ends in time, with an account that adds up, a sentence, and an exit code.

Each seed is a plan of what is done to the replies of a real server (`tests.hostile_server`), and a scenario. More
of them by hand: SHOPBENCH_HOSTILE_SEEDS=0-99 python -m pytest tests/server/test_hostile_server.py
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from redis.exceptions import InvalidResponse

from harness.record import run
from harness.server.own import OwnServer
from harness.server.server import client_for
from ordershop.wire import is_unable
from scenarios.shop.versions import CONFLICT
from tests import forks
from tests.hostile_server import CONSUMING, LOAD, WRONG, HostileServer, Plan
from tests.oracle import Conversation, Oracle
from tests.processes import Ended, is_alive
from tests.waiting import until

# What runs at a URL, as short as it can be.
TINY = {
    "append": ("rate_per_s=200", "duration_s=1"),
    "lag": ("base_per_s=100", "peak_per_s=300", "before_s=0.5", "peak_s=0.5", "after_s=0.5", "drain_timeout_s=5"),
    "crm_outage": ("rate_per_s=100", "before_s=0.5", "outage_s=0.5", "after_s=0.5", "drain_timeout_s=5"),
    "consumers": (
        *("rate_per_s=100", "before_s=0.3", "away_s=0.2", "after_s=0.3", "at_most_s=6", "drain_timeout_s=5"),
    ),
    "retention": ("rate_per_s=100", "before_s=0.5", "away_s=0.3", "after_s=0.5", "drain_timeout_s=5"),
    "replay": ("events=300",),
    "journey": ("rate_per_s=20", "duration_s=1", "users=5", "products=10", "customers=10"),
    "contention": ("rate_per_s=100", "duration_s=1", "users=4"),
    "mix": ("rate_per_s=200", "duration_s=1", "entities=100", "page_events=20"),
}
# What starts, drains and waits for a server that is away takes at most, on a busy machine.
ENDS_WITHIN_S = 120


def shopbench(name: str, url: str, runs: Path) -> Ended:
    """Run a scenario, tiny, at a URL."""
    chosen = [word for parameter in TINY[name] for word in ("-p", parameter)]
    return forks.shopbench(
        *("run", name, "--profile", "smoke", *chosen, "--server", url, "--runs", str(runs)),
        timeout_s=ENDS_WITHIN_S,
    )


def audit(ended: Ended, runs: Path) -> list[str]:
    """All that is wrong with how a run has ended, in a sentence each."""
    wrong = []
    if ended.code not in {0, 1, 2, 3}:
        wrong.append(f"exit code {ended.code}")
    if "Traceback" in ended.out + ended.err:
        wrong.append("a traceback")
    told = [line for line in ended.complaints if line.startswith("shopbench: ")]
    if ended.code == 2 and len(told) != 1:
        wrong.append(f"exit code 2 with {len(told)} sentences")
    if any(not 20 < len(line) < 600 or not line.isprintable() for line in told):
        wrong.append(f"no clear sentence: {told!r}")
    records = [run.load(path.parent) for path in sorted(runs.glob("*/run.json"))]
    if not records and ended.code != 2:
        wrong.append(f"exit code {ended.code} without a record")
    for record in records:
        wrong += _audit_record(ended, record)
    return wrong


def _audit_record(ended: Ended, record: run.Record) -> Iterator[str]:
    one = record.run
    if (one.status == "complete") != (ended.code != 2):
        yield f"{one.status}, and exit code {ended.code}"
    if one.status == "complete" and not one.headline:
        yield "no headline"
    if one.status == "failed" and not one.reason:
        yield "failed without a reason"
    bad = [verdict for verdict in one.verdicts if verdict.status != "PASS"]
    if bool(bad) != bool(ended.code):
        yield f"exit code {ended.code} with {[verdict.name for verdict in bad]}"
    for verdict in one.verdicts:
        if not verdict.detail.strip() or "checker crashed" in verdict.detail:
            yield f"{verdict.name}: {verdict.detail!r}"
    values = {figure.name: figure.value for figure in one.figures}
    for name, pump in one.environment["meanwhile"]["pumps"].items():
        # The only load of a run has the scenario's name; of several, each has its own, with or without that.
        [prefix] = [p for p in (f"{name}.", f"{one.scenario}.{name}.") if f"{p}ok" in values]
        yield from _audit_pump(prefix, values, pump, one)


def _audit_pump(prefix: str, values: dict[str, float | None], pump: Any, one: run.Run) -> Iterator[str]:
    ok, failed, unknown, dropped = (
        int(values[f"{prefix}{name}"] or 0) for name in ("ok", "failed", "unknown", "dropped")
    )
    if sum(each["count"] for each in pump["failures"]) != failed:
        yield f"{failed} failed, by kind {pump['failures']}"
    arrivals = ok + failed + unknown + dropped
    attempted = values.get(f"{prefix}attempted")
    if attempted is not None and attempted != arrivals - dropped and attempted != arrivals:
        yield f"{attempted} attempted, and {ok} + {failed} + {unknown} + {dropped}"
    account = {
        name: values.get(f"{prefix}{name}")
        for name in ("acknowledged", "applied", "lost", "recovered", "unexpected")
    }
    if None not in account.values():
        counted = {name: int(value or 0) for name, value in account.items()}
        if counted["acknowledged"] != ok:
            yield f"{counted['acknowledged']} acknowledged, {ok} ok"
        if (
            counted["acknowledged"] - counted["lost"]
            != counted["applied"] - counted["recovered"] - counted["unexpected"]
        ):
            yield f"the account does not add up: {counted}"
    # A conflict is an answer, and nobody's fault.
    failures = [each for each in pump["failures"] if each["kind"] != CONFLICT]
    hurt = sum(each["count"] for each in failures) + unknown + dropped
    said = [verdict for verdict in one.verdicts if verdict.name.endswith("answered")]
    if one.status == "complete" and hurt and not any(verdict.status != "PASS" for verdict in said):
        yield f"{hurt} operations were not answered well, and {said}"
    for each in failures:
        if (
            one.status == "complete"
            and each["kind"]
            and not any(each["kind"] in v.detail or "more kinds" in v.detail for v in said)
        ):
            yield f"{each['kind']!r} is in no verdict"


# Small -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", WRONG)
@pytest.mark.parametrize("ask", ["info", "scan", "time", "exists", "xlen", "xrange", "xinfo_groups", "xpending"])
def test_a_reply_of_another_kind_is_an_error_of_the_server(ask: str, reply: bytes) -> None:
    """What a proxy answers that mixes replies up is read, or is an error of one kind, never another exception."""

    def answer(line: Conversation) -> None:
        for command in line.commands():
            line.send(b"+OK\r\n" if command[0] == b"CLIENT" else reply)

    arguments = {"exists": ["k"], "xlen": ["k"], "xrange": ["k"], "xinfo_groups": ["k"], "xpending": ["k", "g"]}
    with Oracle(answer) as oracle, client_for(oracle.url) as client, contextlib.suppress(InvalidResponse):
        getattr(client, ask)(*arguments.get(ask, []))


def refusing(said: bytes) -> Callable[[Conversation], None]:
    """What answers every command but those by which a client names itself with an error."""

    def refuse(line: Conversation) -> None:
        for command in line.commands():
            line.send(b"+OK\r\n" if command[0] == b"CLIENT" else b"-" + said + b"\r\n")

    return refuse


@pytest.mark.parametrize("said", [b"OOM command not allowed", b"READONLY a replica", b"NOPERM no", b"LOADING it"])
def test_an_error_keeps_the_word_of_the_server(said: bytes) -> None:
    """The client library cuts the name off those that it knows; a sentence needs it."""
    with (
        Oracle(refusing(said)) as oracle,
        client_for(oracle.url) as client,
        pytest.raises(redis.RedisError) as caught,
    ):
        client.get("k")
    assert str(caught.value) == said.decode()
    assert is_unable(caught.value)


@pytest.mark.parametrize("said", [b"MOVED", b"MOVED x", b"ASK 1 nowhere", b"ASK a b:c"])
def test_an_error_of_a_cluster_that_says_too_little(said: bytes) -> None:
    """The client library takes it apart to see where to go; where that is not said, it is an error like others."""
    with (
        Oracle(refusing(said)) as oracle,
        client_for(oracle.url) as client,
        pytest.raises(redis.ResponseError) as caught,
    ):
        client.get("k")
    assert str(caught.value) == said.decode()


def test_bytes_that_are_no_reply_are_no_answer() -> None:
    """A connection on which nothing can be read is as one that is lost: a consumer dials again."""
    assert is_unable(InvalidResponse("Protocol error"))


# Whole -----------------------------------------------------------------------------------------------------

SHORT: tuple[tuple[str, Plan], ...] = (
    ("append", Plan(1, ("error", "halves", "closed"), 0.3, after=60, commands=LOAD)),
    ("lag", Plan(2, ("garbage", "cut"), 0.2, after=120, lasting_s=0.5, commands=CONSUMING)),
    ("retention", Plan(3, ("error", "late"), 0.3, after=300)),
    ("replay", Plan(4, ("silent",), 1.0, after=90)),
    ("append", Plan(5, ("wrong",), 0.2, after=60, commands=LOAD)),
    ("crm_outage", Plan(6, ("wrong",), 0.1, after=200, lasting_s=1.0)),
    ("contention", Plan(7, ("wrong", "cut"), 0.1, after=100)),
    ("mix", Plan(8, ("wrong",), 0.2, after=60)),
)


def drawn() -> list[tuple[str, Plan]]:
    """The runs of SHOPBENCH_HOSTILE_SEEDS, such as 0-99; else a few that were chosen."""
    first, _, last = os.environ.get("SHOPBENCH_HOSTILE_SEEDS", "").partition("-")
    seeds = range(int(first), int(last or first) + 1) if first else ()
    return [(list(TINY)[seed % len(TINY)], Plan.drawn(seed)) for seed in seeds] or list(SHORT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "plan"), drawn(), ids=lambda each: each if isinstance(each, str) else str(each.seed)
)
def test_a_run_on_a_hostile_server_ends_with_an_account(
    own_server: OwnServer, tmp_path: Path, name: str, plan: Plan
) -> None:
    """In time, no traceback, an exit code that its verdicts have, counts that add up, nothing left running."""
    with HostileServer(own_server.port, plan) as hostile:
        assert audit(shopbench(name, hostile.url, tmp_path), tmp_path) == []
        port = hostile.url.rpartition(":")[2].partition("/")[0]
        left = [
            each
            for each in psutil.process_iter(["cmdline"])
            if f":{port}/" in " ".join(each.info["cmdline"] or ())
        ]
        assert not [each for each in left if is_alive(each)]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100))
def test_a_hundred_runs_on_a_hostile_server(own_server: OwnServer, tmp_path: Path, seed: int) -> None:
    """As above, with plans that are drawn."""
    test_a_run_on_a_hostile_server_ends_with_an_account(
        own_server, tmp_path, list(TINY)[seed % len(TINY)], Plan.drawn(seed)
    )


@pytest.mark.slow
def test_why_a_load_failed_stands_wherever_one_looks(own_server: OwnServer, tmp_path: Path) -> None:
    """A user who may do less from the middle on: the server's words in verdict, record, pages and on the terminal.

    The run cannot be concluded, and what its load was answered is said all the same.
    """
    with own_server.client() as admin:
        allowed = ("reset", "on", ">pw", "~*", "&*", "+@all")
        admin.execute_command("ACL", "SETUSER", "app", *allowed)

        def forbid() -> None:
            until(lambda: admin.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0) > 40, "a load", 60)
            admin.execute_command("ACL", "SETUSER", "app", "-evalsha", "-xrange")

        forbidding = threading.Thread(target=forbid)
        forbidding.start()
        ended = shopbench("lag", str(own_server.url).replace("//", "//app:pw@"), tmp_path)
        forbidding.join()
    assert audit(ended, tmp_path) == []
    [record] = run.find_runs(tmp_path)
    [said] = [verdict.detail for verdict in record.run.verdicts if verdict.name == "lag.answered"]
    assert "NOPERM" in said
    for page in ("run.json", "report.html", "summary.md", "junit.xml"):
        assert "NOPERM" in (record.directory / page).read_text(), page
    assert "NOPERM" in ended.out
