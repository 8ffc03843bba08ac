"""The course of the energy between two edges of a counter, and how far it may be from the true one.

The counter says how much a step took and nothing of when. Between the edges the energy is interpolated: evenly, or,
where the instantaneous power of the board is known to follow the load within a period, by that power.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from resmon.energy.edges import NAN, Calibration, Edge, Placed, Power, integral_j, mean_power_w, unread_j2

FOLLOWS = 0.3
"""Instantaneous power that misses more than this share of the load's changes is not used within a step."""
DENSE_SHARE = 1 / 4
"""Nor where two reads of it are further apart than this share of the step."""
ROUGH = 0.8
"""Nor where it changes faster than it was read: von Neumann's ratio of the mean square of successive differences to
twice the variance is 1 for reads that have nothing to do with each other, near 0 for a course that was caught."""
SPREAD_FACTOR = 0.6
"""Standard deviation of the energy in the middle of a step, over the spread of the power seen in it times the step's
length, times two. Found by simulation over the profiles of the validation suite."""
HIDDEN = 0.5
"""Spread of the power within a step, as a share of its mean, that a power which does not follow the load cannot
show. Found by simulation: it makes the intervals hold over the mix of profiles, not for each of them."""
LEAST_HEAD = 0.02
"""However the power is read, the stretch of a step before the first read took at least this share of the mean power."""


class Point(NamedTuple):
    """The energy since the start of a step, and its standard deviation."""

    energy_j: float
    sigma_j: float


class Step(NamedTuple):
    """Two neighbouring edges and when they were, the calibration and the bounds of the board's power."""

    before: Edge
    after: Edge
    start: Placed
    end: Placed
    calibration: Calibration
    power_limit_w: float | None

    @property
    def energy_j(self) -> float:
        """What the step took."""
        return self.after.total_j - self.before.total_j

    @property
    def length_s(self) -> float:
        """How long it was."""
        return self.end.at_s - self.start.at_s

    @property
    def power_w(self) -> float:
        """Its mean power."""
        return self.energy_j / self.length_s if self.length_s > 0 else NAN

    @property
    def follows(self) -> bool:
        """Whether instantaneous power is known to follow the load within a step."""
        error = self.calibration.power_error
        return error is not None and error <= FOLLOWS


def course(step: Step, at_s: float) -> Point:
    """The energy that a step had taken until an instant within it.

    Where power was read densely in a step and follows the load, there are two ways to know it; the one whose standard
    deviation is smaller over the step as a whole is taken, so that one step has one course.
    """
    if step.length_s <= 0:
        return Point(step.energy_j, 0.0)
    if step.length_s > 1.5 * step.calibration.period_p99_s:
        return _gap(step, at_s)
    if _by_power(step):
        return _followed(step, at_s)
    return _even(step, at_s)


def _timing_j(step: Step, share: float) -> float:
    """Standard deviation from when the edges were. An edge reckoned back from the next moves with it."""
    start_s, end_s = (1 - share) * step.start.sigma_s, step.end.sigma_s
    return step.power_w * math.hypot(start_s, end_s if step.start.implied else share * end_s)


def _even(step: Step, at_s: float) -> Point:
    share = min(max((at_s - step.start.at_s) / step.length_s, 0.0), 1.0)
    if _read_densely(step):
        spread_j = _bridge_j(step)
    else:
        spread_j = 2 * SPREAD_FACTOR * _spread_w(step) * step.length_s * share * (1 - share)
    return Point(share * step.energy_j, math.hypot(_timing_j(step, share), spread_j))


def _spread_w(step: Step) -> float:
    """How far the power within a step was from its mean: what was read within it and last before it."""
    mean_w = step.power_w
    noise_w2 = (mean_w * step.start.sigma_s / step.length_s) ** 2
    powers = (*step.before.powers[-1:], *step.after.powers)
    if not powers:
        return mean_w
    seen_w2 = sum((power.power_w - mean_w) ** 2 for power in powers) / len(powers)
    hidden_w = 0.0 if step.follows else HIDDEN * mean_w
    return math.hypot(math.sqrt(max(0.0, seen_w2 - noise_w2)), hidden_w)


