"""Locust drives a scenario: alone, over several processes, and to an exit code that says what was found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from harness.check import checkers
from harness.record import run
from harness.record.run import Record
from harness.server.own import OwnServer
from ordershop.supervisor import free_port
from tests.forks import shopbench
from tests.locusts import SCENARIOS, Locust
from tests.processes import is_alive
from tests.verdicts import is_well, settled
from tests.waiting import until

pytestmark = pytest.mark.slow

QUIET = ("--headless", "--loglevel", "WARNING", "--only-summary")
APPEND = ("--durability", "everysec", "--rate", "1000", "--send-lag-budget-ms", "5000")
TWO = ("--users", "2", "--spawn-rate", "10")
# Longer than Locust waits for a run that it interrupts: for the drain, and then for what is left.
ENDED_S = 200.0


def figures(record: Record, *names: str) -> list[float | None]:
    return [record.run.figure(f"{record.run.scenario}.{name}") for name in names]


def statuses(record: Record) -> dict[str, str]:
    return {verdict.name: verdict.status for verdict in record.run.verdicts}


def test_headless_with_locusts_own_options(tmp_path: Path) -> None:
    """Users, run time, HTML, CSV and JSON are Locust's; the numbers in ours and in its statistics agree."""
    (tmp_path / "locust.conf").write_text("headless = true\nusers = 2\nspawn-rate = 10\nrate = 1000\n")
    options = ["-t", "2s", "--html", "page.html", "--csv", "table", "--json-file", "stats"]
    options += ["--durability", "everysec", "--send-lag-budget-ms", "5000", "--loglevel", "WARNING"]
    with Locust(tmp_path, "append", "--config", "locust.conf", *options) as locust:
        assert is_well(locust.wait(), locust.record()), locust.output
    record = locust.record()
    assert (record.run.status, record.run.parameters["connections"]) == ("complete", 2)
    assert figures(record, *(f"everysec.{count}" for count in ("ok", "failed", "unknown", "dropped"))) == [
        2000,
        0,
        0,
        0,
    ]
    assert record.latency.total("append_everysec.response").total == 2000
    [row] = locust.statistics()
    assert (row["method"], row["name"], row["num_requests"], row["num_failures"]) == (
        "RESP",
        "append_everysec",
        2000,
        0,
    )
    longest_us = record.latency.total("append_everysec.response").max_us
    assert longest_us is not None
    assert row["max_response_time"] == pytest.approx(longest_us / 1000)
    assert sum(row["response_times"].values()) == 2000
    assert (tmp_path / "page.html").exists()
    assert (tmp_path / "table_stats.csv").exists()
    assert (record.directory / "report.html").exists()


def test_two_processes_count_what_each_has_sent(tmp_path: Path) -> None:
    """The stream, the ledger and the record agree: two workers' shares are one load, nothing twice or missing."""
    options = ["--processes", "2", *TWO, "--profile", "smoke", "--json-file", "stats"]
    with Locust(tmp_path, "crm_outage", *QUIET, *options) as locust:
        assert is_well(locust.wait(), locust.record()), locust.output
    record = locust.record()
    # 200 a second for 6 seconds, half of them from each worker; each event once through the CRM.
    assert figures(record, "ok", "acknowledged", "applied", "lost", "duplicated") == [1200, 1200, 1200, 0, 0]
    workers = record.run.environment["load"]["workers"]
    assert [worker["arrivals"] for worker in workers] == [600, 600]
    assert record.latency.total("append.response").total == 1200
    assert statuses(record)["crm_outage.workers"] == "PASS"
    [row] = locust.statistics()
    assert row["num_requests"] == 1200
    # On one machine all processes have the same clock, whatever was estimated.
    for worker in workers:
        assert abs(worker["clock_offset_s"]) <= worker["clock_error_s"] + 0.001


@contextmanager
def one_of_two_killed(tmp_path: Path, *options: str) -> Iterator[tuple[Locust, Locust]]:
    """A master and the worker that it still has: the other was killed under load."""
    port = ["--master-bind-port", str(free_port())]
    to_master = ["--worker", "--master-port", port[1]]
    with (
        Locust(
            tmp_path, "append", "--headless", "--master", "--expect-workers", "2", *port, *TWO, *APPEND, *options
        ) as master,
        Locust(tmp_path, "append", *to_master) as first,
        Locust(tmp_path, "append", *to_master) as second,
    ):
        # What a worker's statistics say comes from its pump; a master prints it each two seconds.
        until(lambda: re.search(r"RESP +append_everysec +[1-9]", master.output), "some load", 30)
        psutil.Process(second.process.pid).kill()
        yield master, first


