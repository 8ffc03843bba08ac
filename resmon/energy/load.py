"""What instantaneous power tells beside a counter: how much the load varies, and what to put where nothing counted."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import NamedTuple

from resmon.energy.edges import NAN

OBSERVATION_S = 0.01
"""Powers read closer together than this are one observation of the load."""


class Moments(NamedTuple):
    """Running integrals of 1, P and P² over the time in which power was read."""

    seconds_s: float = 0.0
    power_j: float = 0.0
    square_w2s: float = 0.0

    def variance_w2(self, later: Moments) -> float:
        """Variance of the power between two instants; NaN where it was not read."""
        seconds_s = later.seconds_s - self.seconds_s
        if seconds_s <= 0:
            return NAN
        mean_w = (later.power_j - self.power_j) / seconds_s
        return max(0.0, (later.square_w2s - self.square_w2s) / seconds_s - mean_w * mean_w)


class _Point(NamedTuple):
    at_s: float
    power_w: float
    moments: Moments


class Load:
    """The moments of the last ``memory`` observations of power; a stretch longer than ``max_gap_s`` is not bridged."""

    __slots__ = ("_points", "max_gap_s")

    def __init__(self, memory: int, max_gap_s: float) -> None:
        self._points: deque[_Point] = deque(maxlen=memory)
        self.max_gap_s = max_gap_s

    def add(self, at_s: float, power_w: float) -> None:
        """Take one power, in order of time; NaN is none."""
        if power_w != power_w:
            return
        if not self._points:
            self._points.append(_Point(at_s, power_w, Moments()))
            return
        last_s, last_w, (seconds_s, power_j, square) = self._points[-1]
        span_s = at_s - last_s
        if span_s < OBSERVATION_S:
            return
        if span_s <= self.max_gap_s:
            seconds_s += span_s
            power_j += span_s * (last_w + power_w) / 2
            # of the straight line between the two
            square += span_s * (last_w * last_w + last_w * power_w + power_w * power_w) / 3
        self._points.append(_Point(at_s, power_w, Moments(seconds_s, power_j, square)))

    def at(self, at_s: float) -> Moments:
        """The moments at an instant; at the ends those of the nearest observation."""
        points = self._points
        if not points:
            return Moments()
        i = self._after(at_s)
        if i in {0, len(points)}:
            return points[min(i, len(points) - 1)].moments
        before, after = points[i - 1], points[i]
        share = (at_s - before.at_s) / (after.at_s - before.at_s)
        return Moments(*(a + share * (b - a) for a, b in zip(before.moments, after.moments, strict=True)))

    def drawn_j(self, from_s: float, to_s: float) -> float:
        """Joules between two instants: the mean power read between them, else the one read last, times the seconds."""
        start, end = self.at(from_s), self.at(to_s)
        if end.seconds_s > start.seconds_s:
            return (end.power_j - start.power_j) / (end.seconds_s - start.seconds_s) * (to_s - from_s)
        return self.power_near(to_s) * (to_s - from_s)

    def power_near(self, at_s: float) -> float:
        """The power read last before an instant, or first after it; NaN without any."""
        return self._points[max(0, self._after(at_s) - 1)].power_w if self._points else NAN

    def _after(self, at_s: float) -> int:
        return bisect_right(self._points, at_s, key=lambda point: point.at_s)
