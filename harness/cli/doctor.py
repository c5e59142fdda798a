"""`shopbench doctor --server URL`: can a run be had from this server, by this user, and what will it lack?

    shopbench doctor --server redis://bench:...@redis.example:6379/3
    shopbench doctor append lag --server rediss://...

It connects as a run does, holds the database for a moment as a run does, and asks (`harness.server.examination`).
It writes nothing where somebody else's keys are. Exit code 0: every scenario asked for can run; 2: one cannot, and
it is said which and why. The same question, without the second that the clock takes, is asked before each run at a
URL: a run that could not do its work ends before it begins, and one that will lack something says what.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import redis
import typer
from rich.table import Table

from harness.check.checkers import EXIT_PASS, EXIT_USAGE
from harness.cli.options import NamesArgument, UsageError, chosen, taking
from harness.cli.shown import out, say, warn
from harness.host.clock import Clock, SystemClock
from harness.server.examination import (
    ALWAYS,
    LEFT_OUT,
    Allowed,
    clock_looks,
    examine,
    largest_jump_ns,
    left_out_of,
    missing_of,
    shown,
)
from harness.server.facts import describe_server
from harness.server.foreign import ForeignServer
from harness.server.named import server_named
from harness.server.server import ServerError, client_for
from harness.server.url import ServerUrl

LOOKS = 21
APART_NS = 50_000_000
# A step of the server's clock beyond what the way there and back explains, and its distance from ours.
JUMP_NS = 20_000_000
APART_S = 1.0


class UnfitError(Exception):
    """A server that a run cannot be had from, or a user who may do too little; its text is one clear line."""


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What a doctor has found.

    Attributes:
        facts: what a record would say of the server.
        database: whose it is, in words.
        refusal: why a run would not use it; empty: it would.
        lock: `held`, or why there is none.
        allowed: by command.
        needs: by scenario, the commands that it needs.
    """

    facts: dict[str, Any]
    database: str
    refusal: str
    lock: str
    allowed: dict[str, Allowed]
    needs: dict[str, frozenset[str]]

    @property
    def lacking(self) -> dict[str, list[str]]:
        """By scenario, what it cannot do without and is missing; those that lack nothing are left out."""
        found = {name: missing_of(needed | ALWAYS, self.allowed) for name, needed in self.needs.items()}
        return {name: missing for name, missing in found.items() if missing}


def examined(address: ServerUrl | str, needs: Mapping[str, frozenset[str]], clock: Clock) -> Examined:
    """Look at a server as a run would use it.

    Args:
        address: of the server.
        needs: by scenario, the commands that it needs.
        clock: for the round trip.

    Raises:
        ServerError: it does not answer, or the URL is none of a server.
    """
    url = ServerUrl(address)
    asked = ALWAYS | LEFT_OUT.keys() | {"del"} | frozenset().union(*needs.values())
    refusal, lock, database = "", "", "empty; a run may use it"
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(ForeignServer(url, clock)).lock_said
        except ServerError as error:
            refusal = database = str(error)
        client = stack.enter_context(contextlib.closing(client_for(url)))
        try:
            facts = describe_server(client, url, clock, pid=None)
            allowed = examine(client, asked, is_held=not refusal)
        except (redis.RedisError, OSError) as error:
            raise ServerError(refusal or f"{url}: {url.masked(str(error))}") from error
    return Examined(facts=facts, database=database, refusal=refusal, lock=lock, allowed=allowed, needs=dict(needs))


def needs_of(scenarios: Sequence[tuple[Any, Any]]) -> dict[str, frozenset[str]]:
    """By name, the commands that scenarios need of a server at a URL; those that want one of ours are left out.

    Args:
        scenarios: with their parameters; without any, what they need at most.
    """
    needs = {}
    for scenario, parameters in scenarios:
        if hasattr(scenario, "commands") and not getattr(scenario, "wants_own_server", False):
            needs[scenario.name] = frozenset(scenario.commands)
            if parameters is not None and hasattr(scenario, "commands_with"):
                needs[scenario.name] = frozenset(scenario.commands_with(parameters))
    return needs


def before_run(address: ServerUrl | str, scenarios: Sequence[tuple[Any, Any]], clock: Clock) -> list[str]:
    """What a run at a URL will lack, in a sentence each; where the server refuses it, the run itself says so.

    Raises:
        UnfitError: this user may not run what a scenario needs.
    """
    url = ServerUrl(address)
    try:
        found = examined(url, needs_of(scenarios), clock)
    except ServerError:
        return []
    if found.refusal:
        return []
    for name, missing in found.lacking.items():
        raise UnfitError(
            f"{url}: this user may not run what {name} needs: "
            f"{', '.join(map(shown, missing))}; `shopbench doctor --server URL` shows all rights"
        )
    return [f"left out: {what}" for what in left_out_of(found.allowed)]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    names: NamesArgument = None
    server: Annotated[str | None, typer.Option(help="A redis://, rediss:// or unix:// URL.")] = None
    server_file: Annotated[Path | None, typer.Option(help="A file that holds such a URL.")] = None


