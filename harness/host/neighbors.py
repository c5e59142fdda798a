"""Who else had the machine while a run lasted: processes by name and share of a core, ours apart from others'.

    before = snapshot()   ... the run ...   neighbors(before, snapshot())

CPU time is what the kernel accounts to each process, so what a process used that was there at both moments is
exact to a hundredth of a second. One of others that began or ended in between is not seen by name; what it used is
in `unseen`, with the rest of the machine's busy time. Processes of ours that have ended are seen together. `steal`
is time that the hypervisor gave to somebody else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec
import psutil

# Less than a hundredth of a core disturbs nobody.
_LEAST_SHARE = 0.01
_MOST_NAMED = 8
# What has no name is worth a word when it is a quarter of a core, and a run when it has nearly all of the machine.
_MUCH, _FULL = 0.25, 0.85
_ENDED = "processes that have ended"
_UNSEEN = "processes that came and went, and the kernel,"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """CPU time that a process has used since it began."""

    name: str
    cpu_s: float
    is_ours: bool


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The CPU times of a machine at a moment.

    Attributes:
        uptime_s: that all cores together have had, busy or idle.
        busy_s: of that, at work, without what was stolen.
        steal_s: given to others by the hypervisor.
        cores: how many there are.
        ended_s: of processes that this one had started and that have ended.
        processes: by process id and start.
    """

    uptime_s: float
    busy_s: float
    steal_s: float
    cores: int
    ended_s: float
    processes: dict[tuple[int, float], Usage]


class Neighbor(msgspec.Struct, frozen=True, kw_only=True):
    """A process, or several of one name, and the share of one core that it used."""

    name: str
    cores: float


class Neighbors(msgspec.Struct, frozen=True, kw_only=True):
    """Who had the machine.

    Attributes:
        others: processes that are not ours, the busiest first.
        ours: processes that the run has started, and itself.
        unseen: cores' worth of work of processes that were not there at both moments, and of the kernel.
        steal_share: of all cores' time, given to others by the hypervisor.
        cores: how many there are.
    """

    others: list[Neighbor]
    ours: list[Neighbor]
    unseen: float
    steal_share: float
    cores: int


def snapshot() -> Snapshot:
    """The CPU times of this moment; what this process has started, and their children, are ours."""
    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    steal_s = getattr(times, "steal", 0.0)
    # Guests' time is in user's, too.
    total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    mine = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    own = psutil.Process().cpu_times()
    processes = {}
    for process in psutil.process_iter(["name", "cpu_times", "create_time"]):
        facts = process.info
        if facts["cpu_times"] is not None and facts["create_time"] is not None:
            processes[process.pid, facts["create_time"]] = Usage(
                name=facts["name"] or "?", cpu_s=sum(facts["cpu_times"][:2]), is_ours=process.pid in mine
            )
    return Snapshot(
        uptime_s=total_s,
        busy_s=total_s - idle_s - steal_s,
        steal_s=steal_s,
        cores=os.cpu_count() or 1,
        ended_s=own.children_user + own.children_system,
        processes=processes,
    )


def neighbors(before: Snapshot, after: Snapshot) -> Neighbors | None:
    """Who had the machine between two moments; None where no time has passed between them."""
    all_cores_s = after.uptime_s - before.uptime_s
    if all_cores_s <= 0:
        return None
    wall_s = all_cores_s / after.cores
    used: dict[tuple[bool, str], float] = {}
    for key, usage in {**before.processes, **after.processes}.items():
        first = before.processes.get(key)
        last = after.processes.get(key)
        # Ours come and go; of others only those that were there at both moments are known.
        if last is not None and (first is not None or usage.is_ours):
            share = (last.cpu_s - (first.cpu_s if first else 0.0)) / wall_s
            used[usage.is_ours, usage.name] = used.get((usage.is_ours, usage.name), 0.0) + share
    used[True, _ENDED] = (after.ended_s - before.ended_s) / wall_s
    busy = (after.busy_s - before.busy_s) / wall_s
    return Neighbors(
        others=_busiest(used, is_ours=False),
        ours=_busiest(used, is_ours=True),
        unseen=round(max(0.0, busy - sum(used.values())), 3),
        steal_share=round(max(0.0, (after.steal_s - before.steal_s) / all_cores_s), 4),
        cores=after.cores,
    )


def _busiest(used: dict[tuple[bool, str], float], *, is_ours: bool) -> list[Neighbor]:
    named = [Neighbor(name=name, cores=round(share, 3)) for (ours, name), share in used.items() if ours == is_ours]
    named = [each for each in named if each.cores >= _LEAST_SHARE]
    return sorted(named, key=lambda each: -each.cores)[:_MOST_NAMED]


def in_words(found: Neighbors | None, *, least: float = 0.05) -> str:
    """Who took the machine from a run, as a part of a sentence; empty where nobody is known to have.

    Args:
        least: cores' worth of work, and share of stolen time, from which it is worth a word; five times that for
            what nobody can name, of which some is always the kernel's work for ourselves.
    """
    if found is None:
        return ""
    own = sum(each.cores for each in found.ours)
    told: Sequence[str] = [
        *(f"{each.name} used {each.cores:.2f} of a core" for each in found.others if each.cores >= least),
        *([f"{_UNSEEN} used {found.unseen:.2f} of a core"] if found.unseen >= _MUCH else []),
        *([f"{found.steal_share:.0%} of the machine was given to others"] if found.steal_share >= least else []),
        *([f"this run itself used {own:.2f} of {found.cores} cores"] if own >= _FULL * found.cores else []),
    ]
    return ", ".join(told)
