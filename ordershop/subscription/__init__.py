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

    loop         join, read, have the effect, acknowledge; and begin again after an outage
    reading      pages of the streams, a slice at a time            merge        slices in, events in order out
    group        what is asked of the group on the server           failures     what waits to be tried again
    checkpoint   the position, in a file                            from_now     how tutorials subscribe, and lose
"""

from ordershop.subscription.checkpoint import Checkpoint, position_below_all_pending
from ordershop.subscription.delivery import AwayError, Delivery, Effect, NoEvent, Received, Stop
from ordershop.subscription.from_now import FromNowSubscriber
from ordershop.subscription.loop import Policy, Settings, Subscription
from ordershop.subscription.merge import Merge

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
    "Settings",
    "Stop",
    "Subscription",
    "position_below_all_pending",
]
