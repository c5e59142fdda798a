"""`ordershop` from the command line: up, status, stop, start, replay, down; and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ordershop.__main__ import main
from ordershop.control import socket_path
from ordershop.shop import SERVICES
from ordershop.supervisor import answers_health, free_port
from tests.forks import ordershop
from tests.shop import Client
from tests.waiting import until

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "ordershop"]


class Foreground:
    """`ordershop up`, running."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.port = free_port()
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--port", str(self.port), *arguments], stdout=output, stderr=subprocess.STDOUT
            )
        try:
            until(self.is_ready, "the shop is ready", 30)
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise AssertionError(self.log()) from None
        self.family = [self.process.pid, *(p.pid for p in psutil.Process(self.process.pid).children(True))]

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def is_ready(self) -> bool:
        """Whether it says that it is ready."""
        assert self.process.poll() is None, self.log()
        return f"ready on http://127.0.0.1:{self.port}" in self.log()

    def ask(self, *arguments: str) -> list[list[str]]:
        """The words of each line that a command about this shop prints."""
        done = ordershop(*arguments, "--port", str(self.port))
        assert (done.code, done.err) == (0, "")
        return [line.split() for line in done.out.splitlines()]

    def is_gone(self) -> bool:
        """Whether none of its processes is left."""
        self.process.poll()
        return not any(psutil.pid_exists(pid) for pid in self.family)


@contextlib.contextmanager
def _up(log: Path, *arguments: str) -> Iterator[Foreground]:
    shop = Foreground(log, *arguments)
    try:
        yield shop
    finally:
        shop.process.kill()
        shop.process.wait()
        until(shop.is_gone, "nothing is left")


def test_a_shop_in_processes(tmp_path: Path) -> None:
    """It is ready when it says so; its services are shown, stopped and started; `down` ends everything."""
    with _up(tmp_path / "log") as shop, contextlib.closing(Client(shop.port)) as client:
        assert answers_health(shop.port)
        rows = shop.ask("status")
        assert [row[0] for row in rows] == ["redis", *SERVICES]
        assert {row[1] for row in rows} == {"running"}
        assert {int(row[2]) for row in rows} == set(shop.family[1:])

        first = client.post("/customer", {"name": "a", "email": "a@b"}).ok()
        bound = str(time.time())
        client.post("/customer", {"name": "b", "email": "a@b"}).ok()
        assert len(shop.ask("replay", "customer")) == 2
        [[line]] = shop.ask("replay", "customer", "--until", bound)
        assert json.loads(line) == {"id": first[0], "name": "a", "email": "a@b"}

        assert ["customers", "stopped", "-"] in [row[:3] for row in shop.ask("stop", "customers")]
        assert client.post("/customer", {"name": "c", "email": "a@b"}).status == 503
        shop.ask("start", "customers")
        client.post("/customer", {"name": "c", "email": "a@b"}).ok()
        for name, said in [("nobody", "there is no service 'nobody'"), ("orders", "orders is running already")]:
            refused = ordershop("start", name, "--port", str(shop.port))
            assert (refused.code, refused.err) == (2, f"ordershop: {said}\n")

        crm = next(int(row[2]) for row in rows if row[0] == "crm")
        os.kill(crm, signal.SIGKILL)
        until(lambda: "crm has ended by itself" in shop.log(), "the log says that the CRM has ended")

        again = ordershop("up", "--port", str(shop.port))
        assert (again.code, again.err.count("\n")) == (2, 1)
        shop.ask("down")
        assert shop.process.wait(10) == 0
        until(shop.is_gone, "nothing is left")
        assert not socket_path(shop.port).exists()


def test_a_shop_that_lasts(tmp_path: Path) -> None:
    """Ctrl-C ends it, as SIGTERM does, and with --state the next one has what this one had."""
    arguments = ("--state", str(tmp_path / "state"))
    with _up(tmp_path / "log", *arguments) as shop, contextlib.closing(Client(shop.port)) as client:
        [customer] = client.post("/customer", {"name": "a", "email": "a@b"}).ok()
        for name in ("orders", "crm"):
            assert [name, "stopped"] in [row[:2] for row in shop.ask("stop", name)]
        assert client.post("/order", {"product_ids": ["x"], "customer_id": "x"}).status == 503
        for name in ("orders", "crm"):
            assert [name, "running"] in [row[:2] for row in shop.ask("start", name)]
        assert client.post("/order", {"product_ids": ["x"], "customer_id": "x"}).status == 422
        assert client.get("/health").status == 200
        shop.process.send_signal(signal.SIGINT)
        assert shop.process.wait(15) == 0
        until(shop.is_gone, "nothing is left")
    with _up(tmp_path / "log", *arguments) as shop, contextlib.closing(Client(shop.port)) as client:
        assert client.get(f"/customer/{customer}").ok()["name"] == "a"
        shop.process.send_signal(signal.SIGTERM)
        assert shop.process.wait(15) == 0


def test_a_killed_shop_leaves_nothing(tmp_path: Path) -> None:
    """After SIGKILL of the foreground its services and its Redis end too, and the port can be used again."""
    with _up(tmp_path / "log") as shop:
        assert len(shop.family) == 2 + len(SERVICES)
        shop.process.kill()
        shop.process.wait()
        until(shop.is_gone, "nothing is left")
        refused = ordershop("status", "--port", str(shop.port))
        assert (refused.code, refused.err) == (2, f"ordershop: no shop runs on port {shop.port}\n")


FREE = str(free_port())
NOT_THERE = f"redis://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "command"),
        (("nonsense",), "No such command"),
        (("up", "--port", "x"), "--port"),
        (("up", "--port", "99999"), "--port"),
        (("up", "--host", "elsewhere"), "--host"),
        (("up", "--port", FREE, "--server", NOT_THERE), "does not answer"),
        (("up", "--port", FREE, "--server", "/no/such/program"), "nor a program"),
        (("up", "--port", FREE, "--server", "http://127.0.0.1"), "not the URL of a Redis server"),
        (("up", "--port", FREE, "--state", "/dev/null/x"), "--state"),
        (("up", "--port", FREE, "--server", "/bin/false"), "ended at once"),
        (("status", "--port", FREE), "no shop runs"),
        (("stop", "--port", FREE), "name"),
        (("start", "orders", "--port", FREE), "no shop runs"),
        (("down", "--port", FREE), "no shop runs"),
        (("replay", "planet"), "there is no topic 'planet'"),
        (("replay", "order", "--until", "yesterday"), "--until"),
        (("replay", "order", "--until", "1-x"), "--until"),
        (("replay", "order", "--until", "nan"), "--until"),
        (("replay", "order", "--server", NOT_THERE), "does not answer"),
        (("replay", "order", "--server", "nowhere"), "not the URL of a Redis server"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and one line on standard error that says what is wrong."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    complaint = capsys.readouterr().err
    assert (ended.value.code, complaint.count("\n")) == (2, 1)
    assert complaint.startswith("ordershop: ")
    assert said in complaint


def test_a_port_in_use() -> None:
    """It is said before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = ordershop("up", "--port", str(port))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"ordershop: port {port} is not free: Address already in use\n"
