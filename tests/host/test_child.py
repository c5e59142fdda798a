"""A child process: it runs what it is told, shares its numbers, and never outlives its parent."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import psutil
import pytest

from harness.host.child import Channel, Child, ChildError
from tests.processes import is_alive
from tests.waiting import until


def echo(channel: Channel, greeting: str) -> None:
    """A child that answers what it is sent, and counts it."""
    channel.send(greeting)
    while True:
        message = channel.receive()
        channel.numbers[0] += 1
        channel.send(message)


def main_module(channel: Channel) -> None:
    """A child that tells from which file its main module came."""
    channel.send(getattr(sys.modules["__main__"], "__file__", None))


@pytest.fixture
def child() -> Iterator[Child]:
    with contextlib.closing(Child("tests.host.test_child:echo", "hello")) as one:
        yield one


def test_it_is_given_arguments_and_answers(child: Child) -> None:
    """Anything that can be pickled goes both ways, also what is longer than a socket's buffer."""
    assert child.receive() == "hello"
    long = {"bytes": bytes(3_000_000), "numbers": [1, 2]}
    child.send(long)
    assert child.has_message(10)
    assert child.receive() == long


def test_numbers_are_shared(child: Child) -> None:
    """What the child counts is seen without a message."""
    assert child.receive() == "hello"
    for _ in range(3):
        child.send(None)
    until(lambda: child.numbers[0] == 3, "three counts")


def test_it_does_not_import_its_parents_main_module() -> None:
    """The child is fresh, where a process that is spawned would run pytest's main module once more."""
    with contextlib.closing(Child("tests.host.test_child:main_module")) as child:
        assert child.receive() is None


def test_a_child_that_is_gone_is_an_error(child: Child) -> None:
    """Neither a message to it nor one from it is waited for."""
    assert child.receive() == "hello"
    psutil.Process(child.pid).send_signal(signal.SIGKILL)
    assert child.has_message(10)
    with pytest.raises(ChildError, match="the other end has ended"):
        child.receive()
    with pytest.raises(ChildError, match="the other end has ended"):
        child.send("anything")


def test_ctrl_c_is_its_parents(child: Child) -> None:
    """SIGINT does not end it, also where it is sent to each process one by one."""
    assert child.receive() == "hello"
    psutil.Process(child.pid).send_signal(signal.SIGINT)
    child.send("still there")
    assert child.receive() == "still there"


def test_ctrl_c_while_it_starts_is_its_parents() -> None:
    """SIGINT, which a terminal sends to the whole group, does not reach a child whose interpreter just begins."""
    script = textwrap.dedent("""
        import os, signal
        from harness.host.child import Child

        signal.signal(signal.SIGINT, lambda *_: None)
        child = Child("tests.host.test_child:echo", "hello")
        os.killpg(0, signal.SIGINT)
        print(child.receive())
        child.close()
    """)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, start_new_session=True)
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_a_child_that_takes_no_arguments_is_not_left_behind(capfd: pytest.CaptureFixture[str]) -> None:
    """One that ends before it has read what it was given is an error, and no process any more."""
    before = psutil.Process().children()
    with pytest.raises(ChildError, match="the other end has ended"):
        Child("tests.host.test_child:nothing_of_that_name", bytes(5_000_000))
    assert psutil.Process().children() == before
    assert "nothing_of_that_name" in capfd.readouterr().err


def test_it_ends_with_its_parent() -> None:
    """When whoever started it is killed, it is gone."""
    script = textwrap.dedent("""
        from harness.host.child import Child

        child = Child("tests.host.test_child:echo", "hello")
        child.receive()
        print(child.pid, flush=True)
        child.receive()
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert is_alive(child)
        parent.kill()
        until(lambda: not is_alive(child), "the end of the child")
