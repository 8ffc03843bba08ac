"""The course of the energy between two edges of a counter, and how far it may be from the true one.

The counter says how much a step took and nothing of when. Between the edges the energy is interpolated: evenly; or,
where the instantaneous power of the board is known to follow the load within a period, by that power; or, where it is
known to be the mean of each step, by what the neighbours' means say of the course of this one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from resmon.energy.edges import (
    Power,
    even,
    integral_j,
    mean_power_w,
    unread_j2,
)
from resmon.energy.means import JUMPED, SAME, jumped, straight_w
from resmon.energy.step import Point, Step
from resmon.energy.unread import unread

ROUGH = 0.8
"""Nor where it changes faster than it was read: von Neumann's ratio of the mean square of successive differences to
twice the variance is 1 for reads that have nothing to do with each other, near 0 for a course that was caught."""
SPREAD_FACTOR = 0.6
"""Standard deviation of the energy in the middle of a step, over the spread of the power seen in it times the step's
length, times two. Found by simulation over the profiles of the validation suite."""
LAG = 2.0
"""Standard deviation of what a power that lags misses, over ``power_error`` times its spread. Found by simulation."""
HIDDEN = 0.75
"""Spread of the power within a step, as a share of its mean, that a power which does not follow the load cannot
show. Found by simulation: duty cycles need it, so that the intervals are too wide for loads that are more even."""
LEAST_HEAD = 0.02
"""However the power is read, the stretch of a step before the first read took at least this share of the mean power."""


def course(step: Step, at_s: float) -> Point:
    """The energy that a step had taken until an instant within it.

    Where power was read densely in a step and follows the load, there are two ways to know it; the one whose standard
    deviation is smaller over the step as a whole is taken, so that one step has one course.
    """
    if step.length_s <= 0:
        return Point(step.energy_j, 0.0)
    if step.length_s > 1.5 * step.calibration.period_p99_s:
        return unread(step, at_s)
    if _by_power(step):
        return _followed(step, at_s)
    return _even(step, at_s)


def _even(step: Step, at_s: float) -> Point:
    share = step.share(at_s)
    rise_w = straight_w(step)
    if rise_w is not None:
        spread_j = 2 * SPREAD_FACTOR * SAME * step.power_w * step.length_s * share * (1 - share)
        energy_j = share * step.energy_j - rise_w * step.length_s * share * (1 - share) / 2
        return Point(energy_j, math.hypot(step.timing_j(share), spread_j))
    if step.powers:
        spread_j = _bridge_j(step)
    else:
        spread_j = 2 * SPREAD_FACTOR * _spread_w(step) * step.length_s * share * (1 - share)
    jump = jumped(step, share)
    if jump is not None:
        return Point(jump * step.energy_j, math.hypot(step.timing_j(share), JUMPED * spread_j))
    return Point(share * step.energy_j, math.hypot(step.timing_j(share), spread_j))


def _spread_w(step: Step) -> float:
    """How far the power within a step was from its mean: what was read within it and last before it."""
    mean_w = step.power_w
    noise_w2 = (mean_w * step.start_sigma_s / step.length_s) ** 2
    powers = (*step.before.powers[-1:], *step.after.powers)
    if not powers:
        return mean_w
    seen_w2 = sum((power.power_w - mean_w) ** 2 for power in powers) / len(powers)
    if step.calibration.follows:
        hidden_w = 0.0
    elif _same(step):
        return SAME * mean_w
    else:
        hidden_w = HIDDEN * mean_w
    return math.hypot(math.sqrt(max(0.0, seen_w2 - noise_w2)), hidden_w)


def _same(step: Step) -> bool:
    """Whether the means of this step and of the one before are the same, as far as power tells such means."""
    powers, last = step.after.powers, Power(step.end.at_s, step.after.power_w)
    return step.calibration.tells_steps and bool(powers) and even((*powers, last), SAME)


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
    if not step.powers or _rough(step.powers):
        return False
    missed = _unread_j(step, step.powers[0].at_s) ** 2
    start_j = step.power_w * step.start_sigma_s / 2
    return missed < max(0.0, _bridge_j(step) ** 2 - missed) + start_j * start_j


def _bridge_j(step: Step) -> float:
    """How far the power as read departs from an even course (root mean square), within the part that was read."""
    powers, ratio = step.powers, step.calibration.power_ratio or 1.0
    departed_j = squares = 0.0
    at_s = step.end.at_s
    for power in reversed(powers):
        departed_j += (power.power_w * ratio - step.power_w) * (at_s - power.at_s)
        squares += departed_j * departed_j
        at_s = power.at_s
    return math.sqrt(squares / len(powers))


def _unread_j(step: Step, from_s: float) -> float:
    return (step.calibration.power_ratio or 1.0) * math.sqrt(unread_j2(step.powers, from_s))


def _followed(step: Step, at_s: float) -> Point:
    """Backwards from the edge that ends the step by the power; before its first read, evenly with what is left."""
    powers, ratio = step.powers, step.calibration.power_ratio or 1.0
    first_s, end_s = max(powers[0].at_s, step.start.at_s), step.end.at_s
    head_s = first_s - step.start.at_s
    read_j = integral_j(powers, first_s, end_s) * ratio
    most_j = step.energy_j - LEAST_HEAD * step.power_w * head_s
    scale = min(1.0, most_j / read_j) if read_j > 0 else 0.0
    if scale <= 0:
        return _even(step, at_s)
    head_j = step.energy_j - scale * read_j
    # A power that lags errs at the two ends of the stretch, however long it is.
    error_j = LAG * (step.calibration.power_error or 0.0) * _spread_w(step) * step.length_s

    end_j = powers[-1].power_w * ratio * step.end.sigma_s

    def missed_j(from_s: float) -> float:
        return math.hypot(_unread_j(step, from_s), error_j)

    if at_s >= first_s:
        energy_j = step.energy_j - scale * ratio * integral_j(powers, at_s, end_s)
        return Point(energy_j, math.hypot(end_j, missed_j(at_s)))
    share = min(max((at_s - step.start.at_s) / head_s, 0.0), 1.0)
    head_w = head_j / head_s
    uneven_j = 2 * SPREAD_FACTOR * abs(powers[0].power_w * ratio - head_w) * head_s * share * (1 - share)
    start_j = (1 - share) * head_w * step.start_sigma_s
    along_j = end_j if step.start.implied else share * end_j
    return Point(share * head_j, math.hypot(share * missed_j(first_s), along_j, uneven_j, start_j))
