"""How often a comparison is wrong, counted as for the gate: `shopbench gate-errors --versus`.

What a comparison finds is told in a gate's words, so that the same tables count it (`harness.gate.error_rates`):

    FAIL           a metric is faster or slower: of sides that are alike, a false alarm
    PASS           each metric is the same, within what matters
    inconclusive, contaminated
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.capacity.answers import Answer, Answers
from harness.capacity.versus_judged import judged
from harness.gate.decision import Decision, Finding, Outcome, Spending
from harness.gate.error_rates import Wording
from harness.gate.looks import Asked, look
from harness.gate.loop import Bench, Gated
from harness.gate.rounds import Round
from harness.host.clock import Clock
from harness.record.run import Status

WORDS = Wording(
    one="comparison",
    many="comparisons",
    alarm="say faster or slower",
    outcomes="the same / not decided / contaminated",
    by="versus",
)
# What is recorded for it: sides that are alike, and one that is slower by what has to be found.
VERSUS_KINDS = ("nothing", "append +10 %")
_STATUS: Mapping[str, Status] = {"faster": "FAIL", "slower": "FAIL", "same": "PASS", "open": "UNKNOWN"}


def conduct_versus(
    bench: Bench,
    *,
    clock: Clock,
    limit_s: float,
    relevant: Mapping[str, float],
    keep: Callable[[Round], None] = lambda _: None,
    progress: Callable[[float, str], None] = lambda *_: None,
) -> Gated:
    """Measure rounds of two sides until a look decides, as `shopbench versus` does, or the time is over.

    Args:
        bench: measures them.
        limit_s: the time for all of it, in seconds.
        relevant: sizes that were set.
        keep: gets each round as soon as it is there.
        progress: told how far it is.

    Raises:
        SideError: as for `harness.gate.looks.look`.
    """

    def judge(rounds: Sequence[Round], metrics: Sequence[str], spending: Spending) -> Answers:
        return judged(rounds, metrics, spending, relevant)

    asked = Asked(named=relevant, questions=2)
    looked = look(bench, judge, asked, clock=clock, limit_s=limit_s, keep=keep, progress=progress)
    return Gated(decision_of(looked.judgement), looked.rounds, looked.looks, looked.spent)


def decision_of(found: Answers) -> Decision:
    """What was found, in a gate's words."""
    statuses = {_STATUS[answer.word] for answer in found.metrics}
    outcome: Outcome = "inconclusive"
    if found.is_contaminated:
        outcome = "contaminated"
    elif "FAIL" in statuses:
        outcome = "fail"
    elif found.is_final:
        outcome = "pass"
    return Decision(outcome=outcome, findings=[_finding(each) for each in found.metrics], controls=found.controls)


def _finding(answer: Answer) -> Finding:
    return Finding(
        metric=answer.metric,
        rounds=answer.rounds,
        ratio=answer.ratio,
        low=answer.low,
        high=answer.high,
        smallest=None,
        status=_STATUS[answer.word],
    )
