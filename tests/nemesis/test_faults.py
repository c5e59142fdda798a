"""Kinds of faults: each file has one, each says what it needs and how it is told, and others may add theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.host.plugins import PluginError
from harness.nemesis import faults
from harness.nemesis.faults import GROUP, fault_kinds, faults_of
from harness.nemesis.kind import FaultKind
from harness.nemesis.targets import LINE, PROCESS, SERVER
from harness.record.run import load

TARGETS = {
    "process": PROCESS,
    "line": LINE,
    "server": SERVER,
    "service": ("slow", "refuse"),
    "consumer": ("poison",),
    "command": (*PROCESS, "leader_kill", "survivors"),
    "consumer of a line": ("stop", "kill", "start", "sink_away", "sink_back", "replace"),
    "group": ("set_back",),
}


def test_each_file_has_the_fault_of_its_name() -> None:
    """No kind but those of the files, each called as its file; no other package has added one here."""
    files = {path.stem for path in Path(faults.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(fault_kinds())


def test_faults_are_listed_in_the_order_of_their_places() -> None:
    """Whatever the names of their files."""
    assert list(fault_kinds()) == [
        "kill", "kill_in_batch", "kill_while_away", "kill_then_quiet", "kill_leader", "stop", "one_backlog",
        "stop_while_away", "rolling", "freeze", "cut", "cut_half_open", "delay", "slow", "refuse", "poison",
        "redeliver", "pause", "restart_empty",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("process", ["stop", "kill", "freeze"]),
        ("line", ["cut", "delay"]),
        ("server", ["kill", "freeze", "pause", "restart_empty"]),
        ("service", ["slow", "refuse"]),
        ("consumer", ["poison"]),
        ("command", ["stop", "kill", "freeze", "kill_leader"]),
        ("consumer of a line", ["stop", "stop_while_away", "kill", "kill_while_away", "rolling"]),
        ("group", ["redeliver"]),
    ],
)
def test_a_target_knows_the_faults_that_it_can_suffer(target: str, names: list[str]) -> None:
    """In the order of what it can, and without variants of one and the same."""
    assert list(faults_of(TARGETS[target])) == names


@pytest.mark.parametrize("kind", fault_kinds().values(), ids=lambda kind: kind.name)
def test_each_kind_can_be_told_and_done(kind: FaultKind) -> None:
    """Its words need no more than they get, some target can suffer it, and what it always has are options."""
    assert "{" not in kind.headline.format(target="It", ms=200.0) + kind.button.format(target="it")
    assert any(kind.is_possible(can) for can in TARGETS.values())
    assert kind.arguments(kind.given_ms(70)).items() >= kind.preset.items()
    assert fault_kinds()[kind.done_as].done_as == kind.done_as
    assert bool(kind.button) <= bool(kind.meaning and kind.open_words)


@pytest.mark.parametrize("name", faults_of(PROCESS))
def test_a_process_comes_back_from_every_fault(name: str) -> None:
    """So each healing of one is a mark on the timeline."""
    assert fault_kinds()[name].comes_back


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("kill", {"softly": 1}, "got an unexpected keyword argument 'softly'"),
        ("delay", {"latency_ms": 600_001.0}, r"Expected `float` <= 600000.0 - at `\$.latency_ms`"),
        ("delay", {"jitter_ms": 1.0}, "a jitter that is more than the latency"),
        ("slow", {"ms": -1.0}, r"Expected `float` >= 0.0 - at `\$.ms`"),
        ("cut", {"variant": "softly"}, "Invalid enum value 'softly'"),
    ],
)
def test_an_option_that_cannot_be(name: str, options: dict[str, Any], message: str) -> None:
    """A name that there is not, or a value out of its bounds."""
    with pytest.raises(ValueError, match=message):
        fault_kinds()[name].arguments(options)


# Added by others --------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on the path; what was found before, and what is found with it, is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    fault_kinds.cache_clear()
    yield tmp_path
    fault_kinds.cache_clear()
    sys.modules.pop("stutters", None)


def install(directory: Path, name: str, source: str) -> None:
    """Install a package with one module that adds a fault."""
    metadata = directory / "stutters-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stutters\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = stutters:fault\n")
    (directory / "stutters.py").write_text(source)


STUTTER = '''
"""stutter: a process that is frozen and goes on, again and again, until it is left alone."""

from harness.nemesis.kind import FaultKind


def inject(can, options):
    for _ in range(3):
        can["freeze"]()
        can["thaw"]()


fault = FaultKind(
    name="stutter",
    needs=("freeze", "thaw"),
    inject=inject,
    heal=lambda can: can["thaw"](),
    comes_back=True,
    headline="{target} stuttered",
    participle="stuttering",
    button="Make {target} stutter",
    meaning="SIGSTOP and SIGCONT, three times",
)
'''


def test_a_fault_of_others_stands_behind_ours(installed: Path) -> None:
    """It is offered wherever a target can do what it needs."""
    install(installed, "stutter", STUTTER)
    assert list(fault_kinds())[-1] == "stutter"
    assert list(faults_of(PROCESS)) == ["stop", "kill", "freeze", "stutter"]
    assert "stutter" not in faults_of(LINE)
    can = {name: lambda name=name: done.append(name) for name in PROCESS}
    done: list[str] = []
    fault_kinds()["stutter"].inject(can, {})
    assert done == ["freeze", "thaw"] * 3


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("stammer", STUTTER, "'stammer' is called 'stutter' by itself"),
        ("kill", STUTTER.replace('"stutter"', '"kill"'), "there is a fault 'kill' already"),
        ("stutter", "fault = 'a word'\n", "'stutter' is not a FaultKind but a str"),
        (
            "stutter",
            "fault = nothing\n",
            "'stutter' cannot be imported from stutters:fault (stutters): NameError: ",
        ),
    ],
)
def test_a_fault_of_others_that_cannot_be_taken(installed: Path, name: str, source: str, message: str) -> None:
    """One of a name that there is already or of another name, one that is none, one that is broken: one line."""
    install(installed, name, source)
    with pytest.raises(PluginError) as refused:
        fault_kinds()
    assert str(refused.value).startswith(f"{GROUP}: {message}")
    assert "\n" not in str(refused.value)


OFFERED = """
import json
from typing import get_args
from harness.locust.form import choices_of
from harness.locust.snapshot import buttons_of
from harness.nemesis.faults import faults_of
from harness.nemesis.targets import PROCESS
from scenarios.consumers import How
from scenarios.crm_outage import Way

