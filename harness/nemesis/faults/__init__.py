"""The kinds of faults that there are: one for each file here, and what other packages add.

    on a process    stop           SIGTERM: it may finish what it has in hand    healed by starting it again
                    kill           SIGKILL: it may not                           healed by starting it again
                    freeze         SIGSTOP: it keeps its connections, silently   healed by SIGCONT
    on a line       cut            reset or half-open, by a `Proxy`              healed by passing through
                    delay          latency, jitter, a narrow line                healed by passing through
    on a service    slow           each of its answers takes so long             healed by no delay
                    poison         an event that always fails is planted         it stays: nothing to heal
    on the server   kill, freeze   as for a process; it starts with its data
                    pause          CLIENT PAUSE: it takes no command             it ends by itself
                    restart_empty  stopped, its data removed                     healed by starting it

A file here has a `fault`, a `FaultKind` of the file's name. A package of others has one, too, and says so in its
pyproject.toml; then it is offered wherever a target can do what it needs:

    [project.entry-points."ordershop_bench.faults"]
    hiccup = "their_package.hiccup:fault"
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Collection, Mapping

from harness.host.plugins import PluginError, found_of
from harness.nemesis.kind import FaultKind

GROUP = "ordershop_bench.faults"


@functools.cache
def fault_kinds() -> Mapping[str, FaultKind]:
    """All kinds of faults by name, in the order in which they are listed.

    Raises:
        PluginError: another package's cannot be taken.
    """
    kinds: dict[str, FaultKind] = {}
    for module in pkgutil.iter_modules(__path__):
        kind: FaultKind = importlib.import_module(f"{__name__}.{module.name}").fault
        kinds[kind.name] = kind
    for name, added in found_of(GROUP, FaultKind).items():
        if added.name != name:
            raise PluginError(f"{GROUP}: {name!r} is called {added.name!r} by itself")
        if name in kinds:
            raise PluginError(f"{GROUP}: there is a fault {name!r} already")
        kinds[name] = added
    return {kind.name: kind for kind in sorted(kinds.values(), key=lambda kind: (kind.place, kind.name))}


def faults_of(can: Collection[str]) -> dict[str, FaultKind]:
    """The kinds of faults that a target knows, without mere variants, in the order of what it can."""
    order = list(can)
    known = [kind for kind in fault_kinds().values() if not kind.variant_of and kind.is_possible(can)]
    return {kind.name: kind for kind in sorted(known, key=lambda kind: order.index(kind.needs[0]))}
