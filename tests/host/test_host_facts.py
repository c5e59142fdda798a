"""What a record says of the machine: file systems, control groups, and what it runs in."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.host.cgroup import Group, groups, limits
from harness.host.clock import SystemClock
from harness.host.filesystem import describe_directory, mount_of, read_mounts
from harness.host.machine import describe_machine, virtualization
from harness.server.open import open_server
from scenarios.shop.shop import durability_in_words

IN_MEMORY = "/dev/shm"  # noqa: S108 - that it is no safe place is what it is for
MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /shm rw shared:4 - tmpfs tmpfs rw,size=1k
24 22 0:22 / /data\\040two rw,noatime shared:5 master:6 - xfs /dev/sdb1 rw
25 22 0:23 / /over rw - ext4 /dev/old rw
26 22 0:24 / /over rw - tmpfs new rw
"""


@pytest.mark.parametrize(
    ("path", "device"),
    [
        ("/var/lib", "/dev/vda"),
        ("/shm/x", "tmpfs"),
        ("/shmx", "/dev/vda"),
        ("/data two/a", "/dev/sdb1"),
        ("/over", "new"),
    ],
)
def test_a_directory_is_on_the_nearest_mount(path: str, device: str) -> None:
    """The longest mount point above it, by whole names, and of several there the last."""
    mount = mount_of(Path(path), read_mounts(MOUNTS))
    assert mount is not None
    assert mount.device == device


def test_memory_is_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """On tmpfs the record says that nothing is synced, and no sentence says that it is."""
    if describe_directory(Path(IN_MEMORY)).get("file_system") != "tmpfs":
        pytest.skip("no tmpfs here")
    monkeypatch.setattr("tempfile.tempdir", IN_MEMORY)
    with open_server("embedded", SystemClock(), durability="always") as server:
        facts = server.describe()
    assert facts["data_directory"]["is_synced"] is False
    said = durability_in_words("always", facts)
    assert "synced before" not in said
    assert "tmpfs, where nothing is synced" in said
    assert (
        durability_in_words("always", {"data_directory": {"file_system": "ext4"}}) == "synced before each answer"
    )


def groups_of(root: Path, files: dict[str, str], cgroup: str, mounts: str) -> Path:
    """A tree of control groups, and the `/proc` of a process that is in some of them."""
    for name, content in files.items():
        where = root / name
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(content)
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(cgroup)
    (proc / "self" / "mountinfo").write_text(mounts.format(root=root))
    return proc


VERSION_2 = "30 23 0:26 / {root} rw - cgroup2 cgroup2 rw\n"
VERSION_1 = (
    "32 31 0:29 / {root}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / {root}/memory rw - cgroup cgroup rw,memory\n"
)


def test_limits_of_version_2(tmp_path: Path) -> None:
    """Half a core, held back 3 of 10 periods for 90 ms; the group above has no quota, and the tighter memory."""
    files = {
        "a/b/cpu.max": "50000 100000\n",
        "a/cpu.max": "max 100000\n",
        "a/b/memory.max": "max\n",
        "a/memory.max": "1048576\n",
        "a/b/cpu.stat": "usage_usec 5\nnr_periods 10\nnr_throttled 3\nthrottled_usec 90000\n",
    }
    proc = groups_of(tmp_path, files, "0::/a/b\n", VERSION_2)
    found = limits(proc=proc)
    assert (found["quota_cores"], found["memory_bytes"]) == (0.5, 1_048_576)
    assert groups(proc=proc) == {
        str(tmp_path / "a/b"): Group(quota_cores=0.5, periods=10, throttled_periods=3, throttled_s=0.09),
        str(tmp_path / "a"): Group(),
    }


def test_limits_of_version_1(tmp_path: Path) -> None:
    """The same in the other version, each controller in a hierarchy of its own."""
    files = {
        "cpu,cpuacct/x/cpu.cfs_quota_us": "150000\n",
        "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/x/cpu.stat": "nr_periods 4\nnr_throttled 1\nthrottled_time 7000\n",
        "memory/x/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/memory.limit_in_bytes": "1048576\n",
    }
    proc = groups_of(tmp_path, files, "4:memory:/x\n1:cpu,cpuacct:/x\n0::/\n", VERSION_1)
    found = limits(proc=proc)
    assert (found["quota_cores"], found["memory_bytes"]) == (1.5, 1_048_576)
    assert groups(proc=proc) == {
        str(tmp_path / "cpu,cpuacct/x"): Group(
            quota_cores=1.5, periods=4, throttled_periods=1, throttled_s=0.000_007
        )
    }


def test_no_quota_no_limit(tmp_path: Path) -> None:
    """Of a group without a quota nothing is said."""
    proc = groups_of(tmp_path, {"cpu.max": "max 100000\n"}, "0::/\n", VERSION_2)
    assert "quota_cores" not in limits(proc=proc)
    assert groups(proc=proc) == {str(tmp_path): Group()}


def test_a_guest_is_told_by_its_hypervisor(tmp_path: Path) -> None:
    """The processor's flag says that there is a hypervisor, the board's maker which."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("flags\t\t: fpu hypervisor sse\n")
    dmi = tmp_path / "sys/class/dmi/id"
    dmi.mkdir(parents=True)
    (dmi / "sys_vendor").write_text("Amazon EC2\n")
    (dmi / "product_name").write_text("m7i.large\n")
    assert virtualization(tmp_path).startswith("Amazon EC2 m7i.large")


def test_this_machine_is_described() -> None:
    """The kernel is always known."""
    assert describe_machine()["kernel"]