buttons = [button.words for button in buttons_of({"crm": faults_of(PROCESS)})]
print(json.dumps([choices_of(Way)[-1], get_args(How)[-1], buttons]))
"""


def ran(directory: Path, *arguments: str) -> str:
    """What Python prints where the package in a directory is installed, too."""
    path = os.pathsep.join(each for each in (str(directory), os.environ.get("PYTHONPATH", "")) if each)
    command = [sys.executable, "-B", *arguments]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fault_of_others_is_offered(tmp_path: Path) -> None:
    """By the form of an outage and of a group of consumers, and by a button."""
    install(tmp_path, "stutter", STUTTER)
    assert json.loads(ran(tmp_path, "-c", OFFERED)) == [
        "stutter",
        "stutter",
        ["Stop CRM", "Kill CRM", "Freeze CRM", "Make CRM stutter", "Start CRM"],
    ]


@pytest.mark.slow
def test_a_fault_of_others_is_done_listed_and_told(tmp_path: Path) -> None:
    """It is in the list, a run does it, the headline has its words, and the report names it."""
    install(tmp_path, "stutter", STUTTER)
    assert "pause, restart_empty, stutter)" in " ".join(
        ran(tmp_path, "-m", "harness", "list", "crm_outage").split()
    )
    given = ["-p", "fault=stutter", "-p", "send_lag_budget_ms=60000", "--undecided-is-0"]
    ran(
        tmp_path,
        "-m",
        "harness",
        "run",
        "crm_outage",
        "--profile",
        "smoke",
        *given,
        "--runs",
        str(tmp_path / "runs"),
    )
    [directory] = (path.parent for path in (tmp_path / "runs").glob("*/run.json"))
    record = load(directory)
    assert record.run.headline.startswith("The CRM stuttered for 2.0 s; ")
    assert [(fault.name, fault.target) for fault in record.history.faults] == [("stutter", "crm")]
    assert "stutter crm" in (directory / "report.html").read_text()


def test_variants_are_done_as_what_they_are_variants_of() -> None:
    """Under other circumstances, or with other options; on the timeline it is one fault."""
    kinds = fault_kinds()
    assert {name: kind.done_as for name, kind in kinds.items() if kind.variant_of} == {
        "kill_in_batch": "kill",
        "kill_then_quiet": "kill",
        "one_backlog": "stop",
        "cut_half_open": "cut",
    }
    assert kinds["cut_half_open"].preset == {"variant": "half_open"}


def test_whole_numbers_are_wanted_whole() -> None:
    """Where all numbers are floats, as in a plan, a whole one is taken; another is not."""
    assert fault_kinds()["redeliver"].arguments({"entries": 7.0}) == {"entries": 7}
    with pytest.raises(ValueError, match="Expected `int`, got `float`"):
        fault_kinds()["redeliver"].arguments({"entries": 7.5})
