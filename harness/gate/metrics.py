"""What the turns of a round say: of each metric a ratio, and how much a side did while it was not its turn.

ratio      of a metric in a round, as a logarithm, candidate by baseline: neighbouring turns are a pair, and a
           pair has the log ratio of their quantiles. Of p50 the round's is the median over its pairs: a burst
           of the neighbours' spoils a pair, and not the round. Of p99 it is the mean, for code that stalls
           only now and then spoils a pair, too, and must show. Either is steadier than the quantile over all
           operations
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from harness.arrays import Int64s
from harness.gate.controls import CONTROLS
from harness.gate.side import SIDES, Side, SideError

# A metric's name, the operation that it is of, and its quantile.
METRICS: dict[str, tuple[str, float]] = {
    "append.p50": ("append", 0.5),
    "append.p99": ("append", 0.99),
    "append_many.per_event": ("append_many", 0.5),
    "find_one.p50": ("find_one", 0.5),
    "replay.per_event": ("replay", 0.5),
    "drain.per_event": ("drain", 0.5),
}


def measured(
    taken_ns: Mapping[Side, Mapping[str, Sequence[Int64s]]],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """The log ratio of each metric and control, and its value on the baseline and the candidate in nanoseconds.

    Args:
        taken_ns: of each side and operation, what each turn has taken; turns of both sides with one place are a
        pair.
    """
    ratios, values_ns = {}, {}
    wanted = {**METRICS, **{control: (control, 0.5) for control in CONTROLS}}
    for metric, (operation, q) in wanted.items():
        turns_ns = [taken_ns[side].get(operation, ()) for side in SIDES]
        if not all(turns_ns):
            continue
        baseline, candidate = (float(np.quantile(np.concatenate(each), q)) for each in turns_ns)
        values_ns[metric] = baseline, candidate
        pairs = [
            math.log(max(1.0, np.quantile(c, q)) / max(1.0, np.quantile(b, q)))
            for b, c in zip(*turns_ns, strict=True)
        ]
        ratios[metric] = float(np.median(pairs) if q == 0.5 else np.mean(pairs))
    return ratios, values_ns


def compared(
    baseline: Collection[str], candidate: Collection[str], names: Mapping[Side, str], wanted: Collection[str] = ()
) -> list[str]:
    """What both sides can do, and so what is compared; in the baseline's order.

    Args:
        baseline, candidate: what each can do.
        names: what to call them in an error.
        wanted: what is asked for; all of it where empty.

    Raises:
        SideError: the candidate cannot do something that is asked for and that the baseline can: left out in
            silence it would be a slowdown without end that passes.
    """
    lost = [name for name in baseline if name not in candidate and (not wanted or name in wanted)]
    if lost:
        raise SideError(
            f"{names['candidate']} has no {', '.join(lost)}, which {names['baseline']} has; "
            "if you removed it on purpose, name the metrics that count"
        )
    return [name for name in baseline if name in candidate]


def background_share(*, cpu_ns: float, between_ns: float, own_ns: float, whole_ns: float) -> float:
    """Of the time in which others had their turn, the share in which a side was at work all the same, at least.

    What its process has used between its turns that process knows. Of its server there is a lower bound: on one
    core both together cannot have used more in the side's turns than these have lasted, and what is beyond that
    fell into the others'.

    Args:
        cpu_ns: CPU time of the side's process and of its server; NaN where it could not be read.
        between_ns: of that, what its process has used between its turns.
        own_ns: how long its turns have lasted.
        whole_ns: how long all turns have lasted, with the controls.
    """
    beyond_ns = cpu_ns - between_ns - own_ns
    return (between_ns + (beyond_ns if beyond_ns > 0 else 0.0)) / max(1.0, whole_ns - own_ns)
