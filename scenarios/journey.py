"""How fast is the shop for its customers, when each thing they do is due by a schedule?

    schedule --> shoppers --HTTP--> gateway --> services --> events --> crm --> mails
                    |                                           |
                    +-- told ------------- books -------------- held

Shoppers (`scenarios/shop/shopper.py`, Locust's users) browse, order, change their minds, cancel and pay, each one
thing at a time, when it is due by a schedule of one of four shapes (`harness/load/pacing.py`). A step that is late
because its shopper still waited counts from when it was due. Afterwards the shop is closed, and its books must say
what the shoppers were told (`scenarios/shop/books.py`).

The shop is a whole one of ours, services as processes, on the server of the run; or, with `gateway`, one that runs
elsewhere. What is bought there stays there: nothing of it is taken away again.
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import contextlib
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.check.arrival import arrival_checker
from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.check.loads import answered_checker, users_send_lag_checker
from harness.conduct.findings import PUMPED, PUMPED_PART, Findings
from harness.conduct.scenario import ParameterError, Probing, Stage
from harness.load.driver import Journeys
from harness.load.pacing import Shape, shaped
from harness.load.settings import PumpResult
from harness.locust.locustfile import locustfile
from harness.record.run import KeyFigure, Record
from harness.server.url import ServerUrl
from scenarios.arrival import add_users_arrival, in_doubt_of
from scenarios.commands import CONSUMERS, PRODUCERS, READERS
from scenarios.line.account import largest
from scenarios.shop.books import BOOKS, Books, Held, books_checkers
from scenarios.shop.gateway import shop_at, stock_up, unbilled_by
from scenarios.told import Told, add_by_hand, has_arrived, told_of
from scenarios.under_load import UnderLoad

SHOPPER = "scenarios.shop.shopper:Shopper"


class JourneyParameters(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be chosen for `journey`.

    Attributes:
        rate_per_s (steps a second): of all users together, where most are due.
        duration_s: of the load.
        shape: how the rate goes: steady, a ramp, steps, or a spike.
        users (shoppers): who do one thing at a time.
        gateway: the URL of a shop's gateway that runs elsewhere; empty: a shop of ours is started.
        products, customers: how many the shop gets.
        stock (pieces): of each product.
        durability: of a server that we start.
        send_lag_budget_ms: how late, at p99, a shopper may come to a step.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=100_000)] = 200
    duration_s: Annotated[float, Meta(gt=0, le=86_400)] = 12
    shape: Shape = "steady"
    users: Annotated[int, Meta(ge=1, le=10_000)] = 50
    gateway: str = ""
    products: Annotated[int, Meta(ge=1, le=100_000)] = 100
    customers: Annotated[int, Meta(ge=1, le=100_000)] = 100
    stock: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1_000_000
    durability: Literal["none", "everysec", "always"] = "everysec"
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 50

    def __post_init__(self) -> None:
        if self.gateway and (not re.match(r"https?://[^/]", self.gateway) or "@" in self.gateway):
            # It stands in the record, so it is not quoted here either: it may have a password in it.
            raise ValueError("`gateway` is a URL such as http://127.0.0.1:5000, without a user")


class Journey:
    """Shoppers at the shop's gateway."""

    name = "journey"
    place = 60
    summary = "how fast is the shop over HTTP, when each action of a shopper is due by a schedule?"
    parameters = JourneyParameters
    commands = PRODUCERS | READERS | CONSUMERS
    figures = (
        *figure_names("journey", PUMPED, "s crm_lag.seconds.max", "events crm_lag.undelivered.max", "users users"),
        *figure_names("journey", PUMPED_PART, within="*."),
    )
    probing = Probing(rate="rate_per_s", operations="steps of shoppers", has_lag=True)
    key_figures = (
        KeyFigure("journey.response.p99", "Response, p99"),
        KeyFigure("journey.achieved_per_s", "Steps that succeeded"),
        KeyFigure("journey.failed", "Steps that failed"),
    )
    sections = ("latency", "throughput")
    profiles: dict[str, dict[str, Any]] = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"rate_per_s": 50, "duration_s": 3, "users": 20, "send_lag_budget_ms": 500},
        "quick": {},
        "standard": {"duration_s": 60},
        "full": {"duration_s": 600, "shape": "steps", "users": 200, "customers": 1_000},
    }

    def scheduled_s(self, parameters: JourneyParameters) -> float:
        """How long its load lasts."""
        return parameters.duration_s

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Stock the shop, let shoppers come, close it, and look into its books."""
        chosen: JourneyParameters = parameters
        pacer = shaped(chosen.shape, chosen.rate_per_s, chosen.duration_s)
        findings.paced_users(users=chosen.users, arrivals=chosen.shape)
        with shop_at(chosen.gateway, stage, chosen.durability) as shop:
            findings.server = shop.describe()
            stage.progress(0.0, "stocking the shop")
            stocked = stock_up(
                shop.gateway, customers=chosen.customers, products=chosen.products, stock=chosen.stock
            )
            journeys = Journeys(
                entry=SHOPPER,
                host=shop.gateway.url,
                users=chosen.users,
                seed=stage.seed,
                given={"customers": stocked.customers, "products": stocked.products},
            )
            with contextlib.closing(stage.driver.users(journeys, pacer)) as load:
                load.wait_until_ready()
                under_load = UnderLoad(stage, findings)
                with under_load.sampling(shop.probes(stage)):
                    result = under_load.run(
                        load, pacer, "journey", lambda share: stage.progress(share * 0.9, "shoppers come and go")
                    )
            stage.progress(0.95, "closing the shop")
            unbilled = unbilled_by(shop.gateway)
            held = shop.close_and_look(stocked, result.told)
        books = Books(
            held=held,
            told=result.told,
            stock=dict.fromkeys(stocked.products, chosen.stock),
            unbilled=None if unbilled is None else sorted(_theirs(unbilled, held, result.told)),
            in_doubt=in_doubt_of(result),
        )
        findings.evidence.add_json(BOOKS, books)
        _conclude(chosen, findings, result)

    def checkers(self, parameters: JourneyParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - none is chosen
        """What finds its verdicts in a record of a run."""
        return [
            *books_checkers(),
            answered_checker("journey"),
            users_send_lag_checker("journey"),
            arrival_checker("journey"),
        ]

    def headline(self, parameters: JourneyParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def lasting(self, parameters: JourneyParameters, duration_s: float, _: str) -> JourneyParameters:
        """The parameters with which the shop is open for some seconds."""
        return replace(parameters, duration_s=duration_s)

    def at_rate(self, parameters: JourneyParameters, rate_per_s: float, duration_s: float) -> JourneyParameters:
        """The parameters with which steps come steadily at a rate.

        Raises:
            ParameterError: with another shape.
        """
        if parameters.shape != "steady":
            raise ParameterError(f"journey: the rate is steady here: `shape` cannot be `{parameters.shape}`")
        return replace(parameters, rate_per_s=rate_per_s, duration_s=duration_s)

    def probed_operation(self, _: JourneyParameters, server: ServerUrl | str = "embedded") -> str:  # noqa: ARG002
        """The whole of all steps."""
        return "journey"

    def probed_said(self, parameters: JourneyParameters, _: Mapping[str, Any]) -> str:
        """How many shoppers there are."""
        return f"of {parameters.users:,} users"


def _theirs(order_ids: Collection[str], held: Held, told: Collection[str]) -> set[str]:
    """The orders of this run among some; in a shop elsewhere others may buy as well."""
    return {order_id for order_id in order_ids if order_id in held.orders or order_id in told}


def _conclude(chosen: JourneyParameters, findings: Findings, result: PumpResult) -> None:
    for name, unit in (("lag.seconds", "s"), ("lag.undelivered", "events")):
        if name in findings.history.reading_names:
            findings.figure(f"crm_{name}.max", largest(findings.history, name), unit)
    add_users_arrival(findings, "journey", result.report(), chosen.users)
    findings.concluded()
    add_by_hand(findings)


def headline(chosen: JourneyParameters, told: Told) -> str:
    """What came out, in a sentence; empty where nothing was answered.

    Args:
        told: of a run with these parameters.
    """
    p50, p99, ok = (told.value(name) for name in ("response.p50", "response.p99", "ok"))
    if p50 is None or p99 is None:
        return ""
    names = [name.removesuffix(".answered") for name in told.figures if name.endswith(".answered")]
    slowest = max(names, key=lambda step: told.value(f"{step}.response.p99") or 0, default="")
    slowest_p99 = told.value(f"{slowest}.response.p99")
    up_to = "" if chosen.shape == "steady" else f"in {chosen.shape}, up to "
    load = f" at {up_to}{chosen.rate_per_s:,.0f}/s" if has_arrived(told) else ""
    said = (
        f"{ok or 0:,.0f} steps of {told.value('users') or chosen.users:,.0f} users{load}, "
        f"counted from when each was due: {p50 / 1000:.2f} ms at the median and {p99 / 1000:.2f} ms at p99"
    )
    if slowest_p99 is not None:
        said += f"; slowest is {slowest!r}, {slowest_p99 / 1000:.2f} ms at p99"
    return f"{said}{steps_said(told)}."


def steps_said(told: Told) -> str:
    """A part of a sentence on steps that were not answered in time; empty where all were."""
    words = told.limited_by.get("")
    if words is None:
        return ""
    offered, answered_per_s = told.value("offered_per_s"), told.value("achieved_per_s")
    return f"; {offered or 0:,.0f} steps/s were due, {answered_per_s or 0:,.0f}/s were answered: {words}"


scenario = Journey()
JourneyUser = locustfile(scenario, __name__, SHOPPER)
