"""A password for the web UI, from the environment: a command line is read by every user of the machine.

    SHOPBENCH_WEB_PASSWORD=... shopbench web lag --host 0.0.0.0

Locust knows that somebody has to log in (`--web-login`) and shows a form, and leaves the rest to the locustfile.
Here it is one password for all, for whoever has it may do everything; who was let in is kept in a cookie that is
signed with a key of this process, and ends with it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import MutableMapping
from typing import Any

from flask import Blueprint, redirect, request, session, url_for
from flask_login import LoginManager, UserMixin, login_user
from werkzeug.wrappers import Response

PASSWORD = "SHOPBENCH_WEB_PASSWORD"  # noqa: S105 - where it stands, not what it is
_WHO = "starter"


def taken_password(environ: MutableMapping[str, str]) -> str:
    """The password, which is taken out of the environment: no process that we start needs it."""
    return environ.pop(PASSWORD, "")


class _Visitor(UserMixin):  # type: ignore[misc]  # it comes without types
    """Somebody who knows the password."""

    id = _WHO


def ask_for_password(web_ui: Any, password: str) -> None:
    """Let nobody see or do anything in a web UI who does not know a password.

    Args:
        web_ui: Locust's, before it takes requests.
        password: that is asked for.
    """
    app = web_ui.app
    app.secret_key = secrets.token_bytes(32)
    # Cookies do not know of ports: two UIs on one machine must not sign each other's visitors out.
    app.config.update(SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_NAME=f"shopbench-{web_ui.port}")
    manager = LoginManager()
    manager.init_app(app)
    manager.login_view = "locust.login"
    manager.user_loader(lambda who: _Visitor() if who == _WHO else None)
    web_ui.login_manager = manager
    web_ui.web_login = True
    base = (app.blueprints["locust"].url_prefix or "").rstrip("/")
    web_ui.auth_args = {
        "title": "ordershop-bench",
        "custom_form": {
            "inputs": [{"label": "Password", "name": "password", "is_secret": True, "is_required": True}],
            "callback_url": f"{base}/shopbench/login",
            "submit_button_text": "Log in",
        },
    }

    def log_in() -> Response:
        given = request.form.get("password", "")
        if not hmac.compare_digest(given.encode(), password.encode()):
            session["auth_error"] = "That is not the password."
            return redirect(url_for("locust.login"))
        session["auth_error"] = None
        login_user(_Visitor())
        return redirect(url_for("locust.index"))

    routes = Blueprint("shopbench_login", __name__, url_prefix=f"{base}/shopbench")
    routes.add_url_rule("/login", "log_in", log_in, methods=["POST"])
    app.register_blueprint(routes)
