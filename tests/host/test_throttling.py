"""What keeps the instrument from a core: quotas and affinity, as the kernel and then a verdict tell of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.check.instrument import cause, judged, with_cause
from harness.host.cgroup import Group, directories, read_group
from harness.host.clock import SystemClock, VirtualClock
from harness.host.neighbors import Neighbor, Neighbors
from harness.host.throttling import Snapshot, Throttled, in_words, snapshot, throttled
from harness.record.run import Figure, Status, Verdict, find_runs
from harness.selfcheck.checks import limits

CGROUPS_1 = "9:name=systemd:/\n4:memory:/api/8d\n2:cpuacct,cpu:/docker/4f2a\n0::/\n"
MOUNTS_1 = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
)
V2 = "30 23 0:26 {root} /sys/fs/cgroup ro,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


# What the kernel says.


@pytest.mark.parametrize(
    ("cgroups", "mounts", "expected"),
    [
        (
            CGROUPS_1, MOUNTS_1,
            ["cpu,cpuacct/docker/4f2a", "cpu,cpuacct/docker", "cpu,cpuacct"],
        ),
        ("0::/user.slice/a.scope\n", V2.format(root="/"), ["user.slice/a.scope", "user.slice", ""]),
        # A container sees its own group as the root, by a namespace or by a mount of that part only.
        ("0::/\n", V2.format(root="/"), [""]),
        ("0::/docker/4f2a/app\n", V2.format(root="/docker/4f2a"), ["app", ""]),
        # A path out of the namespace cannot be looked at; nothing above the mount is.
        ("0::/../x\n", V2.format(root="/"), ["x", ""]),
        ("", "", []),
        ("0::/\n", "nonsense - \n", []),
        ("9:cpuset:/a\n", MOUNTS_1, []),
    ],
)  # fmt: skip
def test_where_the_groups_stand(cgroups: str, mounts: str, expected: list[str]) -> None:
    """A process's own group comes first, then those above it, and no other hierarchy."""
    assert directories(cgroups, mounts) == [Path("/sys/fs/cgroup") / each for each in expected]


V1_STAT = "nr_periods 29\nnr_throttled 17\nthrottled_time 1234567890\nnr_bursts 0\nburst_time 0\n"
V2_STAT = "usage_usec 99\nuser_usec 9\nnr_periods 29\nnr_throttled 17\nthrottled_usec 1234567\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n", "cpu.stat": V1_STAT},
            Group(quota_cores=0.5, periods=29, throttled_periods=17, throttled_s=1.23456789),
        ),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n", "cpu.stat": ""}, Group()),
        (
            {"cpu.max": "150000 100000\n", "cpu.stat": V2_STAT},
            Group(quota_cores=1.5, periods=29, throttled_periods=17, throttled_s=1.234567),
        ),
        ({"cpu.max": "max 100000\n", "cpu.stat": "usage_usec 5\n"}, Group()),
        # The root of version 2 has no cpu.max, and a stat without periods.
        ({"cpu.max": "", "cpu.stat": "usage_usec 5\nuser_usec 1\n"}, None),
        ({"cpu.max": "none of it\n", "cpu.stat": "nr_periods many\n"}, None),
        ({}, None),
    ],
)
def test_a_group_in_either_version(files: dict[str, str], expected: Group | None) -> None:
    """Quota and stops are the same facts in both versions of control groups."""
    assert read_group(files) == expected


def at(second: int, **groups: Group) -> Snapshot:
    return Snapshot(at_ns=second * 1_000_000_000, groups=groups, usable_cores=2, cores=4)


