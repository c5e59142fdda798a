"""Locust's web UI, with what we measure: tabs, live charts, faults by hand, the report.

    /                      Locust's page; our scripts are added to it and draw in our tabs
    /stats/requests        Locust's answer; our percentiles are added, for a table of its own making
    /swarm                 a form that cannot be is answered in words, before Locust sees it
    /shopbench/            a page of our own with all of it: the way out if Locust's page changes
    /shopbench/live        what is new since a cursor (harness/locust/view.py), asked for once a second
    /shopbench/fault       POST {"action": "kill", "target": NAME}: the name of a fault, or "start"
    /shopbench/report      the report of the last run
    /user                  closed: it would set any attribute of a user, here and on workers

The tabs, the table and the links are Locust's own extension points (`extended_tabs`, `extended_tables`,
`extended_csv_files`). For charts it has none, hence the scripts (`harness/locust/static/live.js`): plain SVG,
no library, no request to anywhere but here. Where login is required, it is for all of these, too.

Two sets of numbers stand side by side, and the page says which is which. Locust's Statistics and Charts are
rounded to a millisecond below 100 ms and to two digits above. Ours are HDR histograms of the same answers, within
0.1 %, counted from when an operation was due, and the same as in the report.

Locust has no defence against other sites, answers them all (CORS), and sets any of its options by a form. Here a
run starts servers and kills processes; so who may ask is decided before any route (`harness.locust.access`), and
what of a form reaches Locust is, too (`harness.locust.start_form`).

Locust ends a test after the form's run time by a timer of its own, which counts the start of the system and knows
of no drain. The schedule has that length already, and its end ends the test; so the timer is cancelled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from flask import Blueprint, Response, request, send_file, send_from_directory

from harness.locust.snapshot import HEAL, Cursor, Percentiles, Snapshot, buttons_of
from harness.locust.start_form import StartForm, json_answer, told
from harness.locust.view import View
from harness.nemesis.faults import fault_kinds
from harness.nemesis.nemesis import FaultError, FaultRefusedError
from harness.server.url import without_secrets

STATIC = Path(__file__).parent / "static"
TABS = {
    "shopbench-run": "This run",
    "shopbench-lag": "Consumer lag",
    "shopbench-percentiles": "Percentiles (ours)",
    "shopbench-faults": "Faults",
    "shopbench-report": "Report (ours)",
}
TABLE = "shopbench-percentiles"
COLUMNS = {
    "operation": "Operation",
    "kind": "Latency",
    "count": "# Operations",
    "p50": "p50 (ms)",
    "p90": "p90 (ms)",
    "p99": "p99 (ms)",
    "p999": "p99.9 (ms)",
    "p9999": "p99.99 (ms)",
    "max": "Max (ms)",
}
_LARGEST_ORDER_BYTES = 1_000
# Locust's page asks again only while the last state that it was told is running or spawning: told one of these, it
# would never learn that the test has stopped.
_ENDING = {"cleanup", "stopping"}


class FaultOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a button asks for.

    Attributes:
        action: the name of a fault that has a button, or `HEAL`.
        target: may be left out where there is one only.
    """

    action: str
    target: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run has ended."""

    status: str
    headline: str
    reason: str
    verdicts: list[dict[str, str]]
    directory: str
    has_report: bool


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to the script.

    Attributes:
        is_running: also while it drains.
        doing: what the run is at, or why it has not begun.
        share: how far it is, from 0 to 1.
        left_s: how long its schedule goes on; None before its first event and after its last one.
        live: what is measured; None before the first run.
        outcome: of the last run that has ended.
    """

    scenario: str
    is_running: bool
    doing: str
    share: float
    left_s: float | None
    live: Snapshot | None
    outcome: Outcome | None


