"""Replicas of a service have names of their own, and keep them over a restart."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.server.own import OwnServer
from ordershop.events import Keys
from ordershop.own_name import OwnNameError, own_name, own_number
from ordershop.supervisor import Service, Supervisor
from tests.waiting import until

HOLDER = """
import sys, time
from pathlib import Path
from ordershop.events import Keys
from ordershop.own_name import own_number
with own_number(Path(sys.argv[1]), "crm") as number:
    print(number, flush=True)
    time.sleep(3600)
"""


def test_each_has_the_lowest_number_that_is_free(tmp_path: Path) -> None:
    """Also after one of them is gone; other services count by themselves."""
    with contextlib.ExitStack() as first, own_number(tmp_path, "crm") as second:
        assert second == 1
        assert first.enter_context(own_number(tmp_path, "crm")) == 2
        assert first.enter_context(own_number(tmp_path, "mail")) == 1
        first.close()
        with own_number(tmp_path, "crm") as again:
            assert again == 2


def test_a_number_is_free_when_its_process_was_killed(tmp_path: Path) -> None:
    """A frozen one keeps it; SIGKILL takes it, so that the process that is started again has its name."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "1\n"
        holder.send_signal(signal.SIGSTOP)
        with own_number(tmp_path, "crm") as number:
            assert number == 2
        holder.kill()
        holder.wait()
        with own_number(tmp_path, "crm") as number:
            assert number == 1


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """A file in its place is told in one line."""
    (tmp_path / "file").touch()
    with pytest.raises(OwnNameError, match="no number for crm"), own_number(tmp_path / "file", "crm"):
        pass


def test_a_name_has_the_host_in_it() -> None:
    """Containers share a directory and not a host's name, or the other way round."""
    assert own_name(2, "a b") == "a-b-2"
    assert own_name(1) == f"{socket.gethostname()}-1"


@pytest.mark.parametrize("kept", [True, False], ids=["state", "no state"])
def test_two_crms_are_two_consumers(
    own_server: OwnServer, tmp_path: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are started with the same arguments; one that is killed comes back under the name that it had."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    arguments = (
        "--server",
        str(own_server.url),
        "--mail",
        "http://127.0.0.1:1",
        *(("--state", str(tmp_path)) * kept),
    )
    stream = Keys("").stream("customer", "created")
    names = {f"{socket.gethostname()}-1", f"{socket.gethostname()}-2"}
    with own_server.client() as client, Supervisor(tmp_path / "log") as supervisor:

        def consumers() -> set[str]:
            if not client.exists(stream) or not client.xinfo_groups(stream):
                return set()
            return {each["name"].decode() for each in client.xinfo_consumers(stream, "crm")}

        for name in ("crm", "crm-2"):
            supervisor.start(Service(name, "ordershop.services.crm", arguments))
        until(lambda: consumers() == names, "two consumers")
        supervisor.kill("crm")
        for name in names:
            client.xgroup_delconsumer(stream, "crm", name)
        supervisor.start_again("crm")
        until(lambda: consumers() == names, "both under the names that they had")
