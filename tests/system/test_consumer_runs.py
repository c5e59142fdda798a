"""Scenarios on a consumer by command, as a user runs them: by `shopbench run`, and under Locust."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from harness.record.run import Run, load
from harness.system.promise import Promise
from ordershop.supervisor import free_port
from tests.consumers import command
from tests.forks import shopbench
from tests.locusts import Locust
from tests.verdicts import settled
from tests.waiting import until

SMALL = ["--profile", "smoke", "--no-repeat"]


def run_of(tmp_path: Path, scenario: str, *arguments: str, consumer: str = "") -> Run:
    """The record of a run of a scenario on a consumer."""
    more = [*SMALL, "--consumer", consumer or command("good"), "--runs", str(tmp_path / "runs"), *arguments]
    done = shopbench("run", scenario, *more, cwd=tmp_path)
    assert done.code in {0, 1, 3}, done
    [directory] = (tmp_path / "runs").glob(f"*-{scenario}")
    assert not list(directory.glob("effects*")), "the sink's log is left"
    return load(directory).run


def bad(run: Run) -> dict[str, str]:
    """The verdicts that do not pass, whatever the machine was busy with."""
    prefix = f"{run.scenario}."
    return {v.name.removeprefix(prefix): v.status for v in settled(run.verdicts) if v.status != "PASS"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "arguments"),
    [
        ("lag", ["-p", "peak_per_s=400"]),
        ("crm_outage", ["-p", "rate_per_s=100", "-p", "claim_after_ms=500"]),
        ("crm_outage", ["-p", "rate_per_s=100", "-p", "fault=cut", "-p", "link=crm-mail"]),
        ("random_faults", []),
        ("consumers", []),
        ("retention", []),
        ("redis_crash", ["-p", "durability=none"]),
    ],
)
def test_each_scenario_passes_a_good_consumer(tmp_path: Path, scenario: str, arguments: list[str]) -> None:
    """Nothing fails; the record says what was measured; and no sentence speaks of the shop."""
    run = run_of(tmp_path, scenario, "-p", "drain_timeout_s=20", *arguments)
    assert bad(run) == {}
    assert run.environment["system"]["command"] == command("good")
    said = " ".join([run.headline, *(verdict.detail for verdict in run.verdicts)])
    assert "CRM" not in said
    assert "mail" not in said


@pytest.mark.slow
def test_the_record_says_what_was_measured(tmp_path: Path) -> None:
    """The command, the file that it names, what it promises, and the shape of the events."""
    (tmp_path / "shape.toml").write_text("streams = 3\n[fields]\nevent_id = '{event_id}'\n", encoding="utf-8")
    run = run_of(tmp_path, "lag", "--promise", "at_least_once,order=entity", "--shape", "shape.toml")
    assert bad(run) == {}
    system: dict[str, Any] = run.environment["system"]
    assert system["promise"] == {"delivery": "at_least_once", "order": "entity", "recovers_within_s": None}
    assert (system["shape"]["streams"], list(system["shape"]["fields"])) == (3, ["event_id"])
    assert [len(digest) for name, digest in system["files"].items() if name.endswith("good.py")] == [12]
    [directory] = (tmp_path / "runs").glob("*-lag")
    record = load(directory)
    assert record.evidence.value("promise", Promise) == Promise(order="entity")


@pytest.mark.slow
def test_exits_are_marks_and_figures(tmp_path: Path) -> None:
    """A consumer that ends by itself, and is started again, is no error of the run."""
    (tmp_path / "tired").touch()
    run = run_of(tmp_path, "lag", "-p", "peak_per_s=300", consumer=command("odd", "tires"))
    assert (run.status, run.figure("lag.exits")) == ("complete", 1)
    [directory] = (tmp_path / "runs").glob("*-lag")
    marks = [entry for entry in load(directory).history.entries if "exited with 4" in str(entry)]
    assert len(marks) == 1


@pytest.mark.slow
def test_a_consumer_that_is_not_ready_is_one_line(tmp_path: Path) -> None:
    """It ends the run as what could not be started does, with the last lines of its log."""
    done = shopbench("run", "lag", *SMALL, "--consumer", command("odd", "exits"), cwd=tmp_path)
    assert done.code == 2
    assert (
        done.err.strip()
        .splitlines()[-1]
        .endswith(
            "the consumer is not ready: consumer has ended 3 times, the last time with 3; its log ends with: "
            "no such table | connecting to redis://***@localhost:6379/0 | no such table"
        )
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["journey", "--consumer", "true"],
            "--consumer is for lag, crm_outage, random_faults, consumers, retention, ",
        ),
        (["lag", "--consumer", "true", "--system", "a:b"], "--consumer and --system name two things to measure"),
        (["lag", "--promise", "at_most_once"], "--promise says something of a consumer: give it with --consumer"),
        (["lag", "--consumer", " "], "--consumer wants a command"),
        (["lag", "--consumer", "a 'b"], '"a \'b" cannot be split into words: No closing quotation'),
        (["lag", "--consumer", "true", "--promise", "never"], ""),
        (["lag", "--consumer", "true", "--restart", "often"], "--restart is always or never, not 'often'"),
        (["lag", "--consumer", "true", "--shape", "nowhere.toml"], "nowhere.toml: cannot be read (No such file"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Before anything is started, with exit code 2."""
    done = shopbench("run", *arguments, "--runs", str(tmp_path), cwd=tmp_path)
    assert (done.code, done.out, list(tmp_path.iterdir())) == (2, "", [])
    assert done.err.startswith(f"shopbench: {says}"), done.err
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_under_locust(tmp_path: Path) -> None:
    """The same options, and the same record."""
    with Locust(
        tmp_path,
        "crm_outage",
        "--headless",
        *("--profile", "smoke", "--rate", "100", "--drain-timeout", "20", "--consumer", command("good")),
        *("--promise", "effectively_once"),
    ) as locust:
        assert locust.wait() in {0, 3}
        run = locust.record().run
    assert bad(run) == {}
    assert run.environment["system"]["promise"]["delivery"] == "effectively_once"


