"""A scenario's file as a locustfile: its last line, its options, the command that starts it.

    AppendUser = locustfile(scenario, __name__)

Locust loads a file by itself, and under the file's own name, which has no dot in it. Only then is anything done
here: a file that is imported as a module of its package leaves Locust alone, for importing it patches a process.

Locust looks for packages first where it was started. That directory may have packages of our names. So the first
lines of each file put it behind all others, unless the file was loaded from there; nothing of ours can be imported
before:

    if "." not in __name__:
        sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])
"""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from harness.conduct.plan_file import PlanError, plan_text
from harness.conduct.scenario import LoadScenario, flags_of, parameters_of
from harness.load.settings import SPIN_SHARE, SPIN_VARIABLE
from harness.locust.form import LOCUSTS_OWN
from harness.record.parameters import described, renamed
from harness.server.named import VARIABLE


def locustfile(
    scenario: LoadScenario, loaded_as: str, users: str = "harness.locust.users:ArrivalUser"
) -> type[Any] | None:
    """Make the file that is being loaded a locustfile, if Locust loads it.

    Args:
        scenario: that Locust is to conduct.
        loaded_as: the `__name__` of the file.
        users: `module:class` of its users, an `ActingUser`; if not given they are connections.

    Returns:
        The class that Locust is to find in the file; None where Locust does not load it.
    """
    if "." in loaded_as or loaded_as == "__main__":
        return None
    from harness.locust.hooks import conducted

    return conducted(scenario, users)


def add_arguments(parser: Any, scenario: LoadScenario) -> None:
    """Add a scenario's parameters to Locust's options; they stand in the form of the web UI, too."""
    # Locust's own is every interface. What is given, configured or in the environment goes before a default.
    parser.set_defaults(web_host="127.0.0.1")
    # It does not stand in the form under its own name: Locust would show the address with its password.
    parser.add_argument(
        "--server",
        default="",
        include_in_web_ui=False,
        help=f"embedded, a server program, or a redis:// URL; default: the value of {VARIABLE}, or embedded",
    )
    parser.add_argument(
        "--server-file",
        default="",
        include_in_web_ui=False,
        help="a file that holds that URL; use it for a password, since every user can read a command line",
    )
    parser.add_argument(
        "--also-server",
        action="append",
        metavar="NAME=WHICH",
        include_in_web_ui=False,
        help="another server that the web UI's form may choose by this name; may be repeated",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        metavar="NAME",
        include_in_web_ui=False,
        help="another name of the web UI, besides localhost and --web-host; may be repeated",
    )
    parser.add_argument(
        "--allowed-origin",
        action="append",
        metavar="URL",
        include_in_web_ui=False,
        help="a site whose pages may use the web UI, such as that of a proxy that changes Host; may be repeated",
    )
    if getattr(scenario, "takes_consumers", False):
        _add_consumer(parser)
    parser.add_argument("--seed", default="1", help="seed of everything that is drawn at random")
    parser.add_argument(
        "--runs", default="runs", include_in_web_ui=False, help="directory in which run directories are made"
    )
    parser.add_argument(
        "--spin",
        type=float,
        default=SPIN_SHARE,
        env_var=SPIN_VARIABLE,
        include_in_web_ui=False,
        help="share of a core that the load of each worker may spend on waiting awake",
    )
    _add_parameters(parser, scenario)


# What is said of a consumer of somebody's own; none of it stands in the form: what it says becomes a program. The
# shape of events has another name here, since `lag` has a shape of its load.
OF_CONSUMER = {
    "consumer": "a command that starts a consumer of your own, in any language, in place of OrderShop's",
    "promise": "what it promises, such as at_least_once,order=entity,recovers_within=10s",
    "event-shape": "a TOML file with the fields of the events that it is given",
    "probe": "a command that prints the ID of each event that has had its effect; default: consumers post them",
    "restart": "what becomes of one that ends by itself: always, it is started again; or never",
}


def _add_consumer(parser: Any) -> None:
    for name, meaning in OF_CONSUMER.items():
        parser.add_argument(f"--{name}", default="", include_in_web_ui=False, help=meaning)


def _add_parameters(parser: Any, scenario: LoadScenario) -> None:
    defaults = msgspec.to_builtins(parameters_of(scenario, "quick", {}))
    parameters = described(scenario.parameters)
    for name, flag in flags_of(scenario).items():
        parser.add_argument(
            f"--{flag}",
            dest=name,
            default="",
            type=_plan if name == "plan" else partial(renamed, scenario.parameters, name),
            choices=["", *parameters[name].choices] if parameters[name].kind == "choice" else None,
            help=f"{_unit_of(name)}; quick: {defaults[name]}",
        )


def _plan(value: str) -> str:
    """A plan of faults as a parameter has it, of the file that a command line names; the form sends the text."""
    if not value or value.startswith("["):
        return value
    try:
        return plan_text(Path(value))
    except PlanError as error:
        raise ArgumentTypeError(str(error)) from error


def _unit_of(name: str) -> str:
    words = name.replace("_", " ")
    for suffix, unit in ((" per s", "per second"), (" ms", "in milliseconds"), (" s", "in seconds")):
        if words.endswith(suffix):
            return f"{words.removesuffix(suffix)}, {unit}"
    return words


def command_of(
    scenario: LoadScenario,
    given: Mapping[str, str],
    *,
    host: str,
    port: int,
    others: Mapping[str, str],
    lists: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """The command line of a Locust that has a scenario's file, and a web UI.

    Args:
        given: parameters of the scenario, as text.
        host, port: that the web UI is served on.
        others: options of Locust's.
        lists: options that may be given several times.
    """
    flags = {**LOCUSTS_OWN, **flags_of(scenario)}
    options = {**others, **{flags[name]: value for name, value in given.items()}}
    # All of them at once: the load waits for the last.
    options["spawn-rate"] = options["users"]
    path = sys.modules[type(scenario).__module__].__file__
    command = [sys.executable, "-P", "-m", "locust", "-f", str(path), "--web-host", host, "--web-port", str(port)]
    command += [f"--{option}={value}" for option, values in (lists or {}).items() for value in values]
    return [*command, *(f"--{option}={value}" for option, value in options.items())]
