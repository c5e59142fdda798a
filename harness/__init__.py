"""The instrument: it loads an event store on a schedule, records what happens, and accounts for every event.

    Scenario -> Pacer -> Pump -> Recorder -> Run -> Checker -> report
                 Nemesis and Probe join at the history

    due, start, done   when an operation should have begun, began, and ended
    response           done - due: the number to quote        service = done - start
    send lag           start - due: what the instrument itself was late by
    outcome            OK, FAIL, UNKNOWN (sent, never answered: it may have happened); DROPPED was never sent
    lost               acknowledged, and without an effect after the drain
    lag                in events, and in seconds: the age of the oldest event that is not yet applied
    verdict            PASS, UNKNOWN, FAIL; no evidence is UNKNOWN

Nothing reads backwards: checkers and reports work on a saved run, with every server switched off. Nothing in here
knows OrderShop; `scenarios` brings the two together.

Rejected, and why. A closed loop for latencies: it stops asking while the system stalls, and so misses the stall.
Means and averaged percentiles: they hide what they are asked for. Values rounded to milliseconds: an append
takes a tenth of one. A threshold that passes without data: it passes when the measurement is broken.
"""

__version__ = "0.1.0"