def test_a_worker_that_dies_is_a_hole(tmp_path: Path) -> None:
    """What a killed worker had not told is named as missing, and no verdict passes over it."""
    with one_of_two_killed(tmp_path, "-t", "8s") as (master, first):
        assert master.wait() == 3, master.output
        assert first.wait() == 0, first.output
    record = master.record()
    [hole] = [w for w in record.run.environment["load"]["workers"] if w["silent_from_s"] is not None]
    assert hole["arrivals"] == 4000
    assert hole["unseen"] > 0
    counts = figures(record, *(f"everysec.{count}" for count in ("ok", "failed", "unknown", "dropped")))
    assert None not in counts
    assert sum(filter(None, counts)) == 8000
    assert figures(record, "everysec.unseen") == [hole["unseen"]]
    assert statuses(record)["append.everysec.workers"] == statuses(record)["append.everysec.answered"] == "UNKNOWN"


def test_a_hole_ends_with_a_schedule_that_is_ended(tmp_path: Path) -> None:
    """After Ctrl-C the share of a worker that has died is what was due until then, not all of five minutes."""
    with one_of_two_killed(tmp_path, "-t", "300s") as (master, first):
        master.interrupt()
        assert master.wait(ENDED_S) == 3, master.output
        assert first.wait() == 0, first.output
    workers = master.record().run.environment["load"]["workers"]
    whole, hole = sorted(workers, key=lambda worker: worker["silent_from_s"] is not None)
    # 500 a second each. One was told to stop a moment after the other's share was taken to have ended.
    assert hole["arrivals"] == pytest.approx(whole["arrivals"], abs=5_000)
    assert 0 < hole["unseen"] <= hole["arrivals"]


def wait_for_mails(tmp_path: Path) -> None:
    """Wait until a run has a CRM at work."""
    until(lambda: any((tmp_path / "runs").glob("*/outbox.jsonl")), "a mail service", 30)
    until(lambda: next((tmp_path / "runs").glob("*/outbox.jsonl")).stat().st_size > 10_000, "some mails", 30)


@pytest.mark.parametrize("scenario", ["lag", "crm_outage"])
def test_a_second_ctrl_c_interrupts(tmp_path: Path, scenario: str) -> None:
    """Who presses twice is told that the record is being finished; it says that it was interrupted."""
    # The drain cannot come to its end before the second press: its consumer is slow.
    load = ["--base", "300", "--peak-s", "1"] if scenario == "lag" else ["--rate", "300", "--outage", "60"]
    options = [
        *load,
        "--before",
        "60",
        "--mail-delay-ms",
        "20",
        "-t",
        "300s",
        "--send-lag-budget-ms",
        "5000",
        *TWO,
    ]
    with Locust(tmp_path, scenario, *QUIET, *options) as locust:
        wait_for_mails(tmp_path)
        pumps = [p for p in psutil.Process(locust.process.pid).children() if "pump_main" in " ".join(p.cmdline())]
        locust.interrupt()
        until(lambda: not any(map(is_alive, pumps)), "the end of the load", 30)
        locust.interrupt()
        assert locust.wait(ENDED_S) == 3, locust.output
    assert len(pumps) == 1
    assert "locust: the record is being finished; Ctrl-C once more ends without it\n" in locust.output
    assert "Traceback" not in locust.output
    found = locust.record().run
    assert (found.status, found.reason) == ("interrupted", "interrupted by a second Ctrl-C")
    assert statuses(locust.record())[f"{scenario}.finished"] == "UNKNOWN"
    assert f"{scenario}.nothing_lost" not in statuses(locust.record())
    assert (locust.record().directory / "report.html").exists()


