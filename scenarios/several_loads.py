"""Several loads, one after the other, in one record: each has findings of its own, on the run's timeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from harness.account.ledger import Account
from harness.check.arrival import ArrivalRule
from harness.check.judge import CONCLUDED
from harness.conduct.findings import Findings
from harness.conduct.judging import PROBES
from harness.measure.timeline import Entry, FaultWindow, History, Mark, Phase, Reading, SlowMark
from harness.nemesis.nemesis import Nemesis
from harness.record.load_report import section_of

ARRIVAL = section_of("arrival")


class FindingsOfOne(Findings):
    """The findings of one of several loads, each on a new server, for one record.

    Its figures and verdicts carry its label in their names; what happened is on the run's timeline as it
    happens, and what can be looked at or done by hand meanwhile is the run's.

    Args:
        whole: the run's.
        label: of this load, such as the durability of its server.
    """

    def __init__(self, whole: Findings, label: str) -> None:
        self._whole = whole
        self._label = label
        super().__init__(f"{whole.prefix}.{label}")
        self.history = self._timeline = HistoryOfOne(whole.history, label)

    # What can be looked at or done meanwhile is the run's.

    @property
    def progress(self) -> Callable[[], Any] | None:
        """How far the load is, for whoever looks at the run."""
        return self._whole.progress

    @progress.setter
    def progress(self, progress: Callable[[], Any] | None) -> None:
        self._whole.progress = progress

    @property
    def account(self) -> Callable[[], Account] | None:
        """What has become of the load's events, for whoever looks at the run."""
        return self._whole.account

    @account.setter
    def account(self, account: Callable[[], Account] | None) -> None:
        self._whole.account = account

    @property
    def nemesis(self) -> Nemesis | None:
        """By which things are done to the load by hand."""
        return self._whole.nemesis

    @nemesis.setter
    def nemesis(self, nemesis: Nemesis | None) -> None:
        self._whole.nemesis = nemesis

    @property
    def origin_ns(self) -> int | None:
        """When this load began; that of the first is the run's."""
        return self._origin_ns

    @origin_ns.setter
    def origin_ns(self, origin_ns: int | None) -> None:
        self._origin_ns = origin_ns
        if origin_ns is None:
            return
        if self._whole.origin_ns is None:
            self._whole.origin_ns = origin_ns
        self._timeline.begin(origin_ns - self._whole.origin_ns)

    def hand_over(self) -> None:
        """Give the run what was found; also of a load that did not come to its end."""
        whole, offset_ns, operation = self._whole, self._timeline.offset_ns, f"append_{self._label}"
        whole.figures += self.figures
        whole.closed += self.closed
        whole.server = whole.server or self.server
        limits = {}
        for name in ("limited_by", "limited_at"):
            limited = dict(whole.load.get(name, {}))
            if name in self.load:
                limited[self._label] = self.load[name][""]
            if limited:
                limits[name] = limited
        whole.load = {**self.load, **limits}
        for reason in self._probes_failed:
            whole.probe_failed(reason)
        if self._concluded:
            whole.concluded(self._label)
        if self.evidence.has(ARRIVAL):
            # What a load is called, and when it began, is another thing for the run.
            rule = self.evidence.value(ARRIVAL, ArrivalRule)
            rule = replace(rule, name=self._label, operation=operation, offset_ns=offset_ns)
            self.evidence.add_json(ARRIVAL, rule)
        own = {PROBES, CONCLUDED}
        whole.evidence.add_all(self.evidence, lambda name: None if name in own else section_of(name, self._label))
        for interval in self.intervals:
            kind = interval.tag.rpartition(".")[2]
            start_s = interval.start_s + offset_ns / 1e9
            whole.intervals.append(replace(interval, tag=f"{operation}.{kind}", start_s=start_s))
        for slow in self.slowest:
            whole.slowest.append(replace(slow, operation=operation, due_ns=slow.due_ns + offset_ns))


class HistoryOfOne(History):
    """The timeline of one load, each entry of which is put on the run's, too, at the run's time."""

    def __init__(self, whole: History, label: str) -> None:
        super().__init__()
        self._whole = whole
        self._label = label
        self.offset_ns = 0

    def begin(self, offset_ns: int) -> None:
        """Say when this load begins on the run's timeline."""
        self.offset_ns = offset_ns
        self.add(Mark(t_ns=0, name=self._label))

    def add(self, entry: Entry) -> None:
        """Put one more entry on both timelines."""
        super().add(entry)
        if isinstance(entry, FaultWindow):
            end_ns = None if entry.end_ns is None else entry.end_ns + self.offset_ns
            target = f"{entry.target} ({self._label})"
            self._whole.add(replace(entry, target=target, start_ns=entry.start_ns + self.offset_ns, end_ns=end_ns))
        elif isinstance(entry, Phase):
            start_ns, end_ns = entry.start_ns + self.offset_ns, entry.end_ns + self.offset_ns
            self._whole.add(replace(entry, start_ns=start_ns, end_ns=end_ns))
        elif isinstance(entry, Reading) and entry.name.startswith("load."):
            # The counts of each load begin anew.
            labels = {**entry.labels, "load": self._label}
            self._whole.add(replace(entry, t_ns=entry.t_ns + self.offset_ns, labels=labels))
        elif isinstance(entry, SlowMark):
            self._whole.add(replace(entry, due_ns=entry.due_ns + self.offset_ns))
        else:
            self._whole.add(replace(entry, t_ns=entry.t_ns + self.offset_ns))
