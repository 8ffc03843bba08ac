"""The rated-power model: the arithmetic of the articles, and what is made of it for the CPU."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resmon.energy.rated import rated_energy_j
from resmon.sensors.cpu_info import CpuInfo, parse_cpuinfo, read_cpu_info
from resmon.sensors.host import HostSensor
from resmon.sensors.rated import RatedPower, RatedSensor, modelled_power_w, rated_power


@pytest.mark.parametrize("wrong", [("300", 0.5, 1), (300, None, 1), (300, 0.5, "1 s"), (["300"], [0.5], 1)])
def test_what_is_no_number_is_refused_by_name(wrong: tuple[Any, Any, Any]) -> None:
    with pytest.raises(TypeError, match=r"(power_w|utilization|duration_s) must be a number, not "):
        rated_energy_j(*wrong)


def test_the_worked_example_is_exact() -> None:
    assert rated_energy_j([300, 100, 20], [0.8, 0.5, 0.2], 3600) == 294 * 3600
    assert [rated_energy_j(p, u, 3600) / 3600 for p, u in ((300, 0.8), (100, 0.5), (20, 0.2))] == [240, 50, 4]
    assert rated_energy_j((), (), 10) == 0
    numbers: list[Any] = [np.float32(300), np.array([300])]
    shares: list[Any] = [np.float32(0.5), np.array([0.5])]
    assert [rated_energy_j(p, u, 2) for p, u in zip(numbers, shares, strict=True)] == [300, 300]


@pytest.mark.parametrize(
    ("power_w", "utilization", "duration_s", "named"),
    [
        (300, 80, 1, "80"),
        (300, -0.1, 1, "-0.1"),
        (300, math.nan, 1, "nan"),
        (-5, 0.5, 1, "-5"),
        (math.inf, 0.5, 1, "inf"),
        (300, 0.5, -2, "-2"),
        (300, 0.5, math.nan, "nan"),
        ([300, 100], [0.5], 1, "2 values of power_w do not match 1"),
        ([300, 100], [0.5, 1.5], 1, "1.5"),
    ],
)
def test_a_wrong_value_is_named(power_w: float, utilization: float, duration_s: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        rated_energy_j(power_w, utilization, duration_s)


@given(st.floats(0, 1), st.sampled_from([(100.0, 100.0, 100.0), (10.0, 40.0, 160.0)]))
def test_the_model_lies_within_its_bounds(utilization: float, watts: tuple[float, float, float]) -> None:
    low_rated, rated, high_rated = watts
    model = RatedPower(low_w=low_rated, power_w=rated, high_w=high_rated, known=True)
    power, low, high = modelled_power_w(model, utilization)
    assert 0.1 * low_rated <= low <= power <= high <= 1.2 * high_rated
    if utilization >= 0.1:
        assert power == rated_energy_j(rated, utilization, 1)


@pytest.mark.parametrize(
    ("name", "sockets", "watts"),
    [
        ("Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", 2, 300),
        ("Intel(R) Xeon(R) Platinum 8480+", 1, 350),
        ("AMD EPYC 7742 64-Core Processor", 2, 450),
        ("13th Gen Intel(R) Core(TM) i9-13900K", 1, 125),
        ("AMD Ryzen 9 7950X 16-Core Processor", 1, 170),
    ],
)
def test_a_known_model_has_its_rated_power(name: str, sockets: int, watts: float) -> None:
    rated = rated_power(CpuInfo(model=name, threads=64, sockets=sockets, threads_per_core=2))
    assert (rated.low_w, rated.power_w, rated.high_w, rated.known) == (watts, watts, watts, True)


@pytest.mark.parametrize(
    "name",
    [
        "Intel(R) Xeon(R) Processor",
        "Intel(R) Xeon(R) CPU @ 2.20GHz",
        "AMD EPYC Processor",
        "AMD Ryzen 9 7950X3D 16-Core Processor",
        "QEMU Virtual CPU version 2.5+",
        "aarch64",
        "",
    ],
)
def test_an_unknown_or_masked_model_is_a_range(name: str) -> None:
    rated = rated_power(CpuInfo(model=name, threads=8))
    assert not rated.known
    assert rated.low_w * 2 < rated.power_w < rated.high_w / 2


def test_a_virtual_machine_has_its_share_of_the_socket() -> None:
    name = "Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz"  # 270 W, 40 cores, 80 threads
    hidden = rated_power(CpuInfo(model=name, threads=8, threads_per_core=1, virtual=True))
    assert (hidden.low_w, hidden.power_w, hidden.high_w) == (27, 27, 54)
    shown = rated_power(CpuInfo(model=name, threads=8, threads_per_core=2, virtual=True))
    assert (shown.low_w, shown.high_w) == (27, 27)


def test_cpuinfo_is_read() -> None:
    one = (
        "processor\t: {}\nmodel name\t: Some  CPU\nphysical id\t: {}\n"
        "siblings\t: 4\ncpu cores\t: 2\nflags\t: fpu {}\n\n"
    )
    info = parse_cpuinfo("".join(one.format(i, i // 4, "hypervisor") for i in range(8)))
    assert info == CpuInfo(model="Some CPU", threads=8, sockets=2, threads_per_core=2, virtual=True)
    assert not parse_cpuinfo(one.format(0, 0, "sse")).virtual
    assert parse_cpuinfo("").threads == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cpu_without_a_model_name_goes_by_its_machine_type(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("".join(f"processor\t: {i}\nCPU part\t: 0xd40\n\n" for i in range(4)))
    info = read_cpu_info(str(tmp_path))
    assert (info.model, info.threads, info.sockets) == (platform.machine(), 4, 1)
    assert info.threads_per_core is None
    board = parse_cpuinfo("processor: 0\nModel : Raspberry  Pi 5\nphysical id: 0\nsiblings: 4\ncpu cores: 2\n")
    assert (board.model, board.threads_per_core) == ("Raspberry Pi 5", 2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cpu_that_cannot_be_read_is_unknown_and_may_be_virtual(tmp_path: Path) -> None:
    info = read_cpu_info(str(tmp_path))
    assert (info.model, info.virtual) == ("", True)
    assert info.threads == os.cpu_count()


def test_the_sensor_follows_the_host_of_the_same_tick() -> None:
    host = HostSensor()
    rated = RatedSensor(host)
    assert [status.state for status in rated.status] == ["looking"]
    assert all(math.isnan(value) for value in rated.read(0.0))
    host.discover()
    rated.discover()
    try:
        host.read(time.monotonic())
        assert all(math.isnan(value) for value in rated.read(0.0))
        time.sleep(0.15)
        host.read(time.monotonic())
        power, low, high = rated.read(0.0)
        share = host.limits.cpu_cores / host.cpu.threads
        model = modelled_power_w(rated_power(host.cpu), host.cpu_utilization)
        assert (power, low, high) == pytest.approx([watts * share for watts in model])
        (source,) = rated.sources
        assert (source.id, source.method, source.basis) == ("rated:cpu", "model", "estimated")
        assert [source.channel, source.low_channel, source.high_channel] == [channel.id for channel in rated.channels]
        assert source.power_limit_w is not None
        assert high <= source.power_limit_w
        assert rated.not_covered == ("DRAM",)
    finally:
        rated.close()
        host.close()
