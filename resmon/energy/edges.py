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
ENOUGH_LESSONS = 16
"""After so many periods, and with power compared, windows alone may teach the rest."""
MIN_STEPS = 4
"""Fewer periods than this say too little about their median and spread."""
P99_SIGMAS = 2.0
"""How many standard deviations the 99th percentile of the periods is above their median: 2.1 where the two edges of a
period move evenly within a range (a triangular distribution), 2.3 where they move normally."""
AGREES_SIGMA = 2.5
"""A period that even load seems to tell is believed when it is this close to the median period."""
NEAR = 0.25
"""One that power tells which has proved itself: when it is this close, as a share."""
DENSE_SHARE = 1 / 4
"""Power shows the course within a step as far back as no two reads are further apart than this share of the step."""
POLLS = 200
"""So many polls a period place an edge to within 0.2 % of the period (one sigma)."""
LATE_S = 0.0001
"""Who rests wakes about so much later than he asked for."""
MIN_POLL_GAP_S, MAX_POLL_GAP_S = 0.00002, 0.001
POLL_REST = 2.0
"""Whoever polls rests at least this many times as long as a poll took."""
FOLLOWS = 0.3
"""Instantaneous power that misses more than this share of the load's changes is not used within a step."""
TELLS = 0.05
"""Power that misses more than this share of the changes from step to step is not the mean of a step."""
FLAT = 0.03
"""Load counts as even while all powers read within a step and just before it are this close to their mean."""
HEAD_SHARE = 0.05
"""Power that seems even may still have been different by this share of its mean before its first read."""
LEAST_SHARE = 0.05
"""However low the first read was, the power before it is taken to have been at least this share of the mean."""
FLAT_SIGMA = 0.2
"""Share of the periods' spread that is left where even load told the very period."""
RATIO_SIGMA = 0.005
"""Relative uncertainty of ``Calibration.power_ratio``."""
DISAGREES = 0.05
"""A counter and the integral of its board's power that differ by more than this share, and by more than what the reads
leave open, disagree. Both come from one sensor: on a board that is sound they differ by what rounding does."""
DISAGREES_SIGMAS = 4.0
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
    or above it moves no faster than the counter. ``step_error`` says the same of another reading of it: that the power
    given with an edge is the mean of the step that the edge ends. None: not compared, or the load never changed.
    ``ratio_sigma`` is the standard deviation of ``power_ratio``, from what single periods differ by; None: unknown.

    Raises ValueError for periods or ratios that are not finite and positive.
    """

    period_s: float = 0.1
    period_p99_s: float = 0.12
    steps: int = 0
    power_ratio: float | None = None
    power_error: float | None = None
    step_error: float | None = None
    ratio_sigma: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.period_s <= self.period_p99_s < math.inf:
            raise ValueError(
                f"a counter's period must be above 0 s and at most its 99th percentile, "
                f"not {self.period_s!r} and {self.period_p99_s!r}"
            )
        if self.power_ratio is not None and not 0 < self.power_ratio < math.inf:
            raise ValueError(f"power_ratio must be a finite number above 0, not {self.power_ratio!r}")
        for name in ("power_error", "step_error", "ratio_sigma"):
            error = getattr(self, name)
            if error is not None and not 0 <= error < math.inf:
                raise ValueError(f"{name} must be a finite number of at least 0, not {error!r}")

    @property
    def known(self) -> bool:
        """Whether it rests on enough periods to be more than a prior."""
        return self.steps >= MIN_STEPS

    @property
    def taught(self) -> bool:
        """Whether the counter needs no watching for its own sake any more."""
        return self.steps >= ENOUGH_LESSONS and self.power_ratio is not None and self.disagreement is None

    @property
    def poll_gap_s(self) -> float:
        """How long to rest between two polls for an edge: for one every 200th of a period, and 0.02 to 1 ms."""
        return min(max(self.period_s / POLLS - LATE_S, MIN_POLL_GAP_S), MAX_POLL_GAP_S)

    @property
    def sigma_s(self) -> float:
        """Standard deviation of one period."""
        return (self.period_p99_s - self.period_s) / P99_SIGMAS if self.known else PRIOR_SIGMA * self.period_s

    @property
    def follows(self) -> bool:
        """Whether instantaneous power is known to follow the load within a period."""
        return self.power_error is not None and self.power_error <= FOLLOWS

    @property
    def tells_steps(self) -> bool:
        """Whether the power given with an edge is known to be the mean of the step that the edge ends."""
        return not self.follows and self.step_error is not None and self.step_error <= TELLS

    @property
    def disagreement(self) -> float | None:
        """``power_ratio`` where the counter and the power are known to disagree; None where they may agree.

        Power that was seen not to follow the load within a step, nor from step to step, is no witness.
        """
        ratio, sigma = self.power_ratio, self.ratio_sigma
        if ratio is None or sigma is None or not (self.follows or self.tells_steps or self.power_error is None):
            return None
        return ratio if abs(ratio - 1) > max(DISAGREES, DISAGREES_SIGMAS * sigma) else None

    @property
    def edges_after(self) -> int:
        """So many edges after an instant tell all that is to be known of the step that it lies in."""
        return 2 if self.known and self.tells_steps else 1

    @property
    def shortest_s(self) -> float:
        """No two edges are closer than this. The prior is half of the shortest period published for GPUs (20 ms)."""
        return max(0.5 * self.period_s, 2 * self.period_s - self.period_p99_s) if self.known else 0.01


class Edge(NamedTuple):
    """One change of the counter, seen as a change between two reads.

    ``total_j`` is the unwrapped counter at the edge, which lies between ``from_s`` and ``to_s``. ``powers`` were read
    since the edge before, ``power_w`` by the read that showed the change. ``gap_s`` and ``gap_j`` are running totals of
    the seconds that the counter did not count (a reset, a stuck counter) and of the joules that stand for them;
    ``broken`` marks the edge that ends such a stretch. ``origin_j`` is what the counter itself read where ``total_j``
    is 0.
    """

    total_j: float
    from_s: float
    to_s: float
    powers: tuple[Power, ...] = ()
    power_w: float = NAN
    gap_s: float = 0.0
    gap_j: float = 0.0
    broken: bool = False
    origin_j: float = NAN

    @property
    def width_s(self) -> float:
        """How long the stretch is in which the edge was."""
        return self.to_s - self.from_s

    @property
    def middle_s(self) -> float:
        """The middle of that stretch."""
        return (self.from_s + self.to_s) / 2


class Placed(NamedTuple):
    """An instant with its standard deviation.

    ``period_sigma_s`` is the part of it that comes from the length of the period, where it was reckoned back from the
    edge after it (``implied``); with that edge's own it moves along.
    """

    at_s: float
    sigma_s: float
    period_sigma_s: float | None = None

    @property
    def implied(self) -> bool:
        """Whether it was reckoned back from the edge after it."""
        return self.period_sigma_s is not None


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
    whole_sigma_s = math.hypot(sigma_s, after.width_s / math.sqrt(12))
    if whole_sigma_s >= seen.sigma_s:
        return seen
    return Placed(min(max(after.middle_s - period_s, edge.from_s), edge.to_s), whole_sigma_s, sigma_s)


def _period(edge: Edge, after: Edge, calibration: Calibration) -> tuple[float, float]:
    """How long the period between two edges was, with its standard deviation: the median, or what power tells."""
    period_s, sigma_s = calibration.period_s, calibration.sigma_s
    if calibration.known and calibration.power_ratio is None:
        return period_s, sigma_s
    told_s, told_sigma_s = _told(edge, after, calibration)
    if not calibration.known:
        believed = calibration.shortest_s <= told_s <= calibration.period_p99_s
    else:
        near_s = NEAR * period_s if calibration.follows or calibration.tells_steps else AGREES_SIGMA * sigma_s
        believed = abs(told_s - period_s) <= near_s and told_sigma_s < sigma_s
    return (told_s, told_sigma_s) if believed else (period_s, sigma_s)


def _told(edge: Edge, after: Edge, calibration: Calibration) -> tuple[float, float]:
    """The length of a step as its energy over its power, with its standard deviation; NaN where power does not tell.

    Power that came with the edge and is the mean of the step tells it at once. Power that follows the load is summed
    up backwards from the edge until it has made up the step; before its first read it is taken to have been as it was
    then. One that was never compared, as the load never changed, tells it where the load was even.
    """
    ratio = calibration.power_ratio or 1.0
    step_j, powers = (after.total_j - edge.total_j) / ratio, after.powers
    if calibration.tells_steps:
        told_s = step_j / after.power_w if after.power_w > 0 else NAN
        return told_s, RATIO_SIGMA * told_s
    power_w = mean_power_w(powers)
    if not power_w > 0:
        return NAN, NAN
    flat_s = step_j / power_w
    if not calibration.known:
        return flat_s, PRIOR_SIGMA * flat_s
    if not calibration.follows:
        flat = calibration.power_error is None and even((*edge.powers[-1:], *powers), FLAT)
        return flat_s if flat else NAN, math.hypot(FLAT_SIGMA * calibration.sigma_s, RATIO_SIGMA * flat_s)
    seen = dense(powers, after.middle_s, DENSE_SHARE * calibration.period_s)
    if not seen:
        return NAN, NAN
    told_s = _made_up_s(seen, after.middle_s, step_j)
    begin_s, first = after.middle_s - told_s, seen[0]
    unseen_s = max(0.0, first.at_s - begin_s)
    spread_w = math.sqrt(sum((power.power_w - power_w) ** 2 for power in seen) / len(seen))
    unseen_j = unseen_s * math.hypot(spread_w, HEAD_SHARE * power_w)
    lag_j = (calibration.power_error or 0.0) * spread_w * told_s
    missed_j = math.sqrt(unseen_j**2 + lag_j**2 + unread_j2(seen, begin_s))
    return told_s, math.hypot(RATIO_SIGMA * told_s, missed_j / max(first.power_w, LEAST_SHARE * power_w))


def _made_up_s(powers: Sequence[Power], end_s: float, step_j: float) -> float:
    """How long before ``end_s`` the power as read began to make up so many joules."""
    later = Power(end_s, powers[-1].power_w)
    for power in reversed(powers):
        joules = (later.at_s - power.at_s) * (later.power_w + power.power_w) / 2
        if joules >= step_j:
            mean_w = (later.power_w + power.power_w) / 2
            return end_s - later.at_s + step_j / mean_w
        step_j -= joules
        later = power
    return end_s - later.at_s + (step_j / later.power_w if later.power_w > 0 else math.inf)


def even(powers: Sequence[Power], within: float) -> bool:
    """Whether all powers are this near to their mean, as a share of it; not without any."""
    mean_w = mean_power_w(powers)
    return bool(powers) and all(abs(power.power_w - mean_w) <= within * mean_w for power in powers)


def dense(powers: Sequence[Power], end_s: float, apart_s: float) -> Sequence[Power]:
    """The last of these powers, back to where two of them, or the last and the end, are further apart."""
    later_s = end_s
    for i in range(len(powers) - 1, -1, -1):
        if later_s - powers[i].at_s > apart_s:
            return powers[i + 1 :]
        later_s = powers[i].at_s
    return powers


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
