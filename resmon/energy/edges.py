"""The edges of an energy counter: what reads of it say about when it moved on.

The counter of a GPU is a staircase: every period it jumps to the energy taken until that instant (its *edge*) and
keeps that value until the next. A read between two edges tells the energy at the earlier one, so what has to be known
is when the edges were, and they are known only as well as the reads are dense.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

NAN = float("nan")
MIN_STEPS = 4
"""Fewer periods than this say too little about their median and spread."""
P99_SIGMAS = 2.0
"""How many standard deviations the 99th percentile of the periods is above their median: 2.1 where the two edges of a
period move evenly within a range (a triangular distribution), 2.3 where they move normally."""
AGREES_SIGMA = 2.5
"""A period reckoned from power is believed when it is this close to the median period."""
FLAT = 0.03
"""Load counts as even while all powers read within a step and just before it are this close to their mean."""
FLAT_SIGMA = 0.2
"""Share of the periods' spread that is left where even load told the very period."""
RATIO_SIGMA = 0.005
"""Relative uncertainty of ``Calibration.power_ratio``."""
PRIOR_SIGMA = 0.3
"""Relative uncertainty of a period of a board that nobody has watched yet."""


class CounterRead(NamedTuple):
    """One read of a counter.

    ``CLOCK_MONOTONIC`` just before and just after the driver call, the joules, and the instantaneous watts that the
    same call gave. NaN: not known.
    """

    before_s: float
    after_s: float
    energy_j: float
    power_w: float = NAN

    @property
    def at_s(self) -> float:
        """The middle of the call, the best guess of when the driver took the value."""
        return (self.before_s + self.after_s) / 2


