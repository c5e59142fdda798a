"""Files that outputs are held against, renewed with SHOPBENCH_UPDATE_GOLDEN=1."""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def assert_golden(name: str, actual: str) -> None:
    """Hold a text against a file of `golden`.

    Raises:
        AssertionError: they differ.
    """
    path = GOLDEN / name
    if os.environ.get("SHOPBENCH_UPDATE_GOLDEN") == "1":
        path.write_text(actual, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == actual
