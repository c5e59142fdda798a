"""The sides of a comparison: what each is made of, what its server says it is, and what to call it.

    server       a program: `embedded`, a path, or an installed wheel with one
    config       directives that it is started with
    durability   none, everysec, always
    load         parameters of what is sent
    system       whose store it is

A side is called by what its server says of itself (`INFO`: name and version), and by what differs:

    Valkey 9.1.2 and Redis 7.0.15
    Valkey 9.1.2, and Valkey 9.1.2 with io-threads 4
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from harness.capacity.pairs import LETTERS
from harness.host.clock import Clock
from harness.server.directives import directives_of
from harness.server.open import open_server
from harness.server.own import EMBEDDED, program_of
from harness.server.server import Durability

# Of what a server says of itself: what a fresh one has anew each time.
_FLEETING = ("run_id", "process_id", "ping_us", "url", "data_directory", "cores_allowed", "lock")


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A side, as it was asked for.

    Attributes:
        server: `embedded`, or what names a server program.
        durability: of its server.
        config: directives that its server is started with, each written in one way.
        load: parameters of what is sent, by name, as they were given.
        system: whose store it is: `module:attribute`, or an entry point's name; empty: OrderShop's.
    """

    server: str = EMBEDDED
    durability: Durability = "none"
    config: tuple[str, ...] = ()
    load: dict[str, str] = {}
    system: str = ""

    @property
    def directives(self) -> tuple[str, ...]:
        """Its configuration, with what that takes to mean anything.

        Who syncs a log has one: `appendfsync` is nothing to a server that keeps no log.
        """
        names = {text.split()[0] for text in self.config}
        if self.durability == "none" and "appendfsync" in names and "appendonly" not in names:
            return ("appendonly yes", "auto-aof-rewrite-percentage 0", *self.config)
        return self.config


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A side of which its server has told what it is.

    Attributes:
        side: as it was asked for.
        program: its server's name and version.
        facts: what its server has said, without what a fresh one has anew.
    """

    side: Side
    program: str
    facts: dict[str, Any]


def side_of(
    server: str, *, durability: Durability, config: Sequence[str], load: Mapping[str, str], system: str
) -> Side:
    """A side.

    Raises:
        DirectiveError: one that cannot be given to a server of ours.
    """
    return Side(server=server, durability=durability, config=directives_of(config), load=dict(load), system=system)


def is_same(one: Side, other: Side) -> bool:
    """Whether two sides are one and the same, however their server program was named.

    Raises:
        ServerError: there is no such program.
    """
    if program_of(one.server).resolve() != program_of(other.server).resolve():
        return False
    parts = ("durability", "load", "system", "directives")
    return all(getattr(one, part) == getattr(other, part) for part in parts)


def known(side: Side, clock: Clock) -> Known:
    """Start its server once, and ask it what it is.

    Raises:
        ServerError: it cannot be started so; the server's own words say why.
    """
    opened = open_server(side.server, clock, durability=side.durability, config=side.directives)
    with contextlib.closing(opened) as server:
        facts = {name: value for name, value in server.describe().items() if name not in _FLEETING}
    return Known(side=side, program=f"{facts.get('name')} {facts.get('version')}", facts=facts)


def names_of(sides: Sequence[Known]) -> list[str]:
    """What to call each side: its server, and what it has that not all have; no two alike."""
    names = [_name(each, sides) for each in sides]
    if len(set(names)) < len(names) and len({each.side.server for each in sides}) > 1:
        names = [f"{name} ({each.side.server})" for name, each in zip(names, sides, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name} ({letter.upper()})" for name, letter in zip(names, LETTERS, strict=False)]
    return names


def _name(of: Known, sides: Sequence[Known]) -> str:
    side = of.side
    has = []
    if len({each.side.durability for each in sides}) > 1:
        has.append(f"durability {side.durability}")
    shared = set.intersection(*(set(each.side.config) for each in sides))
    has += [text for text in side.config if text not in shared]
    common = set.intersection(*(set(each.side.load.items()) for each in sides))
    has += [f"{name} {value}" for name, value in side.load.items() if (name, value) not in common]
    name = of.program
    if len({each.side.system for each in sides}) > 1:
        name = f"{side.system or 'OrderShop'} on {name}"
    return f"{name} with {listed(has)}" if has else name


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
