"""What the group of a line was told, where its consumers go through proxies that follow them: as evidence.

    handed                  events that a consumer got
    acked                   events of which an XACK was answered as done
    dropped_with_consumer   events that were pending of a consumer when it was deleted, by the server's own number
    dropped_with_group      events that were pending when the group was destroyed
    skipped_by_group        lost events that the group, made anew or set, has left behind; where all is followed
    unkept                  events that were read with NOACK
    group_commands          the commands on the group, with time, connection and reply
    followed                `Followed`: which consumers, and what was not seen
    examples                for one lost event of each class, where it is, and what was told of it

Times are in seconds since the load began. None of these sections is there where no consumer is followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from pyroaring import AbstractBitMap, BitMap

from harness.account.entry_keys import among
from harness.account.event_ids import event_id
from harness.account.examples import CommandRow, Example
from harness.account.followed import SECTION as FOLLOWED
from harness.account.followed import Followed
from harness.account.group_history import GroupHistory
from harness.account.ledger import set_of
from harness.account.losses import Losses, Seen
from harness.account.told import About, GroupCommand, Told, about, read
from harness.arrays import Int64s
from harness.nemesis.proxy import Proxy, ProxyError
from harness.record.evidence import Evidence
from harness.record.load_report import section_of
from harness.record.sections import Sections
from harness.system.port import SystemUnderTest
from scenarios.line.evidence import Placed, Streams

COMMANDS = "group_commands"
_SETS = Seen.__struct_fields__
# As many commands on groups are kept, and shown beside an example.
_MOST_KEPT, _MOST_SHOWN = 200, 12

_KINDS = {
    "new": "handed out to",
    "noack": "handed out with NOACK to",
    "again": "handed out again to",
    "claimed": "claimed by",
    "deleted": "found deleted by a claim of",
    "acked": "XACK, answered as done",
    "ack_none": "XACK, answered as not pending",
    "ack_part": "XACK with others, some of which were not pending",
    "ack_sent": "XACK, never answered",
    "xdel": "XDEL",
}


@runtime_checkable
class FollowsGroups(Protocol):
    """Consumers at work, some of which reach the server through proxies that note what they are told."""

    @property
    def followers(self) -> Mapping[str, Proxy]:
        """The proxy of each consumer that is followed, by the consumer's name; each was made with `told`."""
        ...


def seen_in(evidence: Sections | Evidence, line: str = "") -> Seen | None:
    """What was seen of events by following the group's consumers; None where nobody followed them.

    Args:
        evidence: of the run.
        line: which of several lines; empty: the only one.

    Raises:
        EvidenceError: a section is missing, or cannot be read.
    """
    if not evidence.has(section_of(FOLLOWED, line)):
        return None
    return Seen(**{name: evidence.events(section_of(name, line)) for name in _SETS})


