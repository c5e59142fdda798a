"""Locust's web UI, with what we measure: tabs, live charts, faults by hand, the report.

    /                      Locust's page; our script is added to it and draws in our tabs
    /stats/requests        Locust's answer; our percentiles are added, for a table of its own making
    /swarm                 a form that cannot be is answered in words, before Locust sees it
    /shopbench/            a page of our own with all of it: the way out if Locust's page changes
    /shopbench/live        what is new since a cursor (harness/locust/view.py), asked for once a second
    /shopbench/fault       POST {"action": "stop" | "kill" | "freeze" | "start"}
    /shopbench/report      the report of the last run
    /user                  closed: it would set any attribute of a user, here and on workers

The tabs, the table and the links are Locust's own extension points (`extended_tabs`, `extended_tables`,
`extended_csv_files`). For charts it has none, hence the script (`harness/locust/static/live.js`): plain SVG, no
library, no request to anywhere but here. Where login is required, it is for all of these, too.

Two sets of numbers stand side by side, and the page says which is which. Locust's Statistics and Charts are
rounded to a millisecond below 100 ms and to two digits above. Ours are HDR histograms of the same answers, within
0.1 %, counted from when an operation was due, and the same as in the report.

Locust has no defence against other sites, answers them all (CORS), and sets any of its options by a form. Here a
run starts servers and kills processes; so who may ask is decided before any route (`harness.locust.access`), and
of a form Locust gets no more than what it offers, chosen among what the command line has named
(`harness.locust.form`).

Locust ends a test after the form's run time by a timer of its own, which counts the start of the system and knows
of no drain. The schedule has that length already, and its end ends the test; so the timer is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from flask import Blueprint, Response, request, send_file, send_from_directory
from werkzeug.datastructures import ImmutableMultiDict

from harness.conduct.conduct import ParameterError
from harness.locust.form import (
    PROFILE,
    check_server,
    extra_options,
    fields_of,
    options_after,
    prefilled,
    taken,
)
from harness.locust.snapshot import Cursor, Percentiles, Snapshot
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
KIND_WORDS = {"response": "response", "service": "service", "send_lag": "send lag"}
_LARGEST_ORDER_BYTES = 1_000
# Locust's page asks again only while the last state that it was told is running or spawning: told one of these, it
# would never learn that the test has stopped.
_ENDING = {"cleanup", "stopping"}
if TYPE_CHECKING:
    Action = str
else:
    # What there are buttons for, whoever has added it.
    Action = Literal[(*(name for name, kind in fault_kinds().items() if kind.button), "start")]


class FaultOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a button asks for."""

    action: Action
    target: str = "crm"


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
            "kind": KIND_WORDS.get(row.kind, row.kind),
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
        seconds_of: reads a time span as Locust does.
    """

    def __init__(self, session: Any, web_ui: Any, seconds_of: Callable[[str], int]) -> None:
        self._session = session
        self._ui = web_ui
        self._seconds_of = seconds_of
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
            return _told(400, str(error))
        return _json(200, self.page(since))

    def fault(self) -> Response:
        if request.mimetype != "application/json":
            return _told(415, "a fault is asked for as application/json")
        if (request.content_length or 0) > _LARGEST_ORDER_BYTES:
            return _told(413, "too long for a fault")
        try:
            order = msgspec.json.decode(request.get_data(), type=FaultOrder)
        except msgspec.MsgspecError as error:
            return _told(400, str(error))
        try:
            return _told(200, self._do(order))
        except FaultRefusedError as error:
            return _told(409, str(error))
        except ValueError as error:
            return _told(400, str(error))
        except FaultError as error:
            return _told(500, str(error))

    def _do(self, order: FaultOrder) -> str:
        findings = self._session.findings
        nemesis = findings.nemesis if findings is not None else None
        if nemesis is None:
            raise FaultRefusedError(
                "there is nothing to break: no load is running, or its scenario has no such part"
            )
        if order.action == "start":
            nemesis.heal_now(order.target)
            return f"{order.target.upper()} is back"
        nemesis.inject_now(order.action, order.target)
        return f"{order.target.upper()} was {fault_kinds()[order.action].participle}"

    def report(self) -> Response:
        record = self._session.record
        path = self._report_of(record) if record is not None else None
        if path is None:
            why = "no run has ended yet" if record is None else "the report is not written yet"
            return Response(f"There is no report: {why}.\n", status=404, mimetype="text/plain")
        return send_file(path.resolve(), mimetype="text/html", max_age=0)

    # What is done to Locust's own.

    def guard(self) -> Response | None:
        """Refuse forms that cannot be, and what Locust would do for anybody; None lets a request through."""
        if request.endpoint == "locust.update_user":
            return _told(403, "refused: users are what the scenario makes of them")
        if request.endpoint != "locust.swarm" or request.method != "POST":
            return None
        refused: Response | None = self._ui.auth_required_if_enabled(self._check_form)()
        return refused

    def _check_form(self) -> Response | None:
        session = self._session
        try:
            self._refuse_second_run()
            fields = fields_of(session.scenario, session.named)
            kept = taken(fields, request.form.to_dict(), session.environment.host or "")
            options = options_after(session.environment.parsed_options, kept, self._seconds_of)
            session.chosen(options)
            check_server(session.server_of(options))
        except ParameterError as error:
            # Locust's form shows the message of an answer that is no success.
            said = without_secrets(str(error))
            return _json(200, {"success": False, "message": said, "host": session.environment.host or ""})
        # Locust takes what is left of it, and keeps the run time of the form before when this one has none.
        request.form = ImmutableMultiDict(kept)
        session.environment.parsed_options.run_time = options.run_time
        return None

    def _refuse_second_run(self) -> None:
        session = self._session
        if not session.is_running:
            return
        if session.environment.runner.state in {"running", "spawning"}:
            raise ParameterError(
                "a run is in progress, and its connections were chosen when it began: stop it first"
            )
        raise ParameterError(f"the run before is not finished yet ({session.doing}): try again in a moment")

    def offer(self) -> None:
        """Let Locust's page offer our form, and none of its options with what the command line gave them."""
        session, update = self._session, self._ui.update_template_args

        def updated() -> None:
            update()
            options = session.environment.parsed_options
            scenario, named = session.scenario, session.named
            fields = fields_of(scenario, named)
            self._ui.template_args.update(
                extra_options=extra_options(scenario, named, options),
                # Locust's own field for it is hidden: ours is a choice.
                profile="",
                # The host that a user class lacks is the server under test, which has a field of its own.
                missing_host_warning=False,
                shopbench={
                    "profile_field": PROFILE,
                    "profiles": prefilled(scenario, fields, options, named),
                    "has_host": bool(session.environment.host),
                },
            )

        self._ui.update_template_args = updated
        updated()

    def finish(self, response: Response) -> Response:
        """Add what is ours to an answer of Locust's."""
        # What a route can be asked (OPTIONS) has no content.
        if response.status_code != 200 or request.method == "OPTIONS":
            return response
        if request.endpoint == "locust.index":
            script = (
                '<link rel="stylesheet" href="./shopbench/live.css">'
                '<script src="./shopbench/quantities.js"></script><script src="./shopbench/live.js"></script>'
            )
            page = response.get_data(as_text=True)
            response.set_data(page.replace("</body>", f"{script}</body>", 1))
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


