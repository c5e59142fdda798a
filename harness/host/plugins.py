"""What other packages add: the objects that their metadata names as entry points of a group.

A package that has a scenario, a fault or a checker says so in its own pyproject.toml, and is found once installed:

    [project.entry-points."ordershop_bench.faults"]
    hiccup = "their_package.hiccup:fault"

What an object has to be is the affair of whoever asks for a group.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

T = TypeVar("T")


class PluginError(Exception):
    """Something that another package adds and that cannot be taken; its text is one clear line."""


def found(group: str) -> dict[str, object]:
    """The objects that installed packages add to a group, by name, in the order of their names.

    Args:
        group: such as `ordershop_bench.faults`.

    Raises:
        PluginError: two have one name, or one cannot be imported.
    """
    objects: dict[str, object] = {}
    seen: dict[str, EntryPoint] = {}
    for each in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        before = seen.setdefault(each.name, each)
        if before is not each:
            raise PluginError(f"{group}: two are called {each.name!r}: {_said(before)} and {_said(each)}")
        try:
            objects[each.name] = each.load()
        except Exception as error:  # whatever another package's import raises is told in its name
            lines = str(error).splitlines() or [""]
            raise PluginError(
                f"{group}: {each.name!r} cannot be imported from {_said(each)}: {type(error).__name__}: {lines[0]}"
            ) from error
    return objects


def found_of(group: str, kind: type[T]) -> dict[str, T]:
    """The objects of a kind that installed packages add to a group, as `found` has them.

    Raises:
        PluginError: as for `found`, or one is of another kind.
    """
    objects: dict[str, T] = {}
    for name, each in found(group).items():
        if not isinstance(each, kind):
            raise PluginError(f"{group}: {name!r} is not a {kind.__name__} but a {type(each).__name__}")
        objects[name] = each
    return objects


def _said(entry: EntryPoint) -> str:
    """Where an entry point leads, and the package that has it."""
    return f"{entry.value} ({entry.dist.name})" if entry.dist is not None else entry.value
