"""One run of Locust, one record: what a test's start begins, and what its end leaves on disk.

    test_start      the scenario is conducted, in a greenlet, with a `Spread` for its driver
                       Spread.pump ... prepare, ready, begin on every worker that has users
    test_stopping   whoever stops the test ends the schedule; what was due by then is drained and accounted for
    quitting        the record is finished, its report written, the exit code set from its verdicts

`--run-time` is the length of the schedule; starting the system before it, and draining after it, are not counted.
"""

from __future__ import annotations

# Locust first: importing it replaces sockets, threads and timers, which others must not have taken before.
from locust.env import Environment

# isort: split
import datetime as dt
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gevent
import msgspec

from harness.check import checkers
from harness.conduct.conduct import conduct
from harness.conduct.findings import Findings
from harness.conduct.interrupt import Interrupted
from harness.conduct.scenario import LoadScenario, ParameterError, Stage, parameters_of
from harness.host.clock import Clock
from harness.host.own_python import own_environment, own_module
from harness.locust.form import Named, named_by
from harness.locust.locustfile import OF_CONSUMER
from harness.locust.spread import READY_S, Spread
from harness.record import run
from harness.record.parameters import nearest
from harness.record.run import Record, RunError
from harness.server.named import server_named
from harness.server.url import ServerUrl, without_secrets
from harness.system.consumer import ConsumerSystem, consumer_command

REPORT_S = 120.0