def test_the_longest_stop_and_the_tightest_quota_are_told() -> None:
    """Of a group and those above it; one that was not there before tells nothing of the time between."""
    before = at(0, own=Group(quota_cores=2.0, throttled_s=5.0), above=Group(periods=10))
    after = at(
        10,
        own=Group(quota_cores=2.0, throttled_s=5.1, throttled_periods=1, periods=100),
        above=Group(quota_cores=0.5, throttled_s=3.2, throttled_periods=62, periods=110),
        new=Group(throttled_s=99.0),
    )
    assert throttled(before, after) == Throttled(
        quota_cores=0.5, periods=100, throttled_periods=62, throttled_s=3.2, wall_s=10.0, usable_cores=2, cores=4
    )


def test_without_groups_nothing_held_it() -> None:
    """Where the kernel says nothing of quotas, nothing is said of them."""
    held = throttled(at(0), at(10))
    assert (held.quota_cores, held.was_stopped) == (None, False)


def held(**changed: float | None) -> Throttled:
    usual: dict[str, float | None] = {
        "quota_cores": None, "periods": 100, "throttled_periods": 0, "throttled_s": 0.0, "wall_s": 10.0,
        "usable_cores": 4, "cores": 4,
    }  # fmt: skip
    return Throttled(**(usual | changed))  # type: ignore[arg-type]


STOPPED = held(quota_cores=0.5, throttled_periods=62, throttled_s=3.2)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, []),
        (held(), []),
        (held(quota_cores=2.0, throttled_s=0.05), []),
        (STOPPED, ["this process may use half a core, and was stopped for 3.2 s of 10.0 s, in 62 of 100 periods"]),
        (
            held(throttled_s=14.0, throttled_periods=100),
            ["this process was stopped for 10.0 s of 10.0 s, in 100 of 100 periods"],
        ),
        (held(usable_cores=1), ["this process may run on 1 of 4 cores"]),
    ],
)
def test_in_words(found: Throttled | None, words: list[str]) -> None:
    """A quota that stopped nobody is no cause; two cores that stood still did not for twice the time."""
    assert list(in_words(found)) == words


def test_this_process_is_looked_at() -> None:
    """On this machine, whatever it has, two looks can be set beside one another."""
    clock = VirtualClock()
    before = snapshot(clock)
    clock.sleep_ns(1_000_000_000)
    found = throttled(before, snapshot(clock))
    assert (found.wall_s, found.cores) == (1.0, os.cpu_count())
    assert 1 <= found.usable_cores <= found.cores


# What a verdict says.

BEHIND = Verdict(name="append.none.send_lag", status="UNKNOWN", detail="the instrument fell behind")


def busy(**changed: object) -> Neighbors:
    usual: dict[str, object] = {"others": [], "ours": [], "unseen": 0.0, "steal_share": 0.0, "cores": 2}
    return Neighbors(**(usual | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("who", "found", "words"),
    [
        (busy(), STOPPED, "may use half a core"),
        (busy(), held(usable_cores=1), "may run on 1 of 4 cores"),
        (busy(others=[Neighbor(name="python", cores=0.93)]), held(), "meanwhile python used 0.93 of a core"),
        (busy(steal_share=0.12), held(), "12% of the machine was given to others"),
        (busy(unseen=0.9), held(), "processes that came and went, and the kernel, used 0.90 of a core"),
        (busy(ours=[Neighbor(name="valkey", cores=1.9)]), held(), "this run itself used 1.90 of 2 cores"),
    ],
)
def test_the_cause_is_named(who: Neighbors, found: Throttled, words: str) -> None:
    """Whoever had the machine stands in the verdict on an instrument that fell behind."""
    assert words in with_cause(BEHIND, who, found).detail


def test_several_causes_are_all_named() -> None:
    """A quota, a neighbour: one after the other, the quota first."""
    told = cause(busy(others=[Neighbor(name="cc1", cores=0.5)]), STOPPED)
    assert told.index("half a core") < told.index("cc1 used 0.50 of a core")


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(name="append.none.send_lag", status="PASS", detail="held its schedule"),
        Verdict(name="lag.lost", status="UNKNOWN", detail="not drained"),
    ],
)
def test_nobody_else_is_blamed(verdict: Verdict) -> None:
    """A verdict that is not on the instrument, or that passes, names nobody; nor does one without a cause."""
    assert with_cause(verdict, busy(unseen=1.0), STOPPED) == verdict
    assert with_cause(BEHIND, busy(), held()) == BEHIND
    assert with_cause(BEHIND, None, None) == BEHIND


