"""Consumer checks for tests, made by hand: what was played, and what came of it."""

from __future__ import annotations

from typing import Any

from harness.consumer_check.result import Check, Counts, Done, Played, Settings, Side
from harness.consumer_check.trials import TRIALS, LeftOut, Trial
from harness.record.run import Verdict

HOSTILE = "</script><img src=http://evil.example/x onerror=alert(2)> {{7*7}} \"'& redis://shop:hunter2@10.0.0.7/0"


def trial(name: str) -> Trial:
    """One of the list."""
    return next(each for each in TRIALS if each.name == name)


def verdict(name: str, status: Any, detail: str) -> Verdict:
    """A verdict of `crm_outage`."""
    return Verdict(name=f"crm_outage.{name}", status=status, detail=detail)


def played(name: str, outcome: Any = "PASS", **changed: Any) -> Played:
    """A trial that was played, by default with no event lost."""
    counts = {"acknowledged": 1_000, "lost": 0, "stuck": 0, "repeated": 0, "disordered": 0, "recovered_s": 1.25}
    stuck = changed.pop("stuck", 0)
    if stuck:
        counts |= {"stuck": stuck, "recovered_s": None, "where": {"pending": stuck}}
    lost = (
        f"{stuck} of 1,000 appended events were lost: they have had no effect ({stuck} are pending)"
        if stuck
        else "each of 1,000 appended events has had its effect"
    )
    usual: dict[str, Any] = {
        "trial": name,
        "side": 0,
        "repeat": 1,
        "hash_seed": changed.get("repeat", 1),
        "command": f"PYTHONHASHSEED=1 shopbench run crm_outage -p fault={name} --consumer 'node app.js'",
        "directory": f"trials/{name}-1/run",
        "duration_s": 9.5,
        "status": "complete",
        "outcome": outcome,
        "counts": Counts(**counts),
        "verdicts": [verdict("nothing_lost", "FAIL" if stuck else "PASS", lost)],
        "server": {"name": "valkey", "version": "8.1.1"},
    }
    return Played(**(usual | changed))


def check_of(*of: Played, **changed: Any) -> Check:
    """A check in which these were played."""
    names = list(dict.fromkeys(each.trial for each in of))
    usual: dict[str, Any] = {
        "status": "complete",
        "started_at": "2026-11-28T12:00:00.000+00:00",
        "duration_s": 150.0,
        "settings": Settings(sides=(Side(consumer="node app.js", label="node app.js"),)),
        "command": "shopbench consumer check --consumer 'node app.js'",
        "trials": [trial(name) for name in names],
        "left_out": [LeftOut(trial="refuse", title="sink refused (503)", why="this version does not offer it")],
        "played": list(of),
        "host": {"shopbench": "0.1.0", "revision": "abc1234", "python": "CPython 3.11.13", "cores": 2},
        "log_heads": {0: ["my-library 1.2.3", "node v20.11.0"]},
    }
    return Check(**(usual | changed))


EXAMPLES = [
    {
        "where": "pending",
        "event_id": "52f7ed6e-6dfc-8000-8000-00000000008e",
        "stream": "events:1",
        "entry_id": "1764331200000-3",
        "entry": [{"t_s": 0.96, "connection": "0", "what": "handed out to consumer", "reply": ""}],
        "group": [
            {
                "t_s": -1.69,
                "connection": "0",
                "what": "XGROUP CREATE events:1 shopbench 0 MKSTREAM",
                "reply": "OK",
            },
            {"t_s": 3.37, "connection": "1", "what": "XGROUP CREATE events:1 shopbench 0", "reply": "BUSYGROUP"},
        ],
    }
]
FAULTS = [Done(name="kill", target="consumer", start_s=1.02, end_s=3.05)]


def failing_check() -> Check:
    """One trial passes, one fails in two of three, one was not tried, one is of another consumer beside it."""
    sides = tuple(Side(consumer=each, label=each) for each in ("node app.js", "node mended.js"))
    return check_of(
        *(played("stop", repeat=number, side=side) for side in (0, 1) for number in (1, 2, 3)),
        played(
            "kill",
            "FAIL",
            repeat=1,
            stuck=32,
            examples=EXAMPLES,
            faults=FAULTS,
            log=["Error: read ECONNRESET", "bye"],
        ),
        played("kill", repeat=2),
        played("kill", "FAIL", repeat=3, stuck=28),
        *(played("kill", repeat=number, side=1) for number in (1, 2, 3)),
        *(
            played("redeliver", "UNKNOWN", repeat=number, side=side, not_tried="nothing was delivered again")
            for side in (0, 1)
            for number in (1, 2, 3)
        ),
        settings=Settings(sides=sides, repeat=3),
    )


def hostile_check() -> Check:
    """One whose every text would like to be markup."""
    return check_of(
        played(
            "kill",
            "FAIL",
            stuck=1,
            command=HOSTILE,
            log=[HOSTILE],
            examples=[dict.fromkeys(("where", "event_id", "stream", "entry_id"), HOSTILE)],
            faults=[Done(name=HOSTILE, target=HOSTILE, start_s=1.0, end_s=None)],
            verdicts=[verdict("nothing_lost", "FAIL", HOSTILE)],
        ),
        settings=Settings(sides=(Side(consumer=HOSTILE, label=HOSTILE),), promise=HOSTILE),
        command=HOSTILE,
        log_heads={0: [HOSTILE]},
        host={"shopbench": HOSTILE},
        left_out=[LeftOut(trial="refuse", title=HOSTILE, why=HOSTILE)],
    )
