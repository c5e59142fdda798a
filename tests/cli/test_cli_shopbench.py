"""`shopbench` as its user has it: a process, its exit code, what it prints, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import redis

from harness.conduct.interrupt import Interrupted, interruptible
from harness.measure.hlog import read_hlog
from harness.record import run
from harness.server.own import OwnServer
from scenarios.catalog import SCENARIOS
from tests.forks import shopbench
from tests.processes import Ended, is_alive
from tests.waiting import until

pytestmark = pytest.mark.slow

TINY_OUTAGE = ["crm_outage", "--profile", "smoke", "-p", "before_s=0.3", "-p", "outage_s=0.7", "-p", "after_s=0.5"]
NO_BUDGET = ["-p", "send_lag_budget_ms=60000"]
MARK = "SHOPBENCH_TEST_MARK"


def only_run(runs: Path) -> Path:
    [directory] = runs.iterdir()
    return directory


def text_of(page: str) -> str:
    """A page's words and numbers, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<(script|style).*?</\1>", " ", page)))


# Bad input -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """A tiny run of `append`, as it has ended, and its directory."""
    runs = tmp_path_factory.mktemp("finished") / "runs"
    ended = shopbench(
        *("run", "append", "--profile", "smoke", "-p", "duration_s=1", "-p", "rate_per_s=300"),
        *("-p", "durability=always", "--seed", "42", "--runs", str(runs)), *NO_BUDGET,
    )  # fmt: skip
    return ended, only_run(runs)


