"""`shopbench consumer check` as its user has it: real consumers, its table, its files, and its exit codes."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from playwright.sync_api import Browser

from harness.consumer_check import result
from harness.consumer_check.result import Check
from harness.host.own_python import own_environment
from tests.browser import browser, watched
from tests.consumer_checks import check_of, played
from tests.forks import ROOT, shopbench
from tests.processes import Ended, is_alive
from tests.waiting import until

__all__ = ["browser"]
pytestmark = pytest.mark.slow

GOOD = shlex.join([sys.executable, str(ROOT / "examples" / "consumers" / "python" / "consumer.py")])
# Never reads what it had in hand when it was killed, nor claims what others had.
FORGETFUL = """
import json, os, urllib.request
import redis

print("forgetful 1.0", flush=True)
client = redis.Redis.from_url(os.environ["SHOPBENCH_REDIS_URL"], protocol=2, decode_responses=True)
group, streams = os.environ["SHOPBENCH_GROUP"], os.environ["SHOPBENCH_STREAMS"].split()
for stream in streams:
    try:
        client.xgroup_create(stream, group, id="0", mkstream=True)
    except redis.ResponseError:
        pass
while True:
    for stream, entries in client.xreadgroup(group, "one", dict.fromkeys(streams, ">"), 20, 200) or []:
        body = json.dumps([fields["event_id"] for _, fields in entries]).encode()
        urllib.request.urlopen(os.environ["SHOPBENCH_EFFECTS"], body).read()
        client.xack(stream, group, *(entry for entry, _ in entries))
"""


def check(*arguments: str, cwd: Path) -> Ended:
    return shopbench("consumer", "check", *arguments, cwd=cwd)


def found(directory: Path) -> tuple[Path, Check]:
    """The one check that was made in a directory."""
    [made] = (directory / "runs").iterdir()
    return made, result.load(made)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say which consumer is checked: --consumer 'COMMAND'"),
        (["--consumer", "'"], "No closing quotation"),
        (["--consumer", "x", "--promise", "exactly_once"], "exactly_once"),
        (["--consumer", "x", "--shape", "none.toml"], "none.toml: cannot be read"),
        (["--consumer", "x", "--restart", "maybe"], "--restart is always or never"),
        (["--consumer", "x", "--only", "kil"], "there is no trial 'kil'; did you mean kill?"),
        (["--consumer", "x", "--only", "kill", "--skip", "kill"], "no trial is left"),
        (["--consumer", "x", "--only", "kill, stop", "--skip", "kill, stop"], "no trial is left"),
        (["--consumer", "x", "--repeat", "0"], "--repeat"),
        (["--consumer", "x", "--server", "redis://127.0.0.1:1/0", "--only", "restart_empty"], "no trial is left"),
        (["--resume", "nowhere"], "nowhere: no consumer check there"),
        (["--consumer", "ordershop", "--promise", "at_most_once"], "--promise says something of a consumer"),
    ],
)
def test_bad_input_is_told_in_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    """With exit code 2; nothing is started and nothing written."""
    done = check(*arguments, cwd=tmp_path)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done
    assert done.err.startswith("shopbench: ")
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


def test_another_consumer_cannot_go_on_with_a_check(tmp_path: Path) -> None:
    """What was played of one would be taken for the other's."""
    result.save(tmp_path, check_of(played("kill")))
    done = check("--resume", str(tmp_path), "--consumer", "node other.js", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "--consumer was 'node app.js' there" in done.err


@pytest.mark.parametrize(
    ("consumer", "said"),
    [
        ("no-such-program --now", "no-such-program: cannot be run (No such file or directory)"),
        (f"{sys.executable} -c 'import no_such_library'", "No module named 'no_such_library'"),
    ],
)
def test_a_consumer_that_does_not_start(tmp_path: Path, consumer: str, said: str) -> None:
    """The check ends with its first trial: one line with the reason, a page, and exit code 2."""
    done = check("--consumer", consumer, cwd=tmp_path)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert said in done.err
    directory, made = found(tmp_path)
    assert made.status == "ended early"
    assert len(made.played) == 1
    assert (directory / "report.html").exists()
    assert done.out.splitlines()[-1] == f"runs/{directory.name}/report.html"


def test_a_fault_is_found_beside_a_consumer_that_does_not_have_it(tmp_path: Path, browser: Browser) -> None:
    """What one has in hand while the sink is away is pending for ever; all is said, and can be repeated.

    A kill would do; what was on its way to the sink has its effect then, and perhaps nothing else was in hand.
    """
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    bad = f"{sys.executable} forgetful.py"
    done = check("--consumer", bad, "--against", GOOD, "--only", "stop_while_away", cwd=tmp_path)
    assert (done.code, done.err) == (1, ""), done
    directory, made = found(tmp_path)
    of_bad, of_good = sorted(made.played, key=lambda each: each.side)
    assert (of_bad.outcome, of_good.outcome) == ("FAIL", "PASS")
    assert of_bad.counts.stuck
    assert of_bad.counts.where == {"pending": of_bad.counts.stuck}
    assert (of_good.counts.stuck, of_good.counts.lost) == (0, 0)
    assert of_good.counts.recovered_s is not None
    assert made.log_heads[0][0] == "forgetful 1.0"
    assert f"{of_bad.counts.stuck} stuck" in " ".join(done.out.split())
    page = (directory / "report.html").read_text()
    assert of_bad.command.replace("'", "&#39;") in page
    with watched(browser) as opened:
        opened.goto((directory / "report.html").as_uri())
        assert opened.complaints == []
        assert opened.locator("#stop_while_away-0 .example").count() == 1
        assert "After that nobody was given it again" in opened.locator("#stop_while_away-0").inner_text()
    root = ElementTree.parse(directory / "junit.xml").getroot()  # noqa: S314 - our own XML
    assert len(root.findall("testsuite/testcase/failure")) == 1
    # The command that repeats a row is understood, as it stands there.
    variable, program, *words = shlex.split(of_bad.command)
    assert (variable, program) == ("PYTHONHASHSEED=1", "shopbench")
    assert shopbench(*words, "--dry-run", cwd=tmp_path).code == 0


def has_a_consumer(pid: int) -> bool:
    """Whether a process, or one below it, has started the consumer."""
    for each in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(word.endswith("consumers/python/consumer.py") for word in each.cmdline()[1:2]):
                return True
    return False


def test_ctrl_c_leaves_nothing_behind_and_can_be_gone_on_with(tmp_path: Path) -> None:
    """What was played is kept, what was at work is ended; the rest is played when the check is resumed."""
    arguments = ["--consumer", GOOD, "--only", "undisturbed,stop"]
    command = [sys.executable, "-m", "harness", "consumer", "check", *arguments]
    with subprocess.Popen(
        command, cwd=tmp_path, env=own_environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("1 of 2"):
                break
        until(lambda: has_a_consumer(process.pid), "the consumer of the second trial runs")
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(60) == 3
    until(lambda: not any(map(is_alive, below)), "nothing is left")
    directory, made = found(tmp_path)
    assert (made.status, [each.trial for each in made.played]) == ("interrupted", ["undisturbed"])
    assert (directory / "report.html").exists()
    assert rest.splitlines()[-1] == f"go on with: shopbench consumer check --resume runs/{directory.name}"
    done = check("--resume", f"runs/{directory.name}", cwd=tmp_path)
    assert done.code == 0, done
    assert "1 of 2 played already" in done.out
    assert [each.trial for each in found(tmp_path)[1].played] == ["undisturbed", "stop"]
