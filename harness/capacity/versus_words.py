"""What a comparison says, in words: each answer as a sentence, and all of it in a few.

Valkey 9.1.2 takes 0.931 × (0.912 to 0.950) of Redis 7.0.15's time for an append at the median: faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.capacity.answers import Answer, Answers
from harness.gate.decision import Finding, Size
from harness.record.run import Verdict

# What a metric's time is for.
_FOR = {
    "append.p50": "for an append at the median",
    "append.p99": "for an append at p99",
    "append_many.per_event": "for an event that is appended with others in one call",
    "find_one.p50": "to look up an entity at the median",
    "replay.per_event": "for an event of a replay",
    "drain.per_event": "for an event that is delivered to a group and acknowledged",
    "response.p50": "until an append is answered, at the median",
    "response.p99": "until an append is answered, at p99",
    "response.p99.9": "until an append is answered, at p99.9",
}
CONTAMINATED = "a control moved that neither side can influence, so this says nothing about the sides"


def of_time(name: str) -> str:
    """The time of a side, in words."""
    return f"of the time of {name}" if " with " in name or " on " in name else f"of {name}'s time"


def interval(found: Answer | Finding) -> str:
    """Both ends of an interval, each a question mark where it could not be told."""
    low, high = ("?" if end is None else f"{end:.3f}" for end in (found.low, found.high))
    return f"{low} to {high}"


def takes(answer: Answer, metric: str, first: str, other: str) -> str:
    """An answer's ratio as a sentence.

    Args:
        answer: of a pair.
        metric: its name within the pair.
        first, other: what the sides are called.
    """
    what = _FOR.get(metric, f"in {metric}")
    return f"{other} takes {answer.ratio:.3f} × ({interval(answer)}) {of_time(first)} {what}"


def word(answer: Answer, size: Size) -> str:
    """An answer's word, with what it is about."""
    limit = _share(size.relevant)
    if answer.word in {"faster", "slower"} and answer.low is not None and answer.high is not None:
        is_small = answer.high < 1 + size.relevant and answer.low > 1 / (1 + size.relevant)
        return f"{answer.word}, by less than {limit}" if is_small else answer.word
    return f"the same within {limit}" if answer.word == "same" else "not decided"


def _share(share: float) -> str:
    return f"{share * 100:.3g} %"


def verdict(name: str, answer: Answer, size: Size, said: str, *, is_contaminated: bool) -> Verdict:
    """The verdict on one metric: PASS where there is an answer, whichever it is.

    Args:
        name: of the verdict.
        said: the answer's ratio as a sentence.
    """
    rounds = f"{answer.rounds} rounds"
    if is_contaminated:
        return Verdict(name=name, status="UNKNOWN", detail=f"contaminated: {CONTAMINATED}: {said} ({rounds})")
    if answer.word == "open":
        limit = _share(size.relevant)
        why = f"neither a difference beyond the margin, nor the same within {limit}, can be told"
        if answer.low is None or answer.high is None:
            why = "too few rounds for an interval"
        return Verdict(name=name, status="UNKNOWN", detail=f"{said} ({rounds}): {why}")
    return Verdict(name=name, status="PASS", detail=f"{word(answer, size)}: {said} ({rounds})")


def control_verdict(name: str, control: Finding, other: str) -> Verdict:
    """The verdict on a control: UNKNOWN where it moved."""
    told = f"{control.ratio:.3f} × ({interval(control)}, {control.rounds} rounds)"
    if control.status == "PASS":
        detail = f"no sign that the control, which neither side can influence, moved: {told}"
        return Verdict(name=name, status="PASS", detail=detail)
    detail = f"too few rounds to say whether it moved: {told}"
    if control.status == "FAIL":
        detail = (
            "the machine treated the sides differently: the control, which neither side can influence, "
            f"took {told} in the turns of {other}"
        )
    return Verdict(name=name, status="UNKNOWN", detail=detail)


def pair_headline(
    answers: Sequence[tuple[str, Answer, Size]], first: str, other: str, *, is_long: bool = True
) -> str:
    """What came out of a pair, in sentences.

    Args:
        answers: of each metric its name within the pair, its answer, and its size.
        first, other: what the sides are called.
        is_long: whether all metrics are told, or only the first.
    """
    [lead, *others] = answers
    said = f"{takes(lead[1], lead[0], first, other)}: {word(lead[1], lead[2])}."
    if not is_long:
        return said
    by_word: dict[str, list[str]] = {}
    for metric, answer, size in others:
        told = f"{metric} {answer.ratio:.3f} × ({interval(answer)})"
        by_word.setdefault(word(answer, size), []).append(told)
    return " ".join(
        [said, *(f"{words[0].upper()}{words[1:]}: {'; '.join(told)}." for words, told in by_word.items())]
    )


def few_rounds(found: Answers, needed: int, seconds_each: float) -> str:
    """Why nothing can be told of any metric, and how many minutes would do; empty where something can.

    Args:
        found: at the last look.
        needed: the fewest rounds of which an interval can be had.
        seconds_each: that a round took.
    """
    if any(answer.low is not None for answer in found.metrics) or found.is_contaminated or not found.metrics:
        return ""
    rounds = found.metrics[0].rounds
    minutes = max(1, -(-2 * needed * seconds_each // 60))
    counted = f"{rounds} {'round' if rounds == 1 else 'rounds'}"
    least = f"{needed} are the least that an answer needs"
    return f"too few rounds: {counted}, where {least}; give it --minutes {minutes:.0f}"


def left_out(new: Mapping[str, Sequence[str]]) -> str:
    """What only one side of a pair can do, in a sentence; empty where there is nothing.

    Args:
        new: by what the other side is called.
    """
    told = [f"{', '.join(names)} ({other})" for other, names in new.items() if names]
    return f"Not compared, since only one of the sides has it: {'; '.join(told)}." if told else ""
