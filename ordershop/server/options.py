"""The options that the URL of a Redis server may have, by redis-py's names: what they are, and what they may be.

Three kinds: those that say where a server is, who one is there, and how the connection is secured (`OPTIONS`);
those that say how a client library speaks and waits, where ours win (`OURS_WIN`); and those without which a
connection is less safe than its URL says (`REFUSED`). All others are refused, too; most are objects, which no text
can give.

What is refused is said in fixed words: a value may be a secret, and so may a name, where a password holds a raw &.

One of the files that stand twice: see `url.py` beside it.
"""

from __future__ import annotations

import difflib
import math
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, unquote_plus


class RefusedError(Exception):
    """Why a part of a URL cannot be; a fixed text, which quotes nothing."""


# What a server quotes when it refuses: the user, and the arguments of a command that it does not know, which AUTH
# may be.
_QUOTED = re.compile(r"(?<=\b(?i:user) )\S+(?= has no permissions)|(?<=with args beginning with: ).*", re.DOTALL)


def withheld(error: str) -> str:
    """An error that a server has answered, without what it quotes of who one is there."""
    return _QUOTED.sub("***", error)


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise RefusedError("is a whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise RefusedError("is a number of seconds above 0")
    return value


def _flag(text: str) -> bool:
    word = text.lower()
    if word in {"1", "t", "true", "y", "yes", "on"}:
        return True
    if word in {"0", "f", "false", "n", "no", "off"}:
        return False
    raise RefusedError("is true or false")


def _cert_reqs(text: str) -> str:
    if text not in {"none", "optional", "required"}:
        raise RefusedError("is none, optional or required")
    return text


def _tls_version(text: str) -> int:
    known = {version.value for version in ssl.TLSVersion if version.value > 0}
    if not text.isdecimal() or int(text) not in known:
        raise RefusedError("is the number of a TLS version: 771 is 1.2, 772 is 1.3")
    return int(text)


def _verify_flags(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().removeprefix("VerifyFlags.") for name in text.strip("[] ").split(","))
    if not set(names) <= set(ssl.VerifyFlags.__members__):
        raise RefusedError("is a list of verify flags, such as VERIFY_X509_STRICT")
    return names


# A value of free text may be a secret, whatever its name is; these are never shown.
TEXT = str

OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "username": TEXT,
    "password": TEXT,
    "db": _number,
    "client_name": TEXT,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _flag,
    "ssl_keyfile": TEXT,
    "ssl_certfile": TEXT,
    "ssl_password": TEXT,
    "ssl_cert_reqs": _cert_reqs,
    "ssl_check_hostname": _flag,
    "ssl_ca_certs": TEXT,
    "ssl_ca_path": TEXT,
    "ssl_ca_data": TEXT,
    "ssl_ciphers": TEXT,
    "ssl_min_version": _tls_version,
    "ssl_include_verify_flags": _verify_flags,
    "ssl_exclude_verify_flags": _verify_flags,
    "ssl_server_hostname": TEXT,
}
# How a client library speaks and waits is for who measures to say; such an option is left out, not refused, since
# the same URL serves other programs, too.
OURS_WIN = frozenset(
    {
        *("protocol", "legacy_responses", "decode_responses", "encoding", "encoding_errors", "lib_name"),
        *("lib_version", "retry_on_timeout", "retry_on_error", "max_connections", "health_check_interval"),
        *("socket_read_size", "timeout"),
    }
)
# Left out they would make a connection less safe than its URL says.
REFUSED = frozenset(
    {"ssl_validate_ocsp", "ssl_validate_ocsp_stapled", "ssl_ocsp_context", "ssl_ocsp_expected_cert"}
)


def unquoted(text: str, *, has_plus: bool = False) -> str:
    """A part of a URL as it is meant; bytes that are no UTF-8 could not be sent as they are."""
    try:
        return (unquote_plus if has_plus else unquote)(text, errors="strict")
    except UnicodeDecodeError:
        raise RefusedError("an escape like %FF is not UTF-8") from None


def options_of(query: str) -> tuple[dict[str, Any], dict[str, str]]:
    options: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        raw_name, _, raw_value = pair.partition("=")
        name, value = unquoted(raw_name, has_plus=True), unquoted(raw_value, has_plus=True)
        if name in OURS_WIN:
            continue
        if name in REFUSED:
            if value.lower() not in {"", "0", "f", "false", "n", "no", "off"}:
                raise RefusedError(f"{name} cannot be kept here")
            continue
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.8)
            hint = f", perhaps {near[0]}" if near else ""
            raise RefusedError(f"it has an option that there is not{hint}; & in a password is written as %26")
        if value:  # as redis-py has it, an option without a value is none
            put_once(name, value, options, texts)
    return options, texts


def put_once(name: str, value: str, options: dict[str, Any], texts: dict[str, str]) -> None:
    if not value:
        return
    if name in options:
        raise RefusedError(f"{name} is given twice")
    try:
        options[name] = OPTIONS[name](value)
    except RefusedError as refused:
        raise RefusedError(f"{name} {refused}") from None
    texts[name] = value
