"""Numbers with units, as a reader wants them: three digits that mean something, and the unit beside them.

    132 µs    1.24 ms    18.7 s    5 min 12 s    412 k/s    40,118 events    64.0 MiB    12.5 %

Measured quantities (times, rates, bytes, shares) are rounded to three significant digits; counts of events
stand in full, since the one that is missing among forty thousand is the one that matters. A number that
could not be measured is "not measured", never 0.

`harness/locust/static/quantities.js` says the same in the browser, for what hovers over a chart and for Locust's
page: change both or neither, since a test runs both over the same values. The exact value of every figure stands
in the tables too, so nothing is hidden by rounding.
"""

from __future__ import annotations

import math

NOT_MEASURED = "not measured"

_MICROSECONDS = {"ns": 1e-3, "µs": 1.0, "us": 1.0, "ms": 1e3, "s": 1e6}
_COUNTS = {
    *("events", "event", "operations", "messages", "runs", "1"),
    *("fsyncs", "outages", "pauses", "rounds", "trims", "users", "values", "workers"),
}
_SHARES = {"share", "ratio"}


def quantity(value: float | None, unit: str) -> str:
    """A number and its unit in words, rounded to what can be told apart.

    Args:
        value: the number in `unit`, or None where it could not be measured.
        unit: "µs", "s", "1/s", "bytes", "events", "share", "%", or any other word, which is kept as it is.
    """
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    if unit in _MICROSECONDS:
        if value == 0:
            return f"0 {unit}"
        return _duration(value * _MICROSECONDS[unit])
    if unit.endswith("/s"):
        thing = unit.removesuffix("/s")
        return f"{_scaled(value)}{'' if thing in {'1', ''} else ' ' + thing}/s"
    if unit in {"bytes", "B"}:
        return _bytes(value)
    if unit in _SHARES:
        return _share(value)
    if unit in _COUNTS:
        word = "" if unit == "1" else f" {unit}"
        return f"{grouped(value)}{word}"
    return f"{significant(value)} {unit}".rstrip()


def between(low: float, high: float, unit: str) -> str:
    """Two ends of a range in words, the unit said once where it is the same: 6.90 to 8.10 ms."""
    one, other = quantity(low, unit), quantity(high, unit)
    number, space, word = one.partition(" ")
    if space and " " not in word and other.partition(" ")[2] == word:
        one = number
    return f"{one} to {other}"


def significant(value: float, digits: int = 3) -> str:
    """A plain number of that many significant digits: 0.0123, 1.24, 18.7, 132, 40,100."""
    if value == 0:
        return "0"
    rounded = _rounded(value, digits)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{min(decimals, 9)}f}"


def grouped(value: float) -> str:
    """A count in full, in groups of three digits: 40,118; a fraction only where there is one."""
    return f"{value:,.0f}" if value == int(value) else significant(value)


def exact(value: float | None) -> str:
    """The number as it stands in the record: its shortest decimal form that reads back the same."""
    if value is None:
        return ""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _rounded(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits - 1}e}")


def _duration(micros: float) -> str:
    size = abs(_rounded(micros))
    if size < 1e3:
        return f"{significant(micros)} µs"
    if size < 1e6:
        return f"{significant(micros / 1e3)} ms"
    seconds = micros / 1e6
    if abs(seconds) < 120:
        return f"{significant(seconds)} s"
    whole = round(abs(seconds))
    sign = "−" if seconds < 0 else ""
    if whole < 7200:
        return f"{sign}{whole // 60} min {whole % 60} s"
    return f"{sign}{whole // 3600} h {whole % 3600 // 60} min"


def _share(value: float) -> str:
    # What is short of the whole never reads as the whole: 99.99 %, not 100 %.
    percent = value * 100
    digits = next((d for d in range(3, 10) if value >= 1 or _rounded(percent, d) < 100), 10)
    return f"{significant(percent, digits)} %"


def _scaled(value: float) -> str:
    size = abs(_rounded(value))
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= factor:
            return f"{significant(value / factor)} {letter}"
    return significant(value)


def _bytes(value: float) -> str:
    size = abs(_rounded(value))
    for factor, word in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= factor:
            return f"{significant(value / factor)} {word}"
    return f"{grouped(value)} bytes"
