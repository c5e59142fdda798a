"""Budgets: absolute limits on a run's figures, from a file that its owner keeps, such as `slo.toml`.

    [[budget]]
    figure = "append.always.response.p99"     a figure's stable name; its first part is the scenario
    at_most = "5 ms"                          or at_least, or equals; a bare number is in the figure's own unit
    when = { rate_per_s = 2_000 }             the parameters that it is a promise for; may be left out
    when = { durability = "always" }          of a run of all durabilities, the figure of that one

    shopbench run append --budget slo.toml        a verdict `budget.<figure>` for each that applies

A budget applies to the runs of its scenario. There it is FAIL where the figure is beyond the limit, PASS where it
is within, and UNKNOWN in every other case: the figure is missing or could not be measured, the run did not come to
its end, its parameters are not those that the promise is for. Where no budget of the file applies, that is UNKNOWN
too.

Of a quantile the interval is judged (`harness.measure.bounds`), not the point alone:

    at_most      |--- interval ---|   limit                 PASS: the upper end is within
                 |------- limit --------|                   UNKNOWN: it lies between
                 limit   |--- interval ---|                 FAIL: the lower end is beyond

Where an end is missing, since there were too few values or seconds for it, nothing passes by it, and the point is
what fails. `at_least` is the same, seen from the other side. A record that was made before there were intervals is
judged by the point; a quantile of too few values passes no upper limit.

What a figure's name says is part of the promise: `append.always.response.p99` is of appends that were synced
before each answer, and no run that chose another durability has it.

What can be known before a run is said before it, with the name that was meant: a figure that no scenario makes, a
unit of another kind, a parameter that there is not, or a value that it cannot have. `shopbench list --figures` has
the names.

A file is read only where `--budget` names one: a limit that nobody asked for in this run would fail it on a
laptop.

Rejected: limits in the scenarios' code. What is fast enough is a matter of who runs it, and where.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from harness.check.figures import FigureName, unit_of
from harness.measure.sample_size import too_few, unbounded
from harness.record.parameters import nearest, refused, renamed
from harness.record.run import Figure, Run, Status, Verdict

# How the names of their verdicts begin.
VERDICTS = "budget."
Bound = Literal["at_most", "at_least", "equals"]

_WORDS: dict[Bound, str] = {"at_most": "at most", "at_least": "at least", "equals": "exactly"}
_LIMIT = re.compile(r"\s*([-+]?\d+(?:_\d+)*(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*([^\s_].*?)?\s*")
_PASSES, _FAILS = ".passes_per_s", ".fails_per_s"
# Recorded with every run, though no parameter of its scenario.
_OF_EVERY_RUN = frozenset({"profile"})
# Units that measure the same thing, by how much of the first one each is.
_SCALES: tuple[dict[str, float], ...] = (
    {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9, "min": 60.0},
    {"bytes": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
    {"share": 1.0, "%": 0.01},
    {"1/s": 1.0, "/s": 1.0, "events/s": 1.0, "1/min": 1 / 60},
)


class BudgetError(Exception):
    """A budget file that cannot be used; its text is one clear line."""


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A limit on one figure: exactly one of `at_most`, `at_least` and `equals`.

    Attributes:
        figure: its name.
        when: parameters that a run must have for the limit to be meant for it.
    """

    figure: str
    at_most: str | float | None = None
    at_least: str | float | None = None
    equals: str | float | None = None
    when: dict[str, Any] = {}

    @property
    def scenario(self) -> str:
        """The scenario that the figure belongs to."""
        return self.figure.partition(".")[0]

    @property
    def bound(self) -> Bound:
        """Which of the three it is.

        Raises:
            BudgetError: none of them, or several.
        """
        given: list[Bound] = [bound for bound in _WORDS if getattr(self, bound) is not None]
        if len(given) != 1:
            raise BudgetError(f"{self.figure}: a budget has one of at_most, at_least and equals, not {len(given)}")
        return given[0]


class Offer(msgspec.Struct, frozen=True):
    """What a scenario offers to budgets.

    Attributes:
        parameters: that can be chosen for it.
        figures: that it can make.
    """

    parameters: type[msgspec.Struct]
    figures: Sequence[FigureName]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    budget: list[Budget] = []


