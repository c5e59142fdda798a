"""The names of the figures that a scenario can make, said beside the code that makes them, and known before a run.

    figures = figure_names(
        "append",
        "1/s     {offered,achieved}_per_s",
        "µs      response.{p50,p99}",
    )                               append.offered_per_s in 1/s, append.response.p50 in µs, ...

A line is a unit and patterns: `{a,b}` is one of them, `*` stands for what is known only when it is measured, such
as the name of a benchmark. A budget on a figure that nobody makes is found by it before anything is measured. Not
each run makes all: what is declared is what there may be, and a test holds each scenario's runs to it.

Rejected: to try a figure's name when the run is over. Who has waited for ten minutes is told of a slip of the pen.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterator, Sequence

import msgspec

_PROBE = re.compile(r"capacity\.\w+\.probe\.\d+\.")
_CHOICE = re.compile(r"\{([^{}]*)\}")


class FigureName(msgspec.Struct, frozen=True):
    """The name of a figure and its unit.

    Attributes:
        name: whole, or with `*` for what is known only when it is measured.
        unit: of its value.
    """

    name: str
    unit: str

    def is_of(self, figure: str) -> bool:
        """Whether a figure has this name."""
        return fnmatch.fnmatchcase(figure, self.name)


def figure_names(prefix: str, *lines: str, within: str = "") -> tuple[FigureName, ...]:
    """The names that some lines tell, each once, in their order.

    Args:
        prefix: the scenario's name, their first part.
        lines: of a unit and patterns; several in a text with line breaks.
        within: goes before each pattern, such as `{,always.}`.
    """
    found = []
    for line in "\n".join(lines).splitlines():
        unit, *patterns = line.split() or [""]
        found += [
            FigureName(name, unit.replace("_", " "))
            for pattern in patterns
            for name in _expanded(f"{prefix}.{within}{pattern}")
        ]
    return tuple(dict.fromkeys(found))


def unit_of(names: Sequence[FigureName], figure: str) -> str | None:
    """The unit of a figure, or None where nobody makes one of that name."""
    return next((each.unit for each in names if each.is_of(figure)), None)


def is_of_probe(figure: str) -> bool:
    """Whether a figure is of one probe of a search, by its number: that of another search was at another rate."""
    return _PROBE.match(figure) is not None


def _expanded(pattern: str) -> Iterator[str]:
    parts = _CHOICE.split(pattern)
    # Every second part is the inside of braces.
    choices = [part.split(",") if at % 2 else [part] for at, part in enumerate(parts)]
    return ("".join(each) for each in itertools.product(*choices))
