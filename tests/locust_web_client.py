"""Locust's own app with ours in it, asked by Flask's test client; a program, since Locust patches its process.

python -m tests.locust_web_client DIRECTORY        {"check": "as expected", "another": "a traceback"}
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BASE = "/bench"
FORM = {"user_count": "2", "spawn_rate": "2", "base_per_s": "300", "server": "embedded", "profile": ""}

Check = Callable[["Asked"], None]
_CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Make a function one of the checks."""
    _CHECKS[function.__name__] = function
    return function


class Asked:
    """A web UI that is not served, on a real environment with a local runner.

    Args:
        directory: for what a run would leave.
        login: whether it asks who one is.
    """

    def __init__(self, directory: Path, *, login: bool = False) -> None:
        from locust.argument_parser import get_parser
        from locust.env import Environment

        from harness.clock import SystemClock
        from harness.locust_run import Session
        from harness.locust_users import ArrivalUser
        from harness.locust_web import add_to_web_ui
        from scenarios.lag import scenario

        self.directory = directory
        user = type("LagUser", (ArrivalUser,), {"abstract": False})
        self.environment = Environment(user_classes=[user], parsed_options=get_parser().parse_args([]))
        self.environment.create_local_runner()
        self.ui = self.environment.create_web_ui(
            "127.0.0.1", 0, web_base_path=BASE, web_login=login, delayed_start=True
        )
        self.ui.app.secret_key = "made up"
        if login:
            self.ui.login_manager.user_loader(lambda _: None)
        self.session = Session(self.environment, scenario, SystemClock())
        add_to_web_ui(self.session, self.ui)
        self.client = self.ui.app.test_client()

    def get(self, path: str) -> Any:
        return self.client.get(BASE + path)

    def swarm(self, headers: dict[str, str] | None = None, **fields: str) -> Any:
        return self.client.post(f"{BASE}/swarm", data={**FORM, **fields}, headers=headers)

    def fault(self, body: object, headers: dict[str, str] | None = None) -> tuple[int, str]:
        answer = self.client.post(f"{BASE}/shopbench/fault", json=body, headers=headers)
        return answer.status_code, answer.json["message"]

    @contextmanager
    def run_with_faults(self) -> Iterator[list[str]]:
        """A run with a CRM, which notes down what is done to it."""
        from harness.conducting import Findings
        from harness.faults import Nemesis

        done: list[str] = []
        crm = SimpleNamespace(name="crm")
        for name in ("stop", "kill", "freeze", "thaw", "start"):
            setattr(crm, name, lambda name=name: done.append(name))
        findings = self.session.findings = Findings("lag")
        findings.origin_ns = self.session.clock.now_ns()
        errors: list[str] = []
        with Nemesis(
            crm,
            clock=self.session.clock,
            origin_ns=findings.origin_ns,
            history=findings.history,
            on_error=errors.append,
        ) as findings.nemesis:
            yield done
        findings.nemesis = None
        assert errors == []


@check
def the_page_has_our_script_and_tabs(asked: Asked) -> None:
    """Locust's page gets the script, the tabs and the links, and does not ask for a host."""
    page = asked.get("/").text
    assert '<script src="./shopbench/live.js"></script></body>' in page
    assert '"title": "Consumer lag"' in page
    assert '"href": "./shopbench/report"' in page
    assert '"missing_host_warning": false' in page


@check
def static_parts_are_served(asked: Asked) -> None:
    """The page of our own, its script and its style come with the package."""
    for path, kind, part in [
        ("/shopbench/", "text/html", b'data-view="shopbench-lag"'),
        ("/shopbench/live.js", "application/javascript", b"use strict"),
        ("/shopbench/live.css", "text/css", b".shopbench"),
    ]:
        answer = asked.get(path)
        assert (answer.status_code, answer.mimetype) == (200, kind), (path, answer.mimetype)
        assert part in answer.data


@check
def before_a_run_there_is_nothing(asked: Asked) -> None:
    """No run: no lag, no report, nothing to break."""
    answer = asked.get("/shopbench/live").json
    assert (answer["scenario"], answer["is_running"], answer["live"], answer["outcome"]) == (
        "lag",
        False,
        None,
        None,
    )
    report = asked.get("/shopbench/report")
    assert (report.status_code, report.text) == (404, "There is no report: no run has ended yet.\n")
    assert asked.fault({"action": "kill"})[0] == 409


