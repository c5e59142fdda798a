"""How much of a latency is the instrument's own: our pump beside a few lines of plain Python, in turns.

    python examples/accuracy/table.py                        five rounds at 1,000/s and 5,000/s, five seconds each
    python examples/accuracy/table.py --rounds 3 --seconds 2 --rate 2000

Both send the same XADD, of 150 bytes of payload, over one connection to the same idle embedded server, each when
it is due. The plain one is what is left when everything is left out: it waits awake for the last moments before a
due time, sends, waits for the reply, and keeps its numbers in a list. What it measures is the floor: what this
server costs from this language on this machine now. In each round both are measured one after the other,
and the next round begins with the other one, so that what the machine does meanwhile happens to both.

It prints the median over the rounds as a Markdown table. Have nothing else run, or its numbers are about that.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.host.clock import Clock, SystemClock
from harness.host.kernel_dates import ANCILLARY_BYTES, ask_for_dates
from harness.load.pacing import constant
from harness.load.pump_process import PumpProcess
from harness.load.settings import PumpSettings
from harness.load.workload import StampedCommand, placeholder
from harness.measure.arrival_dates import ArrivalDates
from harness.measure.hlog import LatencyLog
from harness.server.open import open_server
from harness.server.server import Server

PRODUCER = 1
QUANTILES = (0.5, 0.9, 0.99)
KINDS = ("response", "service", "send_lag")
AWAKE_NS = 120_000
# kind -> microseconds at each of the quantiles
Row = dict[str, list[float]]


def command() -> StampedCommand:
    """The XADD that both send, 150 bytes of payload."""
    parts = [
        "XADD",
        "accuracy",
        "MAXLEN",
        "~",
        "10000",
        "*",
        "event_id",
        placeholder(PRODUCER),
        "entity",
        "x" * 150,
    ]
    return StampedCommand("xadd", parts, PRODUCER)


def plain(server: Server, rate_per_s: int, seconds: float, clock: Clock) -> Row:
    """The floor: one exchange at a time, waited for awake, dated by the kernel."""
    source, dates = command(), ArrivalDates(clock)
    gap_ns = 1_000_000_000 // rate_per_s
    taken: list[tuple[int, int, int]] = []
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask_for_dates(line)
        origin_ns = clock.now_ns() + 20_000_000
        for number in range(int(rate_per_s * seconds)):
            due_ns, packed = origin_ns + number * gap_ns, source.pack(number, 1)
            clock.sleep_ns(due_ns - clock.now_ns() - AWAKE_NS)
            dates.wait()
            while (start_ns := clock.now_ns()) < due_ns:
                pass
            line.send(packed)
            _, ancillary, _, _ = line.recvmsg(4_096, ANCILLARY_BYTES)
            taken.append((due_ns, start_ns, max(start_ns, dates.done_ns(ancillary))))
    due, start, done = np.array(taken, np.int64).T
    found = {"response": done - due, "service": done - start, "send_lag": start - due}
    return {kind: (np.quantile(values, QUANTILES) / 1000).tolist() for kind, values in found.items()}


def ours(server: Server, rate_per_s: int, seconds: float, clock: Clock) -> Row:
    """Our pump, in a process of its own, as in a run."""
    pump = PumpProcess(PumpSettings(url=server.url), constant(rate_per_s, seconds), command())
    with contextlib.closing(pump):
        pump.wait_until_ready()
        pump.begin(clock.now_ns() + 50_000_000)
        result = pump.result(seconds + 60)
    if result.ok != result.arrivals:
        raise SystemExit(f"only {result.ok:,} of {result.arrivals:,} commands were answered well")
    log = LatencyLog(result.intervals)
    return {kind: [float(us or 0) for us in log.total(f"xadd.{kind}").quantiles_us(QUANTILES)] for kind in KINDS}


def table(rounds: dict[int, dict[str, list[Row]]]) -> str:
    """The medians over the rounds, and their ratio, as Markdown."""
    lines = ["| rate | what | quantile | the floor | our pump | ratio |", "|---|---|---|---|---|---|"]
    for rate_per_s, by_who in rounds.items():
        for kind in KINDS:
            for at, quantile in enumerate(QUANTILES):
                floor, pump = (
                    statistics.median(row[kind][at] for row in by_who[who]) for who in ("plain", "ours")
                )
                # Of two lags of a microsecond no ratio says anything.
                ratio = f"{pump / floor:.2f}" if kind != "send_lag" and floor else ""
                what = f"{rate_per_s:,}/s | {kind.replace('_', ' ')} | p{quantile * 100:g}"
                lines.append(f"| {what} | {floor:.1f} µs | {pump:.0f} µs | {ratio} |")
    return "\n".join(lines)


def main(words: Sequence[str]) -> None:
    """Measure in turns, and print the table."""
    parser = argparse.ArgumentParser(description="Our pump beside plain Python, in turns, as a Markdown table.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="each of both takes so long in a round")
    parser.add_argument("--rate", type=int, action="append", help="commands a second; may be given again")
    chosen = parser.parse_args(words)
    clock = SystemClock()
    measure = {"plain": plain, "ours": ours}
    rounds: dict[int, dict[str, list[Row]]] = {}
    with open_server("embedded", clock) as server:
        for rate_per_s in chosen.rate or [1_000, 5_000]:
            rounds[rate_per_s] = {who: [] for who in measure}
            for number in range(chosen.rounds):
                for who in list(measure)[:: -1 if number % 2 else 1]:
                    rounds[rate_per_s][who].append(measure[who](server, rate_per_s, chosen.seconds, clock))
    sys.stdout.write(table(rounds) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
