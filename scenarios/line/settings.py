"""How a line is built."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from harness.record.parameters import formerly
from harness.server.server import Durability
from harness.system.port import Wanted

Delivery = Annotated[Literal["at_least_once", "at_most_once", "from_now"], formerly(seed="from_now")]


class LineSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a line is built.

    Attributes:
        delivery: the consumers' policy, or the tutorials' way.
        durability: of a server that we start.
        connections: of the pump.
        consumers: of the group.
        page: how many events a consumer reads at once.
        claim_after_ms: when the events of a consumer that died are taken by another.
        mail_delay_ms: how long an effect takes.
        is_idempotent: whether what has had its effect already is left out.
        has_links: whether the first consumer reaches Redis and the mail service through proxies.
        is_trimmed: whether something removes events from the streams meanwhile.
        consumer: what is started as a consumer, in the system's own words; empty: what it always starts.
        by_stream: from the first of these numbers on events go to the first stream only, from the second on to the
            others only; None: as the system has them.
        outlasts: whether faults are played to their end where the load is over before.
    """

    delivery: Delivery = "at_least_once"
    durability: Durability = "everysec"
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 1
    consumers: Annotated[int, Meta(ge=1, le=64)] = 1
    page: Annotated[int, Meta(ge=1, le=10_000)] = 500
    claim_after_ms: Annotated[int, Meta(ge=1, le=86_400_000)] = 30_000
    mail_delay_ms: Annotated[float, Meta(ge=0, le=60_000)] = 0
    is_idempotent: bool = True
    has_links: bool = False
    is_trimmed: bool = False
    consumer: str = ""
    by_stream: tuple[int, int] | None = None
    outlasts: bool = False

    def wanted(self) -> Wanted:
        """What is wanted of the system's consumers."""
        return Wanted(
            delivery=self.delivery,
            consumers=self.consumers,
            page=self.page,
            claim_after_ms=self.claim_after_ms,
            effect_ms=self.mail_delay_ms,
            is_idempotent=self.is_idempotent,
            has_links=self.has_links,
            consumer=self.consumer,
        )
