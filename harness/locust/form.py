"""The start form of the web UI: what it offers, and what of it is taken.

The command line names what this process may use: servers, a gateway, a directory for runs. The form chooses among
them by name, and says what load and which faults there shall be. Nothing that it says becomes a program, a path, a
URL or an address; what it says besides its own fields is refused, for Locust would set any of its options by it:

    command line   --server redis://:secret@10.0.0.5/3 --also-server local=embedded --runs /var/runs
    the form       Run: server       [given by --server | local]
                   Run: profile      [smoke | quick | standard | full]
                   Load: base (per second)       300
                   Judged by: drain timeout (seconds)  60

A field's name is its label, in words, with its unit: Locust's page shows names, and changes none that begins with
a capital and has neither underscores nor capitals or digits inside a word. A program may as well use the
parameter's own name, `base_per_s`.

Rejected: labels that a script puts in the place of Locust's. They come a moment late, and not at all after the
next change of that page.
"""

from __future__ import annotations

import math
import re
import shutil
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from harness.conduct.scenario import LoadScenario, ParameterError, parameters_of
from harness.server.open import kind_of, parsed
from harness.server.server import ServerError, client_for
from harness.server.url import ServerUrl, without_secrets

# Parameters for which Locust has an option of its own: how many users there are, and the host.
LOCUSTS_OWN = {"connections": "users", "users": "users", "gateway": "host"}
GIVEN = "given by --server"
PROFILE, SERVER, SEED = "Run: profile", "Run: server", "Run: seed"

# A parameter belongs to the first group that its name matches; else it is of the load.
_GROUPS = {
    "Judged by": r".*_budget_ms|unharmed_.*|.*_timeout_s|expect|at_most_s",
    "Server": r"durability|policy|keep|maxlen|trim_.*",
    "Fault": r"fault|link|delay_ms|outages?(_s)?|every_s|plan|away_s|how|settle_s",
    "Consumers": r"delivery|consumers|page|mail_delay_ms|claim_after_ms|idempotent",
}
_ORDER = ("Load", "Fault", "Consumers", "Server", "Judged by")
_UNITS = {
    "_per_s": "per second",
    "_ms": "milliseconds",
    "_s": "seconds",
    "_bytes": "bytes",
    "_within": "times as slow",
}
# Where a name alone says what its group says already, or too little.
_WORDS = {"consumers": "number of them", "fault": "kind", "page": "events read at once", "skew": "skew (Zipf)"}
# What Locust's page sends besides, and what decides nothing here.
_UNUSED = frozenset({"user_classes", "shape_class"})
_LOCUSTS_FIELDS = frozenset({"user_count", "spawn_rate", "run_time"})


class Named(Struct, frozen=True, kw_only=True):
    """What the command line has named; nothing else is ever started, reached or written.

    Attributes:
        servers: by name what `--server` means; the first is the default.
        gateway: of a shop that runs elsewhere; empty for none.
        runs: where run directories are made.
    """

    servers: Mapping[str, ServerUrl | str]
    gateway: str
    runs: Path

    def server(self, name: str) -> ServerUrl | str:
        """What a server's name means.

        Raises:
            ParameterError: there is none of that name.
        """
        if name not in self.servers:
            # What was asked for is not told again: it may be a URL with a password.
            raise ParameterError(f"there is no server of that name; the command line has named {self._offered}")
        return self.servers[name]

    @property
    def _offered(self) -> str:
        return ", ".join(self.servers)

    @property
    def default_server(self) -> str:
        """The name of the one that is taken where none is chosen."""
        return next(iter(self.servers))


def named_by(server: ServerUrl | str, also: list[str], gateway: str | None, runs: str) -> Named:
    """What a command line has named.

    Args:
        server: `embedded`, a program, or an address.
        also: more of them, each as NAME=WHICH.
        gateway: of a shop that runs elsewhere.
        runs: a directory.

    Raises:
        ParameterError: a server without a name, or two of one name.
        UrlError: the URL of no Redis server.
    """
    server = parsed(server)
    first = GIVEN if isinstance(server, ServerUrl) else Path(server).name or server
    servers: dict[str, ServerUrl | str] = {first: server}
    for each in also:
        name, equals, which = each.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", name) or not which:
            raise ParameterError("--also-server is given as NAME=WHICH: a name, and a program, a URL or embedded")
        if name in servers:
            raise ParameterError(f"there are two servers called {name}")
        servers[name] = parsed(which)
    return Named(servers=servers, gateway=gateway or "", runs=Path(runs))


def check_server(which: ServerUrl | str) -> None:
    """Refuse what cannot name a server; whether it answers is seen when the run starts.

    Raises:
        ParameterError: neither `embedded`, nor a program that is there, nor a URL of a Redis server.
    """
    if not kind_of(which).owned:
        try:
            client_for(which).close()
        except ServerError as error:
            raise ParameterError(str(error)) from error
    elif which != "embedded" and shutil.which(str(which)) is None:
        raise ParameterError(
            f"{without_secrets(str(which))!r} is neither a server program, nor a redis:// URL, nor 'embedded'"
        )


class Field(Struct, frozen=True, kw_only=True):
    """A field of the form.

    Attributes:
        option: the option of Locust's that it sets.
        label: how the page calls it.
        choices: what can be chosen; empty: a text.
    """

    option: str
    label: str
    choices: tuple[str, ...] = ()