def asked(url: str, body: object = None) -> Any:
    """What the web UI answers."""
    request = urllib.request.Request(url, method="GET" if body is None else "POST")  # noqa: S310 - a URL of ours
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
    except OSError:
        return {}


@pytest.mark.slow
def test_two_processes_of_locust_and_a_kill_by_hand(tmp_path: Path) -> None:
    """The buttons are for the consumer, the sink and the server; two workers share the load."""
    port = free_port()
    options = ["--web-port", str(port), "--autostart", "--processes", "2", "--users", "2"]
    load = ["--profile=smoke", "--shape=steady", "--base=100", "--after=8", "--send-lag-budget-ms=9000"]
    with Locust(tmp_path, "lag", *options, *load, "--consumer", command("good")) as locust:
        url = f"http://127.0.0.1:{port}/shopbench"
        until(lambda: (asked(f"{url}/live").get("live") or {}).get("buttons"), "the faults can be done", 40)
        names = {button["target"] for button in asked(f"{url}/live")["live"]["buttons"]}
        assert names == {"consumer", "effects", "server"}
        until(lambda: asked(f"{url}/fault", {"action": "kill", "target": "consumer"}).get("success"), "a kill", 20)
        assert asked(f"{url}/fault", {"action": "start", "target": "consumer"}).get("success")
        until(lambda: (asked(f"{url}/live").get("outcome") or {}).get("has_report"), "a report", 40)
        # The master alone: what writes the report is in its process group.
        locust.process.send_signal(signal.SIGINT)
        assert locust.wait() in {0, 3}, locust.output
        record = locust.record()
    assert bad(record.run) == {}
    [fault] = record.history.faults
    assert (fault.target, fault.by_hand) == ("consumer", True)
    assert len(record.run.environment["load"]["workers"]) == 2
    assert record.run.figure("lag.acknowledged") == record.run.figure("lag.applied")


@pytest.mark.slow
def test_under_locust_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    """As on the command line of ours; a scenario without consumers has no such option."""
    for scenario, arguments, says in (
        (
            "lag",
            ["--event-shape", "x"],
            "locust: --event-shape says something of a consumer: give it with --consumer",
        ),
        ("lag", ["--consumer", "true", "--restart", "x"], "locust: --restart is always or never, not 'x'"),
        ("append", ["--consumer", "true"], "unrecognized arguments: --consumer"),
    ):
        with Locust(tmp_path, scenario, "--headless", *arguments) as locust:
            assert locust.wait() == 2
            assert says in locust.output
