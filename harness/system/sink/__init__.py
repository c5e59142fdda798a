"""The effects sink: where anybody's consumer posts what it has done, and every attempt is written down.

    consumer --POST ID--> sink process --one line an attempt--> log      then 200
                               ^                                 |
                               | modes                           v
                            Sink, in the harness              Attempts

An effect is evidence only where it was had: a consumer that is killed loses its buffers, and delivered is not
done. So a consumer posts the IDs of the events it has handled (`SHOPBENCH_EFFECTS`), and is answered 200 when the
line is written. What was refused is written, too, and what came again under the same Idempotency-Key: one run then
tells repeats with idempotency from those without.

    with Sink(directory / "attempts.log") as sink:
        sink.slow(50)      each answer takes 50 ms
        sink.refuse()      503; `refuse(0)` accepts again
        sink.poison(id)    422 for this ID, for ever
        sink.kill(); sink.start()                      same port, same log, same modes
        Attempts(directory / "attempts.log").effects(0)

A line reaches the kernel before its answer does, so it survives a kill of the sink. It does not survive a crash of
the machine, and neither does the run.

It is a process of its own, as is the proxy, and ends with the harness. It listens on loopback. Any program and any
page of this machine may post to it: that appends a line to a log with a bound, and an ID that nobody has sent is
no effect.
"""

from __future__ import annotations

from harness.system.sink.attempts import Attempt, Attempts
from harness.system.sink.messages import Counts
from harness.system.sink.sink import Sink, SinkError

__all__ = ["Attempt", "Attempts", "Counts", "Sink", "SinkError"]
