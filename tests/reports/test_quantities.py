"""What is said of numbers with units: the words, and that the browser says them as Python does."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from importlib.resources import files

import pytest

from reports import quantities
from reports.quantities import quantity

_UNITS = [*quantities._MICROSECONDS, *sorted(quantities._COUNTS), *sorted(quantities._SHARES)]
_UNITS += ["bytes", "B", "1/s", "/s", "events/s", "%", "MiB", "requests", ""]


def values() -> list[float]:
    """Numbers at every boundary, halfway between two roundings, and drawn from all magnitudes."""
    drawn = random.Random(16)
    found = [0.0, 0.5, 1.0, 1.125, 1.375, 2.25, 62.25, 119.96, 120.5, 150.5, 1124.5, 1125.0, 40118.0, 999.5, 999.4]
    found += [0.9995, 0.99949, 0.999949999, 0.999999, 1.005, 1.015, 7199.5, 7200.0, 7200.5, 1023.5, 1024.0, 1e9]
    found += [base * 10**power for power in range(-4, 13) for base in (1.0, 1.235, 9.995, 9.9949)]
    found += [2.0**power for power in range(-12, 45)]
    found += [drawn.uniform(1, 10) * 10 ** drawn.randint(-4, 12) for _ in range(150)]
    found += [float(drawn.randint(0, 10**7)) / 8 for _ in range(150)]
    return found + [-value for value in found]


def test_browser_says_numbers_as_python_does() -> None:
    """Every number with every unit has the same words on a page's tables and above its charts."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js here")
    script = files("harness").joinpath("locust", "static", "quantities.js").read_text(encoding="utf-8")
    asked = [(value, unit) for unit in _UNITS for value in (*values(), None)]
    said = subprocess.run(
        [node, "-e", f"{script}\n{_ASK}"], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    differing = [
        (value, unit, words, theirs)
        for (value, unit), theirs in zip(asked, json.loads(said.stdout), strict=True)
        if (words := quantity(value, unit)) != theirs
    ]
    assert differing == []


_ASK = """
const asked = JSON.parse(require("fs").readFileSync(0, "utf-8"));
process.stdout.write(JSON.stringify(asked.map(([value, unit]) => quantities.quantity(value, unit))));
"""