def fields_of(scenario: LoadScenario, named: Named) -> list[Field]:
    """The fields of a scenario's form, in their order, grouped by purpose."""
    fields = [
        Field(option="profile", label=PROFILE, choices=tuple(scenario.profiles)),
        Field(option="server", label=SERVER, choices=tuple(named.servers)),
        Field(option="seed", label=SEED),
    ]
    hints = typing.get_type_hints(scenario.parameters, include_extras=False)
    # No text: what is not a number or one of some words is the starter's to say, on the command line.
    own = [name for name in hints if name not in LOCUSTS_OWN and hints[name] is not str]
    for group in _ORDER:
        fields += [
            Field(option=name, label=f"{group}: {words_of(name)}", choices=choices_of(hints[name]))
            for name in own
            if _group_of(name) == group
        ]
    return fields


def _group_of(name: str) -> str:
    return next((group for group, pattern in _GROUPS.items() if re.fullmatch(pattern, name)), "Load")


def words_of(name: str) -> str:
    """A parameter's name in words, with its unit."""
    if name in _WORDS:
        return _WORDS[name]
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix).replace('_', ' ')} ({unit})"
    return name.replace("_", " ")


def choices_of(kind: Any) -> tuple[str, ...]:
    """What a parameter of a type can be, where that is one of some words."""
    if kind is bool:
        return ("true", "false")
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    return choices if all(isinstance(choice, str) for choice in choices) else ()


def prefilled(
    scenario: LoadScenario, fields: list[Field], options: Any, named: Named
) -> dict[str, dict[str, str]]:
    """What stands in the form, by profile and label: what the options say, else the profile's value."""
    filled = {}
    for profile in scenario.profiles:
        values = msgspec.to_builtins(parameters_of(scenario, profile, {}))
        values |= {"profile": profile, "server": named.default_server, "seed": "1"}
        said = {f.option: getattr(options, f.option, None) for f in fields if f.option != "profile"}
        values |= {option: value for option, value in said.items() if value not in {None, ""}}
        filled[profile] = {field.label: _text(values[field.option]) for field in fields}
    return filled


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def extra_options(scenario: LoadScenario, named: Named, options: Any) -> dict[str, Any]:
    """The form as Locust's page wants to be told of it: `extended` to nothing that is not ours."""
    fields = fields_of(scenario, named)
    profile = options.profile or _default_profile(scenario)
    values = prefilled(scenario, fields, options, named)[profile]
    return {
        field.label: {
            "default_value": values[field.label],
            "choices": list(field.choices) or None,
            "help_text": None,
            "is_secret": False,
            "is_required": False,
            "is_multiple": False,
        }
        for field in fields
    }


def _default_profile(scenario: LoadScenario) -> str:
    return "quick" if "quick" in scenario.profiles else next(iter(scenario.profiles))


def taken(fields: list[Field], form: Mapping[str, str], shown_host: str) -> dict[str, str]:
    """What of a form reaches Locust, by the names of its options.

    Args:
        fields: that there are.
        form: what was sent.
        shown_host: what Locust's own field for a host was filled with, which it sends back.

    Raises:
        ParameterError: the form has a field that there is not, or chooses what is no choice.
    """
    kept: dict[str, str] = {}
    by_name = {field.option: field for field in fields}
    by_label = {field.label: field for field in fields}
    for name, value in form.items():
        if name in _UNUSED:
            continue
        if name in _LOCUSTS_FIELDS:
            kept[name] = value
            continue
        if name == "host":
            if value not in {"", shown_host}:
                raise ParameterError("the host is set on the command line, with --host, and not here")
            continue
        field = by_label.get(name) or by_name.get(name)
        if field is None:
            raise ParameterError(
                f"{name[:60]!r} cannot be chosen here: what the form does not offer is set on the command line"
            )
        # Locust's page has a field of its own for the profile, empty; the label's is the one that is shown.
        if field.option not in kept or name in by_label:
            kept[field.option] = _chosen(field, value)
    return kept


def _chosen(field: Field, value: str) -> str:
    if value and field.option == "server" and value not in field.choices:
        raise ParameterError(
            f"a server is chosen by a name that the command line has given: {', '.join(field.choices)}"
        )
    return value


def options_after(options: Any, form: Mapping[str, str], seconds_of: Callable[[str], int]) -> Any:
    """Locust's options as they will be once it has taken a form.

    Args:
        options: as they are; they are not changed.
        form: its fields, as `taken` has kept them.
        seconds_of: reads a time span as Locust does; ValueError where it is none.

    Raises:
        ParameterError: a field that cannot be.
    """
    chosen = type(options)(**vars(options))
    for name, value in form.items():
        if name not in _LOCUSTS_FIELDS:
            setattr(chosen, name, value)
    chosen.num_users = _number(form, "user_count", "the number of users", 1, int)
    chosen.spawn_rate = _number(form, "spawn_rate", "the ramp up", 0, float)
    chosen.run_time = None
    if form.get("run_time"):
        try:
            chosen.run_time = seconds_of(form["run_time"])
        except ValueError as error:
            raise ParameterError(
                f"a run time is written as 20, 20s, 3m, 2h or 1h20m, not {form['run_time']!r}"
            ) from error
        if not chosen.run_time:
            raise ParameterError("a run time is 1 second or more; leave it out for the profile's")
    return chosen


def _number(form: Mapping[str, str], name: str, what: str, least: float, kind: Callable[[str], float]) -> float:
    try:
        number = kind(form.get(name, ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < least or number <= 0:
        bound = f"{least:g} or more" if least else "above 0"
        raise ParameterError(
            f"{what} is a {'whole ' if kind is int else ''}number {bound}, not {form.get(name)!r}"
        )
    return number
