"""Nothing that a run leaves, says or shows holds a secret: its files, its pages, its processes' command lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import psutil
import pytest

from harness.record import run
from harness.server.own import OwnServer
from harness.server.server import client_for
from ordershop.supervisor import free_port
from tests.forks import shopbench
from tests.locusts import SCENARIOS
from tests.server.test_server_url import forms_of
from tests.waiting import until

pytestmark = pytest.mark.slow

USER, PASSWORD, NAME = "Bénédicte-Ada", "Pß w0rd/@#?&=%:€+", "cl!ent-name-x7"
FORMS = {form for secret in (USER, PASSWORD, NAME) for form in forms_of(secret)}
CRM_OUTAGE = ("--profile", "smoke", "-p", "fault=cut")


class Guarded(NamedTuple):
    """A server with an ACL user, a foreign key in database 0, and the address of database 15 in it."""

    server: OwnServer
    address: str


@pytest.fixture
def guarded(own_server: OwnServer) -> Guarded:
    """As somebody else's server is."""
    with own_server.client() as client:
        client.set("theirs", "1")
        client.acl_setuser(
            USER, enabled=True, passwords=[f"+{PASSWORD}"], categories=["+@all"], keys=["*"], channels=["*"]
        )
        client.acl_setuser("default", enabled=True, nopass=True, categories=["-@all"], commands=["+ping"])
    who = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"
    return Guarded(own_server, f"redis://{who}@127.0.0.1:{own_server.port}/15?client_name={NAME}")


class CommandLines:
    """The command lines of a process and of all that come from it, as `ps` shows them, until it ends.

    Attributes:
        seen: each of them once.
    """

    def __init__(self, pid: int) -> None:
        self.seen: set[str] = set()
        self._family = {pid}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        # No Python lives for less than that. Who has lost its parent stays in the family.
        while not self._ended.wait(0.05):
            parents = {process.pid: process.info["ppid"] for process in psutil.process_iter(["ppid"])}
            while joined := {pid for pid, parent in parents.items() if parent in self._family} - self._family:
                self._family |= joined
            for pid in self._family & parents.keys():
                with suppress(psutil.Error):
                    self.seen.add(" ".join(psutil.Process(pid).cmdline()))

    def end(self) -> set[str]:
        """Look no more, and answer what was seen."""
        self._ended.set()
        self._thread.join()
        return self.seen


class Ran(NamedTuple):
    """What a program has said, and the command lines that there were."""

    code: int
    said: str
    lines: set[str]


