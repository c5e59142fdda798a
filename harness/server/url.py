"""The address of a Redis server: parsed once, masked wherever it becomes text, and nothing of it lost on the way.

    url = ServerUrl("rediss://ada:p%40ss@db.example:6380/15?ssl_ca_certs=ca.pem&client_name=ada-1")
    str(url), repr(url), f"{url}"   rediss://***@db.example:6380/15?ssl_ca_certs=***&client_name=***
    url.unmasked                    the whole of it, for a child's environment; the word stands where a secret goes
    url.through(40123)              127.0.0.1:40123 with the same user, password, database, TLS and options; the
                                    certificate is still that of db.example

Who connects takes a `ServerUrl`, or a text that becomes one: pump, stores, subscriptions, probes, proxies. It is
no `str`, no dataclass and no msgspec Struct on purpose: it is not joined, encoded or recorded by accident.

Masked are user, password, and each option whose value is free text, for any of them may be the secret. Shown are
scheme, host, port, database, and options that are numbers or words of a fixed list.

    redis://:pa/ss@h           a raw / ? # or a control character ends a part of a URL too early, and a piece of
                               the password would pass for a host: refused, and `***` stands for all of it. A raw
                               @, space, : or [ is taken, as redis-py takes it.
    redis://h?password=p@ss    is taken; but since h could be a piece of a password, no part of it is shown.

Options are redis-py's. There are those that say where and who (`OPTIONS`); those that say how a client library is
to speak, where ours win (`OURS_WIN`: protocol=3, decode_responses, retries of its own, ...); and the rest, refused
in a line. One is ours: `ssl_server_hostname`, for whom a certificate must be when a proxy is in between.

Rejected: urllib, which drops control characters, guesses at unbalanced brackets, and quotes what it cannot read;
and a text with a function that masks it, for each new message would have to remember that.

This file stands twice, and so do the two beside it: those of `harness/server/` and of `ordershop/server/` are the
same, byte for byte, and a test holds them so. A leaf package that both import was rejected: the gate runs
`ordershop` of two revisions beside one instrument, and a package between them would come from one revision for
both. What is measured would then be changed by the instrument, or the instrument by what it measures.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from .options import OPTIONS, TEXT, RefusedError, options_of, put_once, unquoted

SCHEMES = ("redis", "rediss", "unix")
DEFAULT_PORT = 6379
MASK = "***"
# An address takes no more room than this; a file that holds more is something else.
_LONGEST_BYTES = 1 << 20


class UrlError(ValueError):
    """What is no address of a Redis server; its text is one line, with nothing in it that may be a secret."""


class Address(Protocol):
    """A `ServerUrl`, or the twin of one that the other house has made."""

    @property
    def unmasked(self) -> str:
        """The whole URL."""
        ...


class _Parts(NamedTuple):
    scheme: str
    host: str
    port: int
    path: str
    options: dict[str, Any]
    texts: dict[str, str]
    hides_all: bool


class ServerUrl:
    """Where a Redis server is, who one is there, and how its connection is secured.

    Args:
        text: `redis://`, `rediss://` or `unix://`; or an address, which is copied.

    Raises:
        UrlError: it is no such URL.
    """

    __slots__ = ("_parts",)
    _parts: _Parts

    def __init__(self, text: str | Address) -> None:
        if isinstance(text, ServerUrl):
            self._parts = text._parts
        else:
            self._parts = _parsed(text if isinstance(text, str) else text.unmasked)

    # As text -------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return f"{self._parts.scheme}://{MASK}" if self._parts.hides_all else self._written(is_masked=True)

    def __repr__(self) -> str:
        return f"ServerUrl({str(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    @property
    def unmasked(self) -> str:
        """The whole URL with its secrets, written so that any client reads the same from it."""
        return self._written(is_masked=False)

    def _written(self, *, is_masked: bool) -> str:
        parts = self._parts
        # What came with a raw @ is written with one again: a copy of this URL then shows as little as it does.
        in_front = {"db"} if parts.hides_all else {"username", "password", "db"}
        names = [name for name in parts.texts if name not in in_front]
        who = ""
        if not parts.hides_all and (self.username or self.password):
            secret = f":{_quoted(self.password)}" if self.password else ""
            who = f"{MASK}@" if is_masked else f"{_quoted(self.username)}{secret}@"
        if parts.scheme == "unix":
            where = _quoted(parts.path, safe="/")
            names += ["db"] if "db" in parts.texts else []
        else:
            host = f"[{parts.host.replace('%', '%25')}]" if ":" in parts.host else parts.host
            where = f"{host}:{parts.port}" + (f"/{self.db}" if "db" in parts.texts else "")
        safe = "@" if parts.hides_all else ""
        shown = {
            name: MASK if is_masked and OPTIONS[name] is TEXT else _quoted(parts.texts[name], safe)
            for name in names
        }
        query = "&".join(f"{name}={value}" for name, value in shown.items())
        return f"{parts.scheme}://{who}{where}" + (f"?{query}" if query else "")

    def masked(self, text: str) -> str:
        """What somebody else has said, without this URL's user, password and other free texts.

        Args:
            text: such as an error that a server has answered; some name the user.
        """
        secrets = {value for name, value in self._parts.texts.items() if OPTIONS[name] is TEXT and value}
        for secret in sorted(secrets, key=len, reverse=True):
            for form in {secret, _quoted(secret)}:
                # A short one as a word of its own only: every text has an "a".
                edge = r"(?<!\w)", r"(?!\w)"
                pattern = re.escape(form) if len(form) > 3 else edge[0] + re.escape(form) + edge[1]
                text = re.sub(pattern, MASK, text)
        return text

    # As a value ----------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServerUrl) and self.unmasked == other.unmasked

    def __hash__(self) -> int:
        return hash(self.unmasked)

    def __reduce__(self) -> tuple[type[ServerUrl], tuple[str]]:
        return ServerUrl, (self.unmasked,)

    # Its parts -----------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The host's name or address; empty of a Unix socket."""
        return self._parts.host

    @property
    def port(self) -> int:
        """The TCP port; 0 of a Unix socket."""
        return self._parts.port

    @property
    def path(self) -> str:
        """The Unix socket; empty where there is a host."""
        return self._parts.path

    @property
    def db(self) -> int:
        """The number of the database."""
        return int(self._parts.options.get("db", 0))

    @property
    def username(self) -> str:
        """Who one is there; empty for the default user."""
        return str(self._parts.options.get("username", ""))

    @property
    def password(self) -> str:
        """The password; empty for none."""
        return str(self._parts.options.get("password", ""))

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self._parts.scheme == "rediss"

    @property
    def server_hostname(self) -> str:
        """For whom the certificate must be."""
        return str(self._parts.options.get("ssl_server_hostname", self._parts.host))

    @property
    def options(self) -> dict[str, Any]:
        """The options that were given, by redis-py's names, as Python values."""
        return dict(self._parts.options)

    def greeting(self) -> list[tuple[str, ...]]:
        """The commands with which a connection begins."""
        commands: list[tuple[str, ...]] = []
        if self.username or self.password:
            commands.append(("AUTH", *((self.username,) if self.username else ()), self.password))
        if name := self._parts.options.get("client_name"):
            commands.append(("CLIENT", "SETNAME", name))
        if self.db:
            commands.append(("SELECT", str(self.db)))
        return commands

    def through(self, port: int, host: str = "127.0.0.1") -> ServerUrl:
        """The same server by another way: a proxy's host and port, and all else as it is.

        Raises:
            UrlError: it is behind a Unix socket.
        """
        parts = self._parts
        if parts.scheme == "unix":
            raise UrlError(f"{self}: a Unix socket cannot be reached through a TCP port")
        options, texts = dict(parts.options), dict(parts.texts)
        if self.has_tls:
            options["ssl_server_hostname"] = texts["ssl_server_hostname"] = self.server_hostname
        changed = ServerUrl(self)
        changed._parts = parts._replace(host=host, port=port, options=options, texts=texts)
        return changed


