"""The supervisor: services as processes that start, stop, are killed and frozen, and never outlive it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ordershop.embedded import redis_service, wait_for_redis
from ordershop.event_store import connect
from ordershop.supervisor import Service, Supervisor, SupervisorError, answers_health, free_port, free_ports
from tests.waiting import until

MAIL = "ordershop.services.mail"


def _mail(name: str = "mail") -> Service:
    port = free_port()
    return Service(name, MAIL, ("--port", str(port)), port)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor with a log of its own."""
    with Supervisor(tmp_path / "log") as one:
        yield one


def test_a_started_service_answers(supervisor: Supervisor) -> None:
    """When `start` returns, the service answers its health check and has the process id that was returned."""
    service = _mail()
    pid = supervisor.start(service)
    assert answers_health(service.port or 0)
    assert (supervisor.state("mail"), supervisor.pid("mail"), supervisor.names) == ("running", pid, ["mail"])


def test_stop_and_start_again(supervisor: Supervisor) -> None:
    """A stopped service is gone and says so; started again it has its old port and a new process."""
    service = _mail()
    pid = supervisor.start(service)
    supervisor.stop("mail")
    assert (supervisor.state("mail"), supervisor.pid("mail"), psutil.pid_exists(pid)) == ("stopped", None, False)
    supervisor.stop("mail")
    assert supervisor.start_again("mail") != pid
    assert answers_health(service.port or 0)


def test_kill(supervisor: Supervisor) -> None:
    """A service that the supervisor kills is stopped; one that somebody else kills has failed."""
    pid = supervisor.start(_mail())
    supervisor.kill("mail")
    assert (supervisor.state("mail"), psutil.pid_exists(pid)) == ("stopped", False)
    psutil.Process(supervisor.start_again("mail")).kill()
    until(lambda: supervisor.state("mail") == "failed", "the service has failed")


def test_freeze_and_thaw(supervisor: Supervisor) -> None:
    """A frozen service does not answer, a thawed one does, and a frozen one can be stopped."""
    service = _mail()
    supervisor.start(service)
    supervisor.freeze("mail")
    assert supervisor.state("mail") == "frozen"
    assert not answers_health(service.port or 0, timeout_s=0.2)
    supervisor.thaw("mail")
    assert supervisor.state("mail") == "running"
    assert answers_health(service.port or 0)
    supervisor.freeze("mail")
    supervisor.stop("mail")
    assert supervisor.state("mail") == "stopped"


def test_nothing_watches_over_a_service_that_has_ended(supervisor: Supervisor) -> None:
    """What would thaw a frozen service ends with it: its process id may soon be another's."""

    def watchers() -> list[psutil.Process]:
        mine = psutil.Process().children()
        living = [p for p in mine if p.status() != psutil.STATUS_ZOMBIE]
        return [p for p in living if any("SIGCONT" in word for word in p.cmdline())]

    service = _mail()
    before = watchers()
    supervisor.start(service)
    supervisor.freeze("mail")
    until(lambda: len(watchers()) == len(before) + 1, "somebody watches over the frozen service")
    supervisor.kill("mail")
    assert watchers() == before
    supervisor.freeze("mail")
    assert (watchers(), supervisor.state("mail")) == (before, "stopped")
    pid = supervisor.start_again("mail")
    supervisor.freeze("mail")
    psutil.Process(pid).kill()
    until(lambda: supervisor.state("mail") == "failed", "the service has failed")
    supervisor.start_again("mail")
    assert (watchers(), supervisor.state("mail")) == (before, "running")


def test_a_service_that_ends_at_once(supervisor: Supervisor) -> None:
    """`start` raises with the exit code and the last line that the service wrote."""
    with pytest.raises(SupervisorError, match=r"mail ended with exit code 2.*--port"):
        supervisor.start(Service("mail", MAIL, ("--port", "x"), free_port()))
    assert supervisor.state("mail") == "failed"


def test_what_cannot_be_done(supervisor: Supervisor) -> None:
    """A service that runs cannot be started, and an unknown one can be neither started nor stopped."""
    supervisor.start(_mail())
    with pytest.raises(SupervisorError, match="running already"):
        supervisor.start_again("mail")
    with pytest.raises(SupervisorError, match="no service 'x'"):
        supervisor.start_again("x")
    with pytest.raises(SupervisorError, match="no service 'x'"):
        supervisor.stop("x")


def test_all_end_with_the_supervisor() -> None:
    """When it is left, no service runs."""
    with Supervisor() as supervisor:
        supervisor.start_all([_mail("a"), _mail("b")])
        pids = [supervisor.pid(name) or 0 for name in supervisor.names]
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_lines_are_handed_on() -> None:
    """What a service writes comes line by line, with its name."""
    lines: list[tuple[str, str]] = []
    with Supervisor(on_line=lambda *line: lines.append(line)) as supervisor:
        supervisor.start(Service("mail", MAIL, ("--help",)), wait=False)
        until(lambda: supervisor.state("mail") != "running", "the service has ended")
    assert {name for name, _ in lines} == {"mail"}
    assert lines[0][1].startswith("usage: ordershop.services.mail")


def test_free_ports_differ() -> None:
    """So many ports as were asked for, no two the same."""
    assert len(set(free_ports(50))) == 50


ORPHANS = """
import sys, time
from pathlib import Path
from ordershop.embedded import redis_service, wait_for_redis
from ordershop.supervisor import Service, Supervisor, free_ports
mail, redis = free_ports(2)
supervisor = Supervisor(on_line=lambda *_: None)
supervisor.start(Service("mail", "ordershop.services.mail", ("--port", str(mail)), mail))
supervisor.start(redis_service(redis, Path(sys.argv[1])), wait=False)
wait_for_redis(supervisor, redis)
print(supervisor.pid("mail"), supervisor.pid("redis"), flush=True)
time.sleep(600)
"""


def test_services_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    """SIGKILL gives the supervisor no chance to stop its services; they end all the same, Redis too."""
    with subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.kill()
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids), "the services have ended")


def test_what_redis_holds_survives_where_it_is_to_last(supervisor: Supervisor, tmp_path: Path) -> None:
    """With `appendonly`, a Redis that was killed comes back with what it had."""
    port = free_port()
    supervisor.start(redis_service(port, tmp_path, appendonly=True), wait=False)
    client = connect(wait_for_redis(supervisor, port))
    client.set("kept", "yes")
    client.config_set("appendfsync", "always")
    client.set("kept", "still")
    supervisor.kill("redis")
    supervisor.start_again("redis", wait=False)
    wait_for_redis(supervisor, port)
    client.close()
    assert client.get("kept") == b"still"
    client.close()
