"""A probe: a whole run of a scenario at a rate, on a fresh server, with a record and verdicts of its own.

    runs/20261123-141502-capacity/
        run.json  report.html ...       the search
        probes/001/run.json  ...        a run of append at 8,000/s, as any other
        probes/002/run.json  ...

So nothing that a probe has left behind is there for the next one, each can be judged again (`shopbench check`),
and each has a command that repeats it. A probe that could not be carried out says why; what ends a run by hand
ends the search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from harness.capacity.point import WARM_UP_S, Point, point_of
from harness.conduct.conduct import conduct
from harness.conduct.scenario import ProbedScenario, ScenarioError, Stage
from harness.load.settings import PumpError
from harness.record.run import Run
from harness.server.server import ServerError

PROBES = "probes"

# What a command line would be that makes a probe's run by itself.
CommandOf = Callable[[ProbedScenario, msgspec.Struct], Sequence[str]]


class Prober:
    """Makes probes, one after the other.

    Args:
        scenario: that is probed.
        parameters: of its load, but for its rate and its length.
        stage: of the search; probes have directories below its own.
        command_of: says what would repeat a probe.

    Attributes:
        last: the record of the last probe that began; None: there was none yet.
    """

    def __init__(
        self, scenario: ProbedScenario, parameters: msgspec.Struct, stage: Stage, command_of: CommandOf
    ) -> None:
        self._scenario = scenario
        self._parameters = parameters
        self._stage = stage
        self._command_of = command_of
        self._made = 0
        self.last: Run | None = None

    def probe(
        self, rate_per_s: float, seconds: int, *, is_long: bool = False, progress: Callable[[float, str], None]
    ) -> Point:
        """Put the load at a rate, for some seconds that are judged after those of the warm-up, and see.

        Raises:
            Interrupted: somebody has ended it.
            ParameterError: the load cannot be put at that rate.
        """
        self._made += 1
        directory = f"{PROBES}/{self._made:03}"
        began_ns = self._stage.clock.now_ns()
        parameters = self._scenario.at_rate(self._parameters, rate_per_s, WARM_UP_S + seconds)
        stage = replace(
            self._stage,
            directory=self._stage.directory / directory,
            # Arrivals that are drawn are drawn anew: a replicate of the same ones would be no replicate.
            seed=self._stage.seed + self._made - 1,
            progress=progress,
        )
        record, ended = conduct(
            self._scenario, parameters, stage, command=self._command_of(self._scenario, parameters)
        )
        self.last = record.run
        _raise_what_ends_all(ended)
        begun = Point(
            number=self._made,
            directory=directory,
            rate_per_s=rate_per_s,
            seconds=seconds,
            took_s=(self._stage.clock.now_ns() - began_ns) / 1e9,
            is_long=is_long,
        )
        operation = self._scenario.probed_operation(parameters, self._stage.server)
        return point_of(begun, record, operation)


def _raise_what_ends_all(ended: BaseException | None) -> None:
    """Raise what has ended a probe, where no other probe would do better.

    Raises:
        Interrupted: by hand.
    """
    if ended is not None and not isinstance(ended, ServerError | PumpError | ScenarioError):
        raise ended


def chosen_by_search(scenario: ProbedScenario, parameters: msgspec.Struct) -> list[str]:
    """The parameters of a load that follow from its rate and its length.

    Raises:
        ParameterError: it is no single steady load.
    """
    one, other = (
        msgspec.to_builtins(scenario.at_rate(parameters, rate, seconds)) for rate, seconds in ((100, 6), (200, 12))
    )
    return [name for name, value in one.items() if other[name] != value]


def probed_parameters(scenario: ProbedScenario, parameters: msgspec.Struct) -> dict[str, Any]:
    """The parameters of a load that all probes have in common.

    Raises:
        ParameterError: it is no single steady load.
    """
    own = chosen_by_search(scenario, parameters)
    return {name: value for name, value in msgspec.to_builtins(parameters).items() if name not in own}
