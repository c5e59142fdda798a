"""Whether a measurement was the system's, or its own instrument's; and who was in the instrument's way.

    send lag       start - due: the instrument's own lateness, and a part of each response
    budget         of a scenario, in milliseconds: beyond it, at p99, the verdict is UNKNOWN
    share          at p50 and p99: where the send lag is more than half of the response, and more than 1 ms
    quota          where a control group has stopped the instrument (`harness.host.throttling`)
    load_reached   whether what was due arrived (`harness.check.load_reached`), where the host or the instrument,
                   and not the server, was the limit

A budget alone says nothing where answers are quick: within one of 250 ms an instrument passed that was late by
60 ms, beside a server that took 0.5 ms. A share alone says nothing where all is quick: 40 µs of 70 µs are no
reason to measure again. Only an open loop is judged by its share: users that do one thing at a time are late
because what they did before took long, and that is the system's. A quota is judged by itself: whoever is stopped
for tens of milliseconds at a time reads answers late that came in time, or is answered by a server that was
stopped with it, and the send lag is then the smaller part.

Who sets the budget to its highest, 60 s, wants no judgement of the instrument, and gets none by its share either.

A verdict that is UNKNOWN for such a reason names whoever had the machine: a quota, cores that may not be used,
other processes by name and share, time that the hypervisor gave away, this run itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from harness.host import neighbors, throttling
from harness.host.neighbors import Neighbors
from harness.host.throttling import Throttled
from harness.record.run import Figure, Run, Verdict

QUANTILES = ("p50", "p99")
MOST_SHARE, LEAST_US = 0.5, 1_000.0
NO_BUDGET_MS = 60_000.0
_SEND_LAG, _LOAD_REACHED = ".send_lag", ".load_reached"
_MEANWHILE = "; meanwhile "


def is_about_send_lag(verdict: Verdict) -> bool:
    """Whether a verdict says how far the instrument was behind its schedule."""
    return verdict.name.endswith(_SEND_LAG)


def fell_behind(verdict: Verdict, run: Run) -> bool:
    """Whether a verdict of a run says that the instrument fell behind: it sent late, or its load did not arrive.

    What did not arrive since the server was the limit is the server's own; and a load that has sent nothing was
    disturbed by nobody.
    """
    if verdict.status != "UNKNOWN":
        return False
    if verdict.name.endswith(_LOAD_REACHED):
        load = verdict.name.removesuffix(_LOAD_REACHED).removeprefix(run.scenario).removeprefix(".")
        limited_at = run.environment.get("load", {}).get("limited_at", {})
        return limited_at.get(load) in {"host", "instrument"}
    return is_about_send_lag(verdict) and run.figure(f"{verdict.name}.p99") is not None


def judged(
    verdicts: Sequence[Verdict],
    figures: Sequence[Figure],
    parameters: Mapping[str, Any],
    load: Mapping[str, Any],
    held: Throttled | None = None,
) -> list[Verdict]:
    """The verdicts of a run, those on its instrument by its share and by what held it, too.

    Args:
        figures: of the run.
        parameters: of the run; a budget of 60 s turns this off.
        load: how it came.
        held: what held this process meanwhile; None: nobody looked.
    """
    budget_ms = parameters.get("send_lag_budget_ms")
    if isinstance(budget_ms, int | float) and budget_ms >= NO_BUDGET_MS:
        return list(verdicts)
    values = {figure.name: figure.value for figure in figures} if load.get("loop") == "open" else {}
    return [
        _by_quota(_by_share(verdict, values), held)
        if verdict.status == "PASS" and is_about_send_lag(verdict)
        else verdict
        for verdict in verdicts
    ]


def _by_quota(verdict: Verdict, held: Throttled | None) -> Verdict:
    if held is None or not held.was_stopped or verdict.status != "PASS":
        return verdict
    return replace(
        verdict,
        status="UNKNOWN",
        detail=f"the instrument was stopped, and with it what it measures: {verdict.detail}",
    )


def _by_share(verdict: Verdict, values: Mapping[str, float | None]) -> Verdict:
    whole = f"{verdict.name.removesuffix(_SEND_LAG)}.response"
    for quantile in QUANTILES:
        lag, response = values.get(f"{verdict.name}.{quantile}"), values.get(f"{whole}.{quantile}")
        if lag is not None and response and lag > LEAST_US and lag > MOST_SHARE * response:
            detail = (
                f"the instrument fell behind: its own send lag is {lag / 1000:.2f} ms at {quantile}, where the "
                f"response is {response / 1000:.2f} ms, and more than half of that"
            )
            return replace(verdict, status="UNKNOWN", detail=detail)
    return verdict


def with_cause(verdict: Verdict, who: Neighbors | None, held: Throttled | None) -> Verdict:
    """A verdict that an instrument was not fit, with who or what was in its way; any other as it is."""
    about_the_instrument = verdict.name.endswith((_SEND_LAG, _LOAD_REACHED)) or verdict.name.startswith(
        "selfcheck."
    )
    if verdict.status != "UNKNOWN" or not about_the_instrument:
        return verdict
    causes = cause(who, None if verdict.name.endswith(".limits") else held)
    return replace(verdict, detail=f"{verdict.detail}{_MEANWHILE}{causes}") if causes else verdict


def without_cause(detail: str) -> tuple[str, str]:
    """What a verdict says, and who or what was in the way by `with_cause`; empty where nobody was."""
    said, _, causes = detail.partition(_MEANWHILE)
    return said, causes


def cause(who: Neighbors | None, held: Throttled | None) -> str:
    """Who or what was in the way of a run, as a part of a sentence; empty where nobody is known to have been."""
    return ", ".join(filter(None, [*throttling.in_words(held), neighbors.in_words(who)]))
