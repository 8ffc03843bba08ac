"""Running totals of one energy source, so that any span is the difference of two totals.

Totals never decrease, and what could not be seen is counted as seconds of gap beside them. Since every span of one
source is a difference of the same totals, the parts of any partition of a span sum to the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from resmon.facts import EnergySource

NAN = float("nan")
LEAP = 10.0
"""A counter that gains more than its board would at so many times its power limit was set, and did not count."""
LATEST_S = 0.2
"""A counter may show at once what it counted in so many seconds before: no published one moves more seldom."""


def leap_j(power_limit_w: float | None, seconds: float) -> float:
    """What the counter of a board cannot gain in so many seconds; infinite without a known limit."""
    return LEAP * power_limit_w * seconds if power_limit_w else float("inf")


class Reading(NamedTuple):
    """The totals at one instant: joules (best, least, most) and seconds in which nothing was seen."""

    total_j: float
    low_j: float
    high_j: float
    gap_s: float


class Meter:
    """Accumulates one :class:`~resmon.facts.EnergySource`.

    Feed it every sample, in order: joules of the counter for ``method="counter"``, watts otherwise. A counter's
    difference over failed reads is still the true energy, so it is kept; a counter that decreased, or gained what no
    board can draw (:func:`leap_j`), was set, as by a driver reload, and that stretch is a gap. Polled power is
    integrated by the trapezoid rule; a stretch longer than ``max_gap_s`` is a gap, never a bridge. A model speaks of
    the mean since its last reading, so each of its values stands for the whole stretch before it.
    """

    __slots__ = (
        "_at_s",
        "_high",
        "_low",
        "_method",
        "_value",
        "gap_s",
        "high_j",
        "low_j",
        "origin_j",
        "power_max_w",
        "power_w",
        "resets",
        "source",
        "total_j",
    )

    def __init__(self, source: EnergySource) -> None:
        self.source = source
        self._method = source.method
        self.total_j = self.low_j = self.high_j = self.gap_s = 0.0
        self.power_w = self.origin_j = NAN
        self.power_max_w = 0.0
        self.resets = 0
        self._at_s = self._value = self._low = self._high = NAN

    def add(self, at_s: float, value: float, low: float, high: float, max_gap_s: float) -> None:
        """Take one reading; NaN means that it failed. ``low`` and ``high`` bound a model's power in watts."""
        if value != value:
            return
        span_s = at_s - self._at_s
        method = self._method
        if method == "counter":
            if self._at_s != self._at_s:
                # What the counter read where the total is 0; after a gap the two are no longer in step.
                self.origin_j = value if self.total_j == self.gap_s == 0 else NAN
            if span_s > 0:
                self._add_counter(span_s, value)
        else:
            self.power_w = value
            if span_s > 0:
                if method == "model":
                    self.total_j += span_s * value
                    self.low_j += span_s * low
                    self.high_j += span_s * high
                elif span_s > max_gap_s:
                    self.gap_s += span_s
                else:
                    self.total_j += span_s * (value + self._value) / 2
                    self.low_j += span_s * (low + self._low) / 2
                    self.high_j += span_s * (high + self._high) / 2
        if span_s <= 0:
            return
        self.power_max_w = max(self.power_max_w, self.power_w)
        self._at_s, self._value, self._low, self._high = at_s, value, low, high

    def begin(self, at_s: float) -> bool:
        """Start the clock of a model that has no value yet: its total is 0 now. False when it runs already."""
        if self._at_s == self._at_s:
            return False
        self._at_s = at_s
        return True

    def _add_counter(self, span_s: float, value: float) -> None:
        difference_j = value - self._value
        if difference_j < 0 or difference_j > leap_j(self.source.power_limit_w, span_s + LATEST_S):
            self.resets += 1
            self.gap_s += span_s
            self.power_w = self.origin_j = NAN
            return
        self.total_j += difference_j
        self.power_w = difference_j / span_s

    def pause(self) -> None:
        """Forget the last reading: the stretch until the next one belongs to nobody."""
        self._at_s = self._value = self._low = self._high = self.power_w = NAN

    def state(self) -> tuple[float, ...]:
        """All that later totals depend on.

        Joules (best, least, most), seconds of gap, the highest power, and of the last reading the time, the value and
        its two bounds, NaN before the first.
        """
        totals = (self.total_j, self.low_j, self.high_j, self.gap_s, self.power_max_w)
        return (*totals, self._at_s, self._value, self._low, self._high)

    def resume(self, state: Sequence[float]) -> None:
        """Go on from such a state."""
        self.total_j, self.low_j, self.high_j, self.gap_s, self.power_max_w = state[:5]
        self._at_s, self._value, self._low, self._high = state[5:]

    def reading(self) -> Reading:
        """The totals now. For a measured source the bounds of the totals are the totals themselves."""
        if self.source.basis == "measured":
            return Reading(self.total_j, self.total_j, self.total_j, self.gap_s)
        return Reading(self.total_j, self.low_j, self.high_j, self.gap_s)
