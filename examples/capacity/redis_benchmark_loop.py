"""The capacity of a server as a person finds it with redis-benchmark: in a loop, with more clients each time.

    python examples/capacity/redis_benchmark_loop.py --port 6379 --p99-ms 5

redis-benchmark is a closed loop: each of its clients sends the next command when it has the answer to the
last one, so there is no rate to be given, only a number of clients (`-c`). The loop follows what its manual and
its users advise: runs of ten seconds rather than of a few requests, the latency of the same run (`--csv` has p99),
no pipelining where latency counts. It doubles the clients while p99 is within the budget, and bisects between the
last number that was and the first that was not; its answer is the most requests a second of a run that kept it.

`valkey-benchmark` of Valkey 8.1 and later has `--rps`, a rate that its clients keep to as long as they can. Where
the program given has it, the loop doubles and bisects the rate instead, with 50 clients.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys

from msgspec import Struct

FIRST_REQUESTS, SECONDS = 1_000, 10.0
MOST_CLIENTS, RATE_CLIENTS = 512, 50
PRECISION = 0.05


class Run(Struct, frozen=True):
    """One run of the program."""

    clients: int
    asked_per_s: float | None
    per_s: float
    p99_us: float


class Answer(Struct, frozen=True):
    """What the person writes down, and from what."""

    per_s: float | None
    runs: list[Run]
    program: str


class BenchmarkError(Exception):
    """A program that is not there, or does not answer as it should."""


def has_rate(program: str) -> bool:
    """Whether it can be given a rate."""
    said = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=10, check=False)
    return "--rps" in said.stdout + said.stderr


def run(program: str, port: int, clients: int, requests: int, rate_per_s: float | None = None) -> Run:
    """One run.

    Raises:
        BenchmarkError: it did not end well.
    """
    arguments = [program, "-p", str(port), "-c", str(clients), "-n", str(max(clients, requests)), "--csv"]
    if rate_per_s is not None:
        arguments += ["--rps", str(round(rate_per_s))]
    said = subprocess.run(
        [*arguments, "ECHO", "0123456789abcdef"], capture_output=True, text=True, timeout=120, check=False
    )
    rows = [row for row in csv.DictReader(said.stdout.splitlines()) if row.get("p99_latency_ms")]
    if said.returncode or not rows:
        raise BenchmarkError(f"{program}: {said.stderr.strip() or 'no figures'}")
    return Run(clients, rate_per_s, float(rows[-1]["rps"]), float(rows[-1]["p99_latency_ms"]) * 1000)


def capacity(port: int, p99_us: float, program: str = "redis-benchmark", seconds: float = SECONDS) -> Answer:
    """The most requests a second at a p99 within the budget.

    Raises:
        BenchmarkError: the program is not there, or fails.
    """
    if shutil.which(program) is None:
        raise BenchmarkError(f"{program} is not installed (Debian: redis-tools)")
    by_rate = has_rate(program)
    runs: list[Run] = []
    per_s = run(program, port, RATE_CLIENTS if by_rate else 1, FIRST_REQUESTS).per_s

    def is_within(load: float) -> bool:
        nonlocal per_s
        # Of ten seconds, by how fast it was at last.
        if by_rate:
            made = run(program, port, RATE_CLIENTS, round(load * seconds), load)
        else:
            made = run(program, port, int(load), round(per_s * seconds))
        per_s = made.per_s
        runs.append(made)
        return made.p99_us <= p99_us

    low, high = 0.0, per_s / 2 if by_rate else 1.0
    while is_within(high):
        low, high = high, high * 2
        if not by_rate and high > MOST_CLIENTS:
            break
    while low and (high / low > 1 + PRECISION if by_rate else high - low > 1):
        middle = (low + high) / 2 if by_rate else float(int(low + high) // 2)
        if is_within(middle):
            low = middle
        else:
            high = middle
    kept = [each.per_s for each in runs if each.p99_us <= p99_us]
    return Answer(max(kept, default=None), runs, program)


def main() -> None:
    """Search, and print each run."""
    parser = argparse.ArgumentParser(description="A capacity by redis-benchmark in a loop.")
    parser.add_argument("--port", type=int, default=6379)
    parser.add_argument("--p99-ms", type=float, required=True)
    parser.add_argument("--program", default="redis-benchmark")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    try:
        answer = capacity(options.port, options.p99_ms * 1000, options.program, options.seconds)
    except BenchmarkError as error:
        sys.exit(str(error))
    for each in answer.runs:
        asked = "" if each.asked_per_s is None else f" at {each.asked_per_s:,.0f}/s"
        said = f"{each.clients:4} clients{asked}: {each.per_s:,.0f}/s, p99 {each.p99_us / 1000:.3f} ms"
        sys.stdout.write(f"{said}\n")
    sys.stdout.write("none kept it\n" if answer.per_s is None else f"{answer.per_s:,.0f}/s\n")


if __name__ == "__main__":
    main()