def read_budgets(path: Path, offers: Mapping[str, Offer]) -> list[Budget]:
    """The budgets of a file.

    Args:
        offers: what there is, by scenario; a budget on something else is a mistake.

    Raises:
        BudgetError: the file cannot be read, or something in it is no budget that could ever be judged.
    """
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File).budget
    except OSError as error:
        raise BudgetError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BudgetError(f"{path}: not a file of budgets ({error})") from error
    checked = []
    for budget in found:
        try:
            checked.append(_checked(budget, offers))
        except BudgetError as error:
            raise BudgetError(f"{path}: {error}") from error
    return checked


def _checked(budget: Budget, offers: Mapping[str, Offer]) -> Budget:
    """A budget in today's words; what is wrong with it is found out before anything is measured.

    Raises:
        BudgetError: it could never be judged.
    """
    _, unit = _limit(budget)
    offer = offers.get(budget.scenario)
    if offer is None:
        meant = _meant(budget.scenario, offers)
        raise BudgetError(f"{budget.figure}: there is no scenario {budget.scenario!r}{meant}")
    owns = [unit_of(offer.figures, name) for name in _names(budget)]
    own = next((each for each in owns if each is not None), None)
    if own is None:
        meant = _meant(budget.figure, [each.name for each in offer.figures])
        raise BudgetError(
            f"there is no figure {budget.figure!r}{meant or ';'} all: shopbench list {budget.scenario} --figures"
        )
    if _scale(unit, own) is None:
        raise BudgetError(f"{budget.figure} is in {own}, and the budget in {unit}")
    when = dict(budget.when)
    for name, value in budget.when.items():
        if name in _OF_EVERY_RUN:
            continue
        known = offer.parameters.__struct_fields__
        if name not in known:
            raise BudgetError(f"{budget.figure}: {budget.scenario} has no parameter {name!r}{_meant(name, known)}")
        if isinstance(value, str):
            when[name] = renamed(offer.parameters, name, value)
        if why := refused(offer.parameters, name, when[name], strict=True):
            raise BudgetError(f"{budget.figure}: when: {why}")
    return replace(budget, when=when)


def _meant(name: str, names: Collection[str]) -> str:
    near = nearest(name, names)
    return f"; did you mean {near}?" if near else ""


def _names(budget: Budget) -> list[str]:
    """What the figure may be called: that of one durability has it as the second part of its name, said or not."""
    durability = budget.when.get("durability")
    scenario, _, rest = budget.figure.partition(".")
    if not durability or rest.startswith(f"{durability}."):
        return [budget.figure]
    return [f"{scenario}.{durability}.{rest}", budget.figure]


def budget_verdicts(budgets: Sequence[Budget], runs: Sequence[Run]) -> list[Verdict]:
    """A verdict for each budget that applies to one of the runs; one that says so where none does."""
    verdicts = [_verdict(budget, each) for each in runs for budget in budgets if budget.scenario == each.scenario]
    if verdicts:
        return verdicts
    names = ", ".join(each.scenario for each in runs)
    return [Verdict(name="budget", status="UNKNOWN", detail=f"no budget of the file is about {names}")]


def _limit(budget: Budget) -> tuple[float, str | None]:
    """The number of a limit, and its unit where it has one."""
    given = getattr(budget, budget.bound)
    if not isinstance(given, str):
        return float(given), None
    match = _LIMIT.fullmatch(given)
    if not match:
        raise BudgetError(f"{budget.figure}: {given!r} is no limit, such as 5, or '5 ms'")
    return float(match[1]), match[2]


def _verdict(budget: Budget, run: Run) -> Verdict:
    status, detail = _judged(budget, run)
    return Verdict(name=f"{VERDICTS}{budget.figure}", status=status, detail=detail)