def ran(directory: Path, *command: str, variable: dict[str, str] | None = None) -> Ran:
    """Run a program to its end."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=directory, env={**os.environ, **(variable or {})},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        lines = CommandLines(process.pid)
        said = process.communicate(timeout=110)[0]
    return Ran(process.returncode, said, lines.end())


def assert_told_nothing(*texts: str | bytes) -> None:
    """No form of a secret, nor any piece of eight of one, in any of the texts."""
    for text in texts:
        raw = text.encode() if isinstance(text, str) else text
        assert [form for form in FORMS if form.encode() in raw] == []


def files_of(directory: Path) -> list[bytes]:
    """All that was left, and the names of it."""
    found = [path for path in directory.rglob("*") if path.is_file()]
    assert found
    return [*(path.read_bytes() for path in found), *(str(path).encode() for path in found)]


@contextmanager
def named_by_file(directory: Path, address: str) -> Iterator[str]:
    """A file that names a server, beside the directory that is searched."""
    file = directory.parent / f"{directory.name}.address"
    file.write_text(f"{address}\n")
    yield str(file)
    file.unlink()


def test_a_cut_line_to_somebody_elses_server(guarded: Guarded, tmp_path: Path) -> None:
    """It works through the proxy, in its database alone; and no byte, no word and no process tells a secret."""
    with named_by_file(tmp_path, guarded.address) as file:
        done = ran(tmp_path, "harness", "run", "crm_outage", *CRM_OUTAGE, "--server-file", file)
    [record] = run.find_runs(tmp_path / "runs")
    verdicts = {verdict.name: verdict.status for verdict in record.run.verdicts}
    assert verdicts["crm_outage.nothing_lost"] == "PASS", verdicts
    assert done.code in {0, 3}, done.said  # 3: the machine was too busy for the instrument
    assert any("ordershop.services.crm" in line for line in done.lines)
    assert any("harness.nemesis.proxy" in line for line in done.lines)
    assert_told_nothing(done.said, *done.lines, *files_of(tmp_path))
    assert (
        record.run.environment["server"]["url"]
        == f"redis://***@127.0.0.1:{guarded.server.port}/15?client_name=***"
    )
    with client_for(guarded.address) as client:
        assert client.info("keyspace").keys() == {"db0"}


def test_what_is_refused_tells_nothing(guarded: Guarded, tmp_path: Path) -> None:
    """A wrong password, an address that is none, a server that is away: one line, exit code 2, and no secret."""
    away = guarded.address.replace(str(guarded.server.port), str(free_port()))
    wrong = (guarded.address.replace("Ada", "Eve"), f"redis://{USER}:{PASSWORD}@h", away, f":{PASSWORD}@h")
    for address in wrong:
        ended = shopbench(
            "run", "append", "--profile", "smoke", cwd=tmp_path, environment={"SHOPBENCH_SERVER": address}
        )
        assert ended.code == 2, ended
        assert_told_nothing(ended.out, ended.err)
    commands = (["up", "--port", str(free_port())], ["replay", "customer"])
    for address, command in zip(wrong, 2 * commands, strict=True):
        done = ran(tmp_path, "ordershop", *command, variable={"ORDERSHOP_SERVER": address})
        assert (done.code, done.said.count("\n")) == (2, 1), done.said
        assert_told_nothing(done.said, *done.lines)
    # On a command line it stands in `ps`, by its user's choice, but in nothing that we say.
    for command in (
        ["ordershop", "replay", "customer"],
        ["harness", "run", "append"],
        ["harness", "web", "append"],
    ):
        done = ran(tmp_path, *command, "--server", f"redis://{USER}:{PASSWORD}@h")
        assert done.code == 2
        assert_told_nothing(done.said)


def test_unix_sockets_do_not_go_through_a_proxy(tmp_path: Path) -> None:
    """Said at once, with that reason, before anything is written to the server."""
    done = ran(tmp_path, "harness", "run", "crm_outage", *CRM_OUTAGE, "--server", "unix:///nowhere.sock")
    assert done.code == 2
    assert "goes through a TCP proxy, and this server is at a Unix socket" in done.said


def test_a_shop_on_somebody_elses_server(guarded: Guarded, tmp_path: Path) -> None:
    """`ordershop up`, `status`, `replay`, the log and `ps` name the server without its secrets, or not at all."""
    port = str(free_port())
    log = tmp_path / "log"
    with named_by_file(tmp_path, guarded.address) as file, log.open("wb") as output, subprocess.Popen(
        [sys.executable, "-m", "ordershop", "up", "--port", port, "--server-file", file],
        stdout=output, stderr=subprocess.STDOUT,
    ) as shop:  # fmt: skip
        lines = CommandLines(shop.pid)
        try:
            until(lambda: shop.poll() is not None or b"ready on" in log.read_bytes(), "a shop", 30)
            assert shop.poll() is None, log.read_text()
            status = ran(tmp_path, "ordershop", "status", "--port", port)
            replay = ran(tmp_path, "ordershop", "replay", "customer", "--port", port)
            assert (status.code, replay.code, replay.said) == (0, 0, "")
        finally:
            shop.send_signal(signal.SIGTERM)
            shop.wait(20)
    assert f"events in redis://***@127.0.0.1:{guarded.server.port}/15" in log.read_text()
    seen = lines.end()
    assert any("ordershop.services.gateway" in line for line in seen)
    assert_told_nothing(log.read_bytes(), status.said, *status.lines, *replay.lines, *seen)


def test_locusts_pages(guarded: Guarded, tmp_path: Path) -> None:
    """With `shopbench web` no page, no answer, no log and no command line tells a secret."""
    port, log = free_port(), tmp_path / "log"
    command = ["harness", "web", "append", "--profile", "smoke", "--port", str(port), "--start"]
    with log.open("wb") as output, subprocess.Popen(
        [sys.executable, "-m", *command], cwd=tmp_path, env={**os.environ, "SHOPBENCH_SERVER": guarded.address},
        stdout=output, stderr=subprocess.STDOUT,
    ) as web:  # fmt: skip
        lines = CommandLines(web.pid)
        try:
            until(lambda: web.poll() is not None or list(tmp_path.glob("runs/*/report.html")), "a report", 60)
            assert web.poll() is None, log.read_text()
            pages = [page_of(port, path) for path in PAGES]
        finally:
            web.send_signal(signal.SIGTERM)
            web.wait(30)
    assert b"shopbench/live.js" in pages[0]
    [record] = run.find_runs(tmp_path / "runs")
    assert record.run.environment["server"]["owned"] is False
    assert_told_nothing(*pages, *lines.end(), *files_of(tmp_path))


def test_locust_with_workers(guarded: Guarded, tmp_path: Path) -> None:
    """A master tells its workers where the server is; neither they nor it tell anybody else."""
    port = str(free_port())
    command = ["locust", "-f", str(SCENARIOS / "append.py"), "--headless", "-u", "2", "-r", "2", "-t", "1s"]
    command += ["--profile", "smoke", "--processes", "2", "--master-bind-port", port, "--master-port", port]
    with named_by_file(tmp_path, guarded.address) as file:
        done = ran(tmp_path, *command, "--server-file", file)
    [record] = run.find_runs(tmp_path / "runs")
    assert record.run.environment["server"]["owned"] is False
    assert done.code in {0, 3}, done.said
    assert_told_nothing(done.said, *done.lines, *files_of(tmp_path))


PAGES = (
    "/",
    "/shopbench/",
    "/shopbench/live",
    "/shopbench/report",
    "/stats/requests",
    "/stats/report",
    "/logs",
    "/tasks",
)


def page_of(port: int, path: str) -> bytes:
    """What a page of the web UI answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        content: bytes = answer.read()
    return content
