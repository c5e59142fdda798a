"""Locust's events, and what each means for a run: where Locust and a `Session` meet.

    locust -f scenarios/append.py
      init            options checked, the web UI gets its tabs
      test_start      a run begins
      test_stopping   its schedule ends
      quitting        its record is complete, and its verdicts are the exit code

A worker hears `init` only: from then on the master tells it what to do (harness/locust/worker.py).
"""

from __future__ import annotations

# Locust first: importing it replaces sockets, threads and timers, which others must not have taken before.
from locust import User, events, log, runners
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

# isort: split
import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import gevent

from harness.check import checkers
from harness.conduct.conduct import LoadScenario, ParameterError
from harness.host.clock import SystemClock
from harness.locust.access import AccessError, Guarded, access_of, is_loopback
from harness.locust.locustfile import add_arguments
from harness.locust.login import PASSWORD, ask_for_password, taken_password
from harness.locust.session import Session
from harness.locust.worker import WorkerEnd
from harness.server.url import UrlError

# A master answers a heartbeat a second; one that is silent for so long is gone. Locust itself waits for a minute.
MASTER_SILENT_S = 10
PATIENCE_S = 120.0
# Longer than users take for what was due; less than a master waits for its workers to stop.
USERS_PATIENCE_S = 45.0

# Scenarios whose locustfiles this process has loaded: their options have the same names, and Locust runs one test.
_loaded: list[str] = []


def conducted(scenario: LoadScenario, users: str) -> type[User]:
    """Let this process of Locust conduct a scenario, as a master, a worker, or alone.

    Args:
        users: `module:class` of its users.

    Returns:
        The class of its users, as Locust is to find it.
    """
    if _loaded:
        _fail(f"one scenario at a time: {_loaded[0]} was given, and {scenario.name}")
    _loaded.append(scenario.name)
    module, name = users.split(":")
    user_class = getattr(importlib.import_module(module), name)
    # Now: Locust takes those away that were not chosen, and does not put them back.
    steps = {
        each.__name__: frozenset(getattr(each, "locust_tag_set", ())) for each in getattr(user_class, "tasks", ())
    }

    @events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
    def _(parser: LocustArgumentParser, **_: Any) -> None:
        add_arguments(parser, scenario)

    @events.init.add_listener  # type: ignore[untyped-decorator]
    def _(environment: Environment, web_ui: Any, **_: Any) -> None:
        _begin(environment, web_ui, scenario, steps)

    own_name = "".join(word.capitalize() for word in scenario.name.split("_"))
    return type(f"{own_name}User", (user_class,), {"abstract": False})


def _begin(
    environment: Environment, web_ui: Any, scenario: LoadScenario, steps: Mapping[str, frozenset[str]]
) -> None:
    runner = environment.runner
    sessions: list[Session] = []
    _take_ctrl_c(runner, sessions)
    if not isinstance(runner, MasterRunner):
        end = WorkerEnd(environment)
        environment.events.quitting.add_listener(lambda **_: end.end(5.0))
        environment.events.test_stopping.add_listener(lambda **_: end.let_users_finish(USERS_PATIENCE_S))
    if isinstance(runner, WorkerRunner):
        runners.MASTER_HEARTBEAT_TIMEOUT = MASTER_SILENT_S
        return
    try:
        session = Session(environment, scenario, SystemClock(), steps)
    except (ParameterError, UrlError) as error:
        _fail(str(error))
    sessions.append(session)
    _check(session, environment.parsed_options)
    _listen(session)
    if web_ui is not None:
        from harness.locust.web import add_to_web_ui

        _close(web_ui, environment.parsed_options)
        add_to_web_ui(session, web_ui)


def _close(web_ui: Any, options: Any) -> None:
    """Let only those ask a web UI who may: by the host that they name, and by a password where there is one."""
    try:
        access = access_of(options.web_host, options.allowed_host or [], options.allowed_origin or [])
    except AccessError as error:
        _fail(str(error))
    web_ui.app.wsgi_app = Guarded(web_ui.app.wsgi_app, access)
    password = taken_password(os.environ)
    if password:
        ask_for_password(web_ui, password)
    elif options.web_login:
        _fail(f"--web-login asks for the password that {PASSWORD} has in the environment: set it")
    elif not is_loopback(options.web_host):
        sys.stderr.write(
            f"locust: anybody who reaches port {options.web_port} can start runs and kill processes here: "
            f"set {PASSWORD} in the environment, and the web UI asks for that password\n"
        )


def _take_ctrl_c(runner: Any, sessions: Sequence[Session]) -> None:
    """Let the first Ctrl-C end the schedule, the second what is measured, only a third one Locust itself.

    Python itself would raise KeyboardInterrupt in whatever runs: a user's step, the scenario, or the very end, in
    which the record is being finished.
    """
    main = gevent.getcurrent()
    asked: list[bool] = []

    def interrupt() -> None:
        asked.append(True)
        if len(asked) == 1:
            for session in sessions:
                session.note_interrupt("interrupted by SIGINT before the end of its schedule")
            gevent.kill(main, KeyboardInterrupt())
        elif len(asked) > 2:
            gevent.kill(main, SystemExit(checkers.EXIT_USAGE))
        elif not isinstance(runner, WorkerRunner):
            for session in sessions:
                session.interrupt("a second Ctrl-C")
            sys.stderr.write("locust: the record is being finished; Ctrl-C once more ends without it\n")
            sys.stderr.flush()

    gevent.signal_handler(signal.SIGINT, interrupt)


def _check(session: Session, options: Any) -> None:
    """End Locust with one line where its options cannot be; take the run time as the schedule's length."""
    try:
        session.chosen(options)
    except (ParameterError, UrlError) as error:
        _fail(str(error))
    if options.headless or options.autostart:
        # Locust's own timer knows neither the start of the system nor the drain; the schedule's end ends the run.
        lasting = [options.run_time]
        options.run_time = None

        def restore(**_: Any) -> None:
            # Once: a test after that is started from the form, which has a run time of its own.
            if lasting:
                options.run_time = lasting.pop()

        session.environment.events.test_start.add_listener(restore)


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"locust: {message}\n")
    sys.stderr.flush()
    sys.exit(checkers.EXIT_USAGE)


def _listen(session: Session) -> None:
    hooks = session.environment.events
    hooks.test_start.add_listener(lambda **_: session.begin())
    hooks.spawning_complete.add_listener(lambda **_: session.spread.spawned.set())
    hooks.test_stopping.add_listener(lambda **_: session.cut())

    def quitting(environment: Environment, **_: Any) -> None:
        session.finish(PATIENCE_S)
        # Where there is a record its verdicts decide, and not Locust, for which each request that failed is an
        # error: scenarios that break something have their own word on what may fail.
        is_judged = session.record is not None and not log.unhandled_greenlet_exception
        if is_judged or session.exit_code != checkers.EXIT_PASS:
            environment.process_exit_code = session.exit_code

    # Added after the runner's own, and so called before it tells the workers to quit.
    hooks.quitting.add_listener(quitting)
