"""The host sensor: real reads of this machine by both ways, and machines that the test writes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from resmon.sensors.host import CHANNELS, HostSensor
from tests.fake_root import GIB, V2_MOUNT, cpu_lines, machine, write

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="direct reads are Linux's")
both_ways = pytest.mark.parametrize("use_psutil", [pytest.param(False, marks=on_linux), True], ids=["direct", "psutil"])


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def discovered(root: Path | str = "/", *, use_psutil: bool = False) -> Iterator[HostSensor]:
    sensor = HostSensor(str(root), use_psutil=use_psutil)
    sensor.discover()
    try:
        yield sensor
    finally:
        sensor.close()


def values(sensor: HostSensor, at_s: float) -> dict[str, float]:
    read = sensor.read(at_s)
    assert len(read) == len(sensor.channels)
    assert all(isinstance(value, float) for value in read)
    return dict(zip([channel.quantity for channel in sensor.channels], read, strict=True))


@both_ways
def test_the_shape_is_the_contract(use_psutil: bool) -> None:
    with discovered(use_psutil=use_psutil) as sensor:
        (device,) = sensor.devices
        assert (device.id, device.kind, device.label) == ("host", "host", "CPU")
        assert device.cores == psutil.cpu_count()
        assert device.memory_total_bytes == psutil.virtual_memory().total
        cores = len(psutil.Process().cpu_affinity()) if sys.platform == "linux" else os.cpu_count() or 1
        assert [channel.id for channel in sensor.channels] == [
            *(f"host.{channel.quantity}" for channel in CHANNELS),
            *(f"host.core_{i}" for i in range(cores)),
        ]
        counters = [(channel.quantity, channel.code) for channel in sensor.channels if channel.kind == "counter"]
        assert counters == [("tree_cpu_time_s", "d")]
        assert [(status.name, status.state) for status in sensor.status] == [("host", "available")]


@both_ways
def test_a_busy_core_and_memory_are_seen(use_psutil: bool) -> None:
    with discovered(use_psutil=use_psutil) as sensor:
        before = values(sensor, time.monotonic())
        started, cpu_s = time.monotonic(), time.process_time() + 0.5
        while time.process_time() < cpu_s:
            pass
        share = 0.5 / (time.monotonic() - started) / sensor.limits.cpu_cores
        held = bytearray(64 << 20)
        held[::4096] = b"x" * len(held[::4096])
        after = values(sensor, time.monotonic())
        assert math.isnan(before["cpu_utilization"])
        assert 0.8 * share < after["cpu_utilization"] <= 1
        assert all(0 <= after[name] <= 1 for name in after if name.startswith("core_"))
        assert 0.45 < after["tree_cpu_time_s"] - before["tree_cpu_time_s"] < 2
        assert 56 << 20 < after["memory_tree_bytes"] - before["memory_tree_bytes"] < 80 << 20
        assert 0 < after["memory_tree_bytes"] < after["memory_used_bytes"] < psutil.virtual_memory().total


@on_linux
def test_both_ways_agree() -> None:
    with discovered() as direct, discovered(use_psutil=True) as through_psutil:
        assert direct.limits == through_psutil.limits
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            for _ in range(8):
                now = time.monotonic()
                one, other = values(direct, now), values(through_psutil, now)
                time.sleep(0.3)
        finally:
            child.communicate(b"\n")
        assert one["tree_processes"] == other["tree_processes"] == 2
        assert one["cpu_utilization"] == pytest.approx(other["cpu_utilization"], abs=0.08)
        assert one["load_1min"] == pytest.approx(other["load_1min"], abs=0.5)
        assert one["memory_tree_bytes"] == pytest.approx(other["memory_tree_bytes"], rel=0.15)
        assert one["memory_tree_pss_bytes"] == pytest.approx(other["memory_tree_pss_bytes"], rel=0.3)
        assert one["tree_cpu_time_s"] == pytest.approx(other["tree_cpu_time_s"], abs=0.2)
        for name in ("memory_used_bytes", "temperature_c"):
            assert one[name] == pytest.approx(other[name], rel=0.1, nan_ok=True)


@on_linux
def test_before_discovery_and_after_close_it_is_unknown() -> None:
    sensor = HostSensor()
    assert [status.state for status in sensor.status] == ["looking"]
    assert all(math.isnan(value) for value in sensor.read(0.0))
    assert sensor.limits.memory_bytes > 0
    open_before = open_descriptors()
    for _ in range(3):
        sensor.discover()
        sensor.read(time.monotonic())
        sensor.close()
        sensor.close()
    assert open_descriptors() == open_before
    assert math.isnan(sensor.cpu_utilization)


@on_linux
def test_a_read_does_not_wait_for_busy_python_code() -> None:
    """A call that gives the interpreter lock away would wait for it 5 ms; fifty of them for a quarter of a second."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    with discovered() as sensor:
        sensor.read(0.0)
        sensor.read(2.0)  # the first proportional set size: the one read that gives the lock away
        spinner = threading.Thread(target=spin)
        spinner.start()
        try:
            waits = []
            for tick in range(50):
                started = time.perf_counter()
                sensor.read(2.1 + tick * 0.1)
                waits.append(time.perf_counter() - started)
                time.sleep(0.001)
        finally:
            stop.set()
            spinner.join()
        assert sorted(waits)[25] < 0.004


