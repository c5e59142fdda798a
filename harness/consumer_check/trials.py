"""The trials of a consumer check: the one list of them, as data.

    Trial("freeze", ...)  --arguments-->  shopbench run crm_outage --profile smoke -p fault=freeze ...

A trial is a run of a scenario with fixed parameters, and the words for it in tables and pages. What a scenario
does not offer in this version is not tried, and named. The first trial does nothing to the consumer: what fails
there, no fault has caused.

Short spans and a claim time of a second keep a trial near ten seconds. They change what is found in one way: a
consumer that claims after more than a second of its own choice is not waited for; it is judged by what is still
pending when nothing has moved for a while (`scenarios.line.ending`). Who has such a consumer says its claim time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from harness.conduct.scenario import ParameterError, Scenario, parameters_of

PROFILE = "smoke"
# Why a trial is not played that somebody has left out.
NOT_ASKED = "not asked for"
# The trial in which nothing is done.
UNDISTURBED = "undisturbed"
CLAIM_MS = 1_000
# Python, a server, the sink and a consumer that connects; and, at the end, evidence and report.
START_S, CONSUMER_S, END_S = 2.0, 2.5, 1.5
# Longest time in which a consumer has to become ready.
READY_S = 60.0
# Who is stuck is not waited for; who works on has so long.
DRAIN_S = 60.0
# That a consumer which has one effect after the other bears, also on a busy machine.
RATE_PER_S = "100"
# So much that it is behind, and has pages in hand; and catches up.
_BUSY = {"rate_per_s": "60", "mail_delay_ms": "20"}
_OUTAGE = {
    "rate_per_s": RATE_PER_S,
    "claim_after_ms": str(CLAIM_MS),
    "after_s": "2",
    "drain_timeout_s": f"{DRAIN_S:.0f}",
}


class Trial(Struct, frozen=True, kw_only=True):
    """One thing that is done to a consumer.

    Attributes:
        name: on the command line.
        title: in a table, a few words that say what was done.
        did: in a page, what is done, in a sentence.
        scenario: whose run it is.
        parameters: of that run, besides the profile's.
        happened: verdicts, by their last names, that have to pass: without them the thing was not done.
        may_not_apply: whether there are good consumers to which it cannot be done, as they have but one process,
            or leave nothing in hand; then that it was not tried leaves the check decided.
        recovers: whether there is something to recover from.
        wants: what it takes: `own server`, one that we start; `sink`, effects that go to our sink; `refusals`, a
            sink that can refuse; `attempts`, one that tells of effects that it was asked for again; `leader`, a
            consumer whose first process can be killed by itself.
    """

    name: str
    title: str
    did: str
    scenario: str = "crm_outage"
    parameters: Mapping[str, str]
    happened: tuple[str, ...] = ()
    may_not_apply: bool = False
    recovers: bool = True
    wants: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """The words of `shopbench run` for it."""
        given = [word for name, value in self.parameters.items() for word in ("-p", f"{name}={value}")]
        return [self.scenario, "--profile", PROFILE, *given]

    @property
    def still_s(self) -> float:
        """For how long nothing may move before its account is closed."""
        return 3 * int(self.parameters.get("claim_after_ms", CLAIM_MS)) / 1000 + 2

    def claiming_after(self, claim_ms: int) -> Trial:
        """The same for a consumer that claims later; who is frozen is frozen for three times as long."""
        if int(self.parameters.get("claim_after_ms", claim_ms)) >= claim_ms:
            return self
        own = {"claim_after_ms": str(claim_ms)}
        if self.parameters["fault"] == "freeze":
            own["outage_s"] = f"{3 * claim_ms / 1000:g}"
        return replace(self, parameters={**self.parameters, **own})


def _outage(fault: str, **also: str) -> dict[str, str]:
    return {"fault": fault, **(_OUTAGE | also)}


TRIALS: tuple[Trial, ...] = (
    Trial(
        name=UNDISTURBED,
        title="nothing was done to it",
        did="Events come for three seconds, and nothing is done to the consumer.",
        recovers=False,
        scenario="lag",
        parameters={
            "shape": "steady",
            "base_per_s": RATE_PER_S,
            "before_s": "1",
            "peak_s": "1",
            "after_s": "1",
            "drain_timeout_s": f"{DRAIN_S:.0f}",
        },
    ),
    Trial(
        name="kill",
        title="killed with events in hand",
        did="The consumer and all that it started get SIGKILL while it has events in hand; it is started again.",
        parameters=_outage("kill_in_batch", **_BUSY),
        happened=("hit_in_batch",),
    ),
    Trial(
        name="kill_busy",
        title="killed while the sink is slow",
        did="The sink takes 100 ms for each answer. The consumer and all that it started get SIGKILL, whatever it "
        "has in hand; it is started again.",
        parameters=_outage("kill", rate_per_s="40", mail_delay_ms="100"),
    ),
    Trial(
        name="kill_while_away",
        title="killed while the sink was away",
        did="The sink is away when the consumer and all that it started get SIGKILL, so that nothing in hand can "
        "be finished; then both come back.",
        parameters=_outage("kill_while_away"),
        happened=("killed_while_away",),
        wants=("sink",),
    ),
    Trial(
        name="stop",
        title="stopped, as a deploy does",
        did="The consumer gets SIGTERM, may finish what it has in hand, and is started again.",
        parameters=_outage("stop", **_BUSY),
    ),
    Trial(
        name="freeze",
        title="frozen beyond the claim",
        did="One of two consumers is frozen (SIGSTOP) for three times the claim time, and goes on afterwards. "
        "Where the other one has taken over and handled all by then, it has recovered at once.",
        parameters=_outage("freeze", consumers="2", outage_s="3", **_BUSY),
    ),
    Trial(
        name="cut",
        title="connection to Redis cut",
        did="The consumer's connections to Redis are reset and refused for a while.",
        parameters=_outage("cut"),
    ),
    Trial(
        name="half_open",
        title="connection to Redis silent",
        did="The consumer's connections to Redis stay open, and nothing passes for a while (half-open).",
        parameters=_outage("cut_half_open"),
    ),
    Trial(
        name="restart_empty",
        title="Redis came back empty",
        did="Redis is killed and comes back without its data. What was appended before counts for nobody.",
        parameters=_outage("restart_empty"),
        wants=("own server",),
    ),
    Trial(
        name="stop_while_away",
        title="stopped while the sink was away",
        did="The sink is away when the consumer gets SIGTERM; then both come back.",
        parameters=_outage("stop_while_away"),
        happened=("stopped_while_away",),
        wants=("sink",),
    ),
    Trial(
        name="kill_then_quiet",
        title="killed, then no new events",
        did="The consumer is killed and started again, and from then on nothing is published.",
        # Longer than a consumer needs to come back: what it claims at its start is not what is asked here. Nothing
        # new comes into its hands when the load has ended: the sink is so slow that it has some for long enough.
        parameters=_outage(
            "kill_then_quiet", **{**_BUSY, "mail_delay_ms": "100"}, outage_s="1", claim_after_ms="4000"
        ),
        happened=("went_quiet",),
    ),
    Trial(
        name="one_backlog",
        title="restarted with one stream behind",
        did="The consumer is started again where one stream has a backlog and the other has news.",
        parameters=_outage("one_backlog"),
        happened=("one_backlog",),
    ),
    Trial(
        name="kill_leader",
        title="only its first process killed",
        did="Only the process that was started gets SIGKILL; what it has started itself lives on.",
        parameters=_outage("kill_leader", **_BUSY),
        happened=("others_lived_on",),
        may_not_apply=True,
        wants=("leader",),
    ),
    Trial(
        name="redeliver",
        title="events delivered again",
        did="After the drain the group is set back (XGROUP SETID), so that events are delivered once more.",
        parameters=_outage("redeliver"),
        happened=("redelivered",),
        recovers=False,
        wants=("attempts",),
    ),
    Trial(
        name="rolling",
        title="deployed under new names",
        did="The sink takes 100 ms for each answer. A consumer is started under a name that the group does not "
        "know; then the first one gets SIGTERM, and does not come back.",
        parameters=_outage("rolling", rate_per_s="40", mail_delay_ms="100"),
        happened=("rolled",),
        may_not_apply=True,
    ),
    Trial(
        name="slow",
        title="slow sink",
        did="The sink takes its time for each answer.",
        parameters=_outage("slow", delay_ms="200"),
        wants=("sink",),
    ),
    Trial(
        name="refuse",
        title="sink refused (503)",
        did="The sink answers 503 for a while.",
        parameters=_outage("refuse"),
        happened=("was_refused",),
        wants=("sink", "refusals"),
    ),
    Trial(
        name="poison",
        title="one event always refused (422)",
        did="The sink answers 422 for one event, for ever; every other event should still have its effect.",
        parameters=_outage("poison"),
        happened=("was_poisoned",),
        recovers=False,
        wants=("sink", "refusals"),
    ),
)


class LeftOut(Struct, frozen=True, kw_only=True):
    """A trial that is not tried, and why."""

    trial: str
    title: str
    why: str


class Chosen(Struct, frozen=True, kw_only=True):
    """What is tried, in its order, and what is not."""

    trials: tuple[Trial, ...]
    left_out: tuple[LeftOut, ...]


def chosen(
    catalog: Mapping[str, Scenario],
    *,
    only: Collection[str],
    skip: Collection[str],
    lacking: Mapping[str, str],
    trials: Sequence[Trial] = TRIALS,
) -> Chosen:
    """Which trials are played.

    Args:
        catalog: the scenarios that there are, by name.
        only: names of trials; none: all.
        skip: names of trials.
        lacking: what trials may want and there is not, with the reason.
        trials: those that there are.
    """
    able: list[Trial] = []
    left_out: list[LeftOut] = []
    for trial in trials:
        if (only and trial.name not in only) or trial.name in skip:
            why: str | None = NOT_ASKED
        else:
            why = next((lacking[want] for want in trial.wants if want in lacking), None)
            why = why or _not_offered(catalog, trial)
        if why is None:
            able.append(trial)
        else:
            left_out.append(LeftOut(trial=trial.name, title=trial.title, why=why))
    return Chosen(trials=tuple(able), left_out=tuple(left_out))


def _not_offered(catalog: Mapping[str, Scenario], trial: Trial) -> str | None:
    """Why this version cannot play a trial; None: it can."""
    if trial.scenario not in catalog:
        return f"this version has no scenario {trial.scenario}"
    try:
        parameters_of(catalog[trial.scenario], PROFILE, trial.parameters)
    except ParameterError:
        return "this version does not offer it"
    return None


def expected_s(catalog: Mapping[str, Any], trial: Trial) -> float:
    """How long a trial takes, in seconds, if its consumer starts in `CONSUMER_S` and everything is handled.

    Half of the time in which nothing may move stands for the end: a consumer with nothing in hand ends at once.
    """
    return START_S + CONSUMER_S + _load_s(catalog, trial) + trial.still_s / 2 + END_S


def most_s(catalog: Mapping[str, Any], trial: Trial) -> float:
    """How long a trial may take before it is ended, in seconds."""
    return READY_S + _load_s(catalog, trial) + DRAIN_S + trial.still_s + 60


def _load_s(catalog: Mapping[str, Any], trial: Trial) -> float:
    scenario = catalog[trial.scenario]
    parameters = parameters_of(scenario, PROFILE, trial.parameters)
    scheduled: Callable[[Any], float] | None = getattr(scenario, "scheduled_s", None)
    return scheduled(parameters) if scheduled is not None else 5.0


def whole_s(each_s: Sequence[float], at_once: int) -> float:
    """How long trials take together.

    Args:
        each_s: in the order in which they are begun.
        at_once: so many of them at a time.
    """
    busy_until = [0.0] * max(1, at_once)
    for took_s in each_s:
        busy_until[0] += took_s
        busy_until.sort()
    return math.fsum([max(busy_until)])
