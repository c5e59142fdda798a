"""What `shopbench run --dry-run` finds and says: whether a run could begin, and what it would be.

    append: 6 s of load
        rate_per_s=500
        ...
    profile=smoke, seed=1, server=embedded, cores=all, runs=runs
    nothing was started: this was a dry run

A server at a URL is looked at as `shopbench doctor` looks at it. A server program has to be there; whether it
starts is found by starting it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.cli.doctor import UnfitError, examined, needs_of
from harness.cli.list import duration
from harness.host.clock import Clock
from harness.record.parameters import told
from harness.server.own import program_of
from harness.server.server import ServerError
from harness.server.url import ServerUrl

_INDENT = " " * 4


def check_server(which: ServerUrl | str, chosen: Sequence[tuple[Any, Any]], clock: Clock) -> None:
    """Look whether a run could have this server, without starting one.

    Args:
        which: `embedded`, the path of a server program, or a URL.
        chosen: scenarios with their parameters.

    Raises:
        UnfitError: it could not; the text says why.
    """
    if isinstance(which, ServerUrl):
        try:
            refusal = examined(which, needs_of(chosen), clock).refusal
        except ServerError as error:
            raise UnfitError(str(error)) from error
        if refusal:
            raise UnfitError(refusal)
    elif which != "embedded":
        try:
            program_of(which)
        except ServerError as error:
            raise UnfitError(str(error)) from error


def plan_of(chosen: Sequence[tuple[Any, Any]], how: Mapping[str, str]) -> Iterator[str]:
    """What a run would be, in lines.

    Args:
        chosen: scenarios with their parameters.
        how: all else that was chosen; what is empty is left out.
    """
    for scenario, parameters in chosen:
        scheduled_s = getattr(scenario, "scheduled_s", None)
        yield (
            scenario.name
            if scheduled_s is None
            else f"{scenario.name}: {duration(scheduled_s(parameters))} of load"
        )
        for name in parameters.__struct_fields__:
            value = getattr(parameters, name)
            yield f"{_INDENT}{name}={value if isinstance(value, str) else told(value).replace(',', '')}"
    yield ", ".join(f"{name}={value}" for name, value in how.items() if value)
    yield "nothing was started: this was a dry run"
