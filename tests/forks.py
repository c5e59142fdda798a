"""Our commands in processes that are forked from one that has imported all of them, which saves a second each.

    ended = shopbench("run", "append", "--profile", "smoke", cwd=tmp_path)
    ended = ordershop("status", "--port", "5000")
    ended.code, ended.out, ended.err

Each worker of the tests has one such process, which does nothing but fork. What is forked has its own directory,
environment, standard output and session, and imports nothing anew; what it starts itself (servers, services,
pumps) starts as for a user. Tests that look at a command line, or at an import, start a Python of their own.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from tests.processes import Ended

ROOT = Path(__file__).parent.parent


class Forks:
    """The process from which others are forked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.forks import serve; serve()"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # a command that ends at once answers two lines, and `select` knows no reader's buffer
        )

    def run(self, command: tuple[str, ...], cwd: Path, environment: Mapping[str, str], timeout_s: float) -> Ended:
        """Run a command to its end.

        Raises:
            AssertionError: it does not end in time; it was killed.
        """
        with tempfile.TemporaryDirectory(prefix="forked-") as name:
            out, err = Path(name) / "out", Path(name) / "err"
            asked = {"command": command, "cwd": str(cwd), "environment": dict(environment)}
            pid = self._ask({**asked, "out": str(out), "err": str(err)})
            code = self._answer(timeout_s)
            if code is None:
                os.kill(pid, signal.SIGKILL)
                self._answer(60)
                raise AssertionError(f"not within {timeout_s:g} s: {command}\n{out.read_text()}{err.read_text()}")
            return Ended(code, out.read_text(), err.read_text())

    def _ask(self, what: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()
        pid = self._answer(60)
        assert pid is not None
        return pid

    def _answer(self, timeout_s: float) -> int | None:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            return None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


_ONE: list[Forks] = []


def shopbench(
    *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None, timeout_s: float = 120
) -> Ended:
    """Run `shopbench` as a process and wait for its end.

    Args:
        arguments: of its command line.
        cwd: the directory that it runs in; this one unless told otherwise.
        environment: variables that it has besides ours.
        timeout_s: how long it may take.
    """
    return _forked(("shopbench", *arguments), cwd, environment, timeout_s)


def ordershop(*arguments: str, timeout_s: float = 60) -> Ended:
    """Run `ordershop` as a process and wait for its end.

    Args:
        arguments: of its command line.
        timeout_s: how long it may take.
    """
    return _forked(("ordershop", *arguments), None, None, timeout_s)


def _forked(
    command: tuple[str, ...], cwd: Path | None, environment: Mapping[str, str] | None, timeout_s: float
) -> Ended:
    if not _ONE:
        _ONE.append(Forks())
        atexit.register(_ONE[0].close)
    return _ONE[0].run(command, cwd or Path.cwd(), {**os.environ, **(environment or {})}, timeout_s)


# The process itself ------------------------------------------------------------------------------------------


def serve() -> None:
    """Fork for each line that is read, until there are no more."""
    from harness.cli import shopbench as command
    from ordershop import __main__ as shop

    # What a command imports as it goes is there once commands of each kind have gone.
    for words in (["list"], ["report", os.devnull], ["run", "append", "--dry-run"], ["--help"]):
        sys.argv[1:] = words
        with (
            contextlib.suppress(SystemExit),
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            command.main()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if not pid:
            _become(asked, command if asked["command"][0] == "shopbench" else shop)
        print(pid, flush=True)  # noqa: T201 - the answer
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201


def _become(asked: dict[str, Any], command: Any) -> NoReturn:
    """Be the process that was asked for, to its end."""
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv[1:] = asked["command"][1:]
        command.main()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:  # noqa: BLE001 - as Python itself says it at the end of a program
        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
