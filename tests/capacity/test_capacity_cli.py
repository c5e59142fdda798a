"""`shopbench capacity`: what it refuses in one line; a search of a known capacity; an interrupt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.record.run import Record, find_runs, load
from tests.forks import shopbench
from tests.known_capacity import program_of
from tests.waiting import until

ROOT = Path(__file__).parents[2]
# On a busy machine the instrument may be late: what is looked at here is what a search does, and not how well.
SLOWLY = ("-p", "path=xadd", "-p", "durability=none", "-p", "rate_per_s=100")
PATIENT = ("-p", "send_lag_budget_ms=60000")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("append", "say what has to be kept, such as --p99 5ms"),
        ("append --p99 5", "--p99: '5' is no duration, such as 5ms, 300us or 1s"),
        ("append --lag 1s", "--lag: append measures no lag; lag and journey do"),
        ("appendx --p99 5ms", "there is no scenario 'appendx'; did you mean append?"),
        ("replay --p99 5ms", "capacity is for append, mix, lag, journey, and not for replay"),
        ("append --p99 5ms -p durability=all", "append: each durability has a rate of its own"),
        ("append --p99 5ms -p shape=ramp", "append: the rate is steady here: `shape` cannot be `ramp`"),
        ("lag --lag 1s -p shape=burst", "lag: the rate is steady here: `shape` cannot be `burst`"),
        ("append --p99 5ms -p duration_s=3", "duration_s is the search's to choose"),
        ("append --p99 5ms -p rate_per_s=2000000", "append: rate_per_s is more than 0 and at most 1,000,000"),
        ("append --p99 5ms --precision 0", "--precision is a share from 0.5% to 50%, such as 5%, not '0'"),
        ("append --p99 5ms --consumer cat", "--consumer is for lag"),
        ("append --p99 1us", "p99 <= 1 µs: a bare PING takes "),
        ("append --p99 5ms --server /no/such/server", "/no/such/server"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: str, said: str, tmp_path: Path) -> None:
    """Before anything long begins; exit code 2, and no record is left."""
    ended = shopbench("capacity", *arguments.split(), cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    assert not list(tmp_path.glob("runs/*"))


def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    """The load and the search are told, with what was chosen for them."""
    ended = shopbench("capacity", "append", "--p99", "5ms", "--dry-run", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "    durability=everysec\n" in ended.out
    assert "p99_ms=5.0" in ended.out
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, str, int]:
    """A search of a server that takes 400 bare XADDs a second, and no more."""
    where = tmp_path_factory.mktemp("search")
    (where / "limits.toml").write_text(
        '[[budget]]\nfigure = "capacity.append.passes_per_s"\nat_least = 100\nwhen = { p50_ms = 100 }\n'
        '[[budget]]\nfigure = "capacity.append.passes_per_s"\nat_least = 5_000\nwhen = { durability = "none" }\n'
    )
    server = program_of(where, service_us=2_500)
    given = ["-p", "path=xadd", "-p", "durability=none", "-p", "rate_per_s=250"]
    asked = f"--server {server} --minutes 0.8 --precision 30% --budget limits.toml --history history.jsonl".split()
    ended = shopbench("capacity", "append", "--p50", "100ms", *given, *PATIENT, *asked, cwd=where, timeout_s=180)
    [record] = find_runs(where / "runs")
    return record, ended.out + ended.err, ended.code


def skip_where_nothing_could_tell(record: Record) -> None:
    """Skip a test on a machine that was too busy for every probe, where the search says just that."""
    [found] = [verdict for verdict in record.run.verdicts if verdict.name == "capacity.append.found"]
    if found.detail.endswith(" and none could tell"):
        pytest.skip(found.detail)


@pytest.mark.slow
def test_a_known_capacity_is_bracketed(searched: tuple[Record, str, int]) -> None:
    """What passes is below what the server can take, what fails is not far below: 400 a second."""
    record, told, _ = searched
    passes, fails = (record.run.figure(f"capacity.append.{side}_per_s") for side in ("passes", "fails"))
    assert record.run.status == "complete", told
    skip_where_nothing_could_tell(record)
    assert passes is not None
    assert passes <= 420
    assert fails is None or fails > 250


@pytest.mark.slow
def test_each_probe_is_a_run(searched: tuple[Record, str, int]) -> None:
    """With a record, verdicts and a report of its own, and the command that repeats it."""
    record, _, _ = searched
    probes = sorted((record.directory / "probes").iterdir())
    assert len(probes) == record.run.figure("capacity.append.probes")
    for probe in probes:
        run = load(probe).run
        assert run.scenario == "append"
        assert any(verdict.name == "append.none.load_reached" for verdict in run.verdicts)
        assert run.command[:3] == ["shopbench", "run", "append"]
        assert f"rate_per_s={run.parameters['rate_per_s']!r}" in run.command
        assert (probe / "report.html").exists()


@pytest.mark.slow
def test_it_is_judged_again_alike(searched: tuple[Record, str, int]) -> None:
    """From the record alone; and the page, the Markdown and the index know it."""
    record, told, code = searched
    again = shopbench("check", str(record.directory))
    assert "as it was stored" in again.out, again
    page = (record.directory / "report.html").read_text()
    assert "probes/001/report.html" in page
    assert record.run.headline.split(";")[0] in (record.directory / "summary.md").read_text().replace("&#60;", "<")
    assert "Traceback" not in told
    assert code in {0, 1, 3}


@pytest.mark.slow
def test_it_is_held_to_budgets(searched: tuple[Record, str, int]) -> None:
    """A rate that has to be at least so high, for what was asked; the probes' own figures are not remembered."""
    record, _, _ = searched
    skip_where_nothing_could_tell(record)
    first, second = [verdict for verdict in record.run.verdicts if verdict.name.startswith("budget.")]
    assert first.status == "PASS", first
    assert second.status in {"FAIL", "UNKNOWN"}, second
    remembered = (record.directory.parents[1] / "history.jsonl").read_text()
    assert "capacity.append.passes_per_s" in remembered
    assert ".probe.1." not in remembered


