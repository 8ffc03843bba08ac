"""What is known of a counter's total at one instant."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from resmon.energy.load import Moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The running total of a counter at one instant; a window is the difference of two marks.

    ``sigma_j`` is the standard deviation of the total at this instant, without the sensor's gain. ``floor_j`` and
    ``ceiling_j`` are the totals at the edges around it, which bound it (``ceiling_j`` is infinite where no later edge
    was seen). ``gap_s`` and ``gap_j`` are running totals of the seconds that the counter did not count and of the
    joules that stand for them, ``load`` of the instantaneous power. ``resets`` counts the decreases so far.
    ``strays_w``: the instant lies in a stretch that was not read, and this is how far power is from its mean there (one
    standard deviation); else NaN. ``unread`` says that the counter could not be read any more at this instant.
    ``origin_j`` is what the counter itself read where ``total_j`` is 0: since the last gap, the two together are what
    every process reads. ``disagreement`` is how many times the integral of the board's power the counter has counted so
    far, where the two are known to disagree.
    """

    at_s: float
    total_j: float
    sigma_j: float
    floor_j: float
    ceiling_j: float
    power_w: float
    period_s: float
    gap_s: float = 0.0
    gap_j: float = 0.0
    resets: int = 0
    unread: bool = False
    strays_w: float = math.nan
    origin_j: float = math.nan
    disagreement: float | None = None
    load: Moments = field(default_factory=Moments)
