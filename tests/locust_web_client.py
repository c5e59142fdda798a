"""Locust's own app with ours in it, asked by Flask's test client; a program, since Locust patches its process.

python -m tests.locust_web_client DIRECTORY        {"check": "as expected", "another": "a traceback"}
"""

from __future__ import annotations

import json
import re
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
        password: that it asks for; empty for none.
        arguments: of the command line.
    """

    def __init__(self, directory: Path, *arguments: str, password: str = "") -> None:
        from locust.argument_parser import get_parser
        from locust.env import Environment

        from harness.host.clock import SystemClock
        from harness.locust.access import Guarded, access_of
        from harness.locust.login import ask_for_password
        from harness.locust.session import Session
        from harness.locust.users import ArrivalUser
        from harness.locust.web import add_to_web_ui
        from scenarios.lag import scenario

        self.directory = directory
        user = type("LagUser", (ArrivalUser,), {"abstract": False})
        self.environment = Environment(
            user_classes=[user], parsed_options=get_parser().parse_args(list(arguments))
        )
        self.environment.create_local_runner()
        self.ui = self.environment.create_web_ui("127.0.0.1", 0, web_base_path=BASE, delayed_start=True)
        self.session = Session(self.environment, scenario, SystemClock())
        self.ui.app.wsgi_app = Guarded(self.ui.app.wsgi_app, access_of("127.0.0.1"))
        if password:
            ask_for_password(self.ui, password)
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
        from harness.conduct.conduct import Findings
        from harness.nemesis.nemesis import Nemesis

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
    assert '<link rel="stylesheet" href="./shopbench/live.css"><script src="./shopbench/quantities.js">' in page
    assert (
        '<script src="./shopbench/live.js"></script><script src="./shopbench/locust_page.js"></script></body>'
        in page
    )
    assert '"title": "Consumer lag"' in page
    assert '"href": "./shopbench/report"' in page
    assert '"missing_host_warning": false' in page
    assert '"Run: profile": {"default_value": "quick", "choices": ["smoke", "quick", "standard", "full"]' in page
    assert page.index('"Run: profile"') < page.index('"Load: base (per second)"') < page.index('"Judged by: drain')


@check
def static_parts_are_served(asked: Asked) -> None:
    """The page of our own, its scripts and its style come with the package; so do those that Locust's page has."""
    scripts = ["/" + path for path in re.findall(r'<script src="\./(shopbench/\w+\.js)">', asked.get("/").text)]
    assert len(scripts) == 9
    for path, kind, part in [
        ("/shopbench/", "text/html", b'data-view="shopbench-lag"'),
        ("/shopbench/live.css", "text/css", b".shopbench"),
        *((script, "application/javascript", b"use strict") for script in scripts),
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
        assert asked.fault({"action": "kill"}) == (200, "CRM was killed")
        status, message = asked.fault({"action": "freeze"})
        assert status == 409
        assert message.startswith("freeze was not applied to crm: kill is open there since")
        [window] = asked.get("/shopbench/live").json["live"]["faults"]
        assert (window["name"], window["end_s"]) == ("kill", None)
        assert asked.fault({"action": "start", "target": "crm"}) == (200, "CRM is back")
        assert done == ["kill", "start"]
        [window] = asked.get("/shopbench/live").json["live"]["faults"]
        assert window["end_s"] >= window["start_s"]


@check
def orders_that_cannot_be(asked: Asked) -> None:
    """JSON of the right shape, from here: everything else is refused, and nothing is done."""
    with asked.run_with_faults() as done:
        for action in ("explode", "poison", "kill_in_batch"):
            assert asked.fault({"action": action}) == (
                400,
                f"{action!r} cannot be done to crm by hand; there is stop, kill, freeze, start",
            )
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
            status, message = asked.fault({"action": "kill"}, headers)
            assert status == 403
            assert message.startswith("refused: another site has sent this")
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
        ({"delivery": "twice"}, "lag: delivery is one of at_least_once, at_most_once, from_now, not 'twice'"),
        ({"profile": "fast"}, "there is no profile 'fast'; there are smoke, quick, standard, full"),
        ({"server": "redis://h:port"}, "a server is chosen by a name that the command line has given: embedded"),
        ({"server": "valkey-sevrer"}, "a server is chosen by a name that the command line has given: embedded"),
        ({"seed": "one"}, "a seed is a whole number of 0 or more, not 'one'"),
        ({"run_time": "soon"}, "a run time is written as"),
        ({"user_count": "0"}, "the number of users is a whole number 1 or more"),
        (
            {"user_count": "100", "spawn_rate": "1.6"},
            "100 users at 1.6 a second have not all started within 60 s: give",
        ),
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
        assert asked.swarm().json["message"].startswith("a run is in progress")
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

    from harness.conduct.conduct import Findings
    from harness.locust.view import Measured
    from harness.measure.recorder import Recorder

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


def _routes(asked: Asked) -> Iterator[tuple[str, str, str]]:
    """Every route that there is, whoever has added it: endpoint, method, path with something for each part."""
    for rule in asked.ui.app.url_map.iter_rules():
        path = rule.build(dict.fromkeys(rule.arguments, "x"))
        assert path is not None, rule
        for method in sorted(rule.methods or ()):
            yield rule.endpoint, method, path[1]


STRANGERS = (
    {"Host": "evil.example"},
    {"Host": "evil.example", "Origin": "http://evil.example"},
    {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
)


@check
def no_route_answers_a_stranger(asked: Asked) -> None:
    """Each route by each method, Locust's, Flask's and ours, and what is none: refused before it does anything."""
    routes = list(_routes(asked))
    assert len({endpoint for endpoint, _, _ in routes}) > 20
    for _, method, path in [*routes, ("nowhere", "GET", "/nowhere"), ("nowhere", "POST", f"{BASE}/nowhere")]:
        for headers in STRANGERS:
            answer = asked.client.open(path, method=method, headers=headers)
            assert answer.status_code == 403, (method, path, headers, answer.status_code)
            assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]
            assert b"evil.example" not in answer.data or b"--allowed-" in answer.data


@check
def no_route_opens_itself_to_others(asked: Asked) -> None:
    """No answer to a page of ours may be read or framed by others, neither a good one nor an error."""
    for _, method, path in [*_routes(asked), ("nowhere", "GET", "/nowhere")]:
        if path.endswith(("/swarm", "/stop", "/stats/reset")):
            continue
        answer = asked.client.open(path, method=method, headers={"Origin": "http://localhost"})
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")], path
        assert answer.headers["X-Frame-Options"] == "DENY", path


@check
def no_field_names_what_the_command_line_has_not(asked: Asked) -> None:
    """Every option that Locust knows, sent as a stranger would, is refused; none of them is changed."""
    program = asked.directory / "x.sh"
    program.write_text(f"#!/bin/sh\ntouch {asked.directory}/taken\n")
    program.chmod(0o755)
    started: list[object] = []
    asked.environment.runner.start = lambda *given: started.append(given)
    from harness.locust.form import fields_of

    options = vars(asked.environment.parsed_options)
    before = dict(options)
    offered = {field.option for field in fields_of(asked.session.scenario, asked.session.named)} | {"num_users"}
    evil = [str(program), "redis://10.0.0.1/0", "http://10.0.0.1", "/etc", "../..", "true", "1,2"]
    # A page always sends which classes it has; they are left out.
    names = [*(set(options) - {"user_classes"}), "user_count", "spawn_rate", "gateway", "Run: server", "nothing"]
    for name in names:
        for value in evil:
            answer = asked.swarm(**{name: value}).json
            assert not answer["success"], (name, value, answer)
            assert "10.0.0.1" not in answer["message"] or name in offered | {
                "spawn_rate",
                "user_count",
                "run_time",
            }, answer
    assert {name: value for name, value in options.items() if name != "run_time"} == {
        name: value for name, value in before.items() if name != "run_time"
    }
    assert asked.environment.host is None
    assert started == []
    assert not (asked.directory / "taken").exists()


@check
def what_a_page_sends_besides_changes_nothing(asked: Asked) -> None:
    """Classes and shapes are not chosen, and Locust's field for a host does not make one."""
    started: list[object] = []
    asked.environment.runner.start = lambda *given: started.append(given)
    assert asked.swarm(host="", user_classes="Evil", shape_class="Evil").json["success"]
    asked.ui._swarm_greenlet.join(5)
    assert started == [(2, 2.0)]
    assert asked.environment.host is None
    assert [user.__name__ for user in asked.environment.user_classes] == ["LagUser"]
    assert not asked.swarm(host="http://10.0.0.1").json["success"]


@check
def users_cannot_be_changed(asked: Asked) -> None:
    """Locust would set any attribute of a user class, here and on all workers."""
    user = asked.environment.user_classes[0]
    answer = asked.client.post(f"{BASE}/user", json={"user_class_name": user.__name__, "host": "http://10.0.0.1"})
    assert answer.status_code == 403
    assert user.host is None


@check
def a_server_is_one_of_the_command_lines(asked: Asked) -> None:
    """By its name; what it stands for is in no option that workers are sent, and cannot be chosen."""
    from harness.server.url import ServerUrl

    url = "redis://me:s3cret@127.0.0.1:1/3"
    named = Asked(
        asked.directory,
        "--server",
        url,
        "--also-server",
        "local=embedded",
        "--also-server",
        f"b={url}",
        "--runs",
        "elsewhere",
    )
    assert named.environment.parsed_options.server == "given by --server"
    assert "s3cret" not in str(named.environment.parsed_options)
    started: list[object] = []
    named.environment.runner.start = lambda *given: started.append(given)
    assert named.swarm(server="local").json["success"]
    assert named.session.server_of(named.environment.parsed_options) == "embedded"
    assert named.swarm(server="").json["success"]
    assert named.session.server_of(named.environment.parsed_options) == ServerUrl(url)
    assert not named.swarm(server=url).json["success"]
    assert str(named.session.named.runs) == "elsewhere"


@check
def no_secret_is_on_any_page(asked: Asked) -> None:
    """Neither the server's password nor the gateway's, on no route, whatever a run has come to."""
    url, gateway = "redis://me:s3cret@127.0.0.1:1/3", "http://me:s3cret@shop.lan"
    asked = Asked(asked.directory, "--server", url, "--host", gateway)
    asked.session.doing = f"{url}: does not answer"
    asked.session.record = SimpleNamespace(
        directory=asked.directory,
        run=SimpleNamespace(
            status="failed",
            headline="",
            reason=f"{url}: does not answer",
            verdicts=[SimpleNamespace(name="lag.finished", status="UNKNOWN", detail=f"{url}: away")],
        ),
    )
    for endpoint, method, path in _routes(asked):
        answer = asked.client.open(path, method=method)
        assert "s3cret" not in answer.text, (endpoint, method)
        assert "s3cret" not in str(answer.headers), (endpoint, method)
    assert not asked.environment.runner.user_count


@check
def login_is_for_all(asked: Asked) -> None:
    """With a password: nobody gets an answer of any route without it, before anything is said about a form."""
    strict = Asked(asked.directory, password="open sesame")
    open_to_all = {"locust.login", "locust.send_assets", "static", "shopbench_login.log_in"}
    for endpoint, method, path in _routes(strict):
        if endpoint in open_to_all or method == "OPTIONS":
            continue
        answer = strict.client.open(path, method=method)
        assert answer.status_code in {302, 403}, (endpoint, method, answer.status_code)
        assert answer.status_code == 403 or answer.headers["Location"].startswith(f"{BASE}/login"), endpoint
    assert strict.swarm(base_per_s="-5").status_code == 302
    assert "open sesame" not in strict.get("/login").text
    wrong = strict.client.post(f"{BASE}/shopbench/login", data={"password": "open"})
    assert (wrong.status_code, wrong.headers["Location"]) == (302, f"{BASE}/login")
    assert "That is not the password." in strict.get("/login").text
    assert strict.get("/shopbench/live").status_code == 302
    right = strict.client.post(f"{BASE}/shopbench/login", data={"password": "open sesame"})
    assert right.headers["Location"] == f"{BASE}/"
    assert "SameSite=Strict" in right.headers["Set-Cookie"]
    assert strict.get("/shopbench/live").status_code == 200
    assert strict.swarm(base_per_s="-5").json["message"].startswith("lag: base_per_s is more than 0")


CHECKS = list(_CHECKS)


def main(directory: Path) -> None:
    """Let each check ask a web UI of its own, and print what they came to."""
    from locust import events

    from harness.locust.locustfile import add_arguments
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
