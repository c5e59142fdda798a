"""What a server of ours is configured with besides: directives, as they stand in a `redis.conf`.

    io-threads 4            --> --io-threads 4
    save "60 1000"          --> --save "60 1000"

A directive that a server does not know ends it, and its own words say so. What the instrument itself decides about
a server (where it listens, where its data and its log are, whether it stays) is not for a directive.

A server takes a directive's name and its values from its command line as from a file, and whatever begins with two
hyphens there begins the next directive. So no value may.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

# A server with one of these would not be found, would not end with us, or would be somebody else's to talk to.
OURS = frozenset(
    (
        *("port", "bind", "dir", "logfile", "daemonize", "pidfile", "supervised", "unixsocket", "protected-mode"),
        *("requirepass", "masterauth", "user", "aclfile", "tls-port", "cluster-enabled", "replicaof", "slaveof"),
        *("include", "rename-command", "syslog-enabled", "sentinel"),
    )
)
_NAME = re.compile(r"[a-z][a-z0-9-]*")


class DirectiveError(ValueError):
    """A directive that a server of ours cannot be given; its text is one clear line."""


def directive_of(text: str) -> tuple[str, ...]:
    """A directive's name and its values.

    Args:
        text: as it stands in a `redis.conf`; a value with spaces in it is in quotes.

    Raises:
        DirectiveError: it is none, or the instrument decides about it.
    """
    try:
        name, *values = shlex.split(text)
    except ValueError as error:
        raise DirectiveError(
            f"a directive is a name and its values, such as 'io-threads 4', not {text!r}"
        ) from error
    name = name.lower()
    if not _NAME.fullmatch(name) or not values or any(value.startswith("--") for value in values):
        raise DirectiveError(f"a directive is a name and its values, such as 'io-threads 4', not {text!r}")
    if any(not value.isprintable() for value in values):
        raise DirectiveError(f"{name}: its value holds a character that cannot be printed")
    if name in OURS:
        raise DirectiveError(f"{name}: ordershop-bench itself decides about this of a server that it starts")
    return (name, *values)


def directives_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Directives, each written in one way: a later one of a name takes the place of an earlier one.

    Raises:
        DirectiveError: one is none, or the instrument decides about it.
    """
    found = {}
    for text in texts:
        name, *values = directive_of(text)
        found[name] = shlex.join([name, *values])
    return tuple(found.values())


def arguments_of(directives: Sequence[str]) -> list[str]:
    """What they are on a server's command line."""
    return [word for text in directives for word in _words(directive_of(text))]


def _words(directive: tuple[str, ...]) -> list[str]:
    name, *values = directive
    return [f"--{name}", *values]
