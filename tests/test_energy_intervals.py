"""The energy between two marks with its interval, and sums of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resmon.energy.intervals import CounterEnergy, between, component_of, sum_windows, total_bounds
from resmon.energy.load import Moments
from resmon.energy.mark import Mark
from resmon.facts import EnergySource
from resmon.results import EnergyComponent

START = Mark(
    at_s=10.0, total_j=100.0, sigma_j=1.0, floor_j=80.0, ceiling_j=110.0, power_w=300.0, period_s=0.1, load=Moments()
)
SOURCE = EnergySource(
    id="nvml:GPU-1", device_id="gpu", label="GPU 0", kind="gpu", method="counter", basis="measured", scope="board",
    channel="gpu.energy_j",
)  # fmt: skip


def later(seconds: float, joules: float, *, gap_s: float = 0.0, gap_j: float = 0.0, resets: int = 0) -> Mark:
    total_j = 100.0 + joules
    return replace(
        START,
        at_s=10.0 + seconds,
        total_j=total_j,
        floor_j=total_j - 15,
        ceiling_j=total_j + 15,
        gap_s=gap_s,
        gap_j=gap_j,
        resets=resets,
    )


def part(energy_j: float, half_j: float, device: str = "GPU 0", **changes: str) -> EnergyComponent:
    facts = {"kind": "gpu", "method": "counter", "basis": "measured", "scope": "board", **changes}
    return EnergyComponent(
        device=device,
        energy_j=energy_j,
        low_j=energy_j - half_j,
        high_j=energy_j + half_j,
        **facts,  # type: ignore[arg-type]
    )


def test_two_ends_in_one_unread_stretch_err_by_the_power_between_them_alone() -> None:
    apart = replace(START, sigma_j=200.0, strays_w=50.0)
    near = replace(apart, at_s=10.3, total_j=105.0)
    window = between(apart, near, gain_error=0.0)
    assert window.random_j == pytest.approx(1.96 * 50.0 * 0.3)
    other = replace(near, floor_j=110.0, ceiling_j=140.0)
    assert between(apart, other, gain_error=0.0).random_j == pytest.approx(1.96 * 200 * math.sqrt(2))
    unknown = replace(near, strays_w=math.nan)
    assert between(apart, unknown, gain_error=0.0).random_j == pytest.approx(1.96 * 200 * math.sqrt(2))


def test_gain_and_edges_add_in_quadrature() -> None:
    window = between(START, later(10, 3000), gain_error=0.05)
    half_j = 1.96 * math.hypot(0.05 * 3000, math.sqrt(2))
    assert window.energy_j == 3000
    assert (window.low_j, window.high_j) == pytest.approx((3000 - half_j, 3000 + half_j))
    assert not window.estimated
    assert window.notes == ()


@pytest.mark.parametrize("ratio", [1.75, 0.5])
def test_the_interval_reaches_what_power_says_where_it_disagrees(ratio: float) -> None:
    """187 J by power where the counter says 327 J: either may be right."""
    plain = between(START, later(10, 327), gain_error=0.05)
    doubted = between(START, replace(later(10, 327), disagreement=ratio), gain_error=0.05)
    assert doubted.energy_j == 327
    if ratio > 1:
        assert doubted.low_j == pytest.approx(327 - math.hypot(327 - 327 / ratio, 327 - plain.low_j))
        assert doubted.high_j == plain.high_j
    else:
        assert doubted.high_j == pytest.approx(327 + math.hypot(327 / ratio - 327, plain.high_j - 327))
        assert doubted.low_j == plain.low_j
    assert doubted.notes == (f"the counter counts {ratio:.2f} times what the power of this board adds up to",)
    twice = sum_windows([doubted, doubted])
    assert twice.low_j <= min(654, 654 / ratio)
    assert twice.high_j >= max(654, 654 / ratio)
    assert twice.notes == doubted.notes
    short = between(START, replace(later(0.15, 30), disagreement=ratio), gain_error=0.05, power_limit_w=700)
    assert short.low_j <= min(30, 30 / ratio)
    assert short.high_j >= max(30, 30 / ratio)


def test_a_sensor_that_looks_part_of_the_time_is_less_certain() -> None:
    """25 ms of every 100 ms: 0.75·sigma_P·T/sqrt(N), here with a load of 200 ± 100 W."""
    end = replace(later(10, 2000), load=Moments(10.0, 2000.0, 10.0 * (200.0**2 + 100.0**2)))
    all_the_time = between(START, end, gain_error=0.0)
    some_of_it = between(START, end, gain_error=0.0, sampled_fraction=0.25)
    sampling_j = 0.75 * 100 * 10 / math.sqrt(100)
    assert all_the_time.random_j == pytest.approx(1.96 * math.sqrt(2))
    assert some_of_it.random_j == pytest.approx(1.96 * math.hypot(math.sqrt(2), sampling_j))


def test_what_was_not_counted_lies_between_nothing_and_the_limit() -> None:
    window = between(START, later(10, 3000, gap_s=2.0, gap_j=500.0), gain_error=0.0, power_limit_w=700.0)
    assert window.energy_j == 3000
    assert window.low_j == pytest.approx(2500 - 1.96 * math.sqrt(2))
    assert window.high_j == pytest.approx(2500 + 1400 + 1.96 * math.sqrt(2))
    assert window.coverage == pytest.approx(0.8)
    assert window.notes == ("the counter stood still while power was drawn",)


def test_a_reset_is_told() -> None:
    window = between(START, later(10, 3000, gap_s=1.0, gap_j=300.0, resets=1), gain_error=0.05)
    assert window.notes == ("the counter went back or leapt (driver reload?)",)


def test_a_short_window_is_an_estimate_between_nothing_and_the_limit_cut_by_the_edges() -> None:
    wide = between(START, replace(later(0.05, 10), ceiling_j=1000.0), gain_error=0.0, power_limit_w=700.0)
    assert wide.estimated
    assert (wide.low_j, wide.high_j) == pytest.approx((0.0, 35.0))
    slack_j = 1.96 * math.sqrt(2)
    cut = between(START, replace(later(0.05, 10), ceiling_j=110.0), gain_error=0.0, power_limit_w=700.0)
    assert cut.high_j == pytest.approx(30 + slack_j)
    across = between(START, replace(later(0.15, 40), floor_j=130.0), gain_error=0.0, power_limit_w=700.0)
    assert across.low_j == pytest.approx(20 - slack_j)


def test_a_window_of_few_periods_is_told() -> None:
    assert between(START, later(0.5, 150), gain_error=0.05).notes == ("only 5 periods of the counter long",)


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="ends after it starts"):
        between(later(1, 300), START, gain_error=0.05)


def test_the_component_says_what_it_is() -> None:
    measured = component_of(SOURCE, between(START, later(10, 3000), gain_error=0.05))
    assert (measured.basis, measured.method, measured.coverage, measured.note) == ("measured", "counter", 1.0, "")
    estimated = component_of(SOURCE, between(START, later(0.05, 10), gain_error=0.05))
    assert (estimated.basis, estimated.note) == ("estimated", "shorter than two periods of the counter")


def test_windows_of_one_board_share_its_gain() -> None:
    window = between(START, later(10, 3000), gain_error=0.05)
    together = sum_windows([window] * 4)
    assert together.energy_j == 12000
    assert together.gain_j == pytest.approx(4 * window.gain_j)
    assert together.random_j == pytest.approx(2 * window.random_j)
    with pytest.raises(ValueError, match="no window"):
        sum_windows([])


def test_bounds_of_estimates_add_linearly() -> None:
    short = between(START, later(0.05, 10), gain_error=0.05, power_limit_w=700.0)
    together = sum_windows([short, short])
    assert together.estimated
    assert (together.low_j, together.high_j) == (2 * short.low_j, 2 * short.high_j)


def test_boards_share_half_of_their_variance() -> None:
    low_j, high_j = total_bounds([part(100, 10, "GPU 0"), part(100, 10, "GPU 1")])
    half_j = math.sqrt(0.5 * 200 + 0.5 * 400)
    assert (low_j, high_j) == pytest.approx((200 - half_j, 200 + half_j))


def test_different_sensors_err_independently_and_one_device_with_itself() -> None:
    assert total_bounds([part(100, 30), part(100, 40, "CPU", kind="cpu")]) == pytest.approx((150, 250))
    assert total_bounds([part(100, 30), part(100, 40)]) == pytest.approx((130, 270))


def test_a_model_adds_its_whole_range() -> None:
    model = part(100, 40, "CPU", kind="cpu", method="model", basis="estimated")
    assert total_bounds([part(100, 30), model]) == pytest.approx((130, 270))
    assert total_bounds([]) == (0.0, 0.0)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="common_share"):
        total_bounds([part(100, 30)], share)


@given(st.lists(st.tuples(st.floats(0.1, 1e5), st.floats(0.0, 1.0), st.integers(0, 3)), min_size=1, max_size=8))
def test_totals_lie_between_quadrature_and_the_linear_sum(parts: list[tuple[float, float, int]]) -> None:
    components = [part(j, j * share, f"GPU {i}") for j, share, i in parts]
    total_j = sum(c.energy_j for c in components)
    low_j, high_j = total_bounds(components)
    halves = [c.high_j - c.energy_j for c in components]
    assert math.hypot(*halves) - 1e-6 <= high_j - total_j <= sum(halves) + 1e-6
    assert 0 <= low_j <= total_j + 1e-6


def test_never_nothing_where_something_was_counted() -> None:
    window: CounterEnergy = between(START, later(0.001, 0.3), gain_error=0.05, power_limit_w=700.0)
    assert 0 <= window.low_j < window.energy_j < window.high_j
