"""Nothing is counted twice: windows that nest, overlap, repeat, and kernels that watch the same device."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resmon.energy import Ledger, attribute, combine
from resmon.results import Claim, EnergyComponent

spans = st.tuples(st.integers(0, 100), st.integers(0, 100)).map(lambda pair: (min(pair), max(pair)))


def joules_at(second: float) -> float:
    """The counter of a device whose power is not constant."""
    return second * second


def component(start_s: float, end_s: float, source: str = "nvml:GPU-1", meter: str = "counter") -> EnergyComponent:
    energy_j = joules_at(end_s) - joules_at(start_s)
    return EnergyComponent(
        device="GPU 0",
        kind="gpu",
        energy_j=energy_j,
        low_j=0.9 * energy_j,
        high_j=1.1 * energy_j,
        method="counter",
        basis="measured",
        scope="board",
        claim=Claim(
            boot="b",
            source=source,
            meter=meter,
            start_s=start_s,
            end_s=end_s,
            start_j=joules_at(start_s),
            end_j=joules_at(end_s),
        ),
    )


def union(windows: list[tuple[int, int]]) -> float:
    seconds = {second for start, end in windows for second in range(start, end)}
    return sum(joules_at(second + 1) - joules_at(second) for second in seconds)


@given(st.lists(spans, max_size=12))
def test_any_windows_in_any_order_sum_to_their_union(windows: list[tuple[int, int]]) -> None:
    ledger = Ledger(component(*window) for window in windows)
    assert (ledger.energy.total_j or 0.0) == pytest.approx(union(windows))
    assert all(ledger.counted(component(*window)) for window in windows)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=10))
def test_the_parts_of_a_partition_sum_to_the_whole(steps: list[int]) -> None:
    edges = [sum(steps[:i]) for i in range(len(steps) + 1)]
    parts = Ledger(component(a, b) for a, b in pairwise(edges))
    assert parts.energy.total_j == pytest.approx(joules_at(edges[-1]))
    assert parts.add(component(0, edges[-1])) == 0.0


def test_what_is_new_is_told() -> None:
    ledger = Ledger()
    assert ledger.add(component(10, 20)) == 300.0
    assert ledger.add(component(12, 15)) == 0.0
    assert ledger.add(component(15, 25)) == pytest.approx(joules_at(25) - joules_at(20))
    assert ledger.add(combine([component(10, 25)])) == 0.0


def test_bounds_go_with_what_counted() -> None:
    ledger = Ledger([component(0, 10), component(5, 20)])
    energy = ledger.energy
    assert energy.low_j == pytest.approx(360.0)
    assert energy.high_j == pytest.approx(440.0)
    (whole,) = energy.components
    assert whole.low_j <= whole.energy_j <= whole.high_j


def test_two_devices_and_two_boots_are_two() -> None:
    ledger = Ledger([component(0, 10), component(0, 10, source="nvml:GPU-2")])
    assert ledger.energy.total_j == 200.0
    assert len(ledger.energy.components) == 2
    other = component(0, 10)
    assert other.claim is not None
    assert ledger.add(replace(other, claim=replace(other.claim, boot="another"))) == 100.0


def test_two_kernels_on_one_counter_count_once() -> None:
    ledger = Ledger([component(0, 10), component(4, 12, meter="counter")])
    assert ledger.energy.total_j == pytest.approx(144.0)


def test_two_kernels_that_integrate_count_the_overlap_once_by_time() -> None:
    first, second = component(0, 10, meter="kernel a"), component(5, 15, meter="kernel b")
    ledger = Ledger([first])
    assert ledger.add(second) == pytest.approx(second.energy_j / 2)


def test_what_has_no_claim_is_refused_by_name() -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match=r"energy of GPU 0 .* has no claim"):
        Ledger([replace(component(0, 1), claim=None)])
    with pytest.raises(TypeError, match="not str"):
        Ledger(["5 J"])  # type: ignore[list-item]


@given(
    st.floats(0, 1e9),
    st.lists(st.floats(0, 1e6), min_size=1, max_size=9).filter(lambda w: sum(w) > 0),
)
@example(255069.0257394217, [146020.9397889139, 109048.08595050777])
@example(1e5, [0.1, 0.2, 0.3, 0.7])
def test_the_parts_of_a_shared_device_sum_to_it(energy_j: float, weights: list[float]) -> None:
    device = replace(component(3, 17), energy_j=energy_j, low_j=0.9 * energy_j, high_j=1.1 * energy_j)
    parts = attribute(device, weights)
    assert sum(part.energy_j for part in parts) == device.energy_j
    assert {part.basis for part in parts} == {"estimated"}
    for part in parts:
        assert 0 <= part.low_j <= part.energy_j <= part.high_j + 1e-9


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [float("nan")]])
def test_weights_must_say_something(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be"):
        attribute(component(0, 1), weights)


def test_a_sum_keeps_measured_and_estimated_apart_and_what_was_said_of_its_parts() -> None:
    """A short window, which is an estimate, comes last; a calibration touched the first alone."""
    first, last = component(0, 10), component(10, 11)
    said = "divided by 1.1 (meter, 2026-10-01; calibration 0123456789ab)"
    calibrated = replace(first, note=said, gain_error=0.01)
    shared = replace(first, scope="board, shared with 1 other process", coverage=0.5)
    short = replace(last, basis="estimated", note="shorter than two periods of the counter", gain_error=0.0)
    energy = Ledger([calibrated, short]).energy
    assert energy.measured_j == pytest.approx(100)
    assert energy.estimated_j == pytest.approx(21)
    assert [part.device for part in energy.components] == ["GPU 0", "GPU 0"]
    rest = [replace(component(10 + i, 11 + i), note=f"seen {i}% of the time; {said}") for i in range(1, 90)]
    (whole,) = Ledger([*rest, calibrated, last]).energy.components
    assert said in whole.note.partition("; seen")[0]
    assert len(whole.note) < 1000
    (whole,) = Ledger([shared, last]).energy.components
    assert whole.scope == "board, shared with 1 other process"
    assert whole.coverage == pytest.approx((10 * 0.5 + 1) / 11)


def test_entries_that_are_joined_for_want_of_room_are_no_better_known_than_the_worst() -> None:
    apart = [component(0, 10), replace(component(20, 21), basis="estimated"), component(30, 40)]
    for entries in (apart, apart[:2]):
        ledger = Ledger(entries)
        ledger.join(1)
        (entry,) = ledger.entries
        assert entry.basis == "estimated"
