"""The course of the energy within a step, as far as the means of the steps beside it tell.

Power that is the mean of the step that ends says nothing of a course within a step. But three means in a row do: where
they lie on one line, power ran along it; where the outer two differ much and the inner one lies between, it jumped.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from resmon.energy.step import Step

SAME = 0.002
"""Load counts as constant while powers of neighbouring steps are this close to their mean; it counts as straight while
the mean of a step is this close to what its neighbours let expect."""
ONE_PERIOD = 1.2
"""A step longer than this many times the 99th percentile of the periods is more than one."""
JUMP = 2.0
"""A power that changes by more than this factor from the step before to the step after changed at once."""
JUMPED = 0.5
"""Where it did, the course strays by this share of what it strays from an even one. Found by simulation."""


class _Means(NamedTuple):
    """The mean powers of the step before, of this one and of the one after, and from middle to middle the times."""

    before_w: float
    mean_w: float
    after_w: float
    since_s: float
    until_s: float


def _means(step: Step) -> _Means | None:
    """None where power is not such a mean, or a neighbour was not seen. The one before is taken as a median period."""
    known, powers, later = step.calibration, step.after.powers, step.later
    if not known.tells_steps or not powers or later is None or later.broken or later.width_s >= known.shortest_s:
        return None
    length_s, later_s = step.length_s, step.later_s - step.end.at_s
    means_w = powers[0].power_w, step.after.power_w, later.power_w
    if not 0 < later_s <= ONE_PERIOD * known.period_p99_s or not min(means_w) > 0:
        return None
    return _Means(*means_w, (known.period_s + length_s) / 2, (length_s + later_s) / 2)


def straight_w(step: Step) -> float | None:
    """By how many watts power rose from the begin of a step to its end; None where its course was not straight."""
    means = _means(step)
    if means is None:
        return None
    slope = (means.after_w - means.before_w) / (means.since_s + means.until_s)
    off_w = means.mean_w - means.before_w - slope * means.since_s
    if abs(off_w) > math.hypot(SAME * means.mean_w, slope * step.calibration.sigma_s / 2):
        return None
    rise_w = slope * step.length_s * step.power_w / means.mean_w
    return rise_w if abs(rise_w) <= 2 * step.power_w else None


def jumped(step: Step, share: float) -> float | None:
    """The share of its energy that a step had taken by a share of its time, where power jumped; None where not.

    It jumped once, from the mean of the step before to that of the step after, when it must have for the mean of this
    one to be what it is.
    """
    means = _means(step)
    if means is None:
        return None
    low_w, high_w = sorted((means.before_w, means.after_w))
    if not (low_w < means.mean_w < high_w and high_w > JUMP * low_w):
        return None
    jump = (means.after_w - means.mean_w) / (means.after_w - means.before_w)
    taken_w = min(share, jump) * means.before_w + max(0.0, share - jump) * means.after_w
    return taken_w / means.mean_w
