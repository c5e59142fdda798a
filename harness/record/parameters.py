"""What can be chosen for a scenario, in words: the meaning, unit, bounds and choices of each parameter.

There is one source: the scenario's struct of parameters. Types, bounds, choices and defaults are msgspec's; what a
parameter means stands in the docstring, as it does for every other struct of ours:

    class AppendParameters(Load):
        \"\"\"What can be chosen for `append`.

        Attributes:
            rate_per_s (appends a second): where most are due.
            duration_s: of each durability.
        \"\"\"

The unit in brackets may be left out where the name ends with it. From this come `shopbench list append`, what is
said of a value that cannot be, and what a budget file is checked against. Where a choice has got another name, its
type says so, and the old one is still understood: `Annotated[Literal["from_now"], formerly(seed="from_now")]`.

Rejected: `Meta(description=...)` at each field. A field would be five lines, and the docstrings are there.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import inspect as types

Kind = Literal["number", "whole number", "choice", "yes or no", "text"]

# A unit by the end of a name, the longest first.
_UNITS = (("_per_s", "events a second"), ("_ms", "milliseconds"), ("_s", "seconds"), ("_bytes", "bytes"))
_FORMERLY = "formerly"
_NAMES = r"\w+(?:, \w+)*"
_ATTRIBUTE = re.compile(rf"(?P<names>{_NAMES})(?: \((?P<unit>[^)]+)\))?: (?P<meaning>.+)", re.DOTALL)


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be chosen.

    Attributes:
        name: as it is given.
        kind: of its values.
        meaning: in words; empty where nobody has written any.
        unit: of a number, in words; empty where it is a mere count.
        choices: that there are.
        low, high: the bounds of a number.
        is_low_in, is_high_in: whether a bound is itself allowed.
        default: where a profile says nothing else.
    """

    name: str
    kind: Kind
    meaning: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    is_low_in: bool = True
    is_high_in: bool = True
    default: Any = None

    @property
    def wanted(self) -> str:
        """What it takes, in words: `a number of events a second`, `one of none, everysec, always`."""
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        if self.kind == "yes or no":
            return "true or false"
        of = f" of {self.unit}" if self.unit else ""
        return f"a {self.kind}{of}"

    @property
    def bounds(self) -> str:
        """Between what a number lies, in words; empty where it may be any."""
        words = []
        if self.low is not None:
            words.append(f"at least {told(self.low)}" if self.is_low_in else f"more than {told(self.low)}")
        if self.high is not None:
            words.append(f"at most {told(self.high)}" if self.is_high_in else f"less than {told(self.high)}")
        return " and ".join(words)


def described(struct: type[msgspec.Struct]) -> dict[str, Parameter]:
    """The parameters of a struct, by name, in its order."""
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)  # noqa: S101 - a struct's is one
    meanings = _meanings(struct)
    # msgspec sorts choices; the order in which they stand in the code says more.
    ordered = {each.name: get_args(_bare(each.type)) for each in msgspec.structs.fields(struct)}
    return {
        field.name: _parameter(field, *meanings.get(field.name, ("", "")), ordered[field.name])
        for field in info.fields
    }


def formerly(**words: str) -> msgspec.Meta:
    """What a type's words were called before: each old one, and the word that is in its place now."""
    return msgspec.Meta(extra={_FORMERLY: words})


def renamed(struct: type[msgspec.Struct], name: str, value: str) -> str:
    """What a value that was given for a parameter is called now; the value itself, if it was never renamed."""
    kinds = {each.name: each.type for each in msgspec.structs.fields(struct)}
    for meta in getattr(kinds[name], "__metadata__", ()):
        value = (meta.extra or {}).get(_FORMERLY, {}).get(value, value)
    return value


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def refused(struct: type[msgspec.Struct], name: str, value: Any, *, strict: bool = False) -> str:
    """Why a value cannot be a parameter's, in one line; empty where it can.

    Args:
        struct: of the scenario's parameters; it has one of that name.
        value: as it was given.
        strict: it comes from where numbers are written as numbers; else from a command line, and all is text.
    """
    field = next(each for each in msgspec.structs.fields(struct) if each.name == name)
    try:
        msgspec.convert(value, field.type, strict=strict)
    except msgspec.ValidationError:
        parameter = described(struct)[name]
    else:
        return ""
    shown = f"{value!r}" if isinstance(value, str) else f"{value}"
    is_of_kind = _is_number(value) and not (strict and isinstance(value, str))
    if is_of_kind and parameter.bounds and (parameter.kind == "number" or float(value).is_integer()):
        of = f" {parameter.unit}" if parameter.unit else ""
        return f"{name} is {parameter.bounds}{of}, not {value}"
    near = nearest(str(value), parameter.choices)
    return f"{name} is {parameter.wanted}, not {shown}{f'; did you mean {near}?' if near else ''}"


def nearest(name: str, names: Collection[str]) -> str:
    """The name that was meant, as far as can be guessed; empty where none is like it."""
    lower = {each.lower(): each for each in names}
    found = difflib.get_close_matches(name.lower(), lower, 1, 0.6)
    if not found:
        # `rate` for `rate_per_s`, `response.p99` for `append.response.p99`.
        parts = [each for each in lower if name.lower() and name.lower() in each]
        found = parts if len(parts) == 1 else []
    return lower[found[0]] if found else ""


def told(value: Any) -> str:
    """A value as it is given on a command line; large numbers with commas, which that does not take."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _parameter(field: types.Field, unit: str, meaning: str, ordered: tuple[Any, ...]) -> Parameter:
    kind = field.type.type if isinstance(field.type, types.Metadata) else field.type
    common: dict[str, Any] = {"name": field.name, "meaning": meaning}
    common["default"] = None if field.required or field.default is msgspec.NODEFAULT else field.default
    if isinstance(kind, types.LiteralType):
        return Parameter(kind="choice", choices=tuple(str(each) for each in ordered), **common)
    if isinstance(kind, types.BoolType):
        return Parameter(kind="yes or no", choices=("true", "false"), **common)
    if not isinstance(kind, (types.IntType, types.FloatType)):
        return Parameter(kind="text", **common)
    low, high, is_whole = kind.ge, kind.le, isinstance(kind, types.IntType)
    # A whole number above 0, as msgspec has it, is at least 1.
    if is_whole and low is None and kind.gt is not None:
        low = kind.gt + 1
    if is_whole and high is None and kind.lt is not None:
        high = kind.lt - 1
    return Parameter(
        kind="whole number" if is_whole else "number",
        unit=unit or next((words for ending, words in _UNITS if field.name.endswith(ending)), ""),
        low=kind.gt if low is None else low,
        high=kind.lt if high is None else high,
        is_low_in=low is not None,
        is_high_in=high is not None,
        **common,
    )


def _meanings(struct: type[msgspec.Struct]) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each attribute, as the docstrings of a struct and of those it is made of tell them."""
    found: dict[str, tuple[str, str]] = {}
    for each in reversed(struct.__mro__):
        for entry in _entries(inspect.cleandoc(each.__doc__ or "")):
            if match := _ATTRIBUTE.fullmatch(entry):
                for name in match["names"].split(", "):
                    found[name] = (match["unit"] or "", match["meaning"])
    return found


def _entries(text: str) -> list[str]:
    """The entries of a docstring's `Attributes:`, each as one line."""
    entries: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line == "Attributes:":
            break
    for line in lines:
        if line and not line.startswith(" "):
            break
        if re.match(rf"    {_NAMES}(?: \([^)]+\))?: ", line):
            entries.append(line.strip())
        elif line.strip() and entries:
            entries[-1] += f" {line.strip()}"
    return entries
