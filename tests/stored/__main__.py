"""Records the stored runs anew."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.conduct.conduct import conduct, parameters_of
from harness.record.evidence import FILE
from scenarios import crm_outage, lag
from tests.lines import ROOT, stage_in
from tests.stored import BREACHES, HERE, Breach

KEPT = ("run.json", "latency.hlog", "timeline.jsonl", FILE)
MODULES: dict[str, Any] = {"lag": lag, "crm_outage": crm_outage}


def recorded(breach: Breach, directory: Path) -> str:
    """Run a breach's scenario with its consumer, and say what it was found to be."""
    module = MODULES[breach.scenario]
    plain = module.LineSettings

    def line_settings(**given: Any) -> Any:
        own = {} if given.get("delivery") == "from_now" else {"consumer": f"tests.broken.{breach.consumer}"}
        return plain(**{**given, **own, **breach.settings})

    module.LineSettings = line_settings
    try:
        parameters = parameters_of(module.scenario, "smoke", breach.chosen)
        record, ended = conduct(module.scenario, parameters, stage_in(directory), command=["shopbench", "run"])
    finally:
        module.LineSettings = plain
    if ended is not None:
        raise ended
    return ", ".join(f"{v.name} {v.status}" for v in record.run.verdicts if v.status != "PASS")


def main() -> None:
    """Record those that are named, or all."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    for name in sys.argv[1:] or BREACHES:
        with TemporaryDirectory() as room:
            found = recorded(BREACHES[name], Path(room))
            shutil.rmtree(HERE / name, ignore_errors=True)
            (HERE / name).mkdir()
            for kept in KEPT:
                shutil.copyfile(Path(room) / kept, HERE / name / kept)
        sys.stdout.write(f"{name}: {found}\n")


main()
