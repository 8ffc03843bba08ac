"""Learning how a counter moves from edges that were caught one after the other."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from itertools import pairwise

from resmon.energy.edges import Calibration, Edge, integral_j, mean_power_w, unread_j2

DENSE_S = 0.01
"""Reads closer together than this leave no room for an edge that was not seen."""
ENOUGH_STEPS = 64
"""A calibration of this many steps stays as it is, unless the counter contradicts it."""
DOUBTFUL_STEPS = 8
"""As many steps in a row contradict a calibration, where their median length is off by ``DOUBT`` of its period."""
DOUBT = 0.25
VARIED = 0.1
"""Power is compared with the counter over steps whose load changed by this share of its mean, at least."""
RATIO_STEPS = 8
"""Fewer steps than this say too little of the ratio between the counter and the power."""
MIN_VARIED = 4
"""Fewer steps of changing load than this say too little of how power follows it."""


class Learner:
    """Takes every pair of neighbouring edges and keeps the calibration that follows from them.

    A calibration that it was given and that rests on ``ENOUGH_STEPS`` or more is left alone: what is published of a
    board does not drift. One in which counter and power disagree is learned anew. Where the counter moves at quite
    another pace, it is forgotten.
    """

    __slots__ = ("_energies", "_mean_w", "_periods", "_told", "_varied", "calibration", "fixed")

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self.fixed = calibration.steps >= ENOUGH_STEPS and calibration.disagreement is None
        self._periods: deque[float] = deque(maxlen=2 * ENOUGH_STEPS)
        self._energies: deque[tuple[float, float, float]] = deque(maxlen=2 * ENOUGH_STEPS)
        self._varied: deque[tuple[float, float]] = deque(maxlen=2 * ENOUGH_STEPS)
        self._told: deque[tuple[float, float]] = deque(maxlen=2 * ENOUGH_STEPS)
        self._mean_w: float | None = None

    def take(self, before: Edge, after: Edge) -> None:
        """Learn from a step, if it was read without a gap."""
        instants = [before.to_s, *(power.at_s for power in after.powers), after.to_s]
        apart_s = max(b - a for a, b in pairwise(instants))
        if before.broken or after.broken or max(apart_s, before.width_s, after.width_s) > DENSE_S:
            self._mean_w = None
            return
        length_s = after.middle_s - before.middle_s
        self._periods.append(length_s)
        if self.fixed and not self._contradicted():
            return
        self._compare(before, after, length_s)
        if len(self._periods) >= self.calibration.steps:
            self.calibration = self._learned()

    def _contradicted(self) -> bool:
        """Whether the newest steps are of another counter than the calibration; then it is forgotten."""
        newest = sorted(list(self._periods)[-DOUBTFUL_STEPS:])
        if len(newest) < DOUBTFUL_STEPS:
            return False
        if abs(newest[DOUBTFUL_STEPS // 2] - self.calibration.period_s) <= DOUBT * self.calibration.period_s:
            return False
        self.fixed = False
        self.calibration = Calibration()
        self._periods = deque(newest, maxlen=self._periods.maxlen)
        return True

    def _compare(self, before: Edge, after: Edge, length_s: float) -> None:
        """The counter's step beside the integral of the power over the same stretch."""
        counted_j = after.total_j - before.total_j
        drawn_j = integral_j(after.powers, before.middle_s, after.middle_s)
        mean_w, earlier_w = counted_j / length_s, self._mean_w
        self._mean_w = mean_w
        if not drawn_j > 0:
            return
        told_j = after.power_w * length_s
        self._energies.append((counted_j, drawn_j, told_j))
        if earlier_w is None:
            return
        inside_w = mean_power_w(after.powers)
        spread_w2 = sum((p.power_w - inside_w) ** 2 for p in after.powers) / len(after.powers)
        spread_w2 += (mean_w - earlier_w) ** 2
        if spread_w2 > (VARIED * mean_w) ** 2:
            timing_j2 = (after.powers[-1].power_w * after.width_s) ** 2 + (
                after.powers[0].power_w * before.width_s
            ) ** 2
            explained_j2 = unread_j2(after.powers, before.middle_s) + timing_j2 / 12
            missed_j2 = (drawn_j - counted_j) ** 2 - explained_j2
            self._varied.append((missed_j2, spread_w2 * length_s * length_s))
        changed_w2 = (mean_w - earlier_w) ** 2
        if changed_w2 > (VARIED * mean_w) ** 2 and told_j == told_j:
            timing_j2 = after.power_w**2 * (before.width_s**2 + after.width_s**2) / 12
            self._told.append(((told_j - counted_j) ** 2 - timing_j2, changed_w2 * length_s * length_s))

    def _learned(self) -> Calibration:
        ordered = sorted(self._periods)
        median_s = ordered[len(ordered) // 2]
        p99_s = ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)))]
        learned = Calibration(
            period_s=median_s,
            period_p99_s=max(p99_s, 1.02 * median_s),
            steps=len(ordered),
            power_ratio=self.calibration.power_ratio,
            ratio_sigma=self.calibration.ratio_sigma,
            power_error=_share(self._varied, self.calibration.power_error),
            step_error=_share(self._told, self.calibration.step_error),
        )
        if len(self._energies) < RATIO_STEPS:
            return learned
        by_steps = learned.tells_steps
        pairs = [(counted_j, told_j if by_steps else drawn_j) for counted_j, drawn_j, told_j in self._energies]
        counted_j, power_j = (sum(column) for column in zip(*pairs, strict=True))
        ratio = counted_j / power_j
        left_j2 = sum((counted - ratio * power) ** 2 for counted, power in pairs)
        return replace(learned, power_ratio=ratio, ratio_sigma=math.sqrt(left_j2) / power_j)


def _share(steps: deque[tuple[float, float]], before: float | None) -> float | None:
    """Of the squares that were missed over those that there were: the root; as before with too few steps."""
    if len(steps) < MIN_VARIED:
        return before
    missed_j2, varied_j2 = (sum(column) for column in zip(*steps, strict=True))
    return math.sqrt(max(0.0, missed_j2) / varied_j2)