def busy_machine(root: Path) -> Path:
    machine(root, cores=4)
    write(
        root,
        {
            "proc/diskstats": "   8       0 sda 1 0 100 0 1 0 200 0 0 0 0\n"
            "   8       1 sda1 1 0 900 0 1 0 900 0 0 0 0\n"
            " 253       0 dm-0 1 0 100 0 1 0 200 0 0 0 0\n   7       0 loop0 1 0 900 0 1 0 900 0 0 0 0\n",
            "proc/net/dev": "Inter-|\n face |\n    lo:  900 1 0 0 0 0 0 0  900 1\n  eth0: 1000 1 0 0 0 0 0 0 2000 1\n"
            "docker0: 900 1 0 0 0 0 0 0  900 1\nwlp0s20f3: 10 1 0 0 0 0 0 0 20 1\n",
            "sys/class/hwmon/hwmon0/name": "nvme\n",
            "sys/class/hwmon/hwmon0/temp1_input": "90000\n",
            "sys/class/hwmon/hwmon1/name": "coretemp\n",
            "sys/class/hwmon/hwmon1/temp1_input": "51000\n",
            "sys/class/hwmon/hwmon1/temp1_label": "Package id 0\n",
            "sys/class/hwmon/hwmon1/temp2_input": "70000\n",
            "sys/class/hwmon/hwmon1/temp2_label": "Core 0\n",
        },
    )
    for name in ("sda", "dm-0/slaves/sda", "loop0"):
        (root / "sys/block" / name).mkdir(parents=True)
    for name in ("eth0", "wlp0s20f3"):
        (root / "sys/class/net" / name / "device/power").mkdir(parents=True)
    return root


@on_linux
def test_disks_and_interfaces_are_counted_once_as_a_mean_over_time(tmp_path: Path) -> None:
    root = busy_machine(tmp_path)
    with discovered(root) as sensor:
        first = values(sensor, 0.0)
        assert math.isnan(first["net_in_bytes_per_s"])
        assert (first["temperature_c"], first["load_1min"]) == (51, 0.5)
        for name, old, new in (
            ("diskstats", "sda 1 0 100 0 1 0 200", "sda 1 0 300 0 1 0 600"),
            ("net/dev", "1000 1 0 0 0 0 0 0 2000", "3000 1 0 0 0 0 0 0 6000"),
        ):
            path = root / "proc" / name
            path.write_text(path.read_text().replace(old, new))
        second = values(sensor, 2.0)
        assert (second["disk_read_bytes_per_s"], second["disk_write_bytes_per_s"]) == (200 * 512 / 2, 400 * 512 / 2)
        assert (second["net_in_bytes_per_s"], second["net_out_bytes_per_s"]) == (1000, 2000)
        path.write_text(path.read_text().replace("3000", "5"))
        assert math.isnan(values(sensor, 4.0)["net_in_bytes_per_s"])  # an interface that was reset


