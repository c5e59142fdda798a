"""How often is one side told from itself? Real comparisons of sides that are alike, and what became of each.

    python examples/versus_aa.py 20 runs-aa --minutes 1.5 --metric append.p50 --metric append.p99

What stands behind the number and the directory goes to `shopbench versus embedded embedded --aa` as it is. Each
comparison leaves its whole record in the directory; run again, it goes on where it was left. At the end: how many
called the sides faster or slower (each a false alarm), the same, or left it open, and what stopped the others.
"""

from __future__ import annotations

import collections
import subprocess
import sys
from pathlib import Path

from harness.capacity.versus import Versus
from harness.capacity.versus_judged import VersusParameters, judged_again
from harness.record.run import Record, find_runs


def outcome_of(record: Record) -> str:
    """What a comparison came to: `faster or slower` where any metric is, else what all of it came to."""
    if record.run.status != "complete":
        return record.run.status
    found = judged_again(record.parameters(VersusParameters), record).answers
    if found.is_contaminated:
        return "contaminated"
    words = {answer.word for answer in found.metrics}
    if words & {"faster", "slower"}:
        return "faster or slower"
    return "the same" if words == {"same"} else "not decided"


def main() -> None:
    """Measure as many comparisons as are wanted, and count what became of them."""
    wanted, directory, options = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "harness", "versus", "embedded", "embedded", "--aa", *options]
    while True:
        done = [each for each in find_runs(directory) if each.run.scenario == Versus.name]
        complete = [each for each in done if each.run.status == "complete"]
        if len(complete) >= wanted:
            break
        ended = subprocess.run([*command, "--runs", str(directory)], check=False, stdout=subprocess.DEVNULL)
        if ended.returncode == 2:
            sys.exit(2)
    counts = collections.Counter(outcome_of(each) for each in complete)
    for outcome, count in counts.most_common():
        sys.stdout.write(f"{count} of {len(complete)}: {outcome}\n")


if __name__ == "__main__":
    main()