@pytest.mark.slow
def test_what_was_found_until_an_interrupt_stands(tmp_path: Path) -> None:
    """Ctrl-C in the second probe: the first is told, the record says interrupted, and the exit code 3."""
    server = program_of(tmp_path, service_us=500)
    command = [sys.executable, "-m", "harness", "capacity", "append", "--p50", "100ms"]
    command += [*SLOWLY, *PATIENT, "--server", server]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE) as process:
        until(lambda: bool(list(tmp_path.glob("runs/*/probes/002/run.json"))), "the second probe", 60)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 3, told
    [record] = find_runs(tmp_path / "runs")
    assert record.run.status == "interrupted"
    assert record.run.figure("capacity.append.probes") == 1
    [found] = [verdict for verdict in record.run.verdicts if verdict.name == "capacity.append.found"]
    assert found.status == "UNKNOWN"
    # On a busy machine the first probe may not tell anything, and then that is said.
    passes = record.run.figure("capacity.append.passes_per_s")
    tells = "1 probe, and none could tell" if passes is None else "100/s passes"
    assert found.detail.startswith(f"the search was ended before its time; {tells}")


@pytest.mark.slow
def test_the_capacity_of_a_consumer(tmp_path: Path) -> None:
    """One that takes 20 ms for each effect takes no 50 a second: what is found is below."""
    consumer = f"{sys.executable} {ROOT / 'tests' / 'consumers' / 'plain.py'} own slow"
    given = ("--lag", "2s", "-p", "base_per_s=20", "-p", "send_lag_budget_ms=60000", "--precision", "30%")
    ended = shopbench(
        "capacity", "lag", *given, "--minutes", "1", "--consumer", consumer, cwd=tmp_path, timeout_s=200
    )
    [record] = find_runs(tmp_path / "runs")
    passes, fails = (record.run.figure(f"capacity.lag.{side}_per_s") for side in ("passes", "fails"))
    assert record.run.status == "complete", ended
    assert passes is None or passes < 50
    assert fails is None or passes is None or fails > passes
    assert (record.run.figure("capacity.lag.probes") or 0) >= 1, ended
    assert "plain.py" in record.run.environment["system"]["name"]
