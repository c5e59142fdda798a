"""The search of a capacity beside the truth, and beside a person with redis-benchmark.

    python examples/capacity/truth.py --rounds 20 --out results.jsonl             our search only
    python examples/capacity/truth.py --rounds 5 --out results.jsonl --peer       and the person's, in turns
    ... --kinds constant --speed 300 900          slower servers, for a machine that has other work

The server is scripted: its service times are drawn before it starts, so that the highest rate at which p99 is
within the budget can be calculated (`harness.selfcheck.queueing`). In each round each kind of server has its turn,
{one connection, four with a worker each} x {constant, exponential services}; how long its services are, and what
the budget is, are drawn anew. Each result is a line of JSON, with all probes; begun again with the same file it
goes on with the round after the last.

It prints a Markdown table. An answer is `near` if it is within 5 % of the truth.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.capacity.redis_benchmark_loop import Answer, capacity
from harness.capacity.scripted import Budget, ScriptedProbe
from harness.capacity.search import Found, SearchPlan, search
from harness.host.clock import SystemClock
from harness.selfcheck.lindley import Kind, services_ns, true_capacity
from harness.selfcheck.queueing import QueueingServer

KINDS: tuple[Kind, ...] = ("constant", "exponential")
WORKERS = (1, 4)
Q, COUNT = 0.99, 400_000
# Of all workers together, commands a second; and the budget, in services.
SPEEDS, LIMITS = (4_000.0, 8_000.0), (10.0, 20.0)
TOLERANCE = 0.05


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """A server of which the capacity is known, and a budget."""

    kind: Kind
    workers: int
    seed: int
    mean_us: float
    limit_us: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of it."""

    round: int
    server: Drawn
    truth_per_s: float
    found: Found | None
    took_s: float
    peer: Answer | None = None
    peer_took_s: float = 0.0

    @property
    def error(self) -> float | None:
        """By what share our answer is above the truth."""
        passes = self.found.passes if self.found else None
        return None if passes is None else passes / self.truth_per_s - 1

    @property
    def peer_error(self) -> float | None:
        """By what share the person's answer is."""
        per_s = self.peer.per_s if self.peer else None
        return None if per_s is None else per_s / self.truth_per_s - 1


def drawn(kind: Kind, workers: int, seed: int, speeds: tuple[float, float] = SPEEDS) -> Drawn:
    """A server from a seed.

    Args:
        kind, workers: of its services.
        seed: of all else.
        speeds: between which lies how many commands a second it can take at most.
    """
    generator = np.random.default_rng(seed)
    speed = float(np.exp(generator.uniform(*np.log(speeds))))
    mean_us = workers * 1e6 / speed
    return Drawn(
        kind=kind,
        workers=workers,
        seed=seed,
        mean_us=mean_us,
        limit_us=mean_us * float(generator.uniform(*LIMITS)),
    )


def plan_of(limit_s: float, speeds: tuple[float, float] = SPEEDS) -> SearchPlan:
    """A search that begins far below what any of the servers can take; with more time its probes are longer.

    Args:
        limit_s: how long it may be.
        speeds: between which lies how many commands a second a server can take at most.
    """
    share = limit_s / 180.0
    return SearchPlan(
        start_per_s=speeds[0] / 8,
        probe_s=float(round(5 * share)),
        long_probe_s=float(round(16 * share)),
        operations=400,
        limit_s=limit_s,
    )


def tried(server: Drawn, number: int, plan: SearchPlan, *, is_beside_peer: bool, is_peer_first: bool) -> Result:
    """Search the capacity of a server, by both in turns."""
    services = services_ns(server.kind, server.mean_us, server.workers, COUNT // server.workers, server.seed)
    clock = SystemClock()
    took_s, peer_took_s = 0.0, 0.0
    found: Found | None = None
    peer: Answer | None = None
    for is_ours in (False, True) if is_peer_first else (True, False):
        with QueueingServer(services) as scripted:
            begun_ns = clock.now_ns()
            if is_ours:
                probe = ScriptedProbe(
                    scripted, server.workers, [Budget(q=Q, limit_us=server.limit_us)], clock, seed=server.seed
                )
                found = search(plan, probe, lambda begun=begun_ns: (clock.now_ns() - begun) / 1e9)
                took_s = (clock.now_ns() - begun_ns) / 1e9
            elif is_beside_peer:
                peer = capacity(scripted.port, server.limit_us)
                peer_took_s = (clock.now_ns() - begun_ns) / 1e9
    return Result(
        round=number,
        server=server,
        truth_per_s=true_capacity(services, Q, server.limit_us),
        found=found,
        took_s=took_s,
        peer=peer,
        peer_took_s=peer_took_s,
    )


def table(results: Sequence[Result]) -> str:
    """What was found, a row for each kind of server."""
    lines = [
        "| server | searches | near | above | unknown | error, least to most | seconds | peer near | its error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for workers in WORKERS:
        for kind in KINDS:
            mine = [each for each in results if (each.server.kind, each.server.workers) == (kind, workers)]
            if mine:
                lines.append(_row(f"{workers} × {kind}", mine))
    return "\n".join(lines)


def _row(name: str, results: Sequence[Result]) -> str:
    errors = [each.error for each in results if each.error is not None]
    peers = [each.peer_error for each in results if each.peer_error is not None]
    near = sum(abs(error) <= TOLERANCE for error in errors)
    unknown = sum(each.error is None or each.found is None or each.found.ended == "unknown" for each in results)
    cells = [
        name,
        str(len(results)),
        str(near),
        str(sum(error > TOLERANCE for error in errors)),
        str(unknown),
        f"{min(errors):+.1%} to {max(errors):+.1%}" if errors else "",
        f"{statistics.median(each.took_s for each in results):.0f}",
        f"{sum(abs(error) <= TOLERANCE for error in peers)} of {len(peers)}" if peers else "",
        f"{min(peers):+.1%} to {max(peers):+.1%}" if peers else "",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Search, and print the table."""
    parser = argparse.ArgumentParser(description="The search of a capacity beside the truth.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit-s", type=float, default=180.0)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--workers", nargs="+", type=int, choices=WORKERS, default=WORKERS)
    parser.add_argument("--speed", nargs=2, type=float, default=SPEEDS, metavar=("LOW", "HIGH"))
    options = parser.parse_args()
    results = _kept(options.out)
    plan = plan_of(options.limit_s, tuple(options.speed))
    done = {(each.round, each.server.kind, each.server.workers) for each in results}
    for number in range(options.rounds):
        for workers in options.workers:
            for kind in options.kinds:
                if (number, kind, workers) in done:
                    continue
                server = drawn(kind, workers, int.from_bytes(os.urandom(4)), tuple(options.speed))
                result = tried(
                    server,
                    number,
                    plan,
                    is_beside_peer=options.peer,
                    is_peer_first=number % 2 == 1,
                )
                results.append(result)
                with options.out.open("ab") as file:
                    file.write(msgspec.json.encode(result) + b"\n")
                error = "no answer" if result.error is None else f"{result.error:+.1%}"
                sys.stderr.write(f"round {number}, {workers} × {kind}: {error}, {result.took_s:.0f} s\n")
    sys.stdout.write(f"{table(results)}\n")


def _kept(path: Path) -> list[Result]:
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Result) for line in path.read_bytes().splitlines() if line.strip()]


if __name__ == "__main__":
    main()
