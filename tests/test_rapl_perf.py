"""RAPL by perf events: the files of the PMU are the test's, the system calls and the counts are the kernel's.

The kernel's own software events stand in for energy: ``cpu-clock`` counts nanoseconds, which makes one watt of them,
and ``dummy`` can be opened and stays at 0.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fake_root import open_to_others, write
from tests.test_rapl import advancing, zone

if sys.platform != "linux":
    pytest.skip("perf events are Linux's", allow_module_level=True)

from resmon.sensors.linux_files import KernelFiles
from resmon.sensors.rapl import PERF_REMEDY, RaplSensor
from resmon.sensors.rapl_perf import PerfCalls, PerfCounter, cpu_list, event_config, find_perf

SOFTWARE, CPU_CLOCK, DUMMY = 1, "event=0x00", "event=0x09"
PMU = "sys/bus/event_source/devices/power"
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")


def pmu(root: Path, cpumask: str = "0", scale: str = "1e-9", unit: str = "Joules", **events: str) -> None:
    write(root, {f"{PMU}/type": f"{SOFTWARE}\n", f"{PMU}/cpumask": f"{cpumask}\n", f"{PMU}/format/event": "config:0-7"})
    for name, terms in events.items():
        event = f"{PMU}/events/energy-{name}"
        write(root, {event: f"{terms}\n", f"{event}.scale": f"{scale}\n", f"{event}.unit": f"{unit}\n"})


def cores(root: Path, *places: tuple[int, int, int]) -> None:
    """CPUs, each with its package and die."""
    for cpu, package, die in places:
        topology = f"sys/devices/system/cpu/cpu{cpu}/topology"
        write(root, {f"{topology}/physical_package_id": f"{package}\n", f"{topology}/die_id": f"{die}\n"})


def keys(root: Path) -> dict[str, int]:
    found = find_perf(str(root), KernelFiles())
    return {counter.key: counter.cpu for counter in found.counters if isinstance(counter, PerfCounter)}


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextmanager
def discovered(root: Path | str) -> Iterator[RaplSensor]:
    before = descriptors()
    sensor = RaplSensor(str(root))
    sensor.discover()
    try:
        yield sensor
    finally:
        sensor.close()
        assert descriptors() == before


@pytest.fixture
def _opens() -> None:
    fd = PerfCalls().open(SOFTWARE, 0, 0)
    if fd < 0:
        pytest.skip(f"perf_event_open for a whole CPU: {os.strerror(-fd)}")
    os.close(fd)


opens = pytest.mark.usefixtures("_opens")


@pytest.mark.parametrize(
    ("terms", "config"),
    [
        ("event=0x02\n", 2),
        ("event=0x02,umask=0x1", 0x102),
        ("event=3,inv", 3 | 1 << 23),
        ("event=0x100", None),
        ("event=0x02,unheard=1", None),
        ("other=1", None),
        ("event=-2", None),
        ("", None),
    ],
)
def test_an_event_becomes_its_config(terms: str, config: int | None) -> None:
    formats = {"event": "config:0-7\n", "umask": "config:8-15", "inv": "config:23", "other": "config1:0-7"}
    assert event_config(terms, formats) == config


@pytest.mark.parametrize(
    ("text", "cpus"), [("0\n", [0]), ("0,24-26", [0, 24, 25, 26]), ("", None), ("0,", None), ("0-", None), ("x", None)]
)
def test_a_list_of_cpus(text: str, cpus: list[int] | None) -> None:
    assert cpu_list(text) == cpus


def test_each_package_and_its_memory_is_counted_on_its_first_cpu(tmp_path: Path) -> None:
    cores(tmp_path, (0, 0, 0), (24, 1, 0))
    pmu(tmp_path, "0,24", pkg="event=0x02", ram="event=0x03", cores="event=0x01", gpu="event=0x04", psys="event=0x05")
    assert keys(tmp_path) == {"package-0": 0, "package-1": 24, "dram-0": 0, "dram-1": 24}


def test_dies_of_intel_are_counted_and_dies_of_amd_are_one_counter(tmp_path: Path) -> None:
    cores(tmp_path, (0, 0, 0), (24, 0, 1), (48, 1, 0), (72, 1, 1))
    pmu(tmp_path, "0,24,48,72", pkg="event=0x02")
    write(tmp_path, {"proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\n"})
    assert keys(tmp_path) == {f"package-{p}-die-{d}": 48 * p + 24 * d for p in (0, 1) for d in (0, 1)}
    write(tmp_path, {"proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\n"})
    assert keys(tmp_path) == {"package-0": 0, "package-1": 48}


@pytest.mark.parametrize(
    ("scale", "unit"), [("1e-9", "Watts"), ("nan", "Joules"), ("0", "Joules"), ("-1", "Joules"), ("", "Joules")]
)
def test_an_event_that_is_not_in_joules_is_none(tmp_path: Path, scale: str, unit: str) -> None:
    pmu(tmp_path, scale=scale, unit=unit, pkg="event=0x02")
    with discovered(tmp_path) as sensor:
        assert sensor.sources == ()
        assert sensor.status[0].cause.endswith("perf events: they cannot be understood")


@opens
def test_joules_are_counts_times_scale(tmp_path: Path) -> None:
    pmu(tmp_path, pkg=CPU_CLOCK, psys=CPU_CLOCK)
    with discovered(tmp_path) as sensor:
        (source,) = sensor.sources
        assert (source.id, source.label, source.scope) == ("rapl:package-0", "CPU", "CPU package")
        assert source.note.startswith("RAPL counter by perf events;")
        assert [channel.id for channel in sensor.channels] == ["host.package_0_energy_j"]
        assert sensor.not_covered == ("DRAM",)
        (status,) = sensor.status
        assert (status.state, status.detail) == ("available", "CPU; by perf events")
        assert status.cause.startswith("not by powercap: there is no /sys/class/powercap")
        begin_s = time.monotonic()
        first_j = sensor.read(0.0)[0]
        begun_s = time.monotonic()
        time.sleep(0.05)
        end_s = time.monotonic()
        gained_j = sensor.read(0.1)[0] - first_j
        ended_s = time.monotonic()
        assert (end_s - begun_s) * 0.999 <= gained_j <= (ended_s - begin_s) * 1.001


@opens
@pytest.mark.parametrize("events", [{"pkg": DUMMY}, {"psys": DUMMY}], ids=["package", "platform"])
def test_an_event_that_opens_and_stays_at_0_is_no_sensor(tmp_path: Path, events: dict[str, str]) -> None:
    pmu(tmp_path, **events)
    with discovered(tmp_path) as sensor:
        assert sensor.sources == ()
        assert sensor.read(3.0) == []
        assert sensor.not_covered == ()
        (status,) = sensor.status
        assert status.state == "unavailable"
        assert status.cause.endswith("perf events: the counter does not advance")


@opens
def test_memory_that_does_not_count_leaves_the_package(tmp_path: Path) -> None:
    pmu(tmp_path, pkg=CPU_CLOCK, ram=DUMMY)
    with discovered(tmp_path) as sensor:
        assert [source.id for source in sensor.sources] == ["rapl:package-0"]
        assert (sensor.status[0].state, sensor.status[0].cause) == ("degraded", "the counter does not advance")
        sensor.read(3.0)
        assert len(sensor.read(6.0)) == 1


@opens
@pytest.mark.parametrize(
    ("fault", "cause"), [("stuck", "the counter does not advance"), ("unreadable", "energy_uj cannot be read")]
)
def test_perf_stands_in_for_powercap_and_says_why(tmp_path: Path, fault: str, cause: str) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    if fault == "unreadable":
        counter.unlink()
        counter.mkdir()
    pmu(tmp_path, pkg=CPU_CLOCK)
    with discovered(tmp_path) as sensor:
        assert sensor.status[0].cause.startswith(f"not by powercap: {cause}")
        assert sensor.status[0].state == "available"
        assert len(sensor.sources) == 1
        if fault == "stuck":
            counter.write_text("7000000\n")  # too late: one joule is not counted in two ways
        assert len(sensor.read(3.0)) == 1


def test_perf_is_not_touched_where_powercap_serves(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 10_000_000_000)
    pmu(tmp_path, pkg=CPU_CLOCK, ram=CPU_CLOCK)
    with advancing(counter), discovered(tmp_path) as sensor:
        assert [source.id for source in sensor.sources] == ["rapl:package-0"]
        (status,) = sensor.status
        assert (status.state, status.detail, status.cause) == ("available", "CPU; by powercap", "")
        assert "perf" not in sensor._ways


@opens
def test_an_event_is_opened_on_the_cpu_that_was_asked_for(tmp_path: Path) -> None:
    pmu(tmp_path, cpumask="99999", pkg=CPU_CLOCK)  # there is none of that number
    with discovered(tmp_path) as sensor:
        assert sensor.sources == ()
        assert "perf events: the event cannot be read" in sensor.status[0].cause


@opens
def test_an_event_that_was_lost_starts_again(tmp_path: Path) -> None:
    pmu(tmp_path, pkg=CPU_CLOCK)
    with discovered(tmp_path) as sensor:
        sensor.read(0.0)
        time.sleep(0.02)
        far_j = sensor.read(0.02)[0]
        (counter,) = sensor._counters
        assert isinstance(counter, PerfCounter)
        with (tmp_path / "empty").open("w+b") as empty:
            os.dup2(empty.fileno(), counter.fd, inheritable=False)
        assert sensor.read(3.0) == [0.0]
        assert far_j > 0.0
        time.sleep(0.005)
        assert 0.0 < sensor.read(3.005)[0] < far_j


@opens
def test_a_forked_child_lets_go_and_the_parent_counts_on(tmp_path: Path) -> None:
    pmu(tmp_path, pkg=CPU_CLOCK)
    with discovered(tmp_path) as sensor:
        before_j = sensor.read(0.0)[0]
        child = os.fork()
        if child == 0:
            sensor.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        time.sleep(0.002)
        assert sensor.read(0.1)[0] > before_j
        (counter,) = sensor._counters
        assert isinstance(counter, PerfCounter)
        assert not os.get_inheritable(counter.fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="drops root's rights")
@pytest.mark.skipif(not PARANOID.exists() or int(PARANOID.read_text()) < 1, reason="everybody may count on a CPU here")
def test_a_refused_event_names_the_one_command(tmp_path: Path) -> None:
    pmu(tmp_path, pkg=CPU_CLOCK)
    open_to_others(tmp_path)
    os.seteuid(65534)
    try:
        with discovered(tmp_path) as sensor:
            (status,) = sensor.status
            assert (status.state, status.remedy) == ("unavailable", PERF_REMEDY)
            assert "perf_event_paranoid" in status.cause
            os.seteuid(0)  # as if the command had been given
            assert sensor.read(10.0) == []
            time.sleep(0.002)
            assert math.isfinite(sensor.read(20.0)[0])
            assert sensor.status[0].state == "available"
    finally:
        os.seteuid(0)


def test_what_this_machine_has_is_counted_or_explained() -> None:
    with discovered("/") as sensor:
        (status,) = sensor.status
        assert status.ok == bool(sensor.sources)
        assert sensor.sources or status.cause
