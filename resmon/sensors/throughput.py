"""Growing byte counts as rates."""

from __future__ import annotations

from resmon.sensors.base import NAN


class Throughput:
    """Two growing byte counts as rates: the mean since the previous ``update``, NaN at first and after a reset."""

    def __init__(self) -> None:
        self.rates = (NAN, NAN)
        self._before: tuple[float, int, int] | None = None

    def update(self, at_s: float, counts: tuple[int, int] | None) -> None:
        """Take the counts of this instant; None where they cannot be read."""
        before = self._before
        if counts is None:
            self.rates, self._before = (NAN, NAN), None
            return
        first, second = counts
        if before is None or first < before[1] or second < before[2]:
            self.rates = (NAN, NAN)
        elif at_s > before[0]:
            span = at_s - before[0]
            self.rates = ((first - before[1]) / span, (second - before[2]) / span)
        self._before = (at_s, first, second)
