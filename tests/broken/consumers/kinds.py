"""The consumers that are broken on purpose, and what each has to be caught by: one table for all who try them.

    for kind in KINDS: shopbench run crm_outage --consumer COMMAND --promise PROMISE --param fault=FAULT

They are commands in Python and Node that know nothing but the environment of `--consumer`, and need no package
besides the project's own. Beside them stand two that are not broken, `CONTROLS`, for the same treatment.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LOST, STUCK = "nothing_lost", "drained"


@dataclass(frozen=True)
class Kind:
    """A consumer that is broken on purpose.

    Attributes:
        file: of it, in this directory.
        fault: that shows what is wrong with it, by its name in `crm_outage`.
        classes: of loss; what is lost is in one of the first that there is. Others besides are right, too, if they
            are named here. Empty: it loses nothing.
        verdicts: the first has to fail. The others may, and nothing else.
        promise: by which it is judged.
        others: faults that show it as well, if they hit it in the right moment.
        is_slow: whether the sink has to take its time for the fault to hit in the middle of a page.
        claim_ms: after which others may claim.
    """

    file: str
    fault: str
    classes: tuple[str, ...]
    verdicts: tuple[str, ...] = (LOST,)
    promise: str = "at_least_once"
    others: tuple[str, ...] = ()
    is_slow: bool = False
    claim_ms: int = 1_000

    @property
    def parameters(self) -> dict[str, str]:
        """Of `crm_outage`, by their names."""
        slow = {"mail_delay_ms": "100"} if self.is_slow else {}
        return {"fault": self.fault, "claim_after_ms": str(self.claim_ms), **slow}

    @property
    def name(self) -> str:
        """Its defect, and `.mjs` where it is one in Node."""
        return self.file.removesuffix(".py")

    @property
    def arguments(self) -> list[str]:
        """Its command line."""
        return ["node" if self.file.endswith(".mjs") else sys.executable, str(HERE / self.file)]

    @property
    def command(self) -> str:
        """Its command line, as `--consumer` wants it."""
        return shlex.join(self.arguments)


KINDS = (
    Kind("acks_first.py", "refuse", ("without_effect",), others=("kill",)),
    Kind("acks_failures.py", "refuse", ("without_effect",)),
    Kind("acks_on_a_timer.py", "refuse", ("without_effect",), others=("kill",)),
    Kind("no_ack.py", "refuse", ("unkept", "not_pending"), others=("kill",)),
    Kind("drops.py", "kill", ("without_effect",), others=("stop", "freeze", "cut")),
    Kind("forgets_pending.py", "kill_in_batch", ("pending",), (LOST, STUCK)),
    Kind("never_claims.py", "rolling", ("pending",), (LOST, STUCK), is_slow=True),
    Kind("claims_with_traffic.py", "kill_then_quiet", ("pending",), (LOST, STUCK), is_slow=True, claim_ms=6_000),
    Kind("loses_its_batch.py", "cut", ("pending",), (LOST, STUCK)),
    Kind("first_stream_only.py", "kill", ("pending",), (LOST, STUCK), others=("one_backlog",)),
    Kind("stuck_on_poison.py", "poison", ("never_delivered", "pending"), (LOST, STUCK, "poison_passed_over")),
    Kind("stays_in_the_past.py", "kill", ("never_delivered", "pending"), (LOST, STUCK), others=("stop",)),
    Kind("never_comes_back.py", "refuse", ("never_delivered", "pending"), (LOST, STUCK), others=("kill",)),
    Kind("begins_at_end.py", "restart_empty", ("skipped_by_group", "never_delivered")),
    Kind("anew_at_end.py", "cut", ("skipped_by_group", "dropped_with_group")),
    Kind("deletes_itself.py", "stop_while_away", ("dropped_with_consumer",), others=("stop",)),
    Kind("trims.py", "kill", ("not_in_stream",), others=("stop", "freeze", "cut")),
    Kind("rereads.py", "kill", (), ("nothing_twice",), promise="effectively_once"),
    Kind("reverses.py", "kill", (), ("in_order",), promise="at_least_once,order=stream"),
    Kind("acks_first.mjs", "refuse", ("without_effect",), others=("kill",)),
    Kind("acks_failures.mjs", "refuse", ("without_effect",)),
    Kind("forgets_pending.mjs", "kill_in_batch", ("pending",), (LOST, STUCK)),
    Kind("anew_at_end.mjs", "cut", ("skipped_by_group", "dropped_with_group")),
    Kind("stuck_on_poison.mjs", "poison", ("never_delivered", "pending"), (LOST, STUCK, "poison_passed_over")),
)
CONTROLS = (Kind("healthy.py", "kill_in_batch", (), ()), Kind("healthy.mjs", "kill_in_batch", (), ()))
