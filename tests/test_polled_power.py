"""Energy of a device without a counter: its power over time, and what is not known between two reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resmon.monitor import Monitor
from resmon.testing import ManualClock, scripted_gpu
from tests.test_windows import measured, only_gpu


def test_polled_power_is_not_bridged_over_a_gap() -> None:
    monitor, clock, _ = only_gpu(power_w=lambda t: None if 2 < t < 7 else 100.0)
    with monitor:
        (part,) = measured(monitor, clock, 10.0).energy.components
        assert part.energy_j == pytest.approx(500.0)
        assert part.coverage == pytest.approx(0.5)


def test_where_hardly_anything_was_read_the_energy_is_not_known_and_never_next_to_nothing() -> None:
    """As under a call that holds the interpreter: one reading, at the very beginning of the window, and none after."""
    monitor, clock, _ = only_gpu(power_w=lambda t: None if 5.0001 < t < 9.5 else 300.0)
    with monitor:
        clock.advance(4.999)
        window = monitor.measure("held").open()
        clock.advance(4.4)
        window.close()
        clock.advance(2.0)
    assert window.measurement is not None
    energy = window.measurement.energy
    assert energy.total_j is None, "not 0.3 J, of the millisecond that was seen"
    assert "GPU 0 (no reading in this span)" in energy.not_covered


def test_polled_power_is_integrated_by_trapezoids() -> None:
    monitor, clock, _ = only_gpu(power_w=lambda t: 10.0 * t)
    with monitor:
        (part,) = measured(monitor, clock, 10.0).energy.components
        assert part.energy_j == pytest.approx(500.0), "of a ramp they miss nothing"


@pytest.mark.parametrize(("watts", "true_j"), [((100.0, 700.0), 350.0), ((700.0, 100.0), 50.0)], ids=["up", "down"])
def test_a_power_that_is_a_mean_over_a_second_says_little_of_half_a_second(
    watts: tuple[float, float], true_j: float
) -> None:
    """It has hardly followed the load when the window is over."""
    before_w, after_w = watts

    def mean_w(at_s: float) -> float:
        return before_w + (after_w - before_w) * min(max(at_s - 10.0, 0.0), 1.0)

    clock, gpu = ManualClock(), scripted_gpu(0, power_w=mean_w)
    gpu.sources = (replace(gpu.sources[0], period_s=1.0, power_limit_w=700.0),)
    with Monitor(0.1, sensors=[gpu], clock=clock) as monitor:
        clock.advance(10.0)
        short, long = measured(monitor, clock, 0.5).energy, measured(monitor, clock, 10.0).energy
    (part,) = short.components
    assert part.basis == "estimated"
    assert part.low_j <= true_j <= part.high_j <= 0.5 * 700.0
    assert [part.basis for part in long.components] == ["measured"]


def test_a_plateau_then_a_step_is_not_integrated_as_a_ramp() -> None:
    monitor, clock, _ = only_gpu(power_w=lambda t: 90.0 if t < 9.75 else 690.0)
    with monitor:
        (part,) = measured(monitor, clock, 10.0).energy.components
        assert part.energy_j == pytest.approx(990.0 + 0.25 * 300, abs=151)