def _read_densely(step: Step) -> bool:
    """Whether power follows the load and was read often enough to show its course within the step."""
    powers = step.after.powers
    if not step.follows or not powers:
        return False
    instants = [*(power.at_s for power in powers), step.end.at_s]
    return max(b - a for a, b in pairwise(instants)) <= DENSE_SHARE * step.length_s


def _rough(powers: Sequence[Power]) -> bool:
    """Whether power changed faster than it was read."""
    mean_w = mean_power_w(powers)
    variance_w2 = sum((power.power_w - mean_w) ** 2 for power in powers) / len(powers)
    changes_w2 = sum((b.power_w - a.power_w) ** 2 for a, b in pairwise(powers)) / max(1, len(powers) - 1)
    return changes_w2 > ROUGH * 2 * variance_w2


def _by_power(step: Step) -> bool:
    """Whether the course of the power is known better than an even course errs, seen from the first read of it.

    What it seems to err holds what the reads missed, and what is not known of when the step began.
    """
    if not _read_densely(step) or _rough(step.after.powers):
        return False
    missed = _unread_j(step, step.after.powers[0].at_s) ** 2
    start_j = step.power_w * step.start.sigma_s / 2
    return missed < max(0.0, _bridge_j(step) ** 2 - missed) + start_j * start_j


def _bridge_j(step: Step) -> float:
    """How far the power as read departs from an even course (root mean square), within the part that was read."""
    powers, ratio = step.after.powers, step.calibration.power_ratio or 1.0
    departed_j = squares = 0.0
    at_s = step.end.at_s
    for power in reversed(powers):
        departed_j += (power.power_w * ratio - step.power_w) * (at_s - power.at_s)
        squares += departed_j * departed_j
        at_s = power.at_s
    return math.sqrt(squares / len(powers))


def _unread_j(step: Step, from_s: float) -> float:
    return (step.calibration.power_ratio or 1.0) * math.sqrt(unread_j2(step.after.powers, from_s))


def _followed(step: Step, at_s: float) -> Point:
    """Backwards from the edge that ends the step by the power; before its first read, evenly with what is left."""
    powers, ratio = step.after.powers, step.calibration.power_ratio or 1.0
    first_s, end_s = max(powers[0].at_s, step.start.at_s), step.end.at_s
    head_s = first_s - step.start.at_s
    read_j = integral_j(powers, first_s, end_s) * ratio
    most_j = step.energy_j - LEAST_HEAD * step.power_w * head_s
    scale = min(1.0, most_j / read_j) if read_j > 0 else 0.0
    if scale <= 0:
        return _even(step, at_s)
    head_j = step.energy_j - scale * read_j
    # A power that lags errs at the two ends of the stretch, however long it is.
    error_j = (step.calibration.power_error or 0.0) * _spread_w(step) * step.length_s

    def sigma_j(from_s: float) -> float:
        end_j = powers[-1].power_w * ratio * step.end.sigma_s
        return math.hypot(end_j, _unread_j(step, from_s), error_j)

    if at_s >= first_s:
        return Point(step.energy_j - scale * ratio * integral_j(powers, at_s, end_s), sigma_j(at_s))
    share = min(max((at_s - step.start.at_s) / head_s, 0.0), 1.0)
    head_w = head_j / head_s
    uneven_j = 2 * SPREAD_FACTOR * abs(powers[0].power_w * ratio - head_w) * head_s * share * (1 - share)
    start_j = (1 - share) * head_w * step.start.sigma_s
    return Point(share * head_j, math.hypot(share * sigma_j(first_s), uneven_j, start_j))


def _gap(step: Step, at_s: float) -> Point:
    """In a step over which the counter was not read: evenly as the best guess, and anything the board can draw.

    With the power between 0 and the limit, the energy at a share of the step can be at most
    ``min(share·(limit − mean), (1 − share)·mean)·length`` above the even course, and likewise below; rectangular
    between the two. Where the limit is not known, twice the mean power stands for it.
    """
    length_s, mean_w = step.length_s, step.power_w
    share = min(max((at_s - step.start.at_s) / length_s, 0.0), 1.0)
    room_w = max((step.power_limit_w or 2 * mean_w) - mean_w, 0.0)
    up_j = length_s * min(share * room_w, (1 - share) * mean_w)
    down_j = length_s * min(share * mean_w, (1 - share) * room_w)
    return Point(share * step.energy_j, math.hypot(_timing_j(step, share), (up_j + down_j) / math.sqrt(12)))
