"""What `shopbench versus` sends to a side: OrderShop's appends, and which of it two sides may have otherwise.

one operation after the other    path, payload_bytes
at a rate                        all that `append` can choose of a load, rate_per_s and connections
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from harness.capacity.open_pairs import Sent
from harness.conduct.scenario import ParameterError
from harness.record.parameters import nearest
from harness.server.server import Server
from scenarios.load import Load

CLOSED = ("path", "payload_bytes")
GATED = "scenarios.gate_target:ordershop"
VARIED = "scenarios.versus_target:opened"


class VersusLoad(Load, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A load at a rate.

    Attributes:
        rate_per_s: at which appends are due; 0: as for the other side.
        connections (connections): that they come over.
    """

    rate_per_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 0
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 1


class ShopLoads:
    """OrderShop's appends."""

    def parsed(self, given: Mapping[str, str], *, has_rate: bool) -> dict[str, str]:
        """Parameters of a load as they are told: without those that are as they would be anyway.

        Raises:
            ParameterError: one that there is not, that cannot be, or that cannot be varied so.
        """
        known = [field.name for field in msgspec.structs.fields(VersusLoad)]
        for name in given:
            if name not in known:
                near = nearest(name, known)
                meant = f"did you mean {near}? it" if near else "it"
                raise ParameterError(f"versus has no parameter {name!r}; {meant} has {', '.join(known)}")
            if not has_rate and name not in CLOSED:
                raise ParameterError(
                    f"{name}: without --rate, one operation after the other, a load can have another "
                    f"{' or '.join(CLOSED)}, and no other {name}"
                )
        chosen, plain = load_of(given), VersusLoad()
        told = {name: getattr(chosen, name) for name in known}
        return {name: _text(value) for name, value in told.items() if value != getattr(plain, name)}

    def target(self, load: Mapping[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What a side opens: the gate's target, or one that appends something else."""
        options = tuple((name, load[name]) for name in CLOSED if name in load)
        return (VARIED, options) if options else (GATED, ())

    def sent(self, load: Mapping[str, str], server: Server, producer: int, seed: int) -> Sent:
        """What is sent at a rate; the entities that it updates are created first.

        Raises:
            ServerError: the server does not take the script, or the entities.
        """
        chosen = load_of(load)
        chosen.create_entities(server, producer)
        return Sent(chosen.source(server, "append", producer, seed), chosen.scripts)


def load_of(given: Mapping[str, str]) -> VersusLoad:
    """A load from parameters by name.

    Raises:
        ParameterError: one that cannot be.
    """
    try:
        return msgspec.convert(dict(given), VersusLoad, strict=False)
    except msgspec.ValidationError as error:
        raise ParameterError(f"versus: {error}") from error


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
