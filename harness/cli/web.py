"""`shopbench web SCENARIO`: Locust's web UI in place of this process; server and shop start with each run."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, cast

import msgspec
import typer

from harness.cli.options import (
    ConsumerOption,
    ParamOption,
    ProbeOption,
    ProfileOption,
    PromiseOption,
    RestartOption,
    RunsOption,
    SeedOption,
    ServerFileOption,
    ServerOption,
    ShapeOption,
    UsageError,
    asked_consumer,
    catalog,
    check_profile,
    chosen,
    completed,
    given_parameters,
    taking,
)
from harness.cli.shown import say
from harness.conduct.scenario import LoadScenario, parameters_of
from harness.host.own_python import own_environment
from harness.server.named import environment_for, server_named
from harness.server.url import ServerUrl


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    name: Annotated[str, typer.Argument(help="A scenario.", autocompletion=completed)]
    server: ServerOption = None
    server_file: ServerFileOption = None
    profile: ProfileOption = "quick"
    param: ParamOption = None
    seed: SeedOption = 1
    users: Annotated[int | None, typer.Option(min=1, help="Number of connections, or of shoppers in journey.")] = (
        None
    )
    host: Annotated[str, typer.Option(help="The address that the web UI is served on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web UI.")] = 8089
    runs: RunsOption = Path("runs")
    consumer: ConsumerOption = None
    promise: PromiseOption = ""
    shape: ShapeOption = None
    probe: ProbeOption = ""
    restart: RestartOption = ""
    start: Annotated[bool, typer.Option("--start", help="Start a run at once, without a press of Start.")] = False
    also_server: Annotated[
        list[str] | None,
        typer.Option(help="NAME=WHICH: another server that the form may choose. May be repeated."),
    ] = None
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Another name of the web UI, besides localhost. May be repeated.")
    ] = None
    allowed_origin: Annotated[
        list[str] | None,
        typer.Option(help="A site whose pages may use the web UI, such as http://bench.lan of a proxy."),
    ] = None


@taking(Asked)
def web_command(asked: Asked) -> int:
    """Start Locust's web UI for a scenario. Server and shop start with each run."""
    from harness.locust.locustfile import command_of

    scenario = _drivable(asked.name)
    given = given_parameters(asked.param or [])
    check_profile(asked.profile, [scenario])
    parameters = parameters_of(scenario, asked.profile, given)
    users = asked.users or getattr(parameters, "users", None) or getattr(parameters, "connections", 1)
    lists = {
        "also-server": asked.also_server or [],
        "allowed-host": asked.allowed_host or [],
        "allowed-origin": asked.allowed_origin or [],
    }
    which = server_named(asked.server, asked.server_file, os.environ)
    _check(asked, which, lists)
    others = {"profile": asked.profile, "seed": str(asked.seed), "runs": str(asked.runs), "users": str(users)}
    if asked_consumer(asked, [scenario]) is not None:
        of_consumer = {name: getattr(asked, name) for name in ("consumer", "promise", "shape", "probe", "restart")}
        of_consumer["event-shape"] = of_consumer.pop("shape")
        others |= {name: str(value) for name, value in of_consumer.items() if value}
    command = command_of(scenario, given, host=asked.host, port=asked.port, others=others, lists=lists)
    say(f"http://{asked.host}:{asked.port}/  {scenario.name}; Ctrl-C ends it")
    sys.stdout.flush()
    environment = {**own_environment(), **environment_for(which)}
    command += ["--autostart"] if asked.start else []
    os.execve(command[0], command, environment)  # noqa: S606 - in place of this process


def _drivable(name: str) -> LoadScenario:
    """A scenario that Locust can drive."""
    [scenario] = chosen([name])
    if hasattr(scenario, "lasting"):
        return cast("LoadScenario", scenario)
    if name == "replay":
        raise UsageError(
            "Under Locust, replay has another form, with parameters of its own: locust -f scenarios/replay.py"
        )
    able = ", ".join(each.name for each in catalog().values() if hasattr(each, "lasting"))
    raise UsageError(f"Locust cannot drive {name}; it can drive {able}")


def _check(asked: Asked, which: ServerUrl | str, lists: Mapping[str, list[str]]) -> None:
    """Refuse what Locust's process would only find out once it has taken the place of this one."""
    from harness.locust.access import AccessError, access_of
    from harness.locust.form import check_server, named_by

    for each in named_by(which, lists["also-server"], None, str(asked.runs)).servers.values():
        check_server(each)
    try:
        access_of(asked.host, lists["allowed-host"], lists["allowed-origin"])
    except AccessError as error:
        raise UsageError(str(error)) from error
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((asked.host, asked.port))
    except OSError as error:
        raise UsageError(f"the web UI cannot be served on {asked.host}:{asked.port} ({error.strerror})") from error
