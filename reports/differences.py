"""What differs between runs, and how much that matters for a ratio of their figures.

A ratio means something only where the runs asked the same question under the same conditions, so each difference
has a weight:

    invalid   the figures answer different questions, and their ratio answers none: another scenario, load,
              rate, durability or delivery; another kind of machine; a run that did not come to its end, or
              whose instrument could not keep its schedule
    weakens   the ratio stands, but this could be why: other packages, another kernel, other random numbers.
              A server's version and the revision of the code are here, too: they may be the very thing that is
              compared, and then should be the only thing that differs

With one invalid difference the runs are *not comparable*: ratios are shown, but not called slower or faster.

A parameter that this table does not know is invalid, since it was asked for; a fact of the environment that it
does not know only weakens. The name of a host weakens: a container has a new one each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from harness.record.run import Run
from reports import findings
from reports.findings import printable

Weight = Literal["invalid", "weakens"]

NOT_RECORDED = "not recorded"

# The first that matches a difference's name gives its weight, and why.
_WEIGHTS: tuple[tuple[str, Weight, str], ...] = (
    (r"scenario", "invalid", "another question was asked"),
    (r"status", "invalid", "a run that did not come to its end has not measured everything"),
    (r"environment\.load\.workers", "invalid", "the load was spread in another way"),
    (r"environment\.load\..*", "invalid", "the load came in another way"),
    (r"parameters\.(producer|seed)|seed", "weakens", "other random numbers give other arrivals or data"),
    (r"parameters\.profile", "weakens", "only names a set of parameters; those that differ stand here by name"),
    (r"parameters\.(scenarios|send_lag_budget_ms|drain_timeout_s)", "weakens", "moves verdicts, not figures"),
    (r"parameters\.(duration_s|before_s|after_s)", "weakens", "a longer run meets more rare events"),
    (r"parameters\.(baseline|candidate)", "weakens", "other code: perhaps what is compared"),
    (
        r"parameters\.(start_per_s|limit_s|precision|probe_s|long_probe_s)",
        "weakens",
        "another way to the same answer, or a wider one",
    ),
    (r"parameters\.(durability|delivery)", "invalid", "an answer means something else"),
    (r"parameters\..*", "invalid", "another load was asked for"),
    (r"environment\.server\.(appendonly|appendfsync|save)", "invalid", "another durability"),
    (
        r"environment\.server\.(name|version)",
        "weakens",
        "perhaps what is compared; then nothing else should differ",
    ),
    (
        r"environment\.server\.data_directory\.is_synced",
        "invalid",
        "another durability: memory is not synced",
    ),
    (r"environment\.server\..*", "weakens", "the server was set up in another way"),
    (r"environment\.instrument\.cores_plan", "invalid", "load and server shared cores in another way"),
    (r"environment\.instrument\.dated_by", "invalid", "answers were dated in another way, some of them later"),
    (r"environment\.host\.(cpu|cores|machine)", "invalid", "another machine"),
    (r"environment\.host\.(host|memory_bytes)", "weakens", "perhaps another machine"),
    (
        r"environment\.host\.(revision|directory_revision|shopbench|packages\.ordershop-bench)",
        "weakens",
        "other code: perhaps what is compared; then nothing else should differ",
    ),
    (r"environment\.host\..*", "weakens", "another system, interpreter or library needs another time"),
    (r".*", "weakens", "may move figures"),
)
# What every run has of its own; an address only where we start the server, on a port that is free. Workers have
# names and clocks anew each time: of them only how many there were is a fact.
_OWN = re.compile(
    r"environment\.(load\.(producer|workers\..*)|meanwhile\..*"
    r"|server\.(owned|run_id|process_id|ping_us|lock|left_behind|data_directory\.path))",
    re.DOTALL,
)
_ADDRESS = "environment.server.url"


class Difference(msgspec.Struct, frozen=True):
    """Something that is not the same in all runs: its name, its value in each, and what that means."""

    name: str
    values: list[str]
    weight: Weight
    why: str


def differences(runs: Sequence[Run]) -> tuple[list[Difference], list[tuple[str, str]]]:
    """What is not the same in all runs, the invalid first, and what is."""
    facts = [_facts(run) for run in runs]
    owned = all(_is_owned(run) for run in runs)
    found: list[Difference] = []
    same: list[tuple[str, str]] = []
    for name in dict.fromkeys(name for f in facts for name in f):
        values = [f.get(name, NOT_RECORDED) for f in facts]
        if name == _ADDRESS and owned:
            continue
        if len(set(values)) == 1:
            same.append((name, values[0]))
        else:
            weight, why = weight_of(name)
            found.append(Difference(name, values, weight, why))
    found += _doubts(runs)
    return sorted(found, key=lambda d: d.weight != "invalid"), same


def weight_of(name: str) -> tuple[Weight, str]:
    """How much it matters that runs differ in something, and why."""
    return next((weight, why) for pattern, weight, why in _WEIGHTS if re.fullmatch(pattern, name, re.DOTALL))


def question(run: Run) -> tuple[tuple[str, str], ...]:
    """What makes a run comparable with others: its facts whose difference would be invalid."""
    facts = _facts(run).items()
    return tuple((name, value) for name, value in facts if name != "status" and weight_of(name)[0] == "invalid")


def _is_owned(run: Run) -> bool:
    server = run.environment.get("server")
    return isinstance(server, Mapping) and server.get("owned") is True


def _facts(run: Run) -> dict[str, str]:
    nested: Mapping[str, Any] = {
        "scenario": run.scenario,
        "status": run.status,
        "seed": run.seed,
        "parameters": run.parameters,
        "environment": run.environment,
    }
    facts = dict(findings.flattened(nested))
    load = run.environment.get("load")
    if isinstance(load, Mapping) and isinstance(load.get("workers"), list):
        facts["environment.load.workers"] = str(len(load["workers"]))
    # What came of a parameter stands among the parameters, and once is enough.
    asked = {f"environment.load.{name}" for name in run.parameters}
    return {name: value for name, value in facts.items() if not _OWN.fullmatch(name) and name not in asked}


def _doubts(runs: Sequence[Run]) -> list[Difference]:
    """What makes a single run doubtful, whatever the others are: it then stands here although nothing differs."""
    found = []
    if len({run.status for run in runs}) == 1 and runs[0].status != "complete":
        found.append(Difference("status", [run.status for run in runs], *weight_of("status")))
    named: dict[str, list[str]] = {}
    for at, run in enumerate(runs):
        for verdict in findings.validity(run)[0]:
            if verdict.status != "PASS":
                named.setdefault(verdict.name, ["" for _ in runs])[at] = f"{verdict.status}: {verdict.detail}"
    why = "a measurement that is in doubt itself"
    return found + [Difference(f"verdict {name}", values, "invalid", why) for name, values in named.items()]


def spoken_name(name: str) -> str:
    """The name of a difference, without where in the record it stands."""
    return re.sub(r"^(parameters|environment\.(host|load))\.|^environment\.", "", name).replace(".", " ")


def server_of(run: Run) -> str:
    """The server's name and version, as far as they were recorded."""
    server = run.environment.get("server")
    if not isinstance(server, Mapping):
        return ""
    return printable(" ".join(str(server[key]) for key in ("name", "version") if server.get(key)))
