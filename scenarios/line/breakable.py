"""What can be broken on a line, with what only the line as a whole can do to a consumer.

A system says what can be done to each of its parts alone. Some faults are about several of them, and the line,
which knows the group and all parts by their roles, adds what these need:

    in_hand                 what a consumer has in hand, as the group tells it
    sink_away, sink_back    the part that has the effects is stopped, and started
    replace                 a new consumer comes, and the old one is stopped for good
    set_back                of the group itself
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from harness.conduct.scenario import ScenarioError
from harness.host.clock import Clock
from harness.nemesis.faults import fault_kinds, faults_of
from harness.nemesis.plan import Fault
from harness.nemesis.targets import Part, Target, abilities_of
from harness.system.group import ConsumerGroup
from harness.system.port import Growing, Running

# For a new consumer to be known to its group; 2.3 to 9.7 s were seen.
JOIN_NS = 20_000_000_000
LOOK_NS = 20_000_000


def check_possible(targets: Sequence[Target], fault: Fault, whose: str) -> None:
    """See to it that a fault can be done to its target.

    Args:
        targets: that there are.
        whose: they are, in words.

    Raises:
        ScenarioError: there is no such target, or it cannot suffer the fault.
    """
    target = next((each for each in targets if each.name == fault.target), None)
    if target is None:
        there_are = ", ".join(each.name for each in targets)
        raise ScenarioError(f"the {whose} has no {fault.target} that can be broken; it has {there_are}")
    can = abilities_of(target)
    if not fault_kinds()[fault.name].is_possible(can):
        suffers = ", ".join(faults_of(can)) or "nothing"
        raise ScenarioError(f"{fault.name} cannot be done to {fault.target}, which can suffer {suffers}")


def breakable(
    running: Running, servers: Sequence[Target], group: ConsumerGroup | None, clock: Clock
) -> list[Target]:
    """What can be broken on a line.

    Args:
        running: the system.
        servers: of ours.
        group: of the consumers; None: they are none.
        clock: to wait by.
    """
    targets = {each.name: each for each in running.targets}
    sink = targets.get(running.roles.get("mail", ""))
    of_sink = {} if sink is None else abilities_of(sink)
    for name in running.consumers:
        of_line: dict[str, Callable[..., object]] = {}
        if "stop" in of_sink and "start" in of_sink:
            of_line |= {"sink_away": of_sink["stop"], "sink_back": of_sink["start"]}
        if group is not None:
            of_line["in_hand"] = functools.partial(group.in_hand, _called(running, name))
            if isinstance(running, Growing):
                new = f"{running.consumers[0]}-{len(running.consumers) + 1}"
                join, stop = functools.partial(running.add_consumer, new), abilities_of(targets[name])["stop"]
                of_line["replace"] = functools.partial(replaced, join, group, stop, clock)
        targets[name] = Part(name, {**abilities_of(targets[name]), **of_line})
    return [*targets.values(), *servers, *([] if group is None else [group.target])]


def _called(running: Running, name: str) -> str:
    """What a group calls a consumer; empty: it is alone, and has all that is in hand, whatever it calls itself."""
    if len(running.consumers) == 1:
        return ""
    return running.group_names.get(name, name) if isinstance(running, Growing) else name


def replaced(
    join: Callable[[], object], group: ConsumerGroup, stop: Callable[[], object], clock: Clock
) -> Mapping[str, float]:
    """Have a new consumer join a group, and stop an old one for good.

    Args:
        join: starts the new one.
        group: that it joins.
        stop: ends the old one.
        clock: to wait by.

    Returns:
        What was in hand when the old one had ended, how long that took, and whether a new name is in the group.

    Raises:
        NotStartedError: the new one does not start.
        redis.RedisError: nobody can tell whether it has joined.
    """
    begun_ns = clock.now_ns()
    before = set(group.counts())
    join()
    while not (new := set(group.counts()) - before) and clock.now_ns() - begun_ns < JOIN_NS:
        clock.sleep_ns(LOOK_NS)
    stop()
    counts = group.counts()
    return {
        "left": float(sum(counts.get(name, 0) for name in before)),
        "new_names": float(len(new)),
        "took_s": (clock.now_ns() - begun_ns) / 1e9,
    }