@pytest.fixture(scope="module")
def bad_input(finished: tuple[Ended, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """What has become of every call of the tables below."""
    where = tmp_path_factory.mktemp("bad")
    table = BAD_INPUT | BAD_SURROUNDINGS
    with socket.create_server(("127.0.0.1", 0)) as listening:
        words = _break_runs(finished[1], where) | {
            "PORT": str(listening.getsockname()[1]),
            "RUNS": str(where / "r"),
        }
        return {
            name: shopbench(*(words.get(word, word) for word in arguments), cwd=where)
            for name, (arguments, _) in table.items()
        }


def _break_runs(whole: Path, where: Path) -> dict[str, str]:
    """Run directories that cannot be read, by the words that stand for them in the table."""
    content = (whole / "run.json").read_bytes()
    record = json.loads(content)
    for name, text in {
        "TRUNCATED": content[: len(content) // 2],
        "NOT_JSON": b"\xff\xfe not JSON",
        "NEWER": json.dumps(record | {"schema": run.SCHEMA + 1}).encode(),
        "NEWER_SHAPE": json.dumps({"schema": run.SCHEMA + 1, "runs": []}).encode(),
        "FOREIGN": b'{"version": 3, "results": []}',
        "LIST": b"[]",
        "WRONG_TYPE": json.dumps(record | {"figures": "many"}).encode(),
        "NO_MEMBER": json.dumps(record | {"members": ["gone"]}).encode(),
        "OUTSIDE": json.dumps(record | {"members": ["../elsewhere"]}).encode(),
    }.items():
        (where / name).mkdir()
        (where / name / "run.json").write_bytes(text)
    (where / "EMPTY").mkdir()
    (where / "FILE").write_text("a file")
    (where / "NO_FILE_RUN").mkdir()
    (where / "NO_FILE_RUN" / "run.json").mkdir()
    for name, part, spoiled in (
        ("SPOILED_LOG", "latency.hlog", b"no log\n"),
        ("BINARY_LOG", "latency.hlog", bytes(range(256))),
        ("SPOILED_TIMELINE", "timeline.jsonl", b'{"type":"reading"}\n'),
        ("NOT_WRITABLE", "report.html", None),
    ):
        shutil.copytree(whole, where / name)
        if spoiled is None:
            (where / name / part).unlink()
            (where / name / part).mkdir()
        else:
            (where / name / part).write_bytes(spoiled)
    return {path.name: str(path) for path in where.iterdir()}


BAD_INPUT: dict[str, tuple[list[str], str]] = {
    "unknown scenario": (["run", "nonsense"], "there is no scenario 'nonsense'; there are append,"),
    "unknown second scenario": (["run", "append", "nonsense"], "there is no scenario 'nonsense'"),
    "unknown profile": (["run", "append", "--profile", "huge"], "there is no profile 'huge'; there are smoke,"),
    "unknown parameter": (["run", "append", "-p", "rte=1"], "append has no parameter 'rte'; it has "),
    "rate too small": (
        ["run", "append", "-p", "rate_per_s=0"],
        "rate_per_s is more than 0 and at most 1,000,000 events a second, not 0",
    ),
    "rate too large": (["run", "append", "-p", "rate_per_s=1e9"], "at most 1,000,000 events a second, not 1e9"),
    "rate not a number": (
        ["run", "append", "-p", "rate_per_s=nan"],
        "append: rate_per_s is a number of events a second, not",
    ),
    "rate infinite": (
        ["run", "append", "-p", "rate_per_s=inf"],
        "append: rate_per_s is a number of events a second, not",
    ),
    "rate a word": (
        ["run", "append", "-p", "rate_per_s=fast"],
        "append: rate_per_s is a number of events a second, not 'fast'",
    ),
    "half a connection": (
        ["run", "append", "-p", "connections=1.5"],
        "append: connections is a whole number of connections, not '1.5'",
    ),
    "unknown durability": (
        ["run", "append", "-p", "durability=some"],
        "durability is one of everysec, always, none",
    ),
    "parameter without a value": (["run", "append", "-p", "rate_per_s"], "a parameter is given as NAME=VALUE"),
    "parameter without a name": (["run", "append", "-p", "=5"], "a parameter is given as NAME=VALUE"),
    "empty parameter value": (
        ["run", "append", "-p", "rate_per_s="],
        "append: rate_per_s is a number of events a second, not",
    ),
    "parameters for several": (["run", "append", "lag", "-p", "seed=1"], "-p sets a parameter of one scenario"),
    "parameters for all": (["run", "-p", "rate_per_s=5"], "-p sets a parameter of one scenario"),
    "negative seed": (["run", "append", "--seed", "-1"], "Invalid value for '--seed'"),
    "port out of range": (["run", "append", "--port", "65536"], "Invalid value for '--port'"),
    "unknown option": (["run", "append", "--fast"], "No such option"),
    "unknown command": (["measure"], "No such command 'measure'"),
    "report without a run": (["report"], "Missing argument"),
    "runs below a file": (["run", "append", "--runs", "FILE"], "cannot be made"),
    "runs not writable": (["run", "append", "--runs", "/proc/runs"], "cannot be made"),
    "report of nothing": (["report", "/no/such/run"], "/no/such/run: no run record there"),
    "report of a file": (["report", "FILE"], "no run record there"),
    "report of an empty directory": (["report", "EMPTY"], "no run record there"),
    "report of a directory in its place": (["report", "NO_FILE_RUN"], "no run record there"),
    "report of a truncated run": (["report", "TRUNCATED"], "run.json is not a run record"),
    "report of no JSON": (["report", "NOT_JSON"], "run.json is not a run record"),
    "report of a foreign record": (["report", "FOREIGN"], "run.json is not a run record"),
    "report of a list": (["report", "LIST"], "run.json is not a run record"),
    "report of a wrong type": (["report", "WRONG_TYPE"], "run.json is not a run record"),
    "report of a newer run": (["report", "NEWER"], "written by a newer shopbench"),
    "report of a newer shape": (["report", "NEWER_SHAPE"], "written by a newer shopbench"),
    "report with a member that is gone": (["report", "NO_MEMBER"], "no run record there"),
    "report with a member outside": (["report", "OUTSIDE"], "names a member outside of the run"),
    "comparison with a spoiled log": (["compare", "SPOILED_LOG", "SPOILED_LOG"], "SPOILED_LOG: "),
    "comparison with a binary log": (["compare", "BINARY_LOG", "BINARY_LOG"], "BINARY_LOG: "),
    "report that cannot be written": (["report", "NOT_WRITABLE"], "the report cannot be written"),
    "not a Redis URL": (["run", "append", "--server", "http://127.0.0.1:1"], "not the URL of a Redis server"),
    "not a URL": (["run", "append", "--server", "redis://[::1"], "not the URL of a Redis server"),
    "not a database": (["run", "append", "--server", "redis://127.0.0.1:1/abc"], "the number of a database"),
    "unknown URL option": (
        ["run", "append", "--server", "redis://127.0.0.1:1?a=b"],
        "an option that there is not",
    ),
    "a server file that is not there": (["run", "append", "--server-file", "/no/such/file"], "cannot be read"),
    "a server named twice": (["run", "--server-file", "/dev/null", "--server", "embedded"], "not by both"),
    "comparison with a spoiled timeline": (
        ["compare", "SPOILED_TIMELINE", "SPOILED_TIMELINE"],
        "SPOILED_TIMELINE: ",
    ),
}

IN = ["--runs", "RUNS"]
BAD_SURROUNDINGS: dict[str, tuple[list[str], str]] = {
    "no server there": (["run", "append", *IN, "--server", "redis://127.0.0.1:1"], "does not answer"),
    "no server there, all": (
        ["run", *IN, "--profile", "smoke", "--server", "redis://127.0.0.1:1"],
        "does not answer",
    ),
    "no such program": (
        ["run", "lag", *IN, "--server", "/no/such/program"],
        "neither a server program, nor a URL",
    ),
    "no server program": (["run", "replay", *IN, "--server", "/bin/true"], "/bin/true: ended at once"),
    "port in use": (["run", "append", *IN, "--port", "PORT"], "is in use"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_line(bad_input: dict[str, Ended], name: str) -> None:
    """What cannot be is told in one line on standard error, with exit code 2, and nothing else."""
    ended = bad_input[name]
    assert ended.code == 2
    assert ended.out == ""
    [line] = ended.err.splitlines()
    assert line.startswith("shopbench: ")
    assert BAD_INPUT[name][1] in line


@pytest.mark.parametrize("name", BAD_SURROUNDINGS)
def test_bad_surroundings_are_one_line(bad_input: dict[str, Ended], name: str) -> None:
    """A server that cannot be used: exit code 2 and one line of complaint, which its record and report repeat."""
    ended = bad_input[name]
    assert ended.code == 2
    [line] = ended.complaints
    assert line.startswith("shopbench: ")
    assert BAD_SURROUNDINGS[name][1] in line
    page = Path(ended.out.splitlines()[-1])
    record = run.load(page.parent).run
    assert (record.status, record.figures) == ("failed", [])
    assert [verdict.status for verdict in record.verdicts] == ["UNKNOWN"]
    assert line == f"shopbench: {record.reason}"
    assert "failed" in text_of(page.read_text())


# A run, and its report -------------------------------------------------------------------------------------


def test_list_names_every_scenario() -> None:
    """`list` has each scenario with what it measures, and each of its parameters with its default."""
    ended = shopbench("list")
    assert (ended.code, ended.err) == (0, "")
    for scenario in SCENARIOS.values():
        assert f"{scenario.name}: {scenario.summary}\n" in ended.out
        for name in scenario.parameters.__struct_fields__:
            assert re.search(rf"^    {name}=", ended.out, re.MULTILINE)


def test_a_dry_run_prints_the_plan_and_starts_nothing(tmp_path: Path) -> None:
    """Scenario, length, parameters and the rest stand there; no directory, no record, no server."""
    runs = tmp_path / "runs"
    ended = shopbench(
        *("run", "append", "--profile", "smoke", "-p", "rate_per_s=250000", "--seed", "7"),
        *("--runs", str(runs), "--dry-run"), cwd=tmp_path,
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "append: 6 s of load"
    assert {"    rate_per_s=250000", "    duration_s=2", "    durability=all"} <= set(lines)
    assert f"profile=smoke, seed=7, server=embedded, cores=all, runs={runs}" in lines
    assert lines[-1] == "nothing was started: this was a dry run"
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_looks_whether_the_server_could_be_had(tmp_path: Path, own_server: OwnServer) -> None:
    """One that is free is left as it was; somebody else's keys, nobody there and no program are told, with 2."""
    dry = ("run", "append", "--dry-run", "--server")
    assert shopbench(*dry, str(own_server.url)).code == 0
    with own_server.client() as client:
        assert client.dbsize() == 0
        client.set("theirs", "precious")
    for which, words in (
        (str(own_server.url), "holds a key that is not ours ('theirs')"),
        ("redis://127.0.0.1:1", "does not answer"),
        ("/no/such/program", "neither a server program, nor a URL"),
    ):
        ended = shopbench(*dry, which, cwd=tmp_path)
        assert (ended.code, ended.out) == (2, "")
        [line] = ended.err.splitlines()
        assert words in line
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_all_names_all(tmp_path: Path) -> None:
    """Without a name every scenario is planned, but for those that have to be named, such as a soak."""
    ended = shopbench("run", "--profile", "smoke", "--dry-run", cwd=tmp_path)
    planned = re.findall(r"^([a-z_]+)(?:: .* of load)?$", ended.out, re.MULTILINE)
    assert (ended.code, planned) == (
        0,
        [n for n, each in SCENARIOS.items() if not getattr(each, "only_by_name", False)],
    )


def test_no_command_shows_the_help() -> None:
    """Who gives no command is told which there are, with exit code 2."""
    ended = shopbench()
    assert ended.code == 2
    assert "Traceback" not in ended.err
    for command in ("run", "list", "report"):
        assert re.search(rf"\b{command}\b", ended.out + ended.err)


def test_a_run_ends_with_its_report(finished: tuple[Ended, Path]) -> None:
    """Every verdict passes: exit code 0; the files of the design are there; the last line is the report's path."""
    ended, directory = finished
    assert (ended.code, ended.complaints) == (0, [])
    assert Path(ended.out.splitlines()[-1]) == directory / "report.html"
    files = {"run.json", "latency.hlog", "timeline.jsonl", "report.html", "summary.md", "junit.xml"}
    assert files <= {path.name for path in directory.iterdir()}
    assert re.fullmatch(r"\d{8}-\d{6}-append", directory.name)


def test_the_record_says_what_was_asked_for(finished: tuple[Ended, Path]) -> None:
    """Scenario, parameters, seed, command, environment and verdicts stand in run.json."""
    record = json.loads((finished[1] / "run.json").read_bytes())
    assert (record["schema"], record["scenario"], record["status"]) == (run.SCHEMA, "append", "complete")
    expected = {"profile": "smoke", "rate_per_s": 300, "duration_s": 1, "durability": "always"}
    assert expected.items() <= record["parameters"].items()
    assert record["seed"] == 42
    assert record["command"][:3] == ["shopbench", "run", "append"]
    assert record["environment"]["server"]["appendfsync"] == "always"
    assert {verdict["status"] for verdict in record["verdicts"]} == {"PASS"}


def test_the_figures_are_those_of_the_log(finished: tuple[Ended, Path]) -> None:
    """Counts and quantiles of run.json are those of latency.hlog."""
    record = run.load(finished[1]).run
    log = read_hlog(finished[1] / "latency.hlog")
    kinds = ("reading_lag", "response", "send_lag", "service")
    assert log.tags == [f"append_always.{kind}" for kind in kinds]
    assert record.figure("append.always.ok") == 300
    for kind in ("response", "service", "send_lag"):
        assert log.total(f"append_always.{kind}").total == 300
        for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            assert record.figure(f"append.always.{kind}.{name}") == log.total(f"append_always.{kind}").quantile_us(
                q
            )


def test_the_report_shows_the_figures(finished: tuple[Ended, Path]) -> None:
    """The report's page has the headline and every verdict of the record, word by word."""
    record = run.load(finished[1]).run
    page = text_of((finished[1] / "report.html").read_text())
    assert record.headline in page
    for verdict in record.verdicts:
        assert verdict.detail in page
    p99_us = record.figure("append.always.response.p99")
    assert p99_us is not None
    # Three digits, also where the last one is a 0.
    shown = f"{p99_us:.0f} µs" if p99_us < 1_000 else f"{p99_us / 1_000:#.3g}".rstrip(".") + " ms"
    assert shown in page.replace("\xa0", " ").replace("\u202f", " ").replace("&nbsp;", " ")


def test_the_report_is_rendered_again_from_the_record_alone(finished: tuple[Ended, Path], tmp_path: Path) -> None:
    """With no server and nothing but the files of the record, the same report comes out."""
    whole = finished[1]
    copy = tmp_path / whole.name
    copy.mkdir()
    for name in ("run.json", "latency.hlog", "timeline.jsonl", "evidence.zip"):
        shutil.copy(whole / name, copy / name)
    ended = shopbench("report", str(copy))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == str(copy / "report.html")
    for name in ("report.html", "summary.md", "junit.xml"):
        assert (copy / name).read_bytes() == (whole / name).read_bytes()


def test_a_scenario_that_is_named_twice_runs_once(tmp_path: Path) -> None:
    """A second run of the same name would overwrite the first."""
    runs = tmp_path / "runs"
    ended = shopbench("run", "replay", "replay", "--profile", "smoke", "-p", "events=100", "--runs", str(runs))
    assert (ended.code, ended.complaints) == (0, [])
    assert run.load(only_run(runs)).run.scenario == "replay"


def test_a_spike_of_payloads_of_many_sizes(own_server: OwnServer, tmp_path: Path) -> None:
    """As many events come to the server as the shape has, and they are of many sizes around the middle."""
    seen: dict[bytes, bytes] = {}
    ended = threading.Event()

    def look() -> None:
        with own_server.client() as client:
            while not ended.wait(0.05):
                for key in client.scan_iter(_type="stream"):
                    seen.update((entry, max(fields.values(), key=len)) for entry, fields in client.xrange(key))

    with contextlib.ExitStack() as stack:
        looking = threading.Thread(target=look)
        looking.start()
        stack.callback(looking.join)
        stack.callback(ended.set)
        done = shopbench(
            *("run", "append", "--profile", "smoke", "-p", "shape=spike", "-p", "rate_per_s=500"),
            *("-p", "payload=lognormal", "-p", "payload_bytes=300", "-p", "duration_s=2", *NO_BUDGET),
            *("--server", str(own_server.url), "--runs", str(tmp_path)),
        )
    assert done.code in {0, 3}, done
    record = run.load(only_run(tmp_path))
    # A quarter of the rate, and all of it for the fifth of the time in the middle.
    assert record.run.figure("append.given.ok") == 500 * (0.25 * 1.6 + 0.4)
    assert "(spike, open loop" in record.run.headline
    sizes = sorted(map(len, seen.values()))
    assert len(set(sizes)) > 50
    assert 240 < sizes[len(sizes) // 2] < 375


# Verdicts and exit codes -----------------------------------------------------------------------------------


def test_nothing_is_lost_in_an_outage(tmp_path: Path) -> None:
    """The CRM is killed and comes back: every acknowledged event has its mail, and exit code 0 says so."""
    runs = tmp_path / "runs"
    ended = shopbench("run", *TINY_OUTAGE, *NO_BUDGET, "--runs", str(runs))
    record = run.load(only_run(runs)).run
    # Whether the load arrived in time is up to the machine.
    of_the_line = [verdict for verdict in record.verdicts if not verdict.name.endswith("load_reached")]
    assert {verdict.name: verdict.status for verdict in of_the_line} == {
        f"crm_outage.{name}": "PASS"
        for name in (
            *("send_lag", "answered", "drained", "in_order"),
            *("nothing_lost", "nothing_twice", "nothing_unexpected"),
        )
    }
    assert ended.code in {0, 3}
    assert record.figure("crm_outage.lost") == 0
    assert record.figure("crm_outage.acknowledged") == 300
    assert record.figure("crm_outage.applied") == 300


def test_who_subscribes_from_now_on_loses_what_was_published_meanwhile(tmp_path: Path) -> None:
    """Who subscribes from the end of the stream loses all of the outage: exit code 1, and the true number."""
    runs = tmp_path / "runs"
    ended = shopbench("run", *TINY_OUTAGE, *NO_BUDGET, "-p", "delivery=from_now", "--runs", str(runs))
    record = run.load(only_run(runs))
    assert ended.code == 1
    lost = record.run.figure("crm_outage.lost") or 0
    [window] = record.history.faults
    assert window.end_ns is not None
    assert lost >= int(200 * (window.end_ns - window.start_ns) / 1e9) - 1 > 0
    assert lost == 300 - (record.run.figure("crm_outage.applied") or 0)
    failed = [verdict.name for verdict in record.run.verdicts if verdict.status == "FAIL"]
    assert failed == ["crm_outage.nothing_lost"]
    assert f"{lost:,.0f} were lost" in record.run.headline


def test_an_instrument_that_fell_behind_is_not_valid(tmp_path: Path) -> None:
    """Send lag beyond the budget: UNKNOWN, and exit code 3."""
    runs = tmp_path / "runs"
    ended = shopbench(
        *("run", "append", "--profile", "smoke", "-p", "duration_s=0.2", "-p", "durability=none"),
        *("-p", "send_lag_budget_ms=0.0001", "--runs", str(runs)),
    )
    record = run.load(only_run(runs)).run
    assert ended.code == 3
    [verdict] = [verdict for verdict in record.verdicts if verdict.status != "PASS"]
    assert verdict.status == "UNKNOWN"
    assert "fell behind" in verdict.detail


def test_a_server_of_others_is_left_as_it_was_and_its_password_is_not_told(
    own_server: OwnServer, tmp_path: Path
) -> None:
    """A run at a URL leaves an empty database, and no file of the run has the password, however it was given."""
    secret = "hunter2-secret"
    with own_server.client() as client:
        client.acl_setuser(
            "ada", enabled=True, passwords=[f"+{secret}"], categories=["+@all", "-@dangerous"], keys=["*"],
            channels=["*"], commands=["+info", "+client|setinfo"],
        )  # fmt: skip
        address = str(own_server.url).removeprefix("redis://")
        for number, server in enumerate(
            (
                [f"--server=redis://ada:{secret}@{address}/4"],
                ["--server", f"redis://{address}/4?username=ada&password={secret}"],
            )
        ):
            runs = tmp_path / str(number)
            ended = shopbench(
                "run", "replay", "--profile", "smoke", "-p", "events=200", *server, "--runs", str(runs)
            )
            lacks = "left out: the server's configuration (this user may not run CONFIG GET)"
            assert (ended.code, ended.complaints) == (0, [lacks])
            assert secret not in ended.out + ended.err
            record = run.load(only_run(runs)).run
            assert record.environment["server"]["owned"] is False
            for path in only_run(runs).iterdir():
                assert secret.encode() not in path.read_bytes(), path.name
        assert client.info("keyspace") == {}


def test_a_wrong_password_is_not_told(own_server: OwnServer, tmp_path: Path) -> None:
    """The complaint about a password that is refused does not repeat it, and neither does the record."""
    url = str(own_server.url).replace("redis://", "redis://ada:hunter2-secret@")
    ended = shopbench("run", "lag", "--server", url, "--runs", str(tmp_path / "runs"))
    assert ended.code == 2
    assert "***@" in ended.complaints[0]
    assert "hunter2" not in ended.out + ended.err
    for path in only_run(tmp_path / "runs").iterdir():
        assert b"hunter2" not in path.read_bytes(), path.name


# Interrupted -----------------------------------------------------------------------------------------------


class Look(NamedTuple):
    """What can be seen of a run: entries in its stream, and how many CRMs run."""

    entries: int
    crms: int


class Running:
    """`shopbench run crm_outage` in the middle of its load; every process of it carries a mark."""

    def __init__(self, where: Path, *parameters: str) -> None:
        self.mark = uuid.uuid4().hex
        self.runs = where / "runs"
        self._out = (where / "out").open("w+")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "harness", "run", "crm_outage", "-p", "rate_per_s=200"),
                *("-p", "after_s=600", *parameters, "--runs", str(self.runs)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env={**os.environ, MARK: self.mark},
            start_new_session=True,
        )
        self._seen: set[psutil.Process] = set()

    def processes(self) -> list[psutil.Process]:
        """All processes of the run that live: those that carry the mark, and all that were seen below it.

        The mark finds what has lost its parent; the second finds the server, which overwrites its environment.
        """
        with contextlib.suppress(psutil.Error):
            self._seen.update(psutil.Process(self.process.pid).children(recursive=True))
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark:
                    self._seen.add(process)
        return [process for process in self._seen if is_alive(process)]

    def wait_until(self, condition: Callable[[Look], bool]) -> None:
        """Wait for something that can be seen of the run: `stream` entries, and the programs that run."""

        def seen() -> bool:
            assert self.process.poll() is None, "the run has ended"
            return condition(self.look())

        until(seen, "the middle of the run", 30.0)

    def look(self) -> Look:
        """What can be seen of the run from outside."""
        entries = 0
        with contextlib.suppress(redis.RedisError), self.server() as client:
            entries = client.xlen("events:{customer}_created")
        return Look(entries, sum("ordershop.services.crm" in words for words in self._words()))

    def server(self) -> redis.Redis:
        """A client of the run's server, which tells its port by the title that it gives its process."""
        for [title, *_] in self._words():
            if match := re.search(r"valkey-server 127\.0\.0\.1:(\d+)", title):
                return redis.Redis(port=int(match[1]))
        raise redis.ConnectionError("the run has no server")

    def server_directory(self) -> Path:
        """Where the server of the run has its files."""
        with self.server() as client:
            return Path(client.config_get("dir")["dir"])

    def _words(self) -> list[list[str]]:
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                found.append(process.cmdline() or [""])
        return found

    def end(self) -> Ended:
        code = self.process.wait(60)
        self._out.seek(0)
        text = self._out.read()
        return Ended(code, text, text)

    def close(self) -> None:
        """End what is left of it; the guard of its server first gets the time to do its part."""
        self.processes()
        self.process.kill()
        self.process.wait()
        try:
            until(lambda: not self.processes(), "the end of all processes")
        finally:
            for process in self.processes():
                process.kill()
        self._out.close()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts runs, and ends whatever is left of them."""
    begun: list[Running] = []

    def start(*parameters: str) -> Running:
        begun.append(Running(tmp_path, *parameters))
        return begun[-1]

    yield start
    for one in begun:
        one.close()


@pytest.mark.parametrize(
    ("number", "before", "fault", "condition"),
    [
        (signal.SIGTERM, "before_s=0.2", "fault=kill", lambda seen: seen.entries >= 60 and seen.crms == 0),
        (signal.SIGINT, "before_s=0.2", "fault=freeze", lambda seen: seen.entries >= 60 and seen.crms == 1),
    ],
    ids=["SIGTERM in the outage", "SIGINT while frozen"],
)  # fmt: skip
def test_an_interrupted_run_leaves_a_record_and_no_process(
    begin: Callable[..., Running],
    number: signal.Signals,
    before: str,
    fault: str,
    condition: Callable[[Look], bool],
) -> None:
    """Ctrl-C or SIGTERM: record and report say "interrupted", exit code 3, and every process is gone."""
    running = begin("-p", before, "-p", "outage_s=600", "-p", fault)
    running.wait_until(condition)
    assert len(running.processes()) >= 4
    directory = running.server_directory()
    running.process.send_signal(number)
    ended = running.end()
    assert ended.code == 3
    assert "Traceback" not in ended.out
    until(lambda: not running.processes(), "the end of all processes")
    assert not directory.exists()
    record = run.load(only_run(running.runs))
    assert record.run.status == "interrupted"
    assert record.run.reason == f"interrupted by {number.name}"
    assert [verdict.name for verdict in record.run.verdicts] == ["crm_outage.finished"]
    assert (record.run.figure("crm_outage.ok") or 0) >= 20
    assert record.latency.total("append.response").total >= 20
    assert "interrupted" in text_of((record.directory / "report.html").read_text())
    assert ended.out.splitlines()[-1] == str(record.directory / "report.html")


def test_what_is_started_while_a_run_ends_can_be_ended_too() -> None:
    """More signals are passed over while an interrupt is handled, but not by processes that are started then."""
    with interruptible():
        with pytest.raises(Interrupted, match=r"^SIGTERM$"):
            os.kill(os.getpid(), signal.SIGTERM)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
            child = subprocess.run(["/bin/sh", "-c", f"kill -{number:d} $$; sleep 10"], check=False)
            assert child.returncode == -number


def test_two_interrupts_are_one(begin: Callable[..., Running]) -> None:
    """Who presses Ctrl-C again and again before the fault still gets the record, and no process is left."""
    running = begin("-p", "before_s=600")
    running.wait_until(lambda seen: seen.entries >= 1 and seen.crms == 1)
    while running.process.poll() is None:
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert running.end().code in {3, -signal.SIGINT}
    until(lambda: not running.processes(), "the end of all processes")
    assert run.load(only_run(running.runs)).run.status == "interrupted"


def test_an_interrupt_at_the_start_leaves_no_process(begin: Callable[..., Running]) -> None:
    """Ctrl-C while the processes are being started: whatever was there is gone."""
    running = begin("-p", "before_s=600", "--runs", "unused")
    until(lambda: len(running.processes()) >= 3, "some processes")
    running.process.send_signal(signal.SIGINT)
    assert running.end().code == 3
    until(lambda: not running.processes(), "the end of all processes")


def test_a_killed_run_leaves_no_process(begin: Callable[..., Running]) -> None:
    """SIGKILL of shopbench: its processes end by themselves, and the record says "running"."""
    running = begin("-p", "before_s=600")
    running.wait_until(lambda seen: seen.entries >= 20)
    directory = running.server_directory()
    running.process.kill()
    assert running.end().code == -signal.SIGKILL
    until(lambda: not running.processes(), "the end of all processes")
    until(lambda: not directory.exists(), "the end of the server's directory")
    assert run.load(only_run(running.runs)).run.status == "running"