class Power(NamedTuple):
    """Instantaneous watts and when they were read."""

    at_s: float
    power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How the counter of one board moves.

    ``steps`` is how many periods it rests on; 0 is the prior of a board that nobody has watched yet. ``period_s`` is
    the median, ``period_p99_s`` the 99th percentile. ``power_ratio`` is the counter's energy over the integral of the
    instantaneous power of the same stretches. ``power_error`` says how much of the changes of the load that integral
    misses within single periods, beyond what the time between two reads explains: near 0 it follows the load, near 1
    or above it moves no faster than the counter. None: not compared, or the load never changed.

    Raises ValueError for periods or ratios that are not finite and positive.
    """

    period_s: float = 0.1
    period_p99_s: float = 0.12
    steps: int = 0
    power_ratio: float | None = None
    power_error: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.period_s <= self.period_p99_s < math.inf:
            raise ValueError(
                f"a counter's period must be above 0 s and at most its 99th percentile, "
                f"not {self.period_s!r} and {self.period_p99_s!r}"
            )
        if self.power_ratio is not None and not 0 < self.power_ratio < math.inf:
            raise ValueError(f"power_ratio must be a finite number above 0, not {self.power_ratio!r}")
        if self.power_error is not None and not 0 <= self.power_error < math.inf:
            raise ValueError(f"power_error must be a finite number of at least 0, not {self.power_error!r}")

    @property
    def known(self) -> bool:
        """Whether it rests on enough periods to be more than a prior."""
        return self.steps >= MIN_STEPS

    @property
    def sigma_s(self) -> float:
        """Standard deviation of one period."""
        return (self.period_p99_s - self.period_s) / P99_SIGMAS if self.known else PRIOR_SIGMA * self.period_s

    @property
    def shortest_s(self) -> float:
        """No two edges are closer than this. The prior is half of the shortest period published for GPUs (20 ms)."""
        return max(0.5 * self.period_s, 2 * self.period_s - self.period_p99_s) if self.known else 0.01


class Edge(NamedTuple):
    """One change of the counter, seen as a change between two reads.

    ``total_j`` is the unwrapped counter at the edge, which lies between ``from_s`` and ``to_s``. ``powers`` were read
    since the edge before. ``gap_s`` and ``gap_j`` are running totals of the seconds that the counter did not count (a
    reset, a stuck counter) and of the joules that stand for them; ``broken`` marks the edge that ends such a stretch.
    """

    total_j: float
    from_s: float
    to_s: float
    powers: tuple[Power, ...] = ()
    gap_s: float = 0.0
    gap_j: float = 0.0
    broken: bool = False

    @property
    def width_s(self) -> float:
        """How long the stretch is in which the edge was."""
        return self.to_s - self.from_s

    @property
    def middle_s(self) -> float:
        """The middle of that stretch."""
        return (self.from_s + self.to_s) / 2


class Placed(NamedTuple):
    """An instant with its standard deviation; ``implied`` says that it was reckoned back from the edge after it."""

    at_s: float
    sigma_s: float
    implied: bool = False


def place(edge: Edge, after: Edge | None, calibration: Calibration) -> Placed:
    """When an edge was, from the reads around it and from the edge after it.

    Between two reads it is anywhere (a rectangular distribution, hence the width over sqrt 12). Where the edge after
    it was caught within less than a period, this one lies one period earlier: the median period or, where the load was
    even, the step's energy over the power, which knows this very period.
    """
    seen = Placed(edge.middle_s, edge.width_s / math.sqrt(12))
    if after is None or after.broken or after.width_s >= calibration.shortest_s:
        return seen
    period_s, sigma_s = _period(edge, after, calibration)
    if math.hypot(sigma_s, after.width_s / math.sqrt(12)) >= seen.sigma_s:
        return seen
    return Placed(min(max(after.middle_s - period_s, edge.from_s), edge.to_s), sigma_s, implied=True)


def _period(edge: Edge, after: Edge, calibration: Calibration) -> tuple[float, float]:
    period_s, sigma_s = calibration.period_s, calibration.sigma_s
    power_w = mean_power_w(after.powers) * (calibration.power_ratio or 1.0)
    if not power_w > 0:
        return period_s, sigma_s
    flat_s = (after.total_j - edge.total_j) / power_w
    if not calibration.known:
        if calibration.shortest_s <= flat_s <= calibration.period_p99_s:
            return flat_s, PRIOR_SIGMA * flat_s
    elif (
        calibration.power_ratio is not None
        and abs(flat_s - period_s) <= AGREES_SIGMA * sigma_s
        and _flat((*edge.powers[-1:], *after.powers))
    ):
        return flat_s, math.hypot(FLAT_SIGMA * sigma_s, RATIO_SIGMA * flat_s)
    return period_s, sigma_s


def _flat(powers: Sequence[Power]) -> bool:
    mean_w = mean_power_w(powers)
    return all(abs(power.power_w - mean_w) <= FLAT * mean_w for power in powers)


def mean_power_w(powers: Sequence[Power]) -> float:
    """Mean over the reads; NaN without any."""
    return sum(power.power_w for power in powers) / len(powers) if powers else NAN


def integral_j(powers: Sequence[Power], from_s: float, to_s: float) -> float:
    """Joules of the power reads between two instants: trapezoids, the outer reads held to the ends. NaN without any."""
    if not powers:
        return NAN
    first, last = powers[0], powers[-1]
    points = [
        Power(min(from_s, first.at_s), first.power_w),
        *powers,
        Power(max(to_s, last.at_s), last.power_w),
    ]
    joules = 0.0
    for (a_s, a_w), (b_s, b_w) in pairwise(points):
        begin_s, end_s = max(a_s, from_s), min(b_s, to_s)
        if end_s > begin_s:
            slope = (b_w - a_w) / (b_s - a_s)
            joules += (end_s - begin_s) * (a_w + slope * ((begin_s + end_s) / 2 - a_s))
    return joules


def unread_j2(powers: Sequence[Power], from_s: float) -> float:
    """Variance of such an integral from an instant on: when a change came between two reads is not known.

    Anywhere between the two, hence for each change its height times the time between, squared, over 12.
    """
    return sum(
        ((b.power_w - a.power_w) * (b.at_s - max(a.at_s, from_s))) ** 2 / 12
        for a, b in pairwise(powers)
        if b.at_s > from_s
    )