def test_a_schedule_that_is_ended_has_no_more(tmp_path: Path) -> None:
    """Ctrl-C in an outage: what was not due any more is not waited for, so the CRM has caught up."""
    options = [
        "--rate",
        "200",
        "--before",
        "2",
        "--outage",
        "60",
        "-t",
        "300s",
        "--send-lag-budget-ms",
        "5000",
        *TWO,
    ]
    with Locust(tmp_path, "crm_outage", *QUIET, *options) as locust:
        wait_for_mails(tmp_path)
        ours = psutil.Process(locust.process.pid)
        [crm] = [each for each in ours.children(recursive=True) if "ordershop.services.crm" in each.cmdline()]
        until(lambda: not is_alive(crm), "the outage", 30)
        locust.interrupt()
        locust.wait(ENDED_S)
    record = locust.record()
    # The whole was not measured, so that nothing is said of it in a sentence; the figures are there.
    assert (record.run.status, record.run.headline) == ("interrupted", ""), locust.output
    [lost, draining_s] = figures(record, "lost", "draining_s")
    assert (lost, draining_s is not None) == (0, True)


@contextmanager
def killed_master(tmp_path: Path) -> Iterator[list[psutil.Process]]:
    """What a master has started, after it was killed under load."""
    options = ["--before", "120", "--base", "300", "--processes", "2", *TWO]
    with Locust(tmp_path, "lag", *QUIET, *options) as locust:
        wait_for_mails(tmp_path)
        ours = psutil.Process(locust.process.pid).children(recursive=True)
        psutil.Process(locust.process.pid).kill()
        locust.process.wait()
        try:
            yield ours
        finally:
            for one in filter(is_alive, ours):
                one.kill()


def test_a_master_that_is_killed(tmp_path: Path) -> None:
    """Its workers, pumps, services and server end soon; `report` and the record say that it was killed."""
    with killed_master(tmp_path) as ours:
        assert len(ours) >= 6
        # Locust itself would wait for a minute for a heartbeat.
        until(lambda: not any(map(is_alive, ours)), "the end of all that it had started", 50)
    [before] = run.find_runs(tmp_path / "runs")
    assert before.run.status == "running"
    done = shopbench("report", str(before.directory))
    assert "it was killed: its process" in " ".join(done.out.split())
    [after] = run.find_runs(tmp_path / "runs")
    assert after.run.status == "interrupted"
    assert statuses(after) == {"lag.finished": "UNKNOWN"}


@pytest.mark.parametrize("processes", [(), ("--processes", "2")])
def test_ctrl_c_ends_the_schedule_and_keeps_the_account(tmp_path: Path, processes: tuple[str, ...]) -> None:
    """Ctrl-C in the middle: what was due until then was answered, drained, accounted for and reported."""
    options = ["--before", "60", "--base", "300", "-t", "300s", "--send-lag-budget-ms", "5000", *processes, *TWO]
    with Locust(tmp_path, "lag", *QUIET, *options) as locust:
        until(lambda: any((tmp_path / "runs").glob("*/outbox.jsonl")), "a mail service", 30)
        until(lambda: next((tmp_path / "runs").glob("*/outbox.jsonl")).stat().st_size > 10_000, "some mails", 30)
        locust.interrupt()
        code = locust.wait(ENDED_S)
    record = locust.record()
    attempted, acknowledged, applied, lost = figures(record, "attempted", "acknowledged", "applied", "lost")
    assert attempted is not None, locust.output
    assert 0 < attempted == acknowledged == applied < 300 * 300
    assert lost == 0
    assert statuses(record)["lag.nothing_lost"] == statuses(record)["lag.drained"] == "PASS"
    assert (record.run.status, code) == ("interrupted", 3), locust.output
    assert (record.directory / "report.html").exists()


def test_verdicts_make_the_exit_code(tmp_path: Path) -> None:
    """A run that loses events ends with 1: here one whose CRM subscribes as tutorials do, by its old name."""
    options = ["--profile", "smoke", "--delivery", "seed"]
    with Locust(tmp_path, "crm_outage", *QUIET, *options) as locust:
        assert locust.wait() == 1, locust.output
    record = locust.record()
    assert statuses(record)["crm_outage.nothing_lost"] == "FAIL"
    assert record.run.parameters["delivery"] == "from_now"