@taking(Asked)
def doctor_command(asked: Asked) -> int:
    """Say what a server at a URL allows, which rights are missing, and what a run there will lack."""
    url = server_named(asked.server, asked.server_file, os.environ)
    if not isinstance(url, ServerUrl):
        raise UsageError("doctor examines a server that runs already: give --server a URL")
    scenarios = chosen(asked.names or [])
    needs = needs_of([(scenario, None) for scenario in scenarios])
    if not needs:
        names = ", ".join(scenario.name for scenario in scenarios)
        raise UsageError(f"{names} always starts a server of its own, so there is nothing to examine")
    clock = SystemClock()
    try:
        found = examined(url, needs, clock)
    except ServerError as error:
        raise UsageError(str(error)) from error
    out.print(_about(found, _clock_said(url, clock)))
    out.print(_rights(found))
    for what in left_out_of(found.allowed):
        say(f"left out: {what}")
    return _concluded(found)


def _concluded(found: Examined) -> int:
    if found.refusal:
        raise UsageError(found.refusal)
    for name, missing in found.lacking.items():
        warn(f"shopbench: {name} cannot run: this user may not run {', '.join(map(shown, missing))}")
    if found.lacking:
        return EXIT_USAGE
    say(f"can run here: {', '.join(found.needs)}")
    return EXIT_PASS


def _clock_said(url: ServerUrl, clock: Clock) -> str:
    with contextlib.closing(client_for(url)) as client:
        looks = clock_looks(client, clock, count=LOOKS, apart_ns=APART_NS)
    if not looks:
        return "not known: this user may not run TIME"
    jump_ns = largest_jump_ns(looks)
    apart_s = looks[-1].server_ns / 1e9 - clock.epoch_s()
    said = f"{apart_s:+.3f} s from this host's"
    if abs(jump_ns) > JUMP_NS:
        return f"jumps: by {jump_ns / 1e6:+.0f} ms within a second; {said}"
    return f"steady, {said}" if abs(apart_s) < APART_S else f"steady, but {said}"


def _about(found: Examined, clock_said: str) -> Table:
    facts = found.facts
    named = " ".join(str(facts[key]) for key in ("name", "version") if facts.get(key))
    table = Table("What", "What it is", title=named or "a server", title_justify="left")
    encrypted = "TLS" if facts["encrypted"] else "not encrypted"
    rows = {
        "where": f"{facts['where']}, {encrypted}; the quickest PING took {facts['ping_us']:,.0f} µs",
        "mode, role": ", ".join(str(facts[key]) for key in ("mode", "role") if facts.get(key)) or "not known",
        "database": found.database,
        "lock": found.lock or "not tried",
        "durability": _durability(facts),
        "memory": _memory(facts),
        "clock": clock_said,
    }
    for name, said in rows.items():
        table.add_row(name, said)
    return table


def _durability(facts: Mapping[str, Any]) -> str:
    if "appendonly" not in facts:
        return "not known: this user may not run CONFIG GET"
    log = f"appendfsync {facts.get('appendfsync')}" if facts["appendonly"] == "yes" else "no log"
    directory = facts.get("data_directory", {})
    where = f", on {directory['file_system']}" if "file_system" in directory else ""
    return f"{log}{where}" + (", where nothing is synced" if directory.get("is_synced") is False else "")


def _memory(facts: Mapping[str, Any]) -> str:
    if "maxmemory" not in facts:
        return "not known"
    policy = facts.get("maxmemory-policy", "not known")
    if facts["maxmemory"] == "0":
        return "no limit"
    harm = "" if policy == "noeviction" else ": when the server is full it removes keys, also those of a run"
    return f"at most {int(facts['maxmemory']):,} bytes, {policy}{harm}"


def _rights(found: Examined) -> Table:
    table = Table("Command", "This user", "Needed by", title="Commands", title_justify="left")
    for command, state in sorted(found.allowed.items(), key=lambda each: (each[1] == "allowed", each[0])):
        by = ["every run"] if command in ALWAYS else []
        by += [name for name, needed in found.needs.items() if command in needed]
        said = ", ".join(by) or "optional parts of a record"
        table.add_row(shown(command), state, "every scenario" if len(by) == len(found.needs) > 1 else said)
    return table
