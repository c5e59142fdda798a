"""The start form at work: what Locust's page offers, and what becomes of it when Start is pressed.

What a form offers and what of it is taken, `harness.locust.form` decides. It is asked before Locust sees a form:

    POST /swarm    what cannot be, or comes too early, is answered in words; else Locust gets what is left of it
    POST /user     closed: it would set any attribute of a user, here and on workers
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from flask import Response, request
from werkzeug.datastructures import ImmutableMultiDict

from harness.conduct.conduct import ParameterError
from harness.locust.form import PROFILE, check_server, extra_options, fields_of, options_after, prefilled, taken
from harness.server.url import without_secrets


class StartForm:
    """The form of one web UI.

    Args:
        session: whose runs it starts.
        web_ui: Locust's.
        seconds_of: reads a time span as Locust does.
    """

    def __init__(self, session: Any, web_ui: Any, seconds_of: Callable[[str], int]) -> None:
        self._session = session
        self._ui = web_ui
        self._seconds_of = seconds_of

    def guard(self) -> Response | None:
        """Refuse forms that cannot be, and what Locust would do for anybody; None lets a request through."""
        if request.endpoint == "locust.update_user":
            return told(403, "refused: users are what the scenario makes of them")
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
            return json_answer(200, {"success": False, "message": said, "host": session.environment.host or ""})
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


def json_answer(status: int, content: Any) -> Response:
    """An answer that no browser keeps."""
    answer = Response(msgspec.json.encode(content), status=status, mimetype="application/json")
    answer.headers["Cache-Control"] = "no-store"
    return answer


def told(status: int, message: str) -> Response:
    """An answer in words."""
    return json_answer(status, {"success": status == 200, "message": message})
