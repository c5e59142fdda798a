"""Who may ask the web UI: decided for each request, before Locust or Flask sees it.

    a page of this UI            Host: 127.0.0.1:8089      Origin: none, or http://127.0.0.1:8089       let in
    a name bound to 127.0.0.1    Host: evil.example        whatever                                      refused
    another site's page          Host: 127.0.0.1:8089      Origin: https://evil.example                  refused
    behind a proxy               Host: bench.lan           --allowed-host bench.lan                      let in
    ... that changes Host        Origin: http://bench.lan  --allowed-origin http://bench.lan             let in

Whoever reaches the UI can start runs and kill processes with it. A browser reaches it for every page that is open
in it, so what a browser says of a request is checked on every route, also where nothing is changed: a page that
can read what is measured tells it to its owner. Programs such as `curl` may say what they like; against them there
is the password (`harness.locust.login`) and the loopback address.

It is a WSGI wrapper around the whole application, not a hook of Flask's: it comes before routes that are added
later, before those of static files, and before errors. On the way out it takes away the headers by which Locust
lets every site read its answers, and adds those that keep our pages out of others' frames.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# As they stand in `--web-host`: every interface.
EVERYWHERE = frozenset({"", "*", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:/@\[\]]+))(?::\d*)?")
_ADDED = {
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class AccessError(Exception):
    """A host or an origin that cannot be one; its text is one clear line."""


class Access(Struct, frozen=True, kw_only=True):
    """Who may ask.

    Attributes:
        hosts: names and addresses by which the UI is called, without ports.
        origins: sites that may ask besides the UI's own pages, such as `http://bench.lan`.
    """

    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()


class Asked(Struct, frozen=True, kw_only=True):
    """What a request says of itself; None where it does not say it.

    Attributes:
        method: GET, POST ...
        host: its header Host.
        origin: its header Origin.
        fetch_site, fetch_mode, fetch_dest: its headers Sec-Fetch-*, which browsers send, and pages cannot change.
    """

    method: str
    host: str | None
    origin: str | None = None
    fetch_site: str | None = None
    fetch_mode: str | None = None
    fetch_dest: str | None = None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    return host in LOOPBACK or host.startswith("127.")


def name_of(host: str) -> str | None:
    """A header Host, or the part of a URL that is like one, without its port; None where it cannot be one."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower().rstrip(".") if match else None


def access_of(web_host: str, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> Access:
    """Who may ask a UI.

    Args:
        web_host: where it listens, as `--web-host` says it.
        hosts: as `--allowed-host` says it.
        origins: as `--allowed-origin` says it.

    Raises:
        AccessError: one of them can be none.
    """
    allowed = set(LOOPBACK)
    if web_host and web_host != "*":
        allowed.add(web_host.lower().strip("[]"))
    for host in hosts:
        name = host.lower() if host.count(":") > 1 and "[" not in host else name_of(host)
        if not name:
            raise AccessError(f"--allowed-host is a name or an address, such as bench.lan, not {host!r}")
        allowed.add(name)
    sites = set()
    for origin in origins:
        parts = urlsplit(origin.lower())
        if parts.scheme not in {"http", "https"} or name_of(parts.netloc) is None or parts.path.strip("/"):
            raise AccessError(
                f"--allowed-origin is written as http://bench.lan or https://bench.lan, not {origin!r}"
            )
        sites.add(f"{parts.scheme}://{parts.netloc}")
    return Access(hosts=frozenset(allowed), origins=frozenset(sites))


def refusal(access: Access, asked: Asked) -> str | None:
    """Why a request is refused, with what would have to be set if it should not be; None: it is let in."""
    name = name_of(asked.host or "")
    # 1. It was sent to a name that is not ours: a page elsewhere has bound it to our address.
    if name not in access.hosts:
        if name is None:
            return "refused: a request names the host that it is for"
        return (
            f"refused: this web UI is not known as {name[:100]!r}; if that is its name, start it with "
            f"--allowed-host {name[:100]}"
        )
    # 2. A page has sent it that is neither one of ours nor named as a friend.
    origin = (asked.origin or "").lower()
    is_friend = origin in access.origins
    if asked.origin is not None and not is_friend and origin.partition("://")[2] != (asked.host or "").lower():
        if name_of(urlsplit(origin).netloc) is None:
            return "refused: another site has sent this"
        return (
            f"refused: another site has sent this, {origin[:100]}; if that is this web UI's address, as behind "
            f"a proxy that changes Host, start it with --allowed-origin {origin[:100]}"
        )
    # 3. The browser says that another site made it ask; a link that somebody follows to a page is no harm.
    is_followed = (
        asked.method in {"GET", "HEAD"} and asked.fetch_mode == "navigate" and asked.fetch_dest == "document"
    )
    if asked.fetch_site not in {None, "same-origin", "none"} and not is_friend and not is_followed:
        return "refused: another site has sent this"
    return None


class Guarded:
    """An application that answers only whom it may.

    Args:
        app: the whole of it.
        access: who may ask.
    """

    def __init__(self, app: WsgiApp, access: Access) -> None:
        self._app = app
        self._access = access

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, or refuse it."""
        reason = refusal(self._access, _asked(environ))

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, _closed(headers), *more)

        if reason is None:
            return self._app(environ, start)
        # A person has followed a link, or a script has asked.
        is_read = "text/html" in environ.get("HTTP_ACCEPT", "")
        kind = "text/plain" if is_read else "application/json"
        body = f"{reason}\n" if is_read else json.dumps({"success": False, "message": reason})
        content = body.encode()
        headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(content)))]
        start("403 FORBIDDEN", [*headers, ("Cache-Control", "no-store")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]


def _asked(environ: Mapping[str, Any]) -> Asked:
    return Asked(
        method=environ["REQUEST_METHOD"],
        host=environ.get("HTTP_HOST"),
        origin=environ.get("HTTP_ORIGIN"),
        fetch_site=environ.get("HTTP_SEC_FETCH_SITE"),
        fetch_mode=environ.get("HTTP_SEC_FETCH_MODE"),
        fetch_dest=environ.get("HTTP_SEC_FETCH_DEST"),
    )


def _closed(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers without those that let other sites read, and with those that keep them out."""
    kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
    there = {name.lower() for name, _ in kept}
    return [*kept, *((name, value) for name, value in _ADDED.items() if name.lower() not in there)]