@check
def a_cursor_that_is_none(asked: Asked) -> None:
    """Refused in words."""
    answer = asked.get("/shopbench/live?since=yesterday")
    assert answer.status_code == 400
    assert "is no cursor" in answer.json["message"]


@check
def faults_by_hand(asked: Asked) -> None:
    """Done, refused while one is open, healed, and on the timeline."""
    with asked.run_with_faults() as done:
        assert asked.fault({"action": "start"}) == (409, "nothing is open on crm")
        assert asked.fault({"action": "kill"}) == (200, "kill was done to crm")
        status, message = asked.fault({"action": "freeze"})
        assert status == 409
        assert message.startswith("freeze was not done to crm: kill is open there since")
        [window] = asked.get("/shopbench/live").json["live"]["faults"]
        assert (window["name"], window["end_s"]) == ("kill", None)
        assert asked.fault({"action": "start", "target": "crm"}) == (200, "crm is back")
        assert done == ["kill", "start"]
        [window] = asked.get("/shopbench/live").json["live"]["faults"]
        assert window["end_s"] >= window["start_s"]


@check
def orders_that_cannot_be(asked: Asked) -> None:
    """JSON of the right shape, from here: everything else is refused, and nothing is done."""
    with asked.run_with_faults() as done:
        assert asked.fault({"action": "explode"})[0] == 400
        assert asked.fault({"action": "kill", "force": True})[0] == 400
        assert asked.fault(["kill"])[0] == 400
        assert asked.fault({"action": "kill", "target": "mail"}) == (
            400,
            "there is no target 'mail'; there is crm",
        )
        assert asked.fault({"action": "kill", "target": "x" * 2000})[0] == 413
        assert asked.client.post(f"{BASE}/shopbench/fault", data={"action": "kill"}).status_code == 415
        assert asked.client.get(f"{BASE}/shopbench/fault").status_code == 405
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            assert asked.fault({"action": "kill"}, headers) == (403, "refused: another site has sent this")
        assert asked.fault({"action": "kill"}, {"Origin": "http://localhost"})[0] == 200
    assert done == ["kill", "start"]


@check
def the_report_of_the_last_run(asked: Asked) -> None:
    """Not there while it is being written, then the file itself."""
    asked.session.record = SimpleNamespace(
        directory=asked.directory,
        run=SimpleNamespace(status="complete", headline="Well.", reason="", verdicts=[]),
    )
    assert asked.get("/shopbench/report").text == "There is no report: the report is not written yet.\n"
    (asked.directory / "report.html").write_text("<!doctype html><title>It is</title>")
    answer = asked.get("/shopbench/report")
    assert (answer.status_code, answer.mimetype, answer.text) == (
        200,
        "text/html",
        "<!doctype html><title>It is</title>",
    )
    assert asked.get("/shopbench/live").json["outcome"]["has_report"]


@check
def a_report_that_cannot_be_written(asked: Asked) -> None:
    """Said, with what was wrong, and in the exit code; the record is there all the same."""
    asked.session._report(SimpleNamespace(directory=asked.directory / "away"))
    assert asked.session.exit_code == 2
    said = asked.session.doing
    assert said.startswith(f"the report of {asked.directory / 'away'} was not written: shopbench: "), said


