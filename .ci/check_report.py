"""Checks that a run of the main job has left a report with real figures in it: `check_report.py RUN_DIRECTORY`.

It needs nothing but Python: the environments of the run are tox's, and not this one's. So the scenarios stand here
by name; `tests/cli/test_report_commands.py` compares them with the catalogue.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

# Every scenario of the catalogue, in its order, with figures that cannot be missing, and cannot be 0, in a run
# that has measured anything.
EXPECTED = {
    "append": ("append.everysec.response.p99", "append.always.response.p99"),
    "replay": ("replay.events_per_s",),
    "lag": ("lag.applied",),
    "crm_outage": ("crm_outage.applied", "crm_outage.backlog_events"),
    "random_faults": ("random_faults.outages",),
    "journey": ("journey.ok",),
    "micro": ("micro.append_one.p50",),
    "consumers": ("consumers.applied",),
    "retention": ("retention.trimmed",),
    "redis_crash": ("redis_crash.always.acknowledged",),
}


def main(directory: Path) -> None:
    """Exit with a message where something is missing."""
    record = json.loads((directory / "run.json").read_text())
    if record["members"] != list(EXPECTED):
        sys.exit(f"the run has {record['members']}, where {list(EXPECTED)} are expected")
    figures = {figure["name"]: figure["value"] for figure in record["figures"]}
    missing = [name for names in EXPECTED.values() for name in names if not figures.get(name)]
    if record["status"] != "complete" or missing:
        sys.exit(f"the run is {record['status']}; without a value: {missing}")
    bad = [verdict for verdict in record["verdicts"] if verdict["status"] == "FAIL"]
    if bad:
        sys.exit(f"verdicts that fail: {bad}")
    page = (directory / "report.html").read_text()
    for member in record["members"]:
        if not (directory / member / "run.json").exists() or f">{member}<" not in page:
            sys.exit(f"{member} is not in the report")
    sys.stdout.write(f"the report of {len(record['members'])} scenarios has {len(figures)} figures\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