def figures(send_lag_us: dict[str, float | None], response_us: dict[str, float | None]) -> list[Figure]:
    return [
        Figure(name=f"append.none.{kind}.{quantile}", value=value, unit="µs")
        for kind, values in (("send_lag", send_lag_us), ("response", response_us))
        for quantile, value in values.items()
    ]


OPEN, SMOKE = {"loop": "open"}, {"send_lag_budget_ms": 250}
HELD = Verdict(name="append.none.send_lag", status="PASS", detail="held its schedule")


@pytest.mark.parametrize(
    ("send_lag", "response", "status"),
    [
        # Throttled: within the budget of 250 ms, and nearly all of the response.
        ({"p50": 40.0, "p99": 60_000.0}, {"p50": 500.0, "p99": 68_000.0}, "UNKNOWN"),
        ({"p50": 1_500.0, "p99": 2_000.0}, {"p50": 2_000.0, "p99": 9_000.0}, "UNKNOWN"),
        # More than half, and little; much, and less than half.
        ({"p50": 40.0, "p99": 900.0}, {"p50": 60.0, "p99": 950.0}, "PASS"),
        ({"p50": 40.0, "p99": 4_000.0}, {"p50": 60.0, "p99": 8_001.0}, "PASS"),
        ({"p50": 40.0, "p99": 1_000.0}, {"p50": 60.0, "p99": 1_010.0}, "PASS"),
        ({"p50": None, "p99": None}, {"p50": None, "p99": None}, "PASS"),
    ],
)
def test_the_instruments_share(
    send_lag: dict[str, float | None], response: dict[str, float | None], status: Status
) -> None:
    """An instrument whose send lag is more than half of a quantile, and more than 1 ms, has measured itself."""
    [verdict] = judged([HELD], figures(send_lag, response), SMOKE, OPEN)
    assert verdict.status == status


QUICK = figures({"p50": 40.0, "p99": 38_000.0}, {"p50": 500.0, "p99": 90_000.0})


@pytest.mark.parametrize("load", [OPEN, {"loop": "paced"}])
def test_a_quota_that_stopped_the_instrument(load: dict[str, str]) -> None:
    """Also where its own lateness was the smaller part; the verdict keeps what it said, and names the quota."""
    [verdict] = judged([HELD], QUICK, SMOKE, load, STOPPED)
    assert verdict.status == "UNKNOWN"
    assert verdict.detail == f"the instrument was stopped, and with it what it measures: {HELD.detail}"
    assert "may use half a core, and was stopped" in with_cause(verdict, None, STOPPED).detail


@pytest.mark.parametrize(
    ("verdict", "parameters", "found"),
    [
        (HELD, SMOKE, None),
        (HELD, SMOKE, held(quota_cores=2.0, throttled_s=0.05)),
        (HELD, {"send_lag_budget_ms": 60_000}, STOPPED),
        (Verdict(name="append.none.answered", status="PASS", detail=""), SMOKE, STOPPED),
        (Verdict(name="append.none.send_lag", status="FAIL", detail=""), SMOKE, STOPPED),
        (BEHIND, SMOKE, STOPPED),
    ],
)
def test_what_a_quota_leaves_as_it_is(
    verdict: Verdict, parameters: dict[str, int], found: Throttled | None
) -> None:
    """A quota that stopped nobody, a budget of a minute, and what is no PASS on the instrument."""
    assert judged([verdict], QUICK, parameters, OPEN, found) == [verdict]


MOSTLY_ITSELF = figures({"p99": 60_000.0}, {"p99": 68_000.0})


