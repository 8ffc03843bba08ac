"""Over any partition of a span into windows the parts sum to the whole, whatever the counters did meanwhile."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resmon.energy import Ledger
from resmon.monitor import Monitor
from resmon.results import Measurement
from resmon.testing import ManualClock, scripted_gpu, scripted_host
from resmon.windows import Window


class Stretch(NamedTuple):
    """What a device does for a while; ``reset`` sends its counter back to 0 at the beginning."""

    seconds: float
    power_w: float
    readable: bool
    reset: bool


stretches = st.builds(
    Stretch,
    seconds=st.floats(0.05, 9.0),
    power_w=st.floats(0.0, 700.0),
    readable=st.sampled_from([True, True, True, False]),
    reset=st.sampled_from([False, False, False, True]),
)


class Device:
    """The counter and the power of a device that follows such stretches, from second 0."""

    def __init__(self, course: list[Stretch]) -> None:
        self.course = course

    def _now(self, at_s: float) -> tuple[Stretch, float, float]:
        counter_j = began_s = 0.0
        for stretch in self.course:
            counter_j = 0.0 if stretch.reset else counter_j
            if at_s < began_s + stretch.seconds:
                return stretch, counter_j, at_s - began_s
            counter_j += stretch.seconds * stretch.power_w
            began_s += stretch.seconds
        return self.course[-1], counter_j, at_s - began_s

    def energy_j(self, at_s: float) -> float | None:
        stretch, counter_j, elapsed_s = self._now(at_s)
        return counter_j + elapsed_s * stretch.power_w if stretch.readable else None

    def power_w(self, at_s: float) -> float | None:
        stretch, _, _ = self._now(at_s)
        return stretch.power_w if stretch.readable else None


def measurement(window: Window) -> Measurement:
    assert window.measurement is not None
    return window.measurement


def joules(m: Measurement) -> dict[str, float]:
    return {part.device: part.energy_j for part in m.energy.components}


def windows(
    course: list[Stretch], cuts: list[float], *, where_readable: bool = False
) -> tuple[Measurement, list[Measurement]]:
    """Measure the whole course as one window, and as one window after the other within it.

    where_readable: no window begins or ends where the device cannot be read.
    """
    span_s = sum(stretch.seconds for stretch in course) + 1.0
    device, clock = Device([Stretch(2.0, 100.0, True, False), *course, Stretch(2.0, 50.0, True, False)]), ManualClock()
    sensors = [
        scripted_host(power_w=lambda t: 20 + t),
        scripted_gpu(0, energy_j=device.energy_j, power_w=device.power_w),
        scripted_gpu(1, power_w=device.power_w),
    ]
    inner = sorted(cut * span_s for cut in cuts)
    edges = [0.0, *(at for at in inner if not where_readable or device.power_w(2.0 + at) is not None), span_s]
    parts = []
    with Monitor(0.5, sensors=sensors, clock=clock) as monitor:
        clock.advance(2.0)
        whole = monitor.measure("whole").open()
        for start_s, end_s in pairwise(edges):
            part = monitor.measure("part").open()
            clock.advance(end_s - start_s)
            part.close()
            parts.append(part)
        whole.close()
        clock.advance(5.0)
    return measurement(whole), [measurement(part) for part in parts]


def check_sums(whole: Measurement, parts: list[Measurement], *, within_j: float = 1e-6) -> None:
    """The parts sum to the whole, and so does a ledger that is given all of them, in whatever order."""
    for component in whole.energy.components:
        found = [joules(part).get(component.device) for part in parts]
        if None in found:
            continue  # a part of which nothing was read has no energy, and says so
        assert math.fsum(f or 0.0 for f in found) == pytest.approx(component.energy_j, rel=1e-6, abs=within_j)
        for order in ([*parts, whole], [whole, *parts]):
            ledger = Ledger(c for m in order for c in m.energy.components if c.device == component.device)
            assert (ledger.energy.total_j or 0.0) == pytest.approx(component.energy_j, rel=1e-6, abs=within_j)
    for m in (whole, *parts):
        assert all(0 <= c.low_j <= c.energy_j <= c.high_j for c in m.energy.components)


courses = st.lists(stretches, min_size=1, max_size=5)
cuts = st.lists(st.floats(0.0, 1.0), max_size=4)


@settings(max_examples=25, deadline=None)
@given(course=courses, cuts=cuts)
def test_the_parts_of_any_partition_sum_to_the_whole_across_resets(course: list[Stretch], cuts: list[float]) -> None:
    check_sums(*windows([stretch._replace(readable=True) for stretch in course], cuts))


@settings(max_examples=25, deadline=None)
@given(course=courses, cuts=cuts)
def test_the_parts_of_any_partition_sum_to_the_whole_across_gaps(course: list[Stretch], cuts: list[float]) -> None:
    check_sums(*windows([stretch._replace(reset=False) for stretch in course], cuts, where_readable=True))


@settings(max_examples=25, deadline=None)
@given(course=courses, cuts=cuts)
def test_where_windows_end_in_a_gap_the_parts_sum_to_the_whole_within_its_interval(
    course: list[Stretch], cuts: list[float]
) -> None:
    whole, parts = windows(course, cuts)
    check_sums(whole, parts, within_j=max(c.high_j - c.low_j for c in whole.energy.components))


@pytest.mark.parametrize("origin_j", [0.0, 27_000.0])
@pytest.mark.parametrize("in_turn", [True, False])
def test_two_kernels_that_saw_a_counter_begin_again_count_each_joule_once(origin_j: float, *, in_turn: bool) -> None:
    """The window of the first has the reset in it, that of the second lies half in the first and half after it."""
    clock = ManualClock()

    def energy_j(at_s: float) -> float:
        return origin_j + 100.0 * at_s if at_s < 5.2 else 100.0 * (at_s - 5.2)

    def kernel() -> Monitor:
        return Monitor(0.5, sensors=[scripted_gpu(power_w=100.0, energy_j=energy_j)], clock=clock)

    with kernel() as one, kernel() as other:
        clock.advance(2.0)
        first = one.measure("first").open()
        clock.advance(6.0)
        second = other.measure("second").open()
        clock.advance(2.0)
        first.close()
        clock.advance(2.0)
        second.close()
        clock.advance(2.0)
    found = [measurement(first), measurement(second)]
    ledger = Ledger(found if in_turn else reversed(found))
    assert ledger.energy.total_j == pytest.approx(1000.0, rel=0.02)