@check
def a_form_that_cannot_be(asked: Asked) -> None:
    """Answered in words, in the shape that Locust's form shows; no test begins."""
    for fields, says in [
        ({"base_per_s": "-5"}, "lag: base_per_s is more than 0 and at most 1,000,000 events a second, not -5"),
        ({"delivery": "twice"}, "lag: delivery is one of at_least_once, at_most_once, seed, not 'twice'"),
        ({"profile": "fast"}, "there is no profile 'fast'; there are smoke, quick, standard, full"),
        ({"server": "redis://h:port"}, "redis://h:port: not the URL of a Redis server"),
        ({"server": "valkey-sevrer"}, "'valkey-sevrer' is neither a server program"),
        ({"seed": "one"}, "a seed is a whole number of 0 or more, not 'one'"),
        ({"run_time": "soon"}, "a run time is written as"),
        ({"user_count": "0"}, "the number of users is a whole number 1 or more"),
        ({"user_count": "100", "spawn_rate": "1.6"}, "100 users at 1.6 a second are not there within 60 s: give"),
    ]:
        answer = asked.swarm(**fields)
        assert (answer.status_code, answer.json["success"]) == (200, False), fields
        assert answer.json["message"].startswith(says), answer.json
    assert asked.swarm({"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert asked.environment.runner.state == "ready"


@check
def a_run_before_that_is_not_finished(asked: Asked) -> None:
    """Refused, with what it is still at."""
    asked.session._greenlet = SimpleNamespace(dead=False)
    asked.session.doing = "draining: 12 events behind"
    try:
        message = asked.swarm().json["message"]
        assert message.startswith("the run before is not finished yet (draining: 12 events behind)")
        asked.environment.runner.state = "running"
        assert asked.swarm().json["message"].startswith("a run is on")
    finally:
        asked.session._greenlet = None
        asked.environment.runner.state = "ready"


@check
def the_run_time_is_the_schedules(asked: Asked) -> None:
    """It reaches the scenario, Locust's own timer is cancelled, and the next form does not inherit it."""
    started: list[tuple[int, float]] = []
    asked.environment.runner.start = lambda users, rate: started.append((users, rate))
    asked.ui._stop_runners = lambda: started.append((-1, -1.0))
    assert asked.swarm(run_time="1m").json["success"]
    options = asked.environment.parsed_options
    parameters, _ = asked.session.chosen(options)
    assert parameters.before_s + parameters.peak_s + parameters.after_s == 60
    assert (parameters.base_per_s, options.num_users) == (300, 2)
    assert asked.ui._run_time_greenlet is None
    assert asked.swarm().json["success"]
    assert options.run_time is None
    asked.ui._swarm_greenlet.join(5)
    # The first start may have been replaced by the second before it came to pass; no timer has stopped anything.
    assert set(started) == {(2, 2.0)}


@check
def locusts_table_gets_our_percentiles(asked: Asked) -> None:
    """Also where Locust answers from its cache, which it does for two seconds."""
    import numpy as np

    from harness.conducting import Findings
    from harness.live import Measured
    from harness.recording import Recorder

    recorder = Recorder()
    due = np.zeros(1, np.int64)
    recorder.record("append", due, due + 500_000, due + 1_500_000)
    asked.session.findings = Findings("lag")
    asked.session.spread = SimpleNamespace(measured=[])
    assert asked.get("/stats/requests").json["extended_stats"] == [{"key": "shopbench-percentiles", "data": []}]
    asked.session.spread.measured.append(Measured((1, "a"), 1, recorder.intervals()))
    answer = asked.get("/stats/requests").json
    [table] = answer["extended_stats"]
    assert [(row["kind"], row["p50"]) for row in table["data"]] == [
        ("response", 1.5),
        ("service", 1.0),
        ("send lag", 0.5),
    ]
    assert answer["state"] == "ready"


@check
def locusts_page_goes_on_asking(asked: Asked) -> None:
    """Its polling ends with the first state that is neither running nor spawning: told is only one that stays."""
    for state in ("cleanup", "stopping", "stopped"):
        asked.environment.runner.state = state
        asked.ui.app.view_functions["locust.request_stats"].clear_cache()
        told = asked.get("/stats/requests").json["state"]
        assert told == ("stopped" if state == "stopped" else "running"), state


@check
def login_is_for_ours_too(asked: Asked) -> None:
    """Where Locust asks who one is, so do our routes, before anything is said about a form."""
    strict = Asked(asked.directory, login=True)
    for path in ("live", "report", "", "live.js"):
        assert strict.get(f"/shopbench/{path}").status_code in {302, 401}, path
    assert strict.client.post(f"{BASE}/shopbench/fault", json={"action": "kill"}).status_code in {302, 401}
    assert strict.swarm(base_per_s="-5").status_code in {302, 401}


CHECKS = list(_CHECKS)


def main(directory: Path) -> None:
    """Let each check ask a web UI of its own, and print what they came to."""
    from locust import events

    from harness.locust_run import add_arguments
    from scenarios.lag import scenario

    sys.argv = ["locust"]
    events.init_command_line_parser.add_listener(lambda parser, **_: add_arguments(parser, scenario))
    results = {}
    for name, function in _CHECKS.items():
        mine = directory / name
        mine.mkdir()
        try:
            function(Asked(mine))
            results[name] = "as expected"
        except Exception:  # noqa: BLE001 - each check has its own result
            results[name] = traceback.format_exc()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