def _quoted(text: str, safe: str = "") -> str:
    return quote(text, safe=safe)


def _parsed(text: str) -> _Parts:
    try:
        return _parts_of(text)
    except RefusedError as refused:
        raise UrlError(f"{_shown(text)}: not the URL of a Redis server ({refused})") from None


def _parts_of(text: str) -> _Parts:
    scheme, found, rest = text.partition("://")
    if not found or scheme not in SCHEMES:
        raise RefusedError("it begins with redis://, rediss:// or unix://")
    if re.search("[\x00-\x1f\x7f\ud800-\udfff]", rest):
        raise RefusedError("it holds a control character, or half of one; write it as %0A and the like")
    if "#" in rest:
        raise RefusedError("it holds a #; in a user, password or option write it as %23")
    before, _, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    if "@" in path:
        raise RefusedError("there is an @ behind a /; in a user or password write / as %2F and ? as %3F")
    options, texts = options_of(query)
    userinfo, at, where = authority.rpartition("@")
    if at:
        user, _, password = userinfo.partition(":")
        put_once("username", unquoted(user), options, texts)
        put_once("password", unquoted(password), options, texts)
    if scheme == "unix":
        if where or not path:
            raise RefusedError("a Unix socket is written as unix:///path or unix://user:password@/path")
        host, port, path = "", 0, unquoted(slash + path)
    else:
        host, port = _host_and_port(where)
        if number := unquoted(path).rstrip("/"):
            put_once("db", _database(number), options, texts)
        path = ""
    if scheme != "rediss" and any(name.startswith("ssl_") for name in options):
        raise RefusedError("options of TLS want a URL that begins with rediss://")
    return _Parts(scheme, host, port, path, options, texts, hides_all="@" in query)


