"""Shoppers at a shop: the books on histories by hand; then a whole shop, a shop elsewhere, and Locust."""

from __future__ import annotations

import subprocess
import sys
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import run_of

from harness.check.judge import judge
from harness.cli import shopbench
from harness.conduct.conduct import conduct
from harness.conduct.findings import Findings
from harness.conduct.scenario import ParameterError, Stage, parameters_of
from harness.host.clock import SystemClock
from harness.load.settings import PumpResult
from harness.measure.recorder import Recorder
from harness.record import run
from harness.record.run import Record
from harness.record.sections import Sections
from ordershop.entities import Billing, Order
from ordershop.events import Keys
from ordershop.shop import url_of
from ordershop.supervisor import free_port
from scenarios import append, journey
from scenarios.shop.books import BOOKS, Books, Held, books_checkers, held_by_report, word
from tests.locusts import Locust
from tests.shop import RunningShop, shop
from tests.verdicts import is_well, settled
from tests.waiting import until

__all__ = ["shop"]

KEYS = Keys("")
STEPS = {
    "browse": ("GET", "/product/[id]"),
    "order": ("POST", "/order"),
    "change": ("PUT", "/order/[id]"),
    "cancel": ("DELETE", "/order/[id]"),
    "pay": ("POST", "/billing"),
    "unbilled": ("GET", "/orders/unbilled"),
}

# The books ------------------------------------------------------------------------------------------------

TOLD = {
    "o1": word("open", ["p", "p", "q"]),
    "o2": word("paid", ["q"]),
    "o3": word("cancelled"),
    "o4": word("doubtful"),
}
ORDERS = {"o1": Order("o1", ["p", "q", "p"], "c"), "o2": Order("o2", ["q"], "c")}
STOCK = {"p": 10, "q": 10}


def books(
    orders: dict[str, Order] = ORDERS,
    stock: dict[str, int] | None = None,
    bills: tuple[str, ...] = ("o2",),
    *,
    told: dict[str, str] = TOLD,
    listed: set[str] | None = frozenset({"o1"}),  # type: ignore[assignment]
    in_doubt: int = 0,
) -> dict[str, tuple[str, str]]:
    """The verdicts on some books, by name; those that are not given are right."""
    billings = [Billing(f"b{at}", order_id, 1.0) for at, order_id in enumerate(bills)]
    held = Held(orders, stock or {"p": 8, "q": 8}, billings)
    unbilled = None if listed is None else sorted(listed)
    sections = Sections()
    kept = Books(held=held, told=told, stock=STOCK, unbilled=unbilled, in_doubt=in_doubt)
    sections.add_json(BOOKS, kept)
    verdicts = judge(Record(Path("nowhere"), run_of("journey"), evidence=sections), books_checkers())
    return {verdict.name.removeprefix("journey."): (verdict.status, verdict.detail) for verdict in verdicts}


def failures(found: dict[str, tuple[str, str]]) -> dict[str, str]:
    assert {status for status, _ in found.values()} <= {"PASS", "FAIL"}
    return {name: detail for name, (status, detail) in found.items() if status == "FAIL"}


def test_books_that_are_right() -> None:
    """What was told is there, what was cancelled is not; stock, bills and the list follow from it."""
    found = books()
    assert failures(found) == {}
    assert found["orders"][1] == "each of 2 orders is there as its customer was told"


def test_books_of_a_shop_without_orders() -> None:
    """Where nobody ordered anything, everything is as it was."""
    assert failures(books({}, {"p": 10, "q": 10}, (), told={}, listed=set())) == {}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (
            {"orders": {"o2": ORDERS["o2"]}, "stock": {"p": 10, "q": 9}, "listed": set()},
            {"orders": "1 orders are missing although their customers were told of them"},
        ),
        (
            {"orders": ORDERS | {"o1": Order("o1", ["p", "q"], "c")}, "stock": {"p": 9, "q": 8}},
            {"orders": "1 orders differ from what their customers were told"},
        ),
        (
            {
                "orders": ORDERS | {"o3": Order("o3", ["p"], "c")},
                "stock": {"p": 7, "q": 8},
                "listed": {"o1", "o3"},
            },
            {"orders": "1 cancelled orders still exist"},
        ),
        (
            {
                "orders": ORDERS | {"o5": Order("o5", ["p"], "c")},
                "stock": {"p": 7, "q": 8},
                "listed": {"o1", "o5"},
            },
            {"orders": "1 orders exist that no customer was told of"},
        ),
        ({"stock": {"p": 9, "q": 8}}, {"stock": "1 of 2 products do not have the stock that the orders leave"}),
        ({"stock": {"p": 8}}, {"stock": "1 of 2 products do not have the stock that the orders leave"}),
        ({"bills": ("o2", "o3")}, {"bills": "1 bills belong to no order"}),
        ({"bills": ("o2", "o2")}, {"bills": "1 orders have more than one bill"}),
        ({"bills": (), "listed": {"o1", "o2"}}, {"bills": "1 paid orders have no bill"}),
        ({"bills": ("o2", "o1"), "listed": set()}, {"bills": "1 orders have a bill that nobody paid"}),
        (
            {"listed": {"o1", "o2"}},
            {"unbilled": "1 orders differ between the list of unbilled ones and the books"},
        ),
        ({"listed": set()}, {"unbilled": "1 orders differ between the list of unbilled ones and the books"}),
    ],
)
def test_books_that_are_wrong(change: dict[str, Any], wrong: dict[str, str]) -> None:
    """Each way in which books can be wrong is found, by the verdict that it belongs to and by no other."""
    assert failures(books(**change)) == wrong


