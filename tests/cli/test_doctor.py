"""The doctor of a server at a URL: what it says is what the server answers, and it leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from harness.cli.doctor import UnfitError, before_run, examined, needs_of
from harness.host.clock import SystemClock
from harness.server.examination import (
    _FORMS,
    ALWAYS,
    LEFT_OUT,
    ClockLook,
    examine,
    largest_jump_ns,
    left_out_of,
    missing_of,
)
from harness.server.namespace import NAMESPACE
from harness.server.own import OwnServer
from harness.server.server import client_for
from scenarios.catalog import SCENARIOS
from tests.forks import shopbench
from tests.processes import Ended
from tests.stores import PROGRAMS, open_own

# What docs/servers.md says is enough for `append`, `lag` and `crm_outage`.
ENOUGH = (
    f"~{NAMESPACE}* &* -@all +scan +exists +set +unlink +evalsha +script +xadd +xreadgroup +xgroup +xlen +xrange "
    "+xrevrange +xinfo +xpending +xack +info +time +@hash +@set +@list +@string +del +expire"
)
# As short as it can be and still do all that it does.
SHORT = {
    "append": ["duration_s=0.3"],
    "lag": ["before_s=0.5", "peak_s=0.3", "after_s=0.5"],
    "replay": ["events=300"],
    "retention": ["before_s=1", "away_s=0.5", "after_s=1"],
}


@pytest.fixture(params=PROGRAMS)
def a_server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    """Every server that is found here, in turn, for one test."""
    with open_own(request.param) as one:
        yield one


def allow(server: OwnServer, rules: str) -> str:
    """Make a user with some rights; the URL with which they come."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rules.split())
    return str(server.url).replace("//", "//app:pw@")


@pytest.mark.parametrize("transactions", ["+@transaction", "-@transaction"])
def test_what_is_forbidden_is_found_and_nothing_is_written(a_server: OwnServer, transactions: str) -> None:
    """Of all commands exactly those that a user lacks, with transactions and without; no key is left."""
    lacking = {"xadd", "hset", "xgroup|create", "info"}
    url = allow(a_server, f"~* &* +@all -xadd -hset -xgroup|create -info {transactions}".replace("|create", ""))
    with client_for(url) as client, a_server.client() as admin:
        found = examine(client, _FORMS, is_held=True)
        assert admin.dbsize() == 0
    assert {command for command, state in found.items() if state != "allowed"} == lacking | {"xgroup|delconsumer"}


def test_nothing_is_tried_beside_foreign_keys(own_server: OwnServer) -> None:
    """Without transactions, in a database that is not ours, nothing is run at all."""
    url = allow(own_server, "~* &* +@all -@transaction")
    with client_for(url) as client:
        assert set(examine(client, _FORMS, is_held=False).values()) == {"not tried"}


def test_every_command_that_a_scenario_needs_can_be_asked_for() -> None:
    """There is a form for each."""
    needs = needs_of([(scenario, None) for scenario in SCENARIOS.values()])
    assert frozenset().union(*needs.values()) | ALWAYS | LEFT_OUT.keys() <= _FORMS.keys()
    assert "redis_crash" not in needs


@pytest.mark.parametrize("name", ["append", "lag", "crm_outage"])
def test_what_the_docs_say_is_enough(a_server: OwnServer, name: str) -> None:
    """A user with the documented rights lacks nothing that the scenario needs."""
    found = examined(allow(a_server, ENOUGH), needs_of([(SCENARIOS[name], None)]), SystemClock())
    assert (found.refusal, found.lacking) == ("", {})
    assert "CONFIG GET" in found.facts["not_allowed"]


def test_a_run_that_cannot_be_is_refused_before_it_begins(own_server: OwnServer) -> None:
    """What is missing is named; a bare XADD needs less than the shop's path."""
    url = allow(own_server, "~* &* +@all -hset")
    append = SCENARIOS["append"]
    with pytest.raises(UnfitError, match="may not run what append needs: HSET;"):
        before_run(url, [(append, append.parameters())], SystemClock())
    assert before_run(url, [(append, append.parameters(path="xadd"))], SystemClock()) == []


