"""The scenarios: all can be asked for, and what they say of the system under test is so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from harness.conduct.conduct import (
    Findings,
    ParameterError,
    Scenario,
    ScenarioError,
    Stage,
    conduct,
    conduct_suite,
    parameters_of,
)
from harness.host.clock import SystemClock
from harness.record import run
from harness.server.namespace import NAMESPACE
from harness.server.own import OwnServer
from harness.server.server import Server, ServerError
from harness.server.url import ServerUrl
from ordershop.events import Keys
from scenarios.append import AppendParameters
from scenarios.catalog import SCENARIOS
from tests.lines import ASLEEP
from tests.locusts import Locust
from tests.oracle import Conversation, Oracle
from tests.verdicts import judged, settled

KEYS = Keys(NAMESPACE)


def stage_at(
    directory: Path, server: str = "embedded", progress: Callable[[float, str], None] = lambda _share, _doing: None
) -> Stage:
    directory.mkdir(parents=True, exist_ok=True)
    return Stage(
        server=server,
        port=None,
        profile="smoke",
        seed=1,
        directory=directory,
        clock=SystemClock(),
        progress=progress,
        driver=ASLEEP,
        spin_share=0.0,
    )


def tiny(name: str, **parameters: Any) -> tuple[Scenario, msgspec.Struct]:
    scenario = SCENARIOS[name]
    return scenario, parameters_of(scenario, "smoke", {key: str(value) for key, value in parameters.items()})


# The catalog -----------------------------------------------------------------------------------------------


def test_every_scenario_has_a_name_of_its_own() -> None:
    """The catalog holds each scenario under its name, with a sentence that says what it measures."""
    assert [scenario.name for scenario in SCENARIOS.values()] == list(SCENARIOS)
    assert {"append", "replay", "lag", "crm_outage", "journey"} <= set(SCENARIOS)
    assert len({scenario.summary for scenario in SCENARIOS.values()}) == len(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("profile", ["smoke", "quick", "standard", "full"])
def test_every_profile_has_valid_parameters(name: str, profile: str) -> None:
    """Each scenario knows each profile, by parameters that exist and are in range."""
    scenario = SCENARIOS[name]
    parameters = parameters_of(scenario, profile, {})
    assert isinstance(parameters, scenario.parameters)
    for field, value in scenario.profiles[profile].items():
        assert getattr(parameters, field) == value


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_given_goes_before_the_profile(name: str) -> None:
    """A parameter of the command line replaces that of the profile, and no other."""
    scenario = SCENARIOS[name]
    whole = msgspec.to_builtins(parameters_of(scenario, "smoke", {}))
    field = next(iter(scenario.profiles["smoke"]))
    changed = parameters_of(scenario, "smoke", {field: str(whole[field] * 2)})
    assert msgspec.to_builtins(changed) == whole | {field: whole[field] * 2}


@pytest.mark.parametrize("name", SCENARIOS)
def test_unknown_parameters_are_refused(name: str) -> None:
    """A parameter that a scenario does not have is an error that names those it has."""
    with pytest.raises(ParameterError, match=f"^{name} has no parameter 'x'; .*it has ") as raised:
        parameters_of(SCENARIOS[name], "quick", {"x": "1"})
    for field in msgspec.structs.fields(SCENARIOS[name].parameters):
        assert field.name in str(raised.value)


# Replay ----------------------------------------------------------------------------------------------------


def corrupt_a_field(client: redis.Redis) -> None:
    client.hset(some_entity(client), "name", "somebody else")


def remove_an_entity(client: redis.Redis) -> None:
    key = some_entity(client)
    client.delete(key)
    client.srem(KEYS.ids("customer"), key.rpartition(":")[2])


def invent_an_entity(client: redis.Redis) -> None:
    key = some_entity(client)
    client.copy(key, KEYS.entity("customer", "invented"))
    client.hset(KEYS.entity("customer", "invented"), "id", "invented")
    client.sadd(KEYS.ids("customer"), "invented")


def drop_an_event(client: redis.Redis) -> None:
    # The last customer who was created, and whom nothing has happened to: its only event is gone.
    [(entry, _)] = client.xrevrange(KEYS.stream("customer", "created"), count=1)
    client.xdel(KEYS.stream("customer", "created"), entry)


def some_entity(client: redis.Redis) -> str:
    found = client.srandmember(KEYS.ids("customer"))
    assert isinstance(found, bytes)
    return KEYS.entity("customer", found.decode())


@pytest.mark.parametrize("tamper", [corrupt_a_field, remove_an_entity, invent_an_entity, drop_an_event])
def test_replay_fails_when_the_cache_is_not_what_happened(
    own_server: OwnServer, tmp_path: Path, tamper: Callable[[redis.Redis], None]
) -> None:
    """Replay compares: a cache or a stream that somebody has tampered with gets the verdict FAIL."""
    with own_server.client() as client:

        def progress(share: float, doing: str) -> None:
            if doing.startswith("replaying 300 "):
                tamper(client)

        findings = Findings("replay")
        scenario, parameters = tiny("replay", events=300, rounds=1, deleted_share=0, updated_share=0)
        scenario.run(stage_at(tmp_path, own_server.url, progress), parameters, findings)
        found = judged(scenario, parameters, findings)
        assert [(v.name, v.status) for v in found.verdicts] == [("replay.equals_cache", "FAIL")]
        assert client.dbsize() == 0


def test_replay_passes_when_nobody_tampers(own_server: OwnServer, tmp_path: Path) -> None:
    """Replay, at every size, of customers that come, change and go."""
    findings = Findings("replay")
    scenario, parameters = tiny("replay", events=1_000, rounds=2, deleted_share=0.2, updated_share=0.4)
    scenario.run(stage_at(tmp_path, own_server.url), parameters, findings)
    found = judged(scenario, parameters, findings)
    assert [(v.name, v.status) for v in found.verdicts] == [("replay.equals_cache", "PASS")]
    figures = {figure.name: figure.value for figure in findings.figures}
    assert figures["replay.events"] == 1_000
    assert {f"replay.{size}.events_per_s" for size in (100, 333, 1_000)} <= figures.keys()
    assert all(value is not None and value > 0 for value in figures.values())


def test_replay_of_nothing_is_unknown(own_server: OwnServer, tmp_path: Path) -> None:
    """Where every customer has gone there is nothing to compare: UNKNOWN, never PASS."""
    findings = Findings("replay")
    scenario, parameters = tiny("replay", events=100, rounds=1, deleted_share=1)
    scenario.run(stage_at(tmp_path, own_server.url), parameters, findings)
    assert [v.status for v in judged(scenario, parameters, findings).verdicts] == ["UNKNOWN"]


@pytest.mark.parametrize("refusal", ["full", "gone"])
def test_replay_on_a_server_that_does_no_more(own_server: OwnServer, tmp_path: Path, refusal: str) -> None:
    """A server without memory, or one that goes away in the middle, ends the run with a record and one line."""

    def progress(share: float, doing: str) -> None:
        if refusal == "full" and doing.startswith("filling up to 300 "):
            with own_server.client() as client:
                client.config_set("maxmemory", 1)
        elif refusal == "gone" and doing.startswith("replaying 300 "):
            own_server.kill()

    scenario, parameters = tiny("replay", events=300, rounds=1)
    record, ended = conduct(scenario, parameters, stage_at(tmp_path, own_server.url, progress), command=[])
    assert isinstance(ended, ScenarioError | ServerError)
    assert (record.run.status, record.run.reason) == ("failed", str(ended))
    assert ("maxmemory" if refusal == "full" else "refused") in str(ended)
    assert "\n" not in str(ended)


def test_a_server_that_goes_while_it_is_described() -> None:
    """A server that is gone before it has told its configuration is an error of a server, in one line."""

    def going(line: Conversation) -> None:
        for command in line.commands():
            if command[0] == b"CONFIG":
                return
            line.send(b"$19\r\nredis_version:7.0.0\r\n" if command[0] == b"INFO" else b"+OK\r\n")

    server = Server()
    server.owned = False
    with Oracle(going) as oracle:
        server.url = ServerUrl(oracle.url)
        with pytest.raises(ServerError, match=f"^{oracle.url}: ") as raised:
            server.describe()
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_locust_users_replay(tmp_path: Path) -> None:
    """`replay` under Locust: each user again and again, each replay counted, until the time is over."""
    options = ["-t", "1s", "-u", "2", "-r", "2", "--events", "500", "--json-file", "stats"]
    with Locust(tmp_path, "replay", "--headless", *options) as locust:
        assert locust.wait() == 0, locust.output
    record = locust.record()
    assert {v.name: v.status for v in record.run.verdicts} == {
        "replay.workers": "PASS",
        "replay.equals_cache": "PASS",
        "replay.answered": "PASS",
    }
    ok = record.run.figure("replay.ok")
    [row] = locust.statistics()
    assert (row["name"], row["num_requests"]) == ("replay", ok)
    assert record.latency.total("replay.response").total == ok
    assert record.run.figure("replay.events") == 500


@pytest.mark.slow
def test_micro_benchmarks_are_no_locustfile(tmp_path: Path) -> None:
    """Where there is nothing for users to do, one line says what to use, and the exit code is 2."""
    with Locust(tmp_path, "micro_benchmarks", "--headless") as locust:
        assert locust.wait() == 2
    expected = "locust: micro-benchmarks have no users; they are measured by `shopbench run micro`"
    assert locust.output.splitlines() == [expected]


# Lag, and a server of others -------------------------------------------------------------------------------


def test_a_burst_on_a_server_of_others(own_server: OwnServer, tmp_path: Path) -> None:
    """The whole line, pump to mail, under a namespace: nothing lost, and nothing of it is left on the server."""
    with own_server.client() as client:
        findings = Findings("lag")
        scenario, parameters = tiny(
            "lag",
            base_per_s=100, peak_per_s=400, before_s=0.5, peak_s=0.5, after_s=0.5, send_lag_budget_ms=60_000,
            drain_timeout_s=20,
        )  # fmt: skip
        scenario.run(stage_at(tmp_path, own_server.url), parameters, findings)
        verdicts = judged(scenario, parameters, findings).verdicts
        assert {v.name: v.status for v in settled(verdicts) if v.status != "PASS"} == {}
        figures = {figure.name: figure.value for figure in findings.figures}
        assert (figures["lag.acknowledged"], figures["lag.applied"], figures["lag.lost"]) == (300, 300, 0)
        assert figures["lag.drain_s"] is not None
        assert set(findings.history.reading_names) >= {"lag.events", "lag.pending", "lag.seconds"}
        assert client.dbsize() == 0


# A suite ---------------------------------------------------------------------------------------------------


def suite_of(chosen: list[tuple[Scenario, msgspec.Struct]], directory: Path) -> tuple[run.Record, Any]:
    return conduct_suite(
        chosen,
        lambda _, where: stage_at(where),
        directory,
        clock=SystemClock(),
        command=["shopbench", "run"],
        profile="smoke",
        seed=1,
    )


def test_a_suite_repeats_what_its_members_found(tmp_path: Path) -> None:
    """Two scenarios one after the other: each has its record, and the suite's repeats figures and verdicts."""
    chosen = [
        tiny("append", rate_per_s=200, duration_s=0.3, durability="none", send_lag_budget_ms=60_000),
        tiny("replay", events=200),
    ]
    record, ended = suite_of(chosen, tmp_path)
    assert ended is None
    assert (record.run.scenario, record.run.status) == ("suite", "complete")
    assert record.run.members == ["append", "replay"]
    members = record.members()
    assert [member.run.status for member in members] == ["complete", "complete"]
    assert record.run.figures == [figure for member in members for figure in member.run.figures]
    assert record.run.verdicts == [verdict for member in members for verdict in member.run.verdicts]
    assert {verdict.status for verdict in settled(record.run.verdicts)} == {"PASS"}
    assert record.run.figure("append.none.ok") == 60
    assert members[0].latency.total("append_none.response").total == 60
    assert record.run.environment["server"]["name"] == "Valkey"
    assert dt.datetime.fromisoformat(record.run.started_at).tzinfo is not None