@pytest.mark.parametrize(
    ("verdict", "parameters", "load"),
    [
        (HELD, SMOKE, {"loop": "paced"}),
        (HELD, SMOKE, {}),
        (HELD, {"send_lag_budget_ms": 60_000}, OPEN),
        (Verdict(name="append.none.answered", status="PASS", detail=""), SMOKE, OPEN),
        (Verdict(name="append.none.send_lag", status="FAIL", detail=""), SMOKE, OPEN),
    ],
)
def test_what_is_not_judged_by_its_share(
    verdict: Verdict, parameters: dict[str, int], load: dict[str, str]
) -> None:
    """Users that wait for themselves, a budget of a minute, and verdicts on something else stay as they are."""
    assert judged([verdict], MOSTLY_ITSELF, parameters, load) == [verdict]


def test_the_share_is_told() -> None:
    """The verdict says both numbers, and at which quantile."""
    [verdict] = judged([HELD], MOSTLY_ITSELF, SMOKE, OPEN)
    assert "send lag is 60.00 ms at p99, where the response is 68.00 ms" in verdict.detail


@pytest.mark.parametrize(("found", "status"), [(STOPPED, "UNKNOWN"), (held(quota_cores=2.0), "PASS")])
def test_the_self_check_names_a_quota(found: Throttled, status: Status) -> None:
    """A self-check that was stopped by a quota is UNKNOWN, and says so; one that was not says what it may use."""
    verdict = limits("selfcheck.limits", found)
    assert verdict.status == status
    assert ("half a core" if status == "UNKNOWN" else "4 of 4 cores, with a quota of 2 cores") in verdict.detail


# A real load.

LOAD = ("append", "--profile", "smoke", "-p", "durability=none", "-p", "rate_per_s=3000", "-p", "duration_s=3")


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A control group that may use half a core; skipped where nobody may make one."""
    clock = SystemClock()
    for name in snapshot(clock).groups:
        group = Path(name) / f"ordershop-bench-{os.getpid()}"
        quota = "cpu.max" if (Path(name) / "cgroup.controllers").exists() else "cpu.cfs_quota_us"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / quota).write_text("50000 100000" if quota == "cpu.max" else "50000")
            yield group
        except OSError:
            continue
        finally:
            group.rmdir()
        return
    pytest.skip("no control group with a quota can be made here")


@pytest.mark.slow
def test_a_throttled_load_is_unknown_and_says_why(half_a_core: Path, tmp_path: Path) -> None:
    """A load that a quota stops is UNKNOWN by its instrument; quota and stops stand in verdict and record."""
    command = [sys.executable, "-m", "harness", "run", *LOAD, "--runs", str(tmp_path / "runs")]
    enter = f'echo $$ > {half_a_core}/cgroup.procs && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", enter, "sh", *command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 3, done.stdout + done.stderr
    [record] = find_runs(tmp_path / "runs")
    [verdict] = [v for v in record.run.verdicts if v.name == "append.none.send_lag"]
    assert verdict.status == "UNKNOWN"
    assert "this process may use half a core, and was stopped for" in verdict.detail
    told = record.run.environment["meanwhile"]["limits"]
    assert told["quota_cores"] == 0.5
    assert 0 < told["throttled_periods"] <= told["periods"]


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2 or not hasattr(os, "sched_setaffinity"), reason="wants two cores")
def test_the_cores_of_a_run_stand_in_its_record(tmp_path: Path) -> None:
    """Of a run that may use one core of several the record says so."""
    core = str(min(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "harness", "run", *LOAD, "--runs", str(tmp_path / "runs")]
    subprocess.run(["taskset", "-c", core, *command], capture_output=True, timeout=120, check=False)
    [record] = find_runs(tmp_path / "runs")
    told = record.run.environment["meanwhile"]["limits"]
    assert (told["usable_cores"], told["cores"]) == (1, os.cpu_count())
