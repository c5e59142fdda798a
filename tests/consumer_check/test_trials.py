"""The list of trials, what is chosen of it, and how long it takes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.consumer_check.commands import check_words
from harness.consumer_check.result import Settings, Side
from harness.consumer_check.trials import (
    CLAIM_MS,
    NOT_ASKED,
    TRIALS,
    Trial,
    chosen,
    expected_s,
    most_s,
    whole_s,
)
from scenarios.catalog import SCENARIOS


def names(trials: tuple[Trial, ...]) -> list[str]:
    return [trial.name for trial in trials]


def choose(**changed: object) -> tuple[list[str], dict[str, str]]:
    """The names of what is played, and why the rest is not."""
    found = chosen(SCENARIOS, **({"only": (), "skip": (), "lacking": {}} | changed))  # type: ignore[arg-type]
    return names(found.trials), {each.trial: each.why for each in found.left_out}


def test_the_first_trial_does_nothing() -> None:
    """What fails there no fault has caused; and each trial has a name and words of its own."""
    assert TRIALS[0].name == "undisturbed"
    for attribute in ("name", "title", "did"):
        assert len({getattr(trial, attribute) for trial in TRIALS}) == len(TRIALS)


def test_every_trial_is_played_or_named() -> None:
    """None is left out in silence."""
    able, left_out = choose()
    assert sorted([*able, *left_out]) == sorted(names(TRIALS))
    assert {"undisturbed", "kill", "stop", "freeze", "cut", "half_open", "restart_empty"} <= set(able)


def test_what_is_asked_for() -> None:
    """`only` and `skip`, in the order of the list."""
    assert choose(only={"stop", "kill"})[0] == ["kill", "stop"]
    able, left_out = choose(skip={"kill"})
    assert "kill" not in able
    assert left_out["kill"] == NOT_ASKED


def test_what_there_is_not() -> None:
    """A trial that wants a server of ours says so where there is none."""
    able, left_out = choose(lacking={"own server": "the server is somebody's"})
    assert "restart_empty" not in able
    assert left_out["restart_empty"] == "the server is somebody's"


def test_what_this_version_does_not_offer() -> None:
    """A kind of fault that there is not, and a scenario that there is not."""
    strange = [
        Trial(name="hiccup", title="a", did="b", parameters={"fault": "hiccup"}),
        Trial(name="elsewhere", title="c", did="d", scenario="elsewhere", parameters={}),
    ]
    found = chosen(SCENARIOS, only=(), skip=(), lacking={}, trials=strange)
    assert found.trials == ()
    assert [each.why for each in found.left_out] == [
        "this version does not offer it",
        "this version has no scenario elsewhere",
    ]


@pytest.mark.parametrize(
    ("each_s", "at_once", "whole"),
    [([], 2, 0), ([5], 2, 5), ([4, 4, 4], 1, 12), ([6, 3, 3], 2, 6), ([3, 3, 6], 2, 9)],
)
def test_how_long_trials_take_together(each_s: list[float], at_once: int, whole: float) -> None:
    """Whoever is free takes the next one."""
    assert whole_s(each_s, at_once) == whole


def test_the_whole_list_takes_three_minutes() -> None:
    """Once, two trials at a time; three times it takes ten."""
    able = chosen(SCENARIOS, only=(), skip=(), lacking={}).trials
    each_s = [expected_s(SCENARIOS, trial) for trial in able]
    assert whole_s(each_s, 2) <= 180
    assert whole_s(each_s * 3, 2) <= 600
    assert all(most_s(SCENARIOS, trial) > expected_s(SCENARIOS, trial) for trial in able)


def test_a_longer_claim_time() -> None:
    """It goes to the runs; who is frozen is frozen for three of them, and a still account is watched as long."""
    for trial in TRIALS:
        later = trial.claiming_after(6_000)
        assert later.parameters.get("claim_after_ms", "6000") == "6000"
        assert trial.claiming_after(CLAIM_MS) == trial
        assert later.parameters.keys() == trial.parameters.keys()
    freeze = next(trial for trial in TRIALS if trial.name == "freeze").claiming_after(6_000)
    assert freeze.parameters["outage_s"] == "18"
    assert freeze.still_s == 20


def test_a_check_is_repeated_with_its_claim_time() -> None:
    """The command that makes it again names a claim time of one's own, and only that."""
    settings = Settings(sides=(Side(consumer="node app.js", label="node app.js"),))
    assert "--claim-ms" not in check_words(settings)
    words = check_words(replace(settings, claim_ms=6_000))
    assert words[words.index("--claim-ms") + 1] == "6000"