def table_rows(rows: Sequence[Percentiles]) -> list[dict[str, Any]]:
    """Percentiles for Locust's table: milliseconds as numbers, so that it sorts them; exact to the microsecond."""
    return [
        {
            "operation": row.operation,
            "kind": row.kind.replace("_", " "),
            "count": row.count,
            "p50": _ms(row.p50_us),
            "p90": _ms(row.p90_us),
            "p99": _ms(row.p99_us),
            "p999": _ms(row.p99_9_us),
            "p9999": _ms(row.p99_99_us),
            "max": _ms(row.max_us),
        }
        for row in rows
    ]


def _ms(value_us: int | None) -> float | None:
    return None if value_us is None else value_us / 1000


class _Web:
    """What is added to one web UI.

    Args:
        session: that is shown.
        web_ui: Locust's.
    """

    def __init__(self, session: Any, web_ui: Any) -> None:
        self._session = session
        self._ui = web_ui
        self._view: View | None = None

    # What is shown.

    def view(self) -> View | None:
        """The run that is going on or has ended last, with what there is of it by now; None before the first."""
        findings = self._session.findings
        if findings is None:
            return None
        if self._view is None or self._view.findings is not findings:
            # By the time, so that a page that was left open does not take this for a run of the process before.
            self._view = View(findings, self._session.clock.now_ns() // 1_000_000 % 1_000_000_000)
        self._view.absorb(self._session.spread.measured)
        return self._view

    def page(self, since: Cursor) -> Page:
        session, view = self._session, self.view()
        return Page(
            scenario=session.scenario.name,
            is_running=session.is_running,
            doing=without_secrets(session.doing),
            share=session.share if session.is_running else 0.0,
            left_s=session.spread.left_s if session.is_running else None,
            live=None if view is None else view.snapshot(since, session.clock.now_ns()),
            outcome=self._outcome(),
        )

    def _outcome(self) -> Outcome | None:
        record = self._session.record
        if record is None or (self._session.is_running and self._report_of(record) is None):
            return None
        return Outcome(
            status=record.run.status,
            headline=record.run.headline,
            reason=without_secrets(record.run.reason),
            verdicts=[
                {"name": v.name, "status": v.status, "detail": without_secrets(v.detail)}
                for v in record.run.verdicts
            ],
            directory=str(record.directory),
            has_report=self._report_of(record) is not None,
        )

    @staticmethod
    def _report_of(record: Any) -> Path | None:
        path: Path = record.directory / "report.html"
        return path if path.exists() else None

    # Routes.

    def live(self) -> Response:
        try:
            since = Cursor.parse(request.args.get("since", ""))
        except ValueError as error:
            return told(400, str(error))
        return json_answer(200, self.page(since))

    def fault(self) -> Response:
        if request.mimetype != "application/json":
            return told(415, "a fault is asked for as application/json")
        if (request.content_length or 0) > _LARGEST_ORDER_BYTES:
            return told(413, "too long for a fault")
        try:
            order = msgspec.json.decode(request.get_data(), type=FaultOrder)
        except msgspec.MsgspecError as error:
            return told(400, str(error))
        try:
            return told(200, self._do(order))
        except FaultRefusedError as error:
            return told(409, str(error))
        except ValueError as error:
            return told(400, str(error))
        except FaultError as error:
            return told(500, str(error))

    def _do(self, order: FaultOrder) -> str:
        findings = self._session.findings
        nemesis = findings.nemesis if findings is not None else None
        if nemesis is None:
            raise FaultRefusedError(
                "there is nothing to break: no load is running, or its scenario has no such part"
            )
        target = order.target or ("" if len(nemesis.faults) > 1 else next(iter(nemesis.faults), ""))
        if order.action == HEAL:
            nemesis.heal_now(target)
            return f"{target.upper()} is back"
        able = [button.action for button in buttons_of(nemesis.faults) if button.target == target]
        if target in nemesis.faults and order.action not in able:
            raise ValueError(
                f"{order.action!r} cannot be done to {target} by hand; there is {', '.join(able or [HEAL])}"
            )
        nemesis.inject_now(order.action, target)
        return f"{target.upper()} was {fault_kinds()[order.action].participle}"

    def report(self) -> Response:
        record = self._session.record
        path = self._report_of(record) if record is not None else None
        if path is None:
            why = "no run has ended yet" if record is None else "the report is not written yet"
            return Response(f"There is no report: {why}.\n", status=404, mimetype="text/plain")
        return send_file(path.resolve(), mimetype="text/html", max_age=0)

    def finish(self, response: Response) -> Response:
        """Add what is ours to an answer of Locust's."""
        # What a route can be asked (OPTIONS) has no content.
        if response.status_code != 200 or request.method == "OPTIONS":
            return response
        if request.endpoint == "locust.index":
            page = response.get_data(as_text=True)
            response.set_data(page.replace("</body>", f"{_scripts()}</body>", 1))
        elif request.endpoint == "locust.request_stats":
            view = self.view()
            rows = table_rows(view.total_percentiles()) if view is not None else []
            answer = {**msgspec.json.decode(response.get_data()), "extended_stats": [{"key": TABLE, "data": rows}]}
            if answer.get("state") in _ENDING:
                answer["state"] = "running"
            response.set_data(msgspec.json.encode(answer))
        elif request.endpoint == "locust.swarm":
            cancel = getattr(self._ui, "_cancel_run_time_timer", None)
            if cancel is not None:
                cancel()
        return response


def _scripts() -> str:
    """The parts of our own page, for Locust's; and what puts them in their places there."""
    own = re.findall(r'^<(?:link rel="stylesheet"|script) .*', (STATIC / "page.html").read_text(), re.MULTILINE)
    return "".join([*own, '<script src="./locust_page.js"></script>']).replace('="./', '="./shopbench/')


def add_to_web_ui(session: Any, web_ui: Any) -> None:
    """Add tabs, table, links and routes.

    Args:
        session: whose runs are shown.
        web_ui: Locust's, before it takes requests.
    """
    # Here, and not above: this module is imported also where Locust must not patch the process.
    from locust.util.timespan import parse_timespan

    web = _Web(session, web_ui)
    app = web_ui.app
    base = app.blueprints["locust"].url_prefix or ""
    routes = Blueprint("shopbench", __name__, url_prefix=f"{base.rstrip('/')}/shopbench")
    shown: dict[str, Callable[..., Response]] = {
        "/live": web.live,
        "/report": web.report,
        "/": partial(send_from_directory, STATIC, "page.html", max_age=0),
        **{
            f"/{part.name}": partial(send_from_directory, STATIC, part.name, max_age=0)
            for part in STATIC.iterdir()
            if part.suffix in {".js", ".css"}
        },
    }
    for path, answer in shown.items():
        name = path.strip("/").replace(".", "_") or "page"
        routes.add_url_rule(path, name, web_ui.auth_required_if_enabled(answer), methods=["GET"])
    routes.add_url_rule("/fault", "fault", web_ui.auth_required_if_enabled(web.fault), methods=["POST"])
    app.register_blueprint(routes)
    # What the form offers has an order.
    app.jinja_env.policies["json.dumps_kwargs"] = {"sort_keys": False}
    form = StartForm(session, web_ui, parse_timespan)
    form.offer()
    app.before_request(form.guard)
    app.after_request(web.finish)
    web_ui.template_args.update(
        extended_tabs=[{"key": key, "title": title} for key, title in TABS.items()],
        extended_tables=[
            {"key": TABLE, "structure": [{"key": key, "title": title} for key, title in COLUMNS.items()]}
        ],
        extended_csv_files=[
            {"href": "./shopbench/report", "title": "Report of the last run (ours)"},
            {"href": "./shopbench/", "title": "Lag, percentiles, faults and ledger on one page (ours)"},
        ],
    )