class Broken:
    """A scenario that finds something, and then something that it did not expect."""

    name = "broken"
    summary = "what if?"
    parameters = AppendParameters
    profiles: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - as the scenarios have it

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        findings.figure("found", 1.0, "x")
        raise self._error


def test_a_crash_leaves_a_record(tmp_path: Path) -> None:
    """What nobody has foreseen is raised, and the record has what was found until then, and the reason."""
    scenario = Broken(ZeroDivisionError("by nothing"))
    with pytest.raises(ZeroDivisionError):
        conduct(scenario, scenario.parameters(), stage_at(tmp_path), command=[])
    record = run.load(tmp_path).run
    assert (record.status, record.reason) == ("failed", "ZeroDivisionError: by nothing")
    assert record.figure("broken.found") == 1.0
    assert [verdict.status for verdict in record.verdicts] == ["UNKNOWN"]


def test_a_suite_ends_with_the_scenario_that_could_not_be_carried_out(tmp_path: Path) -> None:
    """A member that fails is the last one; what the others found is in the suite's record."""
    scenario = Broken(ScenarioError("no way"))
    chosen = [tiny("replay", events=100), (scenario, scenario.parameters()), tiny("replay", events=100)]
    record, ended = suite_of(chosen, tmp_path)
    assert isinstance(ended, ScenarioError)
    assert (record.run.status, record.run.reason) == ("failed", "no way")
    assert record.run.members == ["replay", "broken"]
    assert [verdict.status for verdict in record.run.verdicts] == ["PASS", "UNKNOWN"]