def test_what_will_be_left_out_is_said(own_server: OwnServer) -> None:
    """Without dangerous commands a run goes on, and says what its record will lack."""
    url = allow(own_server, "~* &* +@all -@dangerous")
    append = SCENARIOS["append"]
    told = before_run(url, [(append, append.parameters())], SystemClock())
    assert [line.rpartition("may not run ")[2] for line in told] == ["INFO)", "CONFIG GET)"]


def test_unlink_may_be_missing_where_keys_can_be_deleted() -> None:
    """Keys are removed by DEL then; without either they could not be removed."""
    assert missing_of(ALWAYS, {"unlink": "missing", "del": "allowed"}) == []
    assert missing_of(ALWAYS, {"unlink": "missing", "del": "missing"}) == ["unlink"]
    [said] = left_out_of({"memory|usage": "missing"})
    assert said == "how large the streams are (this user may not run MEMORY USAGE)"


def doctor(*arguments: str) -> Ended:
    return shopbench("doctor", *arguments)


def test_the_command_ends_with_0_or_2(own_server: OwnServer, tmp_path: Path) -> None:
    """Fit: 0. Somebody else's keys, a missing right, nobody there, no URL: 2, with a line that says so."""
    fit = doctor("append", "--server", str(own_server.url))
    assert (fit.code, fit.err) == (0, "")
    assert "can run here: append" in fit.out
    assert "loopback, not encrypted" in fit.out
    url = allow(own_server, "~* &* +@all -xadd")
    unfit = doctor("append", "--server", url)
    assert (unfit.code, unfit.err) == (2, "shopbench: append cannot run: this user may not run XADD\n")
    with own_server.client() as client:
        client.set("theirs", "precious")
        theirs = doctor("append", "--server", str(own_server.url))
        assert client.keys() == [b"theirs"]
    assert theirs.code == 2
    assert "holds a key that is not ours ('theirs')" in theirs.err
    for wrong in ("redis://:secret@127.0.0.1:1", "embedded"):
        refused = doctor("--server", wrong)
        assert (refused.code, len(refused.err.splitlines())) == (2, 1)
        assert "secret" not in refused.err + refused.out


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_what_a_scenario_says_that_it_needs_is_enough(own_server: OwnServer, tmp_path: Path, name: str) -> None:
    """A user with these commands and no other runs it to its end, and every verdict passes; nothing is left."""
    [(_, needed)] = needs_of([(SCENARIOS[name], None)]).items()
    rights = " ".join(f"+{command}" for command in needed | ALWAYS)
    url = allow(own_server, f"~{NAMESPACE}* &* -@all {rights}")
    chosen = [word for each in SHORT[name] for word in ("-p", each)]
    ended = shopbench("run", name, "--profile", "smoke", *chosen, "--server", url, "--runs", str(tmp_path))
    # Of a busy machine the instrument may say that it was late; of the server's rights nothing may be said.
    assert ended.code in {0, 3}, ended.out + ended.err
    assert "left out: the lock" in ended.err
    assert "permission" not in ended.out + ended.err
    with own_server.client() as admin:
        assert admin.dbsize() == 0


def look(before_ms: float, server_ms: float, after_ms: float) -> ClockLook:
    return ClockLook(int(before_ms * 1e6), int(server_ms * 1e6), int(after_ms * 1e6))


@pytest.mark.parametrize(
    ("looks", "jump_ms"),
    [
        ([], 0),
        ([look(0, 1_000, 2), look(50, 1_050, 52)], 0),
        ([look(0, 1_000, 2), look(50, 1_052, 52)], 0),
        ([look(0, 1_000, 2), look(50, 1_100, 52)], 48),
        ([look(0, 1_000, 2), look(50, 900, 52)], -148),
        ([look(0, 1_000, 2), look(50, 1_060, 300)], 0),
    ],
)
def test_a_clock_jumps_where_the_way_there_does_not_explain_it(looks: list[ClockLook], jump_ms: float) -> None:
    """A step between the least and the most that can have passed is none; beyond, it is the rest."""
    assert largest_jump_ns(looks) == jump_ms * 1e6


def test_a_renamed_command_is_a_missing_one(own_server: OwnServer) -> None:
    """What the server does not know is missing, as what a user may not run is."""
    error = redis.ResponseError("unknown command 'XADD', with args beginning with: ")
    from harness.server.lock import is_refused

    assert is_refused(error)