def test_what_is_in_doubt_may_have_happened() -> None:
    """An order without an answer may be there or not, billed or not; but so many, and no more."""
    doubtful = ORDERS | {"o4": Order("o4", ["p"], "c"), "o5": Order("o5", ["p"], "c")}
    there = books(doubtful, {"p": 6, "q": 8}, ("o2", "o4"), listed={"o1", "o5"}, in_doubt=1)
    assert failures(there) == {}
    one_more = doubtful | {"o6": Order("o6", ["q"], "c")}
    found = books(one_more, {"p": 6, "q": 7}, ("o2", "o4"), listed={"o1", "o5", "o6"}, in_doubt=1)
    assert failures(found) == {"orders": "2 orders exist that no customer was told of"}


def test_a_list_that_may_have_changed_is_unknown() -> None:
    """A list that differs proves nothing where something may have come in between; nor does no list."""
    assert books(listed=set(), in_doubt=1)["unbilled"][0] == "UNKNOWN"
    assert books(listed=None)["unbilled"][0] == "UNKNOWN"


def test_others_buy_there_as_well() -> None:
    """Of a shop elsewhere only this run's customers and products count; their bills also without an order."""
    report = {
        "orders": [
            {"id": "o1", "product_ids": ["p"], "customer_id": "c"},
            {"id": "x", "product_ids": ["y"], "customer_id": "other"},
        ],
        "inventory": [{"id": "i", "product_id": "p", "amount": 3}, {"id": "j", "product_id": "y", "amount": 1}],
        "billings": [
            {"id": "b", "order_id": "o1", "done": 1.0},
            {"id": "d", "order_id": "o2", "done": 1.0},
            {"id": "e", "order_id": "x", "done": 1.0},
        ],
    }
    held = held_by_report(report, {"c"}, {"p"}, {"o1", "o2"})
    assert (list(held.orders), held.stock, [b.id for b in held.billings]) == (["o1"], {"p": 3}, ["b", "d"])


# What can be chosen -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gateway", ["shop", "ftp://shop", "http:///", "http://user:secret@shop:5000"])
def test_no_gateway(gateway: str) -> None:
    """What is no gateway's URL is refused, and not quoted: it may have a password in it."""
    with pytest.raises(ParameterError, match="`gateway` is a URL such as") as refused:
        parameters_of(journey.scenario, "quick", {"gateway": gateway})
    assert gateway not in str(refused.value)


def test_appends_come_in_shapes() -> None:
    """Appends have the same shapes; arrivals at random have one mean rate, and so no other shape."""
    for shape in ("steady", "ramp", "steps", "spike"):
        parameters_of(append.scenario, "quick", {"shape": shape})
    with pytest.raises(ParameterError, match="`shape` cannot be `ramp`"):
        parameters_of(append.scenario, "quick", {"shape": "ramp", "arrivals": "poisson"})
    with pytest.raises(ParameterError, match="`skew` makes some entities hotter"):
        parameters_of(append.scenario, "quick", {"skew": "1"})


# Several operations ---------------------------------------------------------------------------------------------


