"""`shopbench versus` as its user has it: an answer, an exit code, one clear line, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.record.run import load
from tests.forks import ROOT, shopbench
from tests.waiting import until

pytestmark = pytest.mark.slow

REDIS = shutil.which("redis-server")
# It ends at its first look; on a machine that is busy, with rounds of ten seconds, it still has enough of them.
QUICK = ["--metric", "append.p50", "--minutes", "3", "--relevant", "append.p50=30%", "--seed", "3"]

BAD_INPUT = {
    "a URL": (["embedded", "redis://127.0.0.1:6379"], "versus starts a fresh server for each side"),
    "no program": (["embedded", "/no/such/program"], "/no/such/program: neither a server program"),
    "no server": (["embedded", "/bin/true"], "/bin/true: ended at once"),
    "one side twice": (["embedded", "embedded"], "A and B are one and the same side"),
    "one server, no options": (["embedded"], "A and B are one and the same side"),
    "a directive that there is not": (["embedded", "--b-config", "no-such-thing 4"], "Bad directive"),
    "a directive of ours": (["embedded", "--b-config", "port 4"], "itself decides about this"),
    "no directive": (["embedded", "--b-config", "io-threads"], "a directive is a name and its values"),
    "no durability": (["embedded", "--b-durability", "sometimes"], "there is no durability 'sometimes'"),
    "no parameter": (["embedded", "--b-param", "pth=xadd"], "did you mean path?"),
    "a rate without one": (["embedded", "--b-param", "rate_per_s=7"], "rate_per_s: without --rate"),
    "no system": (["embedded", "--b-system", "nowhere:at_all"], "there is no system 'nowhere:at_all'"),
    "a load of another system": (
        ["embedded", "--b-system", "plain_store.system:system", "--b-param", "path=xadd"],
        "path: what OrderShop is sent, and not plain_store.system:system",
    ),
    "no metric": (["embedded", "--b-config", "hz 20", "--metric", "speed"], "there is no metric 'speed'"),
    "a side that there is not": (["embedded", "embedded", "--c-config", "hz 20"], "only 2 servers are named"),
    "too many": (["embedded"] * 5, "versus compares 2 to 4 sides, not 5"),
    "no cores": (["embedded", "--b-config", "hz 20", "--cores", "apart"], "--cores without --rate is one or all"),
    "no arrivals": (["embedded", "--b-config", "hz 20", "--arrivals", "x"], "--arrivals is constant or poisson"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_line(tmp_path: Path, name: str) -> None:
    """What cannot be is told in one line with exit code 2, and leaves no record."""
    words, told = BAD_INPUT[name]
    ended = shopbench("versus", *words, cwd=tmp_path, environment={"PYTHONPATH": f"{ROOT}:{ROOT / 'examples'}"})
    assert (ended.code, ended.out) == (2, "")
    [line] = ended.err.splitlines()
    assert line.startswith("shopbench: ")
    assert told in line
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a comparison of two loads, one of which does far less; with a limit and a history."""
    directory = tmp_path_factory.mktemp("versus")
    (directory / "slo.toml").write_text('[[budget]]\nfigure = "versus.append.p50.ratio"\nat_most = "0.9 ×"\n')
    ended = shopbench(
        *("versus", "embedded", "--b-param", "path=xadd", *QUICK, "--history", "history.jsonl"),
        *("--budget", "slo.toml"),
        cwd=directory,
        timeout_s=400,
    )
    assert ended.code == 0, ended
    return directory


def test_an_answer(paths: Path) -> None:
    """A bare XADD takes far less than the shop's write path, and it is said in words, by name."""
    [directory] = (paths / "runs").glob("*-versus")
    run = load(directory).run
    assert [verdict.status for verdict in run.verdicts if verdict.name.startswith("budget")] == ["PASS"]
    assert "with path xadd takes 0." in run.headline
    assert "at the median: faster." in run.headline
    assert (run.figure("versus.append.p50.high") or 1) < 0.9
    assert [side["load"] for side in run.parameters["sides"]] == [{}, {"path": "xadd"}]
    for name in ("report.html", "summary.md", "junit.xml"):
        assert "path xadd" in (directory / name).read_text()
    assert len((directory / "rounds.jsonl").read_text().splitlines()) == run.figure("versus.rounds")
    [entry] = [json.loads(line) for line in (paths / "history.jsonl").read_text().splitlines()]
    assert entry["figures"]["versus.append.p50.ratio"] == run.figure("versus.append.p50.ratio")


def test_it_is_judged_again(paths: Path) -> None:
    """`check` finds each verdict again from the rounds, without a server, and keeps those of budgets."""
    [directory] = (paths / "runs").glob("*-versus")
    ended = shopbench("check", str(directory))
    assert ended.code == 0, ended
    assert "each as it was stored" in ended.out


@pytest.mark.skipif(REDIS is None, reason="there is no redis-server")
def test_two_programs_at_a_rate(tmp_path: Path) -> None:
    """Each is called by what it says it is; the tail is compared, and the load of both was answered."""
    ended = shopbench(
        *("versus", "embedded", str(REDIS), "--rate", "1500", "--minutes", "0.5", "--metric", "response.p50"),
        cwd=tmp_path,
        timeout_s=180,
    )
    assert ended.code in {0, 3}, ended
    [directory] = (tmp_path / "runs").glob("*-versus")
    run = load(directory).run
    first, other = (side["name"] for side in run.parameters["sides"])
    assert first.startswith("Valkey ")
    assert other.startswith("Redis ")
    statuses = {verdict.name: verdict.status for verdict in run.verdicts}
    assert {"versus.answered.a", "versus.answered.b"} <= set(statuses)
    assert "Open loop: 1 connection" in (directory / "summary.md").read_text()


def test_an_interrupt(tmp_path: Path) -> None:
    """The record stands as interrupted, with the rounds that there were; exit code 2, and no server is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "versus", "embedded", "--b-config", "hz 20", "--runs", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(
            lambda: any(path.stat().st_size for path in tmp_path.glob("*-versus/rounds.jsonl")), "a round is there"
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 2, err
    assert "the comparison was interrupted by" in err
    [directory] = tmp_path.glob("*-versus")
    run = load(directory).run
    assert run.status == "interrupted"
    assert [verdict.name for verdict in run.verdicts] == ["versus.finished"]
    assert "interrupted" in (directory / "report.html").read_text()
