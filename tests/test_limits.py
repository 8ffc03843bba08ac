"""The limits in force, over cgroup trees that the test writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resmon.facts import Limits
from resmon.sensors.host import HostSensor
from resmon.sensors.limits import InForce, LimitsReader, inactive_file_bytes
from tests.fake_root import GIB, V1_MOUNTS, V2_MOUNT, write

UNLIMITED_V1 = 9223372036854771712


def slurp(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def read(root: Path, environ: dict[str, str] | None = None, affinity: int | None = 64) -> InForce:
    reader = LimitsReader(root=str(root), process=f"{root}/proc/self", slurp=slurp, environ=environ or {})
    return reader.read(machine_cores=64, machine_memory_bytes=256 * GIB, affinity_cores=affinity)


def limits(force: InForce) -> tuple[float, str, float, str]:
    found = force.limits
    return found.cpu_cores, found.cpu_source, found.memory_bytes / GIB, found.memory_source


def test_without_any_limit_it_is_the_machine(tmp_path: Path) -> None:
    assert read(tmp_path) == InForce(limits=Limits(cpu_cores=64, memory_bytes=256 * GIB))


@pytest.mark.parametrize("tightest", ["a", "a/b", "a/b/c"])
def test_the_smallest_of_the_whole_chain_holds_in_version_2(tmp_path: Path, tightest: str) -> None:
    cgroup = "sys/fs/cgroup"
    write(tmp_path, {"proc/self/cgroup": "0::/a/b/c\n", "proc/self/mountinfo": V2_MOUNT})
    for group in ("a", "a/b", "a/b/c"):
        write(
            tmp_path,
            {
                f"{cgroup}/{group}/memory.max": 4 * GIB if group == tightest else 32 * GIB,
                f"{cgroup}/{group}/cpu.max": "150000 100000" if group == tightest else "max 100000",
            },
        )
    force = read(tmp_path)
    assert limits(force) == (1.5, "cgroup", 4, "cgroup")
    place = f"{tmp_path}/{cgroup}/{tightest}"
    assert (force.cpu_usage, force.memory_usage) == (f"{place}/cpu.stat", f"{place}/memory.current")
    assert (force.memory_stat, force.cpu_usage_unit_s) == (f"{place}/memory.stat", 1e-6)


def test_a_namespaced_root_is_read_where_it_is_mounted(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/memory.max": 2 * GIB,
            "sys/fs/cgroup/cpu.max": "200000 100000",
        },
    )
    assert limits(read(tmp_path)) == (2, "cgroup", 2, "cgroup")


@pytest.mark.parametrize(
    ("mounted", "path"), [("/docker/abc", "/docker/abc"), ("/docker/abc", "/docker/abc/job"), ("/", "/job")]
)
def test_version_1_and_the_part_of_it_that_a_container_mounts(tmp_path: Path, mounted: str, path: str) -> None:
    inner = path.removeprefix(mounted).strip("/")
    memory, cpu = (f"sys/fs/cgroup/{name}/{inner}".rstrip("/") for name in ("memory", "cpu,cpuacct"))
    write(
        tmp_path,
        {
            "proc/self/cgroup": f"5:memory:{path}\n4:cpu,cpuacct:{path}\n1:name=systemd:/\n0::/\n",
            "proc/self/mountinfo": V1_MOUNTS.replace(" / /sys", f" {mounted} /sys"),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
            f"{memory}/memory.limit_in_bytes": 3 * GIB,
            f"{cpu}/cpu.cfs_quota_us": 250000,
            f"{cpu}/cpu.cfs_period_us": 100000,
        },
    )
    force = read(tmp_path)
    assert limits(force) == (2.5, "cgroup", 3, "cgroup")
    assert force.cpu_usage == f"{tmp_path}/{cpu}/cpuacct.usage"
    assert force.cpu_usage_unit_s == 1e-9
    assert force.memory_usage == f"{tmp_path}/{memory}/memory.usage_in_bytes"


def test_unlimited_version_1_is_the_machine(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/\n4:cpu,cpuacct:/\n",
            "proc/self/mountinfo": V1_MOUNTS,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": -1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": 100000,
        },
    )
    assert limits(read(tmp_path)) == (64, "machine", 256, "machine")


def test_affinity_and_the_environment_of_slurm(tmp_path: Path) -> None:
    assert limits(read(tmp_path, affinity=6))[:2] == (6, "affinity")
    job = {"SLURM_CPUS_ON_NODE": "16", "SLURM_MEM_PER_CPU": "2048"}
    assert limits(read(tmp_path, job)) == (16, "slurm", 32, "slurm")
    assert limits(read(tmp_path, {**job, "SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_NODE": "8192"})) == (
        4,
        "slurm",
        8,
        "slurm",
    )
    assert limits(read(tmp_path, {"SLURM_MEM_PER_NODE": "0", "SLURM_CPUS_ON_NODE": "x"})) == (
        64,
        "machine",
        256,
        "machine",
    )
    assert limits(read(tmp_path, job, affinity=8))[:2] == (8, "affinity")
    force = read(tmp_path, job)
    assert (force.cpu_usage, force.memory_usage) == (None, None)


def test_a_cgroup_of_slurm_is_named_so(tmp_path: Path) -> None:
    path = "system.slice/slurmstepd.scope/job_7/step_0"
    write(
        tmp_path,
        {
            "proc/self/cgroup": f"0::/{path}/task_0\n",
            "proc/self/mountinfo": V2_MOUNT,
            f"sys/fs/cgroup/{path}/memory.max": 8 * GIB,
        },
    )
    assert limits(read(tmp_path))[2:] == (8, "slurm")


def test_a_changed_limit_and_a_move_are_seen(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/a/memory.max": 8 * GIB,
            "sys/fs/cgroup/b/memory.max": 1 * GIB,
        },
    )
    reader = LimitsReader(root=str(tmp_path), process=f"{tmp_path}/proc/self", slurp=slurp, environ={})

    def memory_gib() -> float:
        force = reader.read(machine_cores=1, machine_memory_bytes=256 * GIB, affinity_cores=None)
        return force.limits.memory_bytes / GIB

    assert memory_gib() == 8
    write(tmp_path, {"sys/fs/cgroup/a/memory.max": "max"})
    assert memory_gib() == 256
    write(tmp_path, {"proc/self/cgroup": "0::/b\n"})
    assert memory_gib() == 1


@pytest.mark.parametrize("garbage", ["", "max", "x y", "1 0", "-1", "100000"])
def test_a_file_without_a_limit_sets_none(tmp_path: Path, garbage: str) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/a/cpu.max": garbage,
            "sys/fs/cgroup/a/memory.max": garbage if not garbage.isdigit() else "max",
        },
    )
    assert limits(read(tmp_path)) == (64, "machine", 256, "machine")


def test_file_cache_in_both_versions() -> None:
    assert inactive_file_bytes(b"anon 1\ninactive_file 4096\nactive_file 2\n") == 4096
    assert inactive_file_bytes(b"cache 9\ninactive_file 4096\ntotal_inactive_file 8192\n") == 8192
    assert inactive_file_bytes(b"") == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2, reason="needs two CPUs")
def test_the_real_affinity_of_this_thread_holds() -> None:
    allowed = os.sched_getaffinity(0)
    sensor = HostSensor()
    os.sched_setaffinity(0, {min(allowed)})
    try:
        sensor.discover()
        assert sensor.limits.cpu_cores <= 1
        assert [channel.quantity for channel in sensor.channels if channel.quantity.startswith("core_")] == ["core_0"]
    finally:
        os.sched_setaffinity(0, allowed)
        sensor.close()