def test_steps_are_added_up() -> None:
    """Operations below one have figures of their own; those of the one are over all of them."""
    recorder = Recorder()
    for step, response_us in (("browse", [100, 200, 300]), ("order", [1_000]), ("order_again", [7])):
        done = np.array(response_us, np.int64) * 1_000
        recorder.record(f"journey.{step}", np.zeros_like(done), np.zeros_like(done), done)
    recorder.record("journeys", *(np.full(1, 9_000_000, np.int64) * at for at in (0, 0, 1)))
    findings = Findings("journey")
    findings.pumped("journey", result_of(recorder))
    figures = {figure.name.removeprefix("journey."): figure.value for figure in findings.figures}
    assert (figures["response.p50"], figures["response.max"]) == (200, 1_000)
    assert [figures[f"{step}.answered"] for step in ("browse", "order", "order_again")] == [3, 1, 1]
    assert (figures["browse.service.max"], figures["order.response.p50"]) == (300, 1_000)


def result_of(recorder: Recorder) -> PumpResult:
    return PumpResult(
        arrivals=5, ok=5, failed=0, unknown=0, dropped=0, errors={}, reconnects=0, intervals=recorder.intervals(),
        slowest=[], outcomes=None, cpu_share=0.0, wall_ns=1_000_000_000,
    )  # fmt: skip


# A shop -------------------------------------------------------------------------------------------------------


def statuses(record: Record) -> dict[str, str]:
    return {verdict.name.removeprefix("journey."): verdict.status for verdict in settled(record.run.verdicts)}


def answered(record: Record) -> dict[str, float]:
    found = {step: record.run.figure(f"journey.{step}.answered") for step in STEPS}
    return {step: count for step, count in found.items() if count}


def shop_at(
    shop: RunningShop, directory: Path, progress: Callable[[str], None] = lambda _: None, **given: str
) -> Record:
    """The record of a journey at a shop that runs already."""
    gateway = url_of(shop.ports["gateway"])
    parameters = parameters_of(journey.scenario, "smoke", {"gateway": gateway, "duration_s": "1.5", **given})
    stage = Stage(
        server="embedded",
        port=None,
        profile="smoke",
        seed=1,
        directory=directory,
        clock=SystemClock(),
        progress=lambda _, doing: progress(doing),
    )
    record, ended = conduct(journey.scenario, parameters, stage, command=[])
    assert ended is None
    return record


def stored(shop: RunningShop) -> Counter[str]:
    """How many events of each kind the shop's streams hold."""
    kinds = [("order", "created"), ("order", "updated"), ("order", "deleted"), ("billing", "created")]
    client = shop.store.client
    return Counter({f"{topic} {action}": client.xlen(KEYS.stream(topic, action)) for topic, action in kinds})  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_shop_elsewhere(shop: RunningShop, tmp_path: Path) -> None:
    """Shoppers at a gateway of somebody else: the record, the streams and the books tell the same."""
    record = shop_at(shop, tmp_path, rate_per_s="120", shape="spike")
    assert set(statuses(record).values()) == {"PASS"}, record.run.verdicts
    assert record.run.environment["load"] == {"loop": "paced", "users": 20, "arrivals": "spike"}
    counts = answered(record)
    assert sum(counts.values()) == record.run.figure("journey.ok") == 72
    assert stored(shop) == {
        "order created": counts["order"],
        "order updated": counts.get("change", 0),
        "order deleted": counts.get("cancel", 0),
        "billing created": counts.get("pay", 0),
    }
    for kind in ("response", "service", "send_lag"):
        assert sum(record.latency.total(f"journey.{step}.{kind}").total for step in counts) == 72
    shop.check_cache_is_replay()


def thieves(shop: RunningShop) -> None:
    shop.store.client.hset(KEYS.entity("inventory", next(iter(shop.cached("inventory")))), "amount", "7")


def a_list_is_lost(shop: RunningShop) -> None:
    shop.store.client.delete(KEYS.unbilled)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tamper", "verdict"),
    [(thieves, "stock"), (a_list_is_lost, "unbilled")],
)
def test_a_shop_that_is_not_what_was_told(
    shop: RunningShop, tmp_path: Path, tamper: Callable[[RunningShop], None], verdict: str
) -> None:
    """A shop that loses something between the last step and the look into its books fails by the right verdict."""

    def progress(doing: str) -> None:
        if doing == "closing the shop":
            tamper(shop)

    record = shop_at(shop, tmp_path, progress, rate_per_s="100", duration_s="1")
    assert statuses(record)[verdict] == "FAIL"
    assert statuses(record)["answered"] == "PASS"


@pytest.mark.slow
def test_refusals_are_counted_with_their_reason(shop: RunningShop, tmp_path: Path) -> None:
    """A shop that runs out of stock refuses: steps have failed, the reason is said, and the books are right."""
    record = shop_at(shop, tmp_path, products="1", stock="3", rate_per_s="60", duration_s="1")
    [verdict] = [v for v in record.run.verdicts if v.name == "journey.answered"]
    assert verdict.status == "FAIL"
    assert "× POST /order: 409" in verdict.detail
    wrong = {name for name, status in statuses(record).items() if status != "PASS"}
    assert wrong == {"answered"}
    assert record.run.figure("journey.unknown") == 0


