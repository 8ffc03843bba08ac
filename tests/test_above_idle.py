"""Energy above idle: a second number, with an interval of its own, from a window in which nothing ran."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from resmon.energy import AboveIdle, Ledger, combine
from resmon.monitor import Monitor
from resmon.results import Claim, EnergyComponent, Measurement
from resmon.testing import ManualClock, scripted_gpu, scripted_host
from tests.measurements import STARTED, measurement


def made(
    name: str, seconds: float, energy_j: float, half_j: float, *, at_s: float = 0.0, gain_error: float = 0.05
) -> Measurement:
    part = EnergyComponent(
        device="GPU 0",
        kind="gpu",
        energy_j=energy_j,
        low_j=energy_j - half_j,
        high_j=energy_j + half_j,
        method="counter",
        basis="measured",
        scope="board",
        gain_error=gain_error,
        claim=Claim(
            boot="b",
            source="nvml:GPU-1",
            meter="counter",
            start_s=at_s,
            end_s=at_s + seconds,
            start_j=0,
            end_j=energy_j,
        ),
    )
    started = STARTED + timedelta(seconds=at_s)
    return Measurement(name=name, started_at=started, duration_s=seconds, energy=combine([part]))


def half(energy_j: float, rest_j: float, gain_error: float = 0.05) -> float:
    return math.hypot(1.96 * gain_error * energy_j, rest_j)


def test_the_gain_is_that_of_the_difference_and_edges_add_in_quadrature() -> None:
    idle = made("idle", 100, 10_000, half(10_000, 30))
    work = made("work", 50, 25_000, half(25_000, 40), at_s=200)
    found = work.above_idle(idle)
    (part,) = found.components
    assert part.energy_j == pytest.approx(20_000)
    expected_j = math.hypot(1.96 * 0.05 * 20_000, 40, 30 / 2)
    assert (part.low_j, part.high_j) == pytest.approx((20_000 - expected_j, 20_000 + expected_j))
    assert (found.measured_j, found.measured_low_j, found.measured_high_j) == pytest.approx(
        (20_000, 20_000 - expected_j, 20_000 + expected_j)
    )
    assert found.estimated_j is None
    assert part.scope == "board, above idle"
    assert str(found) == "above idle: measured 20.0 ± 2.0\u202fkJ | idle measured for 1\u202fmin 40\u202fs"
    assert work.energy.measured_j == 25_000, "the headline stays"


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    draw = random.Random(3)
    held, rounds = 0, 3000
    for _ in range(rounds):
        gain = draw.gauss(1.0, 0.05)
        idle_j, work_j = gain * 6000 + draw.gauss(0, 15), gain * 9000 + draw.gauss(0, 25)
        idle = made("idle", 60, idle_j, half(idle_j, 1.96 * 15))
        work = made("work", 30, work_j, half(work_j, 1.96 * 25), at_s=100)
        (part,) = work.above_idle(idle).components
        held += part.low_j <= 6000 <= part.high_j
    assert 0.94 <= held / rounds <= 0.965


def test_a_calibrated_board_makes_it_narrow() -> None:
    idle = made("idle", 100, 10_000, half(10_000, 30, 0.008), gain_error=0.008)
    work = made("work", 50, 25_000, half(25_000, 40, 0.008), at_s=200, gain_error=0.008)
    (part,) = work.above_idle(idle).components
    assert part.high_j - part.low_j < 700


def test_work_that_is_not_told_from_idle_says_so_and_is_not_cut_at_0() -> None:
    idle = made("idle", 100, 10_000, half(10_000, 500))
    found = made("work", 10, 990, half(990, 80), at_s=200).above_idle(idle)
    (part,) = found.components
    assert part.low_j < part.energy_j < 0 < part.high_j
    assert found.notes == ("not told apart from idle: GPU 0",)
    assert str(found).startswith("above idle: measured < ")
    assert "−" not in str(found)


def test_idle_that_drew_more_than_the_work_is_refused() -> None:
    idle = made("idle", 10, 5000, half(5000, 5))
    with pytest.raises(
        ValueError, match=r"GPU 0 drew more .* 'idle' \(500 W\) than in 'work' \(100 W\): it was not idle"
    ):
        made("work", 10, 1000, half(1000, 5), at_s=60).above_idle(idle)


def test_idle_long_ago_is_noted() -> None:
    idle = made("idle", 100, 10_000, half(10_000, 30))
    found = made("work", 50, 25_000, half(25_000, 40), at_s=100 + 7200).above_idle(idle)
    assert found.notes == ("idle measured 2\u202fh 0\u202fmin away from the work",)
    before = made("work", 50, 25_000, half(25_000, 40), at_s=0)
    assert before.above_idle(replace(idle, started_at=STARTED + timedelta(seconds=60))).notes == ()


def changed(m: Measurement, **facts: object) -> Measurement:
    (part,) = m.energy.components
    return replace(m, energy=combine([replace(part, **facts)]))  # type: ignore[arg-type]


def test_an_idle_window_that_says_nothing_of_this_work_is_refused() -> None:
    idle, work = made("idle", 100, 10_000, 1000), made("work", 50, 25_000, 2500, at_s=200)
    claim = idle.energy.components[0].claim
    assert claim is not None
    for wrong, message in (
        (replace(idle, duration_s=0.0), r"'idle' has no length \(0.0 s\)"),
        (changed(idle, device="GPU 1"), "'idle' has no energy of this GPU 0"),
        (changed(idle, claim=replace(claim, source="nvml:GPU-2")), "'idle' has no energy of this GPU 0"),
        (changed(idle, claim=replace(claim, boot="c")), "'idle' is of another boot or machine"),
        (changed(idle, gain_error=0.01), "calibrated in one of 'idle' and the work alone"),
        (changed(idle, claim=replace(claim, end_s=claim.start_s)), "'idle' saw GPU 0 for no time at all"),
        (replace(idle, started_at=STARTED + timedelta(seconds=210)), "'idle' and 'work' overlap in time"),
        (work, "'work' and 'work' overlap in time"),
    ):
        with pytest.raises(ValueError, match=message):
            work.above_idle(wrong)
    with pytest.raises(ValueError, match="'nothing' has no energy"):
        replace(work, name="nothing", energy=combine([])).above_idle(idle)


def test_estimates_take_the_least_minus_the_most() -> None:
    idle = measurement(0, started_at=STARTED - timedelta(seconds=100), name="idle")
    found = measurement(0, duration_s=30.0, name="work").above_idle(idle)
    (part,) = found.components
    assert (part.basis, part.energy_j) == ("estimated", 1200)
    assert (part.low_j, part.high_j) == (1200 - 0.5 * 3600, 3600 - 0.5 * 1200)
    assert found.estimated_low_j == part.low_j
    assert found.measured_j is None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def monitor(clock: ManualClock) -> Iterator[Monitor]:
    """Two GPUs, one with a counter, that draw 100 W until second 100 and 300 W from then on."""

    def power_w(at_s: float) -> float:
        return 100.0 if at_s < 100 else 300.0

    def energy_j(at_s: float) -> float:
        return 100 * at_s + 200 * max(0.0, at_s - 100)

    sensors = [
        scripted_host(power_w=20.0),
        scripted_gpu(0, energy_j=energy_j, power_w=power_w),
        scripted_gpu(1, power_w),
    ]
    with Monitor(0.5, sensors=sensors, clock=clock) as monitor:
        yield monitor


def test_a_live_window_above_a_live_idle_window(monitor: Monitor, clock: ManualClock) -> None:
    clock.advance(10)
    with monitor.measure("idle") as idle:
        clock.advance(60)
    clock.advance(50)
    with monitor.measure("work") as work:
        clock.advance(20)
    assert idle.measurement is not None
    assert work.measurement is not None
    found = work.measurement.above_idle(idle.measurement)
    assert isinstance(found, AboveIdle)
    assert {c.device: pytest.approx(c.energy_j, abs=1e-6) for c in found.components} == {
        "CPU": 0.0,
        "GPU 0": 4000.0,
        "GPU 1": 4000.0,
    }
    assert found.measured_j == pytest.approx(8000)
    assert found.measured_low_j is not None
    assert found.measured_high_j is not None
    assert found.measured_low_j < 8000 < found.measured_high_j
    assert found.notes == ("not told apart from idle: CPU",)
    with pytest.raises(ValueError, match="has no claim"):
        Ledger(found.components)