class GroupTold:
    """What the group of a line was told, read from the logs of its proxies.

    Args:
        followers: the proxies, by the consumer's name.
        consumers: all that there are.
        streams: of the line, after they were gathered.
        system: whose they are.
        origin_ns: when the load began.

    Raises:
        OSError: a log cannot be read.
    """

    def __init__(
        self,
        followers: Mapping[str, Proxy],
        consumers: Sequence[str],
        streams: Streams,
        system: SystemUnderTest,
        origin_ns: int,
    ) -> None:
        self._streams = streams
        self._system = system
        self._origin_ns = origin_ns
        missing = _brought_up_to_date(followers)
        self._logs = [path for path in {proxy.told: None for proxy in followers.values()} if path is not None]
        self._told = read(self._logs, streams.names, system.group, streams.keys)
        self._followed = _followed(self._told, followers, consumers, missing, origin_ns)

    def gather(self, sections: Sections, lost: AbstractBitMap) -> None:
        """Put it into the evidence.

        Args:
            sections: get it.
            lost: whose way is asked for.
        """
        sets = {name: BitMap() for name in _SETS}
        for stream, placed in self._streams.placed.items():
            history = self._told.streams[stream]
            for name, keys in _keys_of(history).items():
                sets[name] |= _events(placed, keys)
            if self._followed.is_whole:
                sets["skipped_by_group"] |= self._skipped(placed, history, lost)
        for name, events in sets.items():
            sections.add_set(name, events)
        sections.add_json(COMMANDS, [self._command(each) for each in self._told.commands[:_MOST_KEPT]])
        sections.add_json(FOLLOWED, self._followed)

    def _skipped(self, placed: Placed, history: GroupHistory, lost: AbstractBitMap) -> BitMap:
        keys = placed.keys[among(placed.sequences, np.asarray(lost.to_array()).astype(np.int64))]
        appended_ns = np.array(
            [round(self._system.epoch_s(self._streams.keys.text(key)) * 1e9) for key in keys.tolist()], np.int64
        )
        behind = [key for key, _ in history.skipped(keys, appended_ns)]
        return _events(placed, np.array(sorted(behind), np.int64))

    def examples(self, losses: Losses, producer: int) -> list[Example]:
        """One lost event of each class.

        Args:
            losses: by class.
            producer: whose events they are.

        Raises:
            OSError: a log cannot be read.
        """
        firsts = {
            name: getattr(losses, name).examples[0]
            for name in losses.__struct_fields__
            if getattr(losses, name).examples
        }
        return [self._example(where, sequence, producer) for where, sequence in firsts.items()]

    def _example(self, where: str, sequence: int, producer: int) -> Example:
        identity = event_id(producer, sequence)
        for stream, placed in self._streams.placed.items():
            at = np.flatnonzero(placed.sequences == sequence)
            if not at.size:
                continue
            key = int(placed.keys[at[0]])
            told = about(self._logs, stream, self._system.group, [key], self._streams.keys)
            on_stream = [each for each in self._told.commands if stream in each.command.split()]
            return Example(
                where=where,
                event_id=identity,
                stream=stream,
                entry_id=self._streams.keys.text(key),
                entry=[self._about(each) for each in told[key]],
                group=[self._command(each) for each in on_stream[:_MOST_SHOWN]],
            )
        return Example(where=where, event_id=identity)

    def _about(self, told: About) -> CommandRow:
        what = f"{_KINDS[told.kind]} {told.consumer}".rstrip()
        return CommandRow(t_s=(told.t_ns - self._origin_ns) / 1e9, connection=told.connection, what=what)

    def _command(self, told: GroupCommand) -> CommandRow:
        return CommandRow(
            t_s=(told.t_ns - self._origin_ns) / 1e9,
            connection=told.connection,
            what=told.command,
            reply=told.reply,
        )


def _keys_of(history: GroupHistory) -> dict[str, Int64s]:
    return {
        "handed": history.handed.keys(),
        "acked": history.acked.keys(),
        "unkept": history.unkept.keys(),
        "dropped_with_consumer": history.dropped_with_consumer,
        "dropped_with_group": history.dropped_with_group,
    }


def _events(placed: Placed, keys: Int64s) -> BitMap:
    """The events of entries whose keys are among some that rise."""
    return set_of(placed.sequences[among(placed.keys, keys)])


def _brought_up_to_date(followers: Mapping[str, Proxy]) -> list[str]:
    """Have all written that has passed; what a proxy could not write, in words."""
    missing = []
    for proxy, name in {proxy: name for name, proxy in followers.items()}.items():
        try:
            untold = proxy.counts().untold
        except ProxyError as error:
            untold = str(error)
        if untold:
            missing.append(f"{name}: {untold}")
    return missing


def _followed(
    told: Told,
    followers: Mapping[str, Proxy],
    consumers: Sequence[str],
    missing: Sequence[str],
    origin_ns: int,
) -> Followed:
    gaps = [
        *missing,
        *(
            f"{f'connection {gap.connection}' if gap.connection else 'all'} is followed no more from "
            f"{(gap.t_ns - origin_ns) / 1e9:.3f} s on: {gap.why}"
            for gap in told.gaps
        ),
    ]
    if told.keys.is_full:
        gaps.append("there were more IDs of an unusual kind than can be told apart")
    return Followed(
        consumers=list(followers),
        others=[name for name in consumers if name not in followers],
        gaps=gaps,
        scripts=told.scripts,
        is_certain=all(history.is_certain for history in told.streams.values()),
    )
