"""Streams that XADD trims: what is gone is counted, and streams that are too long, or grow, are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harness.conduct.findings import Findings
from harness.conduct.scenario import ParameterError, parameters_of
from harness.record.run import Run, Status
from scenarios.append import scenario
from scenarios.trimmed import NODE_ENTRIES, Trimmed, trimmed
from tests.lines import assert_declared, stage_in
from tests.stores import PROGRAMS
from tests.verdicts import judged, settled

FULL = [(at, 1_000.0) for at in range(10)]
LONG = [(at, 1_090.0) for at in range(10)]
SIZES = [(at, 50_000.0 + at) for at in range(10)]


def found(**known: Any) -> Trimmed:
    given: dict[str, Any] = {
        "added": 5_000,
        "acknowledged": 5_000,
        "length": 1_050,
        "longest": 1_050,
        "maxlen": 1_000,
        "may_have": 1_100,
        "streams": 1,
    }
    return Trimmed(**{**given, **known})


@pytest.mark.parametrize(
    ("end", "shortest", "longest", "sizes", "status", "says"),
    [
        (found(), FULL, LONG, SIZES, "PASS", "of 5,000 entries that were added, 3,950 are gone"),
        (found(added=None), FULL, LONG, SIZES, "PASS", "by what was acknowledged, 3,950 are gone"),
        (found(), FULL, [*LONG, (11, 1_101.0)], SIZES, "FAIL", "had at most 1,101, 1,100 may be"),
        (found(longest=1_101), FULL, LONG, SIZES, "FAIL", "had at most 1,101, 1,100 may be"),
        (found(added=1_050), FULL, LONG, SIZES, "UNKNOWN", "nothing was trimmed"),
        (found(), FULL, LONG, SIZES[:3], "UNKNOWN", "was seen 3 times"),
        (found(), [(at, 999.0) for at in range(10)], LONG, SIZES, "UNKNOWN", "was seen 0 times"),
        (found(), FULL, LONG, [(at, 50_000.0 * (1 + at)) for at in range(10)], "FAIL", "in the second half"),
        # What they took before they were full is no growth.
        (found(), FULL[6:], LONG, [(at, 1_000.0 * min(at, 6)) for at in range(10)], "PASS", "full, they took"),
        (found(), [], [], [], "UNKNOWN", "was seen 0 times"),
    ],
)
def test_what_is_said_of_trimmed_streams(
    end: Trimmed, shortest: Any, longest: Any, sizes: Any, status: Status, says: str
) -> None:
    """Something was trimmed, no stream was ever too long, and full ones took no more and more memory."""
    verdict = trimmed("x", end, shortest, longest, sizes)
    assert (verdict.status, says in verdict.detail) == (status, True), verdict.detail


def test_trimming_is_an_option_of_xadd() -> None:
    """The shop's write path has none."""
    with pytest.raises(ParameterError, match="it wants `path=xadd`"):
        parameters_of(scenario, "smoke", {"trim": "maxlen"})


def test_what_is_needed_of_a_server() -> None:
    """To look at streams takes more commands than to append to them."""
    plain = parameters_of(scenario, "smoke", {"path": "xadd"})
    short = parameters_of(scenario, "smoke", {"path": "xadd", "trim": "maxlen"})
    assert scenario.commands_with(plain) == {"xadd"}
    assert scenario.commands_with(short) == {"xadd", "xlen", "xinfo|stream", "memory|usage"}


# On real servers --------------------------------------------------------------------------------------------


def appended(directory: Path, server: Any = "embedded", **given: Any) -> Run:
    """A short run."""
    chosen = {"path": "xadd", "durability": "none", "rate_per_s": 1_500, "duration_s": 1, "maxlen": 300, **given}
    parameters = parameters_of(scenario, "smoke", {name: str(value) for name, value in chosen.items()})
    findings = Findings("append")
    scenario.run(replace(stage_in(directory), server=server), parameters, findings)
    run = judged(scenario, parameters, findings)
    assert_declared(scenario, run)
    return run


def bad(run: Run) -> dict[str, Status]:
    return {v.name.removeprefix("append.none."): v.status for v in settled(run.verdicts) if v.status != "PASS"}


def figures(run: Run) -> dict[str, float]:
    return {f.name.removeprefix("append.none."): f.value for f in run.figures if f.value is not None}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("trim", ["maxlen", "maxlen_exact"])
def test_what_is_trimmed_is_counted(tmp_path: Path, program: str, trim: str) -> None:
    """To about a length up to a node more stays, to an exact one none; and the load is judged all the same."""
    server = PROGRAMS[program]
    if server is None:
        pytest.skip(f"no {program} here")
    run = appended(tmp_path, server, trim=trim)
    found = figures(run)
    assert bad(run) == {}
    assert found["ok"] == 1_500
    assert 0 <= found["ok"] - found["trimmed"] - 300 <= (NODE_ENTRIES if trim == "maxlen" else 0)
    assert found["stream_length.max"] <= 300 + (NODE_ENTRIES if trim == "maxlen" else 0)
    assert found["stream_memory_bytes.max"] > 0


@pytest.mark.slow
def test_a_length_that_is_never_reached(tmp_path: Path) -> None:
    """Nothing was trimmed, so that nothing is known of trimming."""
    assert bad(appended(tmp_path, trim="maxlen", maxlen=5_000)) == {"trimmed": "UNKNOWN"}


@pytest.mark.slow
def test_several_streams(tmp_path: Path) -> None:
    """Each has its own length."""
    run = appended(tmp_path, trim="maxlen_exact", maxlen=100, streams=4, connections=2)
    assert bad(run) == {}
    assert figures(run)["trimmed"] == 1_500 - 4 * 100
    assert figures(run)["stream_length.max"] == 100
