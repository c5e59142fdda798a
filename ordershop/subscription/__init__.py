"""A service listens to streams: consumer groups that lose nothing, or lose by choice.

    subscription = Subscription(url, keys, [("customer", "created"), ("order", "created")], group="crm")
    subscription.run(effect, stop)         # effect([Delivery, ...]) -> the deliveries that failed

`at_least_once`: an event is acknowledged after its effect. A consumer that starts takes its own pending events
first, then new ones, and now and then those of consumers that died. An event that keeps failing is parked
in a stream of its own after `max_deliveries`, with the reason, so that it does not stop the rest. An effect that
raises is called again for each event alone, so that only those that are at fault have failed. A service that is
away (`AwayError`) is waited for, however long it takes, and counts against no event.

`at_most_once`: the server forgets an event when it hands it out (NOACK). A crash loses what was in hand. A stop or
a lost connection does not: what has come has its effect first, unless something is away at a stop. What comes
after that may be older.

A page is read in parts, so that server and consumer work at once; before an effect begins, everything that had
its effect before is acknowledged:

    server     part 1 | part 2   | part 3   | XACK page before |                  | part 1 ...
    consumer          | decode 1 | decode 2 | decode 3         | effect on 1 to 3 |        ...

Order: IDs order events over all streams, but a reply brings at most a page of each stream. Each stream is
known up to some ID: behind a full page more may follow, behind a shorter one nothing did, up to the last ID that
was seen anywhere. Events are handled as far as every stream is known; the rest waits for the next read:

    created   1  3  4  5 | full page: known up to 5
    deleted   2  6  7      known up to 7, the last that was seen; 6 and 7 wait

What has been in hand for half of `claim_after_ms`, since its effect waits or the process was frozen, may soon be,
or is, another consumer's: before its effect the server is asked, the others' is dropped, and ours held on to.

Position: the group's, kept by the server. Groups begin at the start of a stream, never at its end. Should the
server come back empty, the group is made again at the checkpoint that each consumer saves to a file: the last
ID below which everything was acknowledged. A stream that ends before it is another one, and begins at its start.

While the server is away, or cannot serve (a replica after a failover, a full disk), the loop waits, 50 ms at first
and 1 s at most, and logs that once. From a replica it goes, and dials the address again each time. What had its
effect by then is acknowledged first when it is back. What an operator takes from the server, with XGROUP
DELCONSUMER say, is still handled by the consumer that has it in hand; what a dead one had pending is then lost to
the group.
"""

from ordershop.subscription.from_now import FromNowSubscriber
from ordershop.subscription.loop import (
    AwayError,
    Checkpoint,
    Delivery,
    Effect,
    Merge,
    NoEvent,
    Policy,
    Received,
    Stop,
    Subscription,
    position_below_all_pending,
)

__all__ = [
    "AwayError",
    "Checkpoint",
    "Delivery",
    "Effect",
    "FromNowSubscriber",
    "Merge",
    "NoEvent",
    "Policy",
    "Received",
    "Stop",
    "Subscription",
    "position_below_all_pending",
]