def _judged(budget: Budget, run: Run) -> tuple[Status, str]:
    bound = budget.bound
    limit, unit = _limit(budget)
    wanted = f"{_WORDS[bound]} {limit:,.10g}{'' if unit is None else f' {unit}'}"
    if run.status != "complete":
        return "UNKNOWN", f"the run is {run.status}; the budget is {wanted}"
    of_one, whole = _names(budget)[0], run.parameters.get("durability") == "all"
    for name, value in budget.when.items():
        if name not in run.parameters:
            return "UNKNOWN", f"the budget is for {name} = {value}, and the run has no such parameter"
        if run.parameters[name] != value and not (name == "durability" and whole):
            return "UNKNOWN", f"the budget is for {name} = {value}; this run had {run.parameters[name]}"
    # In a run of all durabilities the figure without a name is of one of them, and not always of that one.
    names = [of_one] if whole and "durability" in budget.when else _names(budget)
    figure = next((each for name in names for each in run.figures if each.name == name), None)
    if figure is None:
        return "UNKNOWN", f"the run has no such figure; the budget is {wanted}"
    if figure.value is None:
        return "UNKNOWN", f"it could not be measured; the budget is {wanted}"
    scale = _scale(unit, figure.unit)
    if scale is None:
        return "UNKNOWN", f"the figure is in {figure.unit}, and the budget in {unit}"
    if beyond := _beyond_search(run, figure, bound, limit * scale):
        return (
            "UNKNOWN",
            f"{figure.value / scale:,.6g} {unit or figure.unit} passes, and {beyond}; the budget is {wanted}",
        )
    status = (
        _by_interval(figure, bound, limit * scale) if figure.bound_by else _by_point(figure, bound, limit * scale)
    )
    return status, f"{_told(figure, bound, status, scale, unit or figure.unit)}; the budget is {wanted}"


def _beyond_search(run: Run, figure: Figure, bound: Bound, limit: float) -> str:
    """Why it is not known whether a capacity is at least a limit, in words; empty where it is known.

    A capacity lies between the highest rate that passes, which was seen, and the lowest that fails.
    """
    name = figure.name.removesuffix(_PASSES)
    is_of_search = figure.name.startswith("capacity.") and name != figure.name
    if not is_of_search or bound != "at_least" or figure.value is None or _is_within(figure.value, bound, limit):
        return ""
    fails = run.figure(f"{name}{_FAILS}")
    if fails is not None and fails <= limit:
        return ""
    return "no rate is known to fail" if fails is None else f"the lowest rate that fails is {fails:,.6g}"


def _is_within(value: float, bound: Bound, limit: float) -> bool:
    # 5 ms in a figure's own microseconds is 5,000.000000000001.
    if math.isclose(value, limit, rel_tol=1e-12):
        return True
    return value < limit if bound == "at_most" else value > limit if bound == "at_least" else False


def _by_point(figure: Figure, bound: Bound, limit: float) -> Status:
    """What a figure without an interval says of a limit, both in the figure's unit."""
    if figure.value is None or not _is_within(figure.value, bound, limit):
        return "FAIL"
    return "UNKNOWN" if bound != "at_least" and too_few(figure.name, figure.samples) else "PASS"


def _by_interval(figure: Figure, bound: Bound, limit: float) -> Status:
    """What a figure with an interval says of a limit, both in the figure's unit."""
    if bound == "equals":
        return _by_point(figure, bound, limit)
    far, near = (figure.high, figure.low) if bound == "at_most" else (figure.low, figure.high)
    if far is not None and _is_within(far, bound, limit):
        return "PASS"
    best = figure.value if near is None else near
    return "UNKNOWN" if best is not None and _is_within(best, bound, limit) else "FAIL"


def _told(figure: Figure, bound: Bound, status: Status, scale: float, unit: str) -> str:
    """A figure and that of its interval by which it was judged, in a budget's unit."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value / scale:,.6g} {unit}"

    told = number(figure.value)
    if not figure.bound_by or bound == "equals":
        few = too_few(figure.name, figure.samples)
        return f"{told}, {few}" if few and status == "UNKNOWN" else told
    far, near = (figure.high, figure.low) if bound == "at_most" else (figure.low, figure.high)
    end, other = ("upper", "lower") if bound == "at_most" else ("lower", "upper")
    if status == "PASS":
        return f"{told}, {end} bound {number(far)}"
    if status == "FAIL":
        return f"{told}, {other} bound {number(near)}" if near is not None else told
    if far is None:
        why = unbounded(figure.name, figure.samples)
        return f"{told}, without {'an' if end == 'upper' else 'a'} {end} bound ({why})"
    # Without a lower end the point is the lowest that is known of the upper side, and the other way round.
    ends = sorted(each for each in (far, figure.value if near is None else near) if each is not None)
    return f"{told}, between {number(ends[0])} and {number(ends[-1])}"


def _scale(unit: str | None, own: str) -> float | None:
    """By what a limit in `unit` is multiplied to be in the figure's own; None where that makes no sense."""
    if unit is None or unit == own:
        return 1.0
    for scales in _SCALES:
        if unit in scales and own in scales:
            return scales[unit] / scales[own]
    return None
