"""What a pump has told of a load, as a record keeps it: counts, seconds, and what was wrong; no event by itself.

The evidence of a run has one for each load, in the section `load`, or `load.<name>` where there are several.
"""

from __future__ import annotations

import msgspec

from harness.measure.failures import Failure
from harness.record.run import WorkerShare


class LoadReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a load; its attributes are those of a pump's result.

    Attributes:
        instrument_wait: the share of the time for which the pump wanted a core and had none; None: nobody looked.
    """

    arrivals: int
    ok: int
    failed: int
    unknown: int
    dropped: int
    unseen: int = 0
    offered_in_s: list[int] = []
    answered_in_s: list[int] = []
    scheduled_ns: int = 0
    wall_ns: int = 0
    cpu_share: float = 0.0
    instrument_wait: float | None = None
    failures: list[Failure] = []
    silent_since_s: float | None = None
    away: str = ""
    workers: list[WorkerShare] = []


def section_of(what: str, load: str = "") -> str:
    """The name of a section about a load: `load`, or `load.always` where a run has several.

    Args:
        what: the section is about.
        load: which of several loads; empty: the only one.
    """
    return f"{what}.{load}" if load else what