class Session:
    """What one process of Locust, a master or a single one, measures: a scenario, as often as a test is started.

    Args:
        environment: Locust's, with its runner and its parsed options.
        scenario: that is conducted.
        clock: of this host.
        steps: what the scenario's users do, by name, and the tags of each.

    Attributes:
        named: what the command line has named. From here on Locust's options, which a form may set and workers are
            sent, have names in the place of programs and addresses.
        share: how far the run is, from 0 to 1.

    Raises:
        ParameterError, UrlError: the command line names servers that cannot be.
    """

    def __init__(
        self,
        environment: Environment,
        scenario: LoadScenario,
        clock: Clock,
        steps: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.environment = environment
        self.scenario = scenario
        self._steps = steps or {}
        self.clock = clock
        options = environment.parsed_options
        file = Path(options.server_file) if options.server_file else None
        server = server_named(options.server or None, file, os.environ)
        self.named: Named = named_by(server, options.also_server or [], options.host, options.runs)
        options.server, options.server_file, options.also_server = self.named.default_server, "", None
        self._system = consumer_of(options)
        # It is shown, and stands in names of files; users get theirs with the load.
        options.host = environment.host = without_secrets(self.named.gateway) or None
        self.share = 0.0
        self.spread = Spread(environment, clock)
        self.findings: Findings | None = None
        self.record: Record | None = None
        self.doing = ""
        self._worst = checkers.EXIT_PASS
        self._is_measuring = False
        self._greenlet: gevent.Greenlet | None = None

    @property
    def is_running(self) -> bool:
        """Whether a scenario is being conducted, also where Locust has stopped and it is draining."""
        return self._greenlet is not None and not self._greenlet.dead

    def chosen(self, options: Any) -> tuple[msgspec.Struct, int]:
        """The scenario's parameters and the seed that options ask for.

        Args:
            options: Locust's, or a form's: by attribute.

        Raises:
            ParameterError: something that cannot be.
        """
        if options.profile and options.profile not in self.scenario.profiles:
            there_are = ", ".join(self.scenario.profiles)
            raise ParameterError(f"there is no profile {options.profile!r}; there are {there_are}")
        _check_spawning(options)
        check_tags(self._steps, **tags_of(options))
        fields = [field.name for field in msgspec.structs.fields(self.scenario.parameters)]
        given = {name: str(getattr(options, name)) for name in fields if getattr(options, name, "") != ""}
        for name, value in (("connections", options.num_users), ("users", options.num_users)):
            if name in fields and value:
                given[name] = str(value)
        given.pop("gateway", None)
        if "gateway" in fields and self.named.gateway:
            given["gateway"] = self.named.gateway
        server = self.server_of(options)
        parameters = parameters_of(self.scenario, options.profile or "quick", given)
        if options.run_time:
            parameters = self.scenario.lasting(parameters, float(options.run_time), str(server))
        try:
            seed = int(options.seed)
        except ValueError:
            seed = -1
        if seed < 0:
            raise ParameterError(f"a seed is a whole number of 0 or more, not {options.seed!r}")
        return parameters, seed

    def server_of(self, options: Any) -> ServerUrl | str:
        """The server that options ask for by its name.

        Raises:
            ParameterError: the command line has not named it.
        """
        return self.named.server(options.server or self.named.default_server)

    def begin(self) -> None:
        """Conduct the scenario, as the options now stand."""
        if self.is_running:
            self.finish(0.0)
        options = self.environment.parsed_options
        self.spread.reset()
        self.share, self.doing = 0.0, "starting the system"
        self._greenlet = gevent.spawn(self._conduct, options)

    def _conduct(self, options: Any) -> None:
        try:
            self._conduct_with(options)
        except Exception:
            self._note_code(checkers.EXIT_USAGE)
            raise
        finally:
            # Whatever has happened: Locust would wait for ever.
            self._end_test()

    def _conduct_with(self, options: Any) -> None:
        try:
            parameters, seed = self.chosen(options)
            now = dt.datetime.fromtimestamp(self.clock.epoch_s(), dt.UTC)
            directory = run.new_directory(self.named.runs, self.scenario.name, now)
        except (ParameterError, RunError) as error:
            self._refuse(str(error))
        else:
            stage = Stage(
                server=self.server_of(options),
                port=None,
                profile=options.profile or "quick",
                seed=seed,
                directory=directory,
                clock=self.clock,
                progress=self._note_progress,
                driver=self.spread,
                spin_share=options.spin,
                system=self._system,
            )
            self.spread.spin_share = options.spin
            self._conduct_on(stage, parameters)

    def _conduct_on(self, stage: Stage, parameters: msgspec.Struct) -> None:
        self.findings = Findings(self.scenario.name)
        command = ["locust", *(without_secrets(word) for word in sys.argv[1:])]
        self._is_measuring = True
        try:
            record, ended = conduct(
                self.scenario,
                parameters,
                stage,
                command=command,
                findings=self.findings,
                also=tags_of(self.environment.parsed_options),
            )
        finally:
            self._is_measuring = False
        self.record = record
        if ended is None or isinstance(ended, Interrupted):
            self._note_code(checkers.exit_code(record.run.verdicts))
        else:
            self._refuse(str(ended))
        self._report(record)

    def _note_progress(self, share: float, doing: str) -> None:
        self.share, self.doing = share, doing

    def _note_code(self, code: int) -> None:
        # Usage and infrastructure before a failure, a failure before a measurement that is not valid.
        order = (checkers.EXIT_PASS, checkers.EXIT_INVALID, checkers.EXIT_FAIL, checkers.EXIT_USAGE)
        self._worst = max(self._worst, code, key=order.index)

    def _refuse(self, reason: str) -> None:
        self._note_code(checkers.EXIT_USAGE)
        self.doing = reason
        sys.stderr.write(f"locust: {self.scenario.name}: {reason}\n")

    def _report(self, record: Record) -> None:
        self.doing = "writing the report"
        # In a process of its own: rendering takes a second or two, in which no heartbeat would be answered.
        command = own_module("harness", "report", str(record.directory))
        try:
            rendered = subprocess.run(
                command, env=own_environment(), capture_output=True, text=True, check=False, timeout=REPORT_S
            )
        except subprocess.TimeoutExpired:
            self._refuse(f"the report of {record.directory} is not there after {REPORT_S:.0f} s")
            return
        except Interrupted as error:
            self._refuse(f"the report of {record.directory} was not written: {error}")
            return
        if rendered.returncode != checkers.EXIT_PASS:
            said = rendered.stderr.strip().splitlines()[-1:] or [f"exit code {rendered.returncode}"]
            self._refuse(f"the report of {record.directory} was not written: {said[0]}")
            return
        # Where Locust is told `--json`, its output is a document.
        sys.stderr.write(rendered.stdout + rendered.stderr)
        sys.stderr.flush()

    def _end_test(self) -> None:
        runner = self.environment.runner
        if self.environment.parsed_options.headless:
            runner.quit()
        else:
            runner.stop()

    def cut(self) -> None:
        """End the schedule now; what was due until then is drained, accounted for and recorded."""
        if self.is_running:
            self.spread.cut()

    def interrupt(self, by: str) -> bool:
        """End what is being measured now: what is not known by then is UNKNOWN, and the record says "interrupted".

        Returns:
            Whether something was; a record that is complete stays so.
        """
        if not self._is_measuring or self._greenlet is None:
            return False
        self._greenlet.kill(Interrupted(by), block=False)
        return True

    def note_interrupt(self, why: str) -> None:
        """Take note that somebody ends the test: a load that still goes on is cut short by that."""
        if self.is_running and self.findings is not None and self.spread.is_loading:
            self.findings.cut_short = why

    def finish(self, patience_s: float) -> None:
        """See to it that the record is complete: wait for the drain for a while, then interrupt it."""
        greenlet = self._greenlet
        if greenlet is None or greenlet is gevent.getcurrent():
            return
        self.cut()
        greenlet.join(patience_s)
        if not greenlet.dead:
            greenlet.kill(Interrupted("the end of Locust"), timeout=60)

    @property
    def exit_code(self) -> int:
        """The worst of all runs of this process."""
        return self._worst


def consumer_of(options: Any) -> ConsumerSystem | None:
    """The consumer that a command line asks to have measured; None: OrderShop's.

    Args:
        options: Locust's. What they say of it is taken away: workers are sent them, and a form may set them.

    Raises:
        ParameterError: something that cannot be.
    """
    # A scenario that is not for consumers has no such options.
    names = {name: name.replace("-", "_") for name in OF_CONSUMER if hasattr(options, name.replace("-", "_"))}
    given = {name: getattr(options, option) or "" for name, option in names.items()}
    for option in names.values():
        setattr(options, option, "")
    command = given.pop("consumer", "")
    if not command:
        if said := [name for name, value in given.items() if value]:
            raise ParameterError(f"--{said[0]} says something of a consumer: give it with --consumer")
        return None
    of_consumer = {name.removeprefix("event-"): value for name, value in given.items()}
    try:
        return ConsumerSystem(consumer_command(command, **of_consumer))
    except ValueError as error:
        raise ParameterError(str(error)) from error


def tags_of(options: Any) -> dict[str, list[str]]:
    """The tags that Locust's options choose steps by, as they are recorded; empty where none are given."""
    given = {name: sorted(set(getattr(options, name, None) or ())) for name in ("tags", "exclude_tags")}
    return {name: tags for name, tags in given.items() if tags}


def check_tags(
    steps: Mapping[str, frozenset[str]], tags: Sequence[str] = (), exclude_tags: Sequence[str] = ()
) -> None:
    """Refuse tags that no step has, and a choice of steps that is empty.

    Args:
        steps: what users do, by name, and the tags of each.
        tags: a step has one of them, where any are given.
        exclude_tags: and none of these.

    Raises:
        ParameterError: so it is.
    """
    known = sorted(frozenset().union(*steps.values()))
    for tag in (*tags, *exclude_tags):
        if tag not in known:
            near = nearest(tag, known)
            there_are = f"there are {', '.join(known)}" if known else "they have none"
            meant = f"did you mean {near}? " if near else ""
            raise ParameterError(f"no step of these users has the tag {tag!r}; {meant}{there_are}")
    left = [each for each in steps.values() if (not tags or each & set(tags)) and not each & set(exclude_tags)]
    if (tags or exclude_tags) and not left:
        raise ParameterError("these tags leave no step that users could take")


def _check_spawning(options: Any) -> None:
    """Refuse users that come so slowly that the load would not wait for the last of them.

    Raises:
        ParameterError: so it is.
    """
    users, per_s = options.num_users or 1, options.spawn_rate or 1.0
    if users / per_s > READY_S:
        raise ParameterError(
            f"{users:,} users at {per_s:g} a second have not all started within {READY_S:.0f} s: "
            f"give --spawn-rate {math.ceil(users / READY_S)} or more"
        )
