"""A step of a counter: two neighbouring edges, and what is known around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from resmon.energy.edges import DENSE_SHARE, NAN, Calibration, Edge, Placed, Power, dense


class Point(NamedTuple):
    """The energy since the start of a step, its standard deviation, and that of the power within an unread step."""

    energy_j: float
    sigma_j: float
    strays_w: float = NAN


class Step(NamedTuple):
    """Two neighbouring edges and when they were, the calibration and the bounds of the board's power.

    ``later`` is the edge after them, at ``later_s``; None where it is not seen yet.
    """

    before: Edge
    after: Edge
    start: Placed
    end: Placed
    calibration: Calibration
    power_limit_w: float | None
    later: Edge | None = None
    later_s: float = NAN

    @property
    def powers(self) -> Sequence[Power]:
        """The powers that show its course towards its end; none where power does not follow the load."""
        if not self.calibration.follows:
            return ()
        return dense(self.after.powers, self.end.at_s, DENSE_SHARE * self.length_s)

    @property
    def energy_j(self) -> float:
        """What the step took."""
        return self.after.total_j - self.before.total_j

    @property
    def length_s(self) -> float:
        """How long it was."""
        return self.end.at_s - self.start.at_s

    @property
    def start_sigma_s(self) -> float:
        """Standard deviation of when it began; only that of its length where its begin moves along with its end."""
        own_s = self.start.period_sigma_s
        return self.start.sigma_s if own_s is None else own_s

    @property
    def power_w(self) -> float:
        """Its mean power."""
        return self.energy_j / self.length_s if self.length_s > 0 else NAN

    def share(self, at_s: float) -> float:
        """The share of its time that had passed at an instant."""
        return min(max((at_s - self.start.at_s) / self.length_s, 0.0), 1.0)

    def timing_j(self, share: float) -> float:
        """Standard deviation of the energy at a share of the time, from when the edges were.

        An edge that was reckoned back from the next moves with it.
        """
        end_s = self.end.sigma_s
        return self.power_w * math.hypot(
            (1 - share) * self.start_sigma_s, end_s if self.start.implied else share * end_s
        )
