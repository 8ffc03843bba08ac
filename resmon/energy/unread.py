"""The course of the energy in a stretch in which the counter was not read: beside a held interpreter lock, for one.

What the stretch took is counted, so that only an end of a window within it is not known well.
"""

from __future__ import annotations

import math
from itertools import pairwise

from resmon.energy.step import Point, Step

CHANGES = 2
"""Reads that show fewer changes of the power than this do not say how long it keeps a level."""
LASTS_SHARE = 1 / 3
"""It is then taken to keep a level for this share of the stretch: it changes a few times."""


def unread(step: Step, at_s: float) -> Point:
    """The energy since the start of such a stretch: even as the best guess, as uneven as power was seen around it.

    Power that strays by σ from its mean and keeps each level for a time c makes the energy at a share of the stretch
    stray by ``σ·sqrt(c·length·share·(1 − share))``. At most it does what the board can do: with the power between 0
    and the limit, the energy can be ``min(share·(limit − mean), (1 − share)·mean)·length`` above the even course, and
    likewise below; rectangular between the two. Where the limit is not known, twice the mean power stands for it.
    """
    length_s, mean_w, share = step.length_s, step.power_w, step.share(at_s)
    room_w = max((step.power_limit_w or 2 * mean_w) - mean_w, 0.0)
    up_j = length_s * min(share * room_w, (1 - share) * mean_w)
    down_j = length_s * min(share * mean_w, (1 - share) * room_w)
    uneven_j, strays_w = (up_j + down_j) / math.sqrt(12), _strays_w(step)
    if strays_w == strays_w:
        uneven_j = min(uneven_j, strays_w * math.sqrt(_lasts_s(step) * length_s * share * (1 - share)))
    timing_w = mean_w * math.hypot(step.start.sigma_s, step.end.sigma_s) / length_s
    return Point(share * step.energy_j, math.hypot(step.timing_j(share), uneven_j), math.hypot(strays_w, timing_w))


def _strays_w(step: Step) -> float:
    """How far power was from the mean of the stretch: last before it, within it, and first after it.

    NaN where power does not follow the load or was not read, and where the counter did not count what was drawn.
    """
    if not step.calibration.follows or step.after.broken:
        return math.nan
    ratio, mean_w, before, after = step.calibration.power_ratio or 1.0, step.power_w, step.before, step.after
    seen = (
        [before.power_w, *(power.power_w for power in before.powers[-1:])],
        [power.power_w for power in after.powers],
        [after.power_w, *(power.power_w for power in (step.later.powers if step.later else ()))],
    )
    read = [[(watts * ratio - mean_w) ** 2 for watts in some if watts == watts] for some in seen]
    squares_w2 = [sum(some) / len(some) for some in read if some]
    if not squares_w2:
        return math.nan
    timing_w = mean_w * math.hypot(step.start.sigma_s, step.end.sigma_s) / step.length_s
    return math.sqrt(max(0.0, sum(squares_w2) / len(squares_w2) - timing_w * timing_w))


def _lasts_s(step: Step) -> float:
    """How long power keeps a level: as the reads after the stretch show, where they show more than one change."""
    usual_s, powers = LASTS_SHARE * step.length_s, step.later.powers if step.later else ()
    if len(powers) <= CHANGES:
        return usual_s
    middle_w = (max(power.power_w for power in powers) + min(power.power_w for power in powers)) / 2
    changes = sum((a.power_w > middle_w) != (b.power_w > middle_w) for a, b in pairwise(powers))
    return usual_s if changes < CHANGES else min(usual_s, (powers[-1].at_s - powers[0].at_s) / changes)
