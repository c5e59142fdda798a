"""A plan of faults in a file: what can be played is, and what cannot is said in one line that names the entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.conduct.plan_file import PlanError, plan_text, planned
from harness.host.own_python import ROOT
from harness.nemesis.plan import Fault

S = 1_000_000_000

PLAN = """
[[fault]]
name = "cut_half_open"
at_s = 3
for_s = 0.5
target = "crm-mail"

[[fault]]
name = "kill"
at_s = 1.5
for_s = 1
options = { within_s = 2 }
"""


def test_a_plan_stands_in_a_text(tmp_path: Path) -> None:
    """Its faults are in the order of their start; variants are done as what they are variants of."""
    (tmp_path / "plan.toml").write_text(PLAN)
    text = plan_text(tmp_path / "plan.toml")
    assert "\n" not in text
    assert planned(text) == [
        Fault(name="kill", at_ns=3 * S // 2, for_ns=S, options={"within_s": 2.0}),
        Fault(name="cut", at_ns=3 * S, for_ns=S // 2, target="crm-mail", options={"variant": "half_open"}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[fault]]\nname="kil"\nat_s=1', "fault 1 (kil): there is no such fault; did you mean kill? there are "),
        (f'{PLAN}[[fault]]\nname="kill"', "fault 3 (kill): Object missing required field `at_s`"),
        ('[[fault]]\nname="kill"\nat_s=nan', "fault 1 (kill): Expected `float` >= 0.0 - at `$.at_s`"),
        ('[[fault]]\nname="kill"\nat_s=inf', "fault 1 (kill): Expected `float` <= 86400.0 - at `$.at_s`"),
        ('[[fault]]\nname="kill"\nat_s=1\nfor_s="2"', "fault 1 (kill): Expected `float`, got `str`"),
        ('[[fault]]\nname="kill"\nat_s=1\nsoftly=1', "fault 1 (kill): Object contains unknown field `softly`"),
        (
            '[[fault]]\nname="delay"\nat_s=1\noptions={latency=3}',
            "fault 1 (delay): there is no option 'latency'; it has latency_ms, jitter_ms",
        ),
        (
            '[[fault]]\nname="stop"\nat_s=1\noptions={x=3}',
            "fault 1 (stop): there is no option 'x'; it has none",
        ),
        ('[[fault]]\nname="refuse"\nat_s=1\noptions={status=200}', "fault 1 (refuse): Expected `int` >= 400"),
        ('[[fault]]\nname="one_backlog"\nat_s=1', "fault 1 (one_backlog): it wants a load of its own; crm_outage"),
        ("[[fault]]\nname=3\nat_s=1", "fault 1: Expected `str`, got `int` - at `$.name`"),
        ("fault = [1]", "fault 1: Expected `object`, got `int`"),
        ("fault = 1", "a plan has one [[fault]] at least"),
        ("", "a plan has one [[fault]] at least"),
        ("[[faults]]\nname='kill'", "a plan has one [[fault]] at least, and not faults"),
        ("[[fault]", "no TOML ("),
        ("name = '\xff'", "no TOML ("),
        ("#" * (1 << 20), "a plan has one [[fault]] at least"),
        ("#" * ((1 << 20) + 1), "a plan has at most 1,048,576 bytes"),
    ],
)
def test_a_plan_that_cannot_be_played(tmp_path: Path, text: str, message: str) -> None:
    """One line: the file, the entry, and what is wrong with it."""
    path = tmp_path / "plan.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(PlanError) as refused:
        plan_text(path)
    assert str(refused.value).startswith(f"{path}: {message}")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named; a directory is no file."""
    with pytest.raises(PlanError, match=r"nowhere\.toml: No such file"):
        plan_text(tmp_path / "nowhere.toml")
    with pytest.raises(PlanError, match="Is a directory"):
        plan_text(tmp_path)


@pytest.mark.parametrize("text", ["plan.toml", "{}", "[1", "[[[[", '[{"name": "kill"}]'])
def test_a_text_that_is_no_plan(text: str) -> None:
    """A plan is given as a file."""
    with pytest.raises(PlanError):
        planned(text)


def test_the_example_is_a_plan() -> None:
    """It is the one that the documentation shows."""
    text = (ROOT / "examples" / "plan.toml").read_text()
    assert text.partition("\n\n")[2] in (ROOT / "docs" / "command-line.md").read_text()
    faults = planned(plan_text(ROOT / "examples" / "plan.toml"))
    assert [(fault.name, fault.target) for fault in faults] == [("kill", "crm"), ("cut", "crm-redis")]