def test_what_may_fail_is_up_to_the_verdicts(tmp_path: Path) -> None:
    """Requests that fail are errors to Locust, but not where Redis is killed: its verdicts alone are the code."""
    # An answer waits for the disk, so that many are on their way when Redis is killed.
    options = ["--profile", "smoke", "--durability", "always", "--rate", "4000", "--send-lag-budget-ms", "5000"]
    with Locust(tmp_path, "redis_crash", *QUIET, *options, "--json-file", "stats") as locust:
        code = locust.wait()
    [row] = locust.statistics()
    assert row["num_failures"] > 0
    verdicts = locust.record().run.verdicts
    assert code == checkers.exit_code(verdicts), locust.output
    assert checkers.exit_code(settled(verdicts)) == 0, verdicts


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--rate", "-5"],
            "locust: append: rate_per_s is more than 0 and at most 1,000,000 events a second, not -5",
        ),
        (["--profile", "fast"], "locust: there is no profile 'fast'; there are smoke, quick, standard, full"),
        (["--tags", "order"], "locust: no step of these users has the tag 'order'; they have none"),
        (["--seed", "one"], "locust: a seed is a whole number of 0 or more, not 'one'"),
        (
            ["--users", "100"],
            "locust: 100 users at 1 a second have not all started within 60 s: give --spawn-rate 2 or more",
        ),
    ],
)
def test_bad_input_is_one_line_and_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    """What cannot be is refused before anything starts, in one line."""
    with Locust(tmp_path, "append", *QUIET, *arguments) as locust:
        assert locust.wait() == 2
    assert locust.output.splitlines() == [says]
    assert not (tmp_path / "runs").exists()


def test_json_is_all_of_the_output(tmp_path: Path) -> None:
    """With `--json` stdout is one document; what we say stands on stderr."""
    options = ["--headless", "--json", "--skip-log", "-t", "1s", "--durability", "none", *TWO]
    command = [sys.executable, "-m", "locust", "-f", str(SCENARIOS / "append.py"), "--profile", "smoke", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    [row] = json.loads(done.stdout)
    assert row["name"] == "append_none"
    assert "report.html" in done.stderr


def test_a_locustfile_under_any_name(tmp_path: Path) -> None:
    """A copy of one of ours works by whatever name it has."""
    (tmp_path / "mine.py").write_text((SCENARIOS / "append.py").read_text())
    with Locust(
        tmp_path, str(tmp_path / "mine"), *QUIET, "-t", "1s", "--profile", "smoke", *TWO, *APPEND
    ) as locust:
        assert is_well(locust.wait(), locust.record()), locust.output
    assert locust.record().run.scenario == "append"


def test_two_locustfiles_at_once(tmp_path: Path) -> None:
    """One test is one scenario: said in one line, in place of a traceback."""
    with Locust(tmp_path, "append", "-f", f"{SCENARIOS / 'append.py'},{SCENARIOS / 'lag.py'}", *QUIET) as locust:
        assert locust.wait() == 2
    assert locust.output == "locust: one scenario at a time: append was given, and lag\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--web-login"], "locust: --web-login asks for the password that SHOPBENCH_WEB_PASSWORD has in"),
        (["--allowed-origin", "bench.lan"], "locust: --allowed-origin is written as http://bench.lan"),
        (["--also-server", "x"], "locust: --also-server is given as NAME=WHICH"),
    ],
)
def test_a_web_ui_that_cannot_be(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Said in one line, before it is served."""
    with Locust(tmp_path, "append", "--loglevel", "ERROR", "--web-port", str(free_port()), *arguments) as locust:
        assert locust.wait() == 2
    [line] = locust.output.splitlines()
    assert line.startswith(says)


def test_a_choice_that_there_is_not(tmp_path: Path) -> None:
    """Locust's own parser refuses what is no choice, and names the choices."""
    with Locust(tmp_path, "append", *QUIET, "--durability", "sometimes") as locust:
        assert locust.wait() == 2
    assert "invalid choice: 'sometimes'" in locust.output


def test_a_server_that_is_away(tmp_path: Path) -> None:
    """What cannot be carried out says why, in one line, and ends with 2."""
    with Locust(tmp_path, "append", *QUIET, *APPEND, "--server", "redis://127.0.0.1:1") as locust:
        assert locust.wait() == 2
    [line] = [line for line in locust.output.splitlines() if line.startswith("locust: ")]
    assert line.startswith("locust: append: redis://127.0.0.1:1: does not answer")


def test_a_server_of_somebody_else(tmp_path: Path, own_server: OwnServer) -> None:
    """A run on a server at a URL leaves it as it was."""
    options = ["-t", "1s", *APPEND[2:], "--server", str(own_server.url)]
    with Locust(tmp_path, "append", *QUIET, *options) as locust:
        assert is_well(locust.wait(), locust.record()), locust.output
    assert figures(locust.record(), "given.ok") == [1000]
    with own_server.client() as client:
        assert client.dbsize() == 0
