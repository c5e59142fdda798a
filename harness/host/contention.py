"""Who else wanted the CPU: what a process of ours waited for a core, and what the host took from this machine.

Time in which a process could run and did not stands in the kernel's `/proc/PID/schedstat`: on the CPU, waiting
for one, and how often it was put on one, in nanoseconds. Time in which a virtual core should have run and did
not is steal. Neither says who it was, only that no figure of that time is the instrument's fault alone.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import psutil

from harness.host.clock import Clock


class Contention(msgspec.Struct, frozen=True, kw_only=True):
    """How much of some time went to others.

    Attributes:
        waited_share: the longest that one of our processes waited for a core, of that time; None where the system
            does not tell.
        stolen_share: of all cores' time, what the host took.
    """

    waited_share: float | None
    stolen_share: float


class ContentionMeter:
    """Measures contention from now on.

    Args:
        clock: for how long.
        processes: their ids; they must live until `read`.
    """

    def __init__(self, clock: Clock, *processes: int) -> None:
        self._clock = clock
        self._processes = processes
        self._begun_ns = clock.now_ns()
        self._waited_before = [run_queue_wait_ns(process) for process in processes]
        self._times_before = psutil.cpu_times()

    def read(self) -> Contention:
        """The contention since it was made."""
        took_ns = max(1, self._clock.now_ns() - self._begun_ns)
        waited = [
            after - before
            for before, after in zip(self._waited_before, map(run_queue_wait_ns, self._processes), strict=True)
            if before is not None and after is not None
        ]
        now = psutil.cpu_times()
        stolen_s = getattr(now, "steal", 0.0) - getattr(self._times_before, "steal", 0.0)
        return Contention(
            waited_share=max(waited) / took_ns if waited else None,
            stolen_share=max(0.0, stolen_s) / max(1e-9, sum(now) - sum(self._times_before)),
        )


def run_queue_wait_ns(process: int | str = "self") -> int | None:
    """How long a process has been runnable while something else had its core; None where nobody tells."""
    spent = spent_ns(process)
    return None if spent is None else spent[1]


def spent_ns(process: int | str) -> tuple[int, int] | None:
    """For how long a process's first thread has had a core, and waited for one; None where that is not told.

    Source: https://docs.kernel.org/scheduler/sched-stats.html, the first two numbers of `/proc/PID/schedstat`.
    """
    try:
        had, waited, *_ = Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()
        return int(had), int(waited)
    except (OSError, ValueError):
        return None