def _json(status: int, content: Any) -> Response:
    answer = Response(msgspec.json.encode(content), status=status, mimetype="application/json")
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _told(status: int, message: str) -> Response:
    return _json(status, {"success": status == 200, "message": message})


def add_to_web_ui(session: Any, web_ui: Any) -> None:
    """Add tabs, table, links and routes.

    Args:
        session: whose runs are shown.
        web_ui: Locust's, before it takes requests.
    """
    # Here, and not above: this module is imported also where Locust must not patch the process.
    from locust.util.timespan import parse_timespan

    web = _Web(session, web_ui, parse_timespan)
    app = web_ui.app
    base = app.blueprints["locust"].url_prefix or ""
    routes = Blueprint("shopbench", __name__, url_prefix=f"{base.rstrip('/')}/shopbench")
    shown: dict[str, Callable[..., Response]] = {
        "/live": web.live,
        "/report": web.report,
        "/": lambda: send_from_directory(STATIC, "page.html", max_age=0),
        "/quantities.js": lambda: send_from_directory(STATIC, "quantities.js", max_age=0),
        "/live.js": lambda: send_from_directory(STATIC, "live.js", max_age=0),
        "/live.css": lambda: send_from_directory(STATIC, "live.css", max_age=0),
    }
    for path, answer in shown.items():
        name = path.strip("/").replace(".", "_") or "page"
        routes.add_url_rule(path, name, web_ui.auth_required_if_enabled(answer), methods=["GET"])
    routes.add_url_rule("/fault", "fault", web_ui.auth_required_if_enabled(web.fault), methods=["POST"])
    app.register_blueprint(routes)
    # What the form offers has an order.
    app.jinja_env.policies["json.dumps_kwargs"] = {"sort_keys": False}
    web.offer()
    app.before_request(web.guard)
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
