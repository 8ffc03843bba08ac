"""RAPL counters, over powercap trees that the test writes."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import resmon
from resmon.monitor import Monitor
from resmon.sensors import not_covered
from resmon.sensors.rapl import POWERCAP_REMEDY, RaplSensor
from resmon.testing import ManualClock, ScriptedSensor
from tests.fake_root import open_to_others, write

RANGE_UJ = 262_143_328_850


def zone(root: Path, entry: str, name: str, energy_uj: int, range_uj: int = RANGE_UJ) -> Path:
    place = f"sys/class/powercap/{entry}"
    write(
        root, {f"{place}/name": f"{name}\n", f"{place}/energy_uj": energy_uj, f"{place}/max_energy_range_uj": range_uj}
    )
    return root / place / "energy_uj"


def bump(path: Path, by_uj: int) -> None:
    """Advance a counter as the hardware does, around its range."""
    path.write_text(f"{(int(path.read_text()) + by_uj) % RANGE_UJ}\n")


@contextmanager
def advancing(*counters: Path) -> Iterator[None]:
    """Counters that run, as they do while a sensor discovers them."""
    stop = threading.Event()
    # Kept open: tests count the descriptors of this process meanwhile.
    files = [os.open(counter, os.O_RDWR) for counter in counters]

    def run() -> None:
        while not stop.wait(0.002):
            for file in files:
                text = f"{int(os.pread(file, 64, 0)) + 20_000}\n"
                os.pwrite(file, text.encode(), 0)  # in place: never empty in between

    runner = threading.Thread(target=run)
    runner.start()
    try:
        yield
    finally:
        stop.set()
        runner.join()
        for file in files:
            os.close(file)


@contextmanager
def discovered(root: Path, *counters: Path) -> Iterator[RaplSensor]:
    sensor = RaplSensor(str(root))
    with advancing(*counters):
        sensor.discover()
    try:
        yield sensor
    finally:
        sensor.close()


def test_packages_and_dram_are_counted_once(tmp_path: Path) -> None:
    counters = [
        zone(tmp_path, "intel-rapl:0", "package-0", 10_000_000_000),
        zone(tmp_path, "intel-rapl:0:0", "core", 10_000_000),
        zone(tmp_path, "intel-rapl:0:1", "dram", 20_000_000_000),
        zone(tmp_path, "intel-rapl:0:2", "uncore", 10_000_000),
        zone(tmp_path, "intel-rapl:1", "package-1", 30_000_000_000),
        zone(tmp_path, "intel-rapl:2", "psys", 40_000_000_000),
        zone(tmp_path, "intel-rapl-mmio:0", "package-0", 50_000_000_000),
    ]
    with discovered(tmp_path, *counters) as sensor:
        assert [source.id for source in sensor.sources] == ["rapl:package-0", "rapl:package-1", "rapl:dram-0"]
        assert [source.label for source in sensor.sources] == ["CPU package 0", "CPU package 1", "DRAM"]
        assert [channel.id for channel in sensor.channels] == [
            "host.package_0_energy_j",
            "host.package_1_energy_j",
            "host.dram_0_energy_j",
        ]
        assert {(channel.kind, channel.code, channel.unit) for channel in sensor.channels} == {("counter", "d", "J")}
        assert {(source.method, source.basis) for source in sensor.sources} == {("counter", "measured")}
        assert sensor.not_covered == ()
        assert sensor.status[0].state == "available"
        assert sensor.read(1.0) == [0, 0, 0]
        bump(counters[0], 5_000_000)
        bump(counters[2], 1_000_000)
        bump(counters[6], 9_000_000)
        assert sensor.read(2.0) == [5, 0, 1]


@pytest.mark.parametrize(
    ("model", "gain_error"),
    [
        ("Intel(R) Xeon(R) Platinum 8480+", 0.05),
        ("AMD EPYC 9654 96-Core Processor", 0.1),
        ("Intel(R) Core(TM) i7", 0.1),
    ],
)
def test_the_gain_error_is_a_placeholder_by_kind_of_processor(tmp_path: Path, model: str, gain_error: float) -> None:
    write(tmp_path, {"proc/cpuinfo": f"processor\t: 0\nmodel name\t: {model}\n"})
    with discovered(tmp_path, zone(tmp_path, "intel-rapl:0", "package-0", 10_000_000_000)) as sensor:
        (source,) = sensor.sources
        assert source.gain_error == gain_error
        assert f"a placeholder of {gain_error * 100:.0f} %" in source.note


def test_mirrored_dies_are_dropped_and_true_dies_are_kept(tmp_path: Path) -> None:
    dies = [zone(tmp_path / "mirror", f"intel-rapl:{i}", f"package-0-die-{i}", 10_000_000_000) for i in (0, 1)]
    with discovered(tmp_path / "mirror", *dies) as sensor:
        assert [source.id for source in sensor.sources] == ["rapl:package-0-die-0"]
    dies = [zone(tmp_path / "true", f"intel-rapl:{i}", f"package-0-die-{i}", (i + 1) * 10_000_000_000) for i in (0, 1)]
    with discovered(tmp_path / "true", *dies) as sensor:
        assert [source.label for source in sensor.sources] == ["CPU package 0 die 0", "CPU package 0 die 1"]
        assert sensor.not_covered == ("DRAM",)


def test_the_platform_counts_only_where_there_is_no_package(tmp_path: Path) -> None:
    with discovered(tmp_path, zone(tmp_path, "intel-rapl:0", "psys", 10_000_000_000)) as sensor:
        assert [(source.id, source.label) for source in sensor.sources] == [("rapl:psys", "Platform")]
        assert sensor.not_covered == (), "the memory is a part of the platform"
        model = ScriptedSensor("rated", [], {}, [], not_covered=["DRAM"])
        assert not_covered([sensor, model]) == (), "whatever a model says of itself"


def test_a_wrap_is_no_loss(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000_000)
    with discovered(tmp_path, counter) as sensor:
        counter.write_text(f"{RANGE_UJ - 30_000_000}\n")
        sensor.read(0.0)
        for tick in range(1, 4):
            bump(counter, 20_000_000)
            assert sensor.read(tick * 0.5) == [20 * tick]


def test_many_rounds_add_up_exactly(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000_000)
    with discovered(tmp_path, counter) as sensor:
        sensor.read(0.0)
        total_uj = 0
        for tick in range(1, 2001):
            bump(counter, 14_999_999_999)  # 250 W, once a minute
            total_uj += 14_999_999_999
            assert sensor.read(tick * 60.0) == [total_uj * 1e-6]
        assert total_uj > 100 * RANGE_UJ


@pytest.mark.parametrize("fault", ["range", "reset", "gap"])
def test_an_interval_that_cannot_be_known_is_discarded(tmp_path: Path, fault: str) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000_000)
    if fault == "range":
        (counter.parent / "max_energy_range_uj").unlink()
    with discovered(tmp_path, counter) as sensor:
        # So far from the end that a wrap would be believed by whoever took the usual range for this one's.
        counter.write_text(f"{RANGE_UJ - 100_000_000 if fault == 'range' else 200_000_000_000}\n")
        sensor.read(0.0)
        bump(counter, 50_000_000)
        assert sensor.read(1.0) == [50]
        at_s = 2.0
        if fault == "gap":  # long enough for a whole round
            at_s = 1000.0
            bump(counter, 1_000_000)
        else:
            counter.write_text("5\n")
        assert math.isnan(sensor.read(at_s)[0])
        bump(counter, 10_000_000)
        assert sensor.read(at_s + 1) == [10]  # a decrease: the channel says that it started again


def test_a_counter_lost_in_mid_run_comes_back_with_what_it_missed(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 10_000_000_000)
    with discovered(tmp_path, counter) as sensor:
        shape = sensor.generation
        counter.write_text("10000000000\n")
        sensor.read(0.0)
        counter.write_text("")
        assert math.isnan(sensor.read(1.0)[0])
        assert sensor.status[0].state == "lost"
        counter.unlink()
        assert math.isnan(sensor.read(2.0)[0])
        counter.write_text("10070000000\n")
        assert [sensor.read(at_s) for at_s in (5.0, 6.0)] == [[70], [70]]
        (status,) = sensor.status
        assert status.ok
        assert sensor.generation == shape


def test_a_counter_that_stands_still_is_no_sensor_until_it_moves(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with discovered(tmp_path) as sensor:
        assert sensor.sources == ()
        assert (sensor.status[0].state, sensor.status[0].cause) == ("unavailable", "the counter does not advance")
        shape = sensor.generation
        assert sensor.read(0.0) == []
        counter.write_text("5000000\n")
        assert len(sensor.read(2.5)) == len(sensor.channels) == 1
        assert sensor.generation == shape + 1
        counter.write_text("8000000\n")
        assert sensor.read(3.0) == [3]


@pytest.mark.skipif(not hasattr(os, "seteuid") or os.geteuid() != 0, reason="drops root's rights")
def test_root_only_counters_name_the_one_command(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 10_000_000_000)
    counter.chmod(0o400)
    open_to_others(tmp_path)
    os.seteuid(65534)
    try:
        with discovered(tmp_path) as sensor:
            status = sensor.status[0]
            assert (status.state, status.remedy) == ("unavailable", POWERCAP_REMEDY)
            assert "readable by root only" in status.cause
            os.seteuid(0)
            counter.chmod(0o444)
            os.seteuid(65534)
            sensor.read(0.0)
            os.seteuid(0)
            bump(counter, 1_000_000)
            os.seteuid(65534)
            sensor.read(2.5)
            assert [source.label for source in sensor.sources] == ["CPU"]
    finally:
        os.seteuid(0)


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    for layout, cause in (("none", "virtual machine"), ("masked", "container hides"), ("other", "no RAPL package")):
        root = tmp_path / layout
        if layout == "masked":
            (root / "sys/class/powercap/intel-rapl:0").mkdir(parents=True)
        if layout == "other":
            zone(root, "dtpm:0", "soc", 1)
        with discovered(root) as sensor:
            assert sensor.status[0].state == ("unavailable" if layout == "masked" else "absent")
            assert cause in sensor.status[0].cause
            assert sensor.read(0.0) == []
            assert sensor.not_covered == ()


def test_memory_that_is_counted_is_not_named_as_not_covered(tmp_path: Path) -> None:
    counters = [zone(tmp_path, "intel-rapl:0", "package-0", 10_000_000_000)]
    trace = tmp_path / "run.ndjson"
    for dram in (False, True):
        if dram:
            counters.append(zone(tmp_path, "intel-rapl:0:0", "dram", 20_000_000_000))
        clock, modelled = ManualClock(), ScriptedSensor("rated", [], {}, [], not_covered=["DRAM"])
        with advancing(*counters), Monitor(0.5, [RaplSensor(str(tmp_path)), modelled], clock) as monitor:
            if dram:
                monitor.record_trace(trace)
            with monitor.measure("work") as window:
                clock.advance(5.0)
            assert window.measurement is not None
            assert ("DRAM" in window.measurement.energy.not_covered) is not dram
    assert "DRAM" not in resmon.replay(trace).play().energy.not_covered
