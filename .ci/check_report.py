"""Checks that a run of the main job has left a report with real figures in it: `check_report.py RUN_DIRECTORY`.

It needs nothing but Python: the environments of the run are tox's, and not this one's. What is to be there the
records say themselves: the suite, which scenarios were asked for; each member, which of its figures matter.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from pathlib import Path
from typing import Any


def main(directory: Path) -> None:
    """Exit with a message where something is missing."""
    record = _read(directory)
    asked = record["parameters"]["scenarios"]
    if record["members"] != asked:
        sys.exit(f"the run has {record['members']}, where {asked} are expected")
    if record["status"] != "complete":
        sys.exit(f"the run is {record['status']}")
    page = (directory / "report.html").read_text()
    for member in record["members"]:
        if not (directory / member / "run.json").exists() or f">{member}<" not in page:
            sys.exit(f"{member} is not in the report")
        _check_figures(_read(directory / member))
    bad = [verdict for verdict in record["verdicts"] if verdict["status"] == "FAIL"]
    if bad:
        sys.exit(f"verdicts that fail: {bad}")
    sys.stdout.write(f"the report of {len(record['members'])} scenarios has {len(record['figures'])} figures\n")


def _check_figures(member: dict[str, Any]) -> None:
    """All that matters in a scenario was recorded, and something of it is not 0: else nothing was measured."""
    names = [key["name"] for key in member["key_figures"]]
    values = {
        name: [figure["value"] for figure in member["figures"] if fnmatch.fnmatchcase(figure["name"], name)]
        for name in names
    }
    missing = [name for name, found in values.items() if not found]
    if missing or not names:
        sys.exit(f"{member['scenario']} has no {', '.join(missing) or 'key figures'}")
    if not any(value for found in values.values() for value in found):
        sys.exit(f"{member['scenario']} has measured nothing: {', '.join(names)}")


def _read(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "run.json").read_text())
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