@pytest.mark.slow
def test_shopbench_runs_a_whole_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`shopbench run journey --profile smoke`: a shop of its own, users in a process, every verdict passes."""
    monkeypatch.setattr(
        sys, "argv", ["shopbench", "run", "journey", "--profile", "smoke", "--runs", str(tmp_path)]
    )
    with pytest.raises(SystemExit) as ended:
        shopbench.main()
    [record] = run.find_runs(tmp_path)
    assert isinstance(ended.value.code, int)
    assert is_well(ended.value.code, record), record.run.verdicts
    assert record.run.figure("journey.ok") == 150
    assert record.run.figure("journey.crm_lag.seconds.max") is not None
    assert {"lag.seconds", "lag.undelivered"} <= set(record.history.reading_names)
    assert [path.name for path in record.directory.glob("*.jsonl")] == ["timeline.jsonl"]


def test_the_catalog_does_not_import_locust() -> None:
    """Locust patches the process that it is imported in: never that of `shopbench`."""
    program = "import sys, scenarios.catalog, harness.cli.shopbench; sys.exit('locust' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# Locust -------------------------------------------------------------------------------------------------------


def in_statistics(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How many requests of each step Locust has counted."""
    named = {(row["method"], row["name"]): row["num_requests"] for row in rows}
    assert set(named) <= set(STEPS.values())
    return {step: named[request] for step, request in STEPS.items() if request in named}


@pytest.mark.slow
def test_locust_on_two_processes(shop: RunningShop, tmp_path: Path) -> None:
    """The record has what Locust has counted and what is in the streams; tags choose the steps."""
    (tmp_path / "locust.conf").write_text("headless = true\nusers = 6\nspawn-rate = 10\nrate = 60\n")
    options = ["--host", url_of(shop.ports["gateway"]), "-t", "2s", "--processes", "2", "--profile", "smoke"]
    port = str(free_port())
    options += ["--master-bind-port", port, "--master-port", port]
    options += ["--tags", "write", "--html", "page.html", "--csv", "table", "--json-file", "stats"]
    with Locust(tmp_path, "journey", *options, "--loglevel", "WARNING") as locust:
        code = locust.wait()
    record = locust.record()
    assert is_well(code, record), locust.output
    workers = record.run.environment["load"]["workers"]
    assert [(worker["arrivals"], worker["connections"]) for worker in workers] == [(60, 3), (60, 3)]
    counts = answered(record)
    assert counts == in_statistics(locust.statistics())
    assert sum(counts.values()) == 120
    assert set(counts) <= {"order", "change", "cancel", "pay"}
    assert stored(shop)["order created"] == counts["order"]
    assert (tmp_path / "page.html").exists()
    assert (tmp_path / "table_stats.csv").exists()


def post(url: str, form: dict[str, str]) -> None:
    data = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(url, data, timeout=60) as answer:  # noqa: S310 - a URL of ours
        assert answer.status == 200


@pytest.mark.slow
def test_stopped_in_the_web_ui(shop: RunningShop, tmp_path: Path) -> None:
    """The stop button ends the schedule: users finish what was due before Locust ends them."""
    port = free_port()
    # The form chooses no gateway: it is the command line's.
    options = ["--host", url_of(shop.ports["gateway"]), "--web-port", str(port), "--loglevel", "WARNING"]
    with Locust(tmp_path, "journey", *options) as locust:
        until(lambda: is_there(f"http://127.0.0.1:{port}/"), "the web UI", 30)
        form = {"user_count": "10", "spawn_rate": "10", "profile": "smoke", "seed": "1"}
        form |= {"rate_per_s": "300", "duration_s": "60"}
        post(f"http://127.0.0.1:{port}/swarm", form)
        until(lambda: stored(shop)["billing created"] > 5, "some orders are paid", 30)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stop", b"", timeout=60):
            pass
        until(lambda: any((tmp_path / "runs").glob("*/report.html")), "a report", 30)
    record = locust.record()
    assert set(statuses(record).values()) == {"PASS"}, record.run.verdicts
    ok, arrivals = record.run.figure("journey.ok"), record.run.environment["load"]["workers"][0]["arrivals"]
    assert ok == arrivals
    assert ok is not None
    assert 0 < ok < 300 * 60
    assert stored(shop)["order created"] == answered(record)["order"]


def is_there(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - a URL of ours
            return True
    except OSError:
        return False