@on_linux
def test_utilization_of_cores_that_may_be_used(tmp_path: Path) -> None:
    machine(tmp_path, cores=4)
    allowed = sorted(os.sched_getaffinity(0) & set(range(4)))
    with discovered(tmp_path) as sensor:
        sensor.read(0.0)
        busy = [(100, 0) if core == allowed[0] else (25, 75) for core in range(4)]
        write(tmp_path, {"proc/stat": cpu_lines(*busy)})
        read = values(sensor, 1.0)
        assert sensor.devices[0].cores == 4
        cores = [read[name] for name in read if name.startswith("core_")]
        assert cores == [1.0] + [0.25] * (len(allowed) - 1)
        assert read["cpu_utilization"] == pytest.approx(sum(cores) / len(cores))
        assert values(sensor, 1.01)["cpu_utilization"] == read["cpu_utilization"]
        write(tmp_path, {"proc/stat": cpu_lines(*busy[:3])})  # a CPU goes off line
        sensor.read(2.0)
        write(tmp_path, {"proc/stat": cpu_lines(*[(b + 10, i + 10) for b, i in busy[:3]])})
        assert values(sensor, 3.0)["core_0"] == 0.5


@on_linux
def test_a_quota_and_a_memory_limit_are_the_full_scale(tmp_path: Path) -> None:
    machine(tmp_path, cores=4)
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/job/cpu.max": "50000 100000",
            "sys/fs/cgroup/job/cpu.stat": "usage_usec 1000000\nuser_usec 1\n",
            "sys/fs/cgroup/job/memory.max": 2 * GIB,
            "sys/fs/cgroup/job/memory.current": GIB,
            "sys/fs/cgroup/job/memory.stat": f"anon 1\ninactive_file {GIB // 4}\n",
        },
    )
    with discovered(tmp_path) as sensor:
        assert (sensor.limits.cpu_cores, sensor.limits.cpu_source) == (0.5, "cgroup")
        assert (sensor.limits.memory_bytes, sensor.limits.memory_source) == (2 * GIB, "cgroup")
        assert math.isnan(values(sensor, 0.0)["cpu_utilization"])
        for second, used_usec in ((1, 1_200_000), (2, 1_400_000)):
            write(
                tmp_path,
                {
                    "proc/stat": cpu_lines(*[(100 * second, 0)] * 4),
                    "sys/fs/cgroup/job/cpu.stat": f"usage_usec {used_usec}\nuser_usec 1\n",
                },
            )
            read = values(sensor, float(second))
        assert read["cpu_utilization"] == pytest.approx(0.4)
        assert read["memory_used_bytes"] == 0.75 * GIB
        write(tmp_path, {"sys/fs/cgroup/job/memory.max": "max", "sys/fs/cgroup/job/cpu.max": "max 100000"})
        read = values(sensor, 70.0)
        assert sensor.limits.memory_source == "machine"
        assert values(sensor, 71.0)["memory_used_bytes"] == 2 * GIB


@on_linux
def test_files_that_go_bad_are_unknown_and_come_back(tmp_path: Path) -> None:
    machine(tmp_path, cores=2)
    with discovered(tmp_path) as sensor:
        sensor.read(0.0)
        write(tmp_path, {"proc/stat": cpu_lines((10, 30), (10, 30))})
        assert values(sensor, 0.5)["cpu_utilization"] == 0.25
        kept = {name: (tmp_path / name).read_text() for name in ("proc/stat", "proc/meminfo", "proc/self/statm")}
        write(tmp_path, dict.fromkeys(kept, ""))
        read = values(sensor, 1.0)
        assert math.isnan(read["memory_used_bytes"])
        assert math.isnan(read["memory_tree_bytes"])
        assert math.isnan(read["cpu_utilization"])
        write(tmp_path, dict(kept))
        sensor.read(2.0)
        write(tmp_path, {"proc/stat": cpu_lines((50, 70), (50, 70))})
        read = values(sensor, 3.0)
        assert read["cpu_utilization"] == 0.5
        assert read["memory_used_bytes"] == 2 * GIB


@on_linux
def test_a_machine_without_any_of_the_files_is_degraded_and_says_why(tmp_path: Path) -> None:
    with discovered(tmp_path) as sensor:
        assert all(math.isnan(value) for name, value in values(sensor, 0.0).items() if name.startswith(("cpu", "mem")))
        assert sensor.status[0].state == "degraded"
        assert "proc/stat" in sensor.status[0].cause


@on_linux
def test_the_paths_are_what_ticks_read() -> None:
    with discovered() as sensor:
        sensor.read(0.0)
        assert {"/proc/stat", "/proc/self/statm", "/proc/net/dev", "/proc/diskstats"} < set(sensor.paths())
        assert all(Path(path).is_file() for path in sensor.paths())