def _database(number: str) -> str:
    if not re.fullmatch("[0-9]{1,9}", number):
        raise RefusedError("behind the / stands the number of a database")
    return str(int(number))


def _host_and_port(where: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[\w:.%-]+\]|[\w.%-]*)(?::([0-9]*))?", where)
    if found is None:
        raise RefusedError("behind the @, if there is one, stand a host and a port; in a password escape / ? #")
    host = unquoted(found[1].strip("[]"))
    if found[1].startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise RefusedError("in brackets stands an IPv6 address") from None
    elif not re.fullmatch(r"[\w.-]*", host):
        raise RefusedError("a host's name has letters, digits, dots and hyphens")
    port = int(found[2]) if found[2] else DEFAULT_PORT
    if not 1 <= port <= 65_535:
        raise RefusedError("a port is a number from 1 to 65535")
    return host or "localhost", port


def _shown(text: str) -> str:
    """What may be told of a text that was meant to be a URL and is none: hardly anything."""
    scheme, found, rest = text.partition("://")
    if not found or scheme not in {*SCHEMES, "http", "https", "valkey", "valkeys", "file"}:
        return MASK
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    # Where there is an @ anywhere, what looks like a host may be the beginning of a password.
    if "@" in rest or not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?", authority):
        return f"{scheme}://{MASK}"
    return f"{scheme}://{authority}" + (f"/{MASK}" if rest != authority else "")


def without_secrets(word: str) -> str:
    """A word of a command line as it may stand in a record: of what may be a secret in it, `***` is left.

    Args:
        word: such as `--server=redis://:secret@host`; what is no URL stays as it is, unless it has an @.
    """
    option, equals, value = word.partition("=") if re.match(r"[\w-]+=", word) else ("", "", word)
    scheme, found, rest = value.partition("://")
    if found and scheme in SCHEMES:
        try:
            return f"{option}{equals}{ServerUrl(value)}"
        except UrlError:
            return f"{option}{equals}{_shown(value)}"
    if found:
        is_plain = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*)(:[0-9]{1,5})?(/[^@?#]*)?", rest)
        return word if is_plain and scheme in {"http", "https", "file"} else f"{option}{equals}{_shown(value)}"
    return f"{option}{equals}{MASK}" if "@" in value else word


def address_given(
    option: str | None, file: Path | None, environment: Mapping[str, str], variable: str
) -> str | None:
    """What names a server: an option, the file that another option names, or a variable; None if nothing does.

    On a command line everybody on the host can read it, in a file or a variable only who may.

    Args:
        option: as it was given, or None.
        file: that holds it, alone on its first line; or None.
        variable: of the environment, where neither is given.

    Raises:
        UrlError: both an option and a file; or the file cannot be read, or holds something else.
    """
    if option is not None and file is not None:
        raise UrlError("a server is named by --server or by --server-file, not by both")
    if file is None:
        return option if option is not None else environment.get(variable) or None
    try:
        with file.open("rb") as opened:
            content = opened.read(_LONGEST_BYTES + 1)
        lines = content.decode().splitlines()
    except OSError as error:
        raise UrlError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UrlError(f"{file}: is no text") from None
    if len(content) > _LONGEST_BYTES or len(lines) != 1 or not lines[0].strip():
        raise UrlError(f"{file}: holds one line with the address of a server, and nothing else")
    return lines[0].strip()
