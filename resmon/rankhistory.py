"""What one rank told, oldest first, in a bounded number of rows: coarser with age, its totals and peaks never lost."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from resmon.ranks import RankSample

ROWS = 1_200
"""Five minutes at 4 Hz are kept as they came; before that rows cover two samples, four, and so on."""

TOTALS = (
    "steps",
    "items",
    "stepping_s",
    "collective_s",
    "cpu_time_s",
    "cpu_wait_s",
    "memory_wait_s",
    "allocator_retries",
    "monitor_cpu_s",
)
"""What only grows: a row has it as of its own instant."""
COUNTED = ("steps", "items", "stepping_s", "collective_s")
"""Of these, what a rank counts itself: unknown until its first step."""
PEAKS = ("memory_bytes", "allocator_peak_bytes", "allocator_reserved_bytes")
"""Of these a row has the largest until the next row,"""
MEANS = ("utilization", "power_w")
"""of these the mean."""

Ends = tuple[int, int] | None
"""A span of rows: the first and the last; None where there are none."""

_NAN = float("nan")


class RankHistory:
    """The rows of one rank. Not thread-safe: the board that holds it is.

    A rank that was started again (another pid) counts from 0: its totals go on from where the one before it stopped.
    """

    __slots__ = ("_carried", "_columns", "_counts", "newest")

    def __init__(self) -> None:
        self._columns = {name: array("d") for name in ("at_s", *TOTALS, *PEAKS, *MEANS)}
        self._counts: array[int] = array("q")
        self._carried: dict[str, float] = {}
        self.newest: RankSample | None = None

    def __len__(self) -> int:
        return len(self._counts)

    def append(self, sample: RankSample) -> None:
        """Take in a sample; one that is older than the newest counts as of the newest."""
        columns, newest = self._columns, self.newest
        if newest is not None and newest.pid != sample.pid:
            self._carried = {name: self._last_known(name) for name in TOTALS}
        carried = self._carried
        at = columns["at_s"]
        at.append(max(sample.at_s, at[-1]) if at else sample.at_s)
        for name in TOTALS:
            value = getattr(sample, name)
            columns[name].append(_NAN if value is None else value + carried.get(name, 0.0) if carried else value)
        for name in PEAKS + MEANS:
            value = getattr(sample, name)
            columns[name].append(_NAN if value is None else value)
        self._counts.append(1)
        self.newest = sample
        if len(self._counts) > ROWS:
            self._thin()

    def _last_known(self, name: str) -> float:
        return next((value for value in reversed(self._columns[name]) if value == value), 0.0)

    def _thin(self) -> None:
        """Of the older half, make one row of every two."""
        half = len(self._counts) // 4 * 2
        counts = self._counts
        for name, column in self._columns.items():
            first, second = column[0:half:2], column[1:half:2]
            if name in PEAKS:
                merged = array("d", map(_larger, first, second))
            elif name in MEANS:
                merged = array("d", map(_mean, first, second, counts[0:half:2], counts[1:half:2]))
            else:
                merged = first
            column[:half] = merged
        counts[:half] = array("q", (a + b for a, b in zip(counts[0:half:2], counts[1:half:2], strict=True)))

    # -- spans -----------------------------------------------------------------------------------------------------

    def recent(self, steps: int) -> Ends:
        """The newest row, and the newest that is at least ``steps`` steps before it (or the oldest)."""
        column = self._columns["steps"]
        last = len(column) - 1
        if last < 1 or column[last] != column[last]:
            return (0, last) if last >= 1 else None
        # Steps only grow, so they can be searched; a rank that begins to count has none before.
        first = bisect_right(column, column[last] - steps, key=_begun) - 1
        while first < 0 or column[first] != column[first]:
            first += 1
        return (first, last) if first < last else None

    def between(self, start_s: float, end_s: float) -> Ends:
        """The rows of a span of time."""
        at = self._columns["at_s"]
        first, last = bisect_left(at, start_s), bisect_right(at, end_s) - 1
        return (first, last) if first <= last else None

    def samples(self, start_s: float, end_s: float) -> int:
        """How many samples the rows of a span of time stand for."""
        at = self._columns["at_s"]
        return sum(self._counts[bisect_left(at, start_s) : bisect_right(at, end_s)])

    def grown(self, ends: Ends, name: str) -> float | None:
        """How much a total grew over the rows; None where it is unknown at the end, or there is one row alone.

        What a rank counts itself begins at 0: where it was unknown at the first row, it had not begun.
        """
        if ends is None or ends[0] == ends[1]:
            return None
        column = self._columns[name]
        known = self._known_from(ends, name)
        if known is None:
            return None
        if known > ends[0] and name in COUNTED:
            before = next((column[i] for i in range(ends[0], -1, -1) if column[i] == column[i]), 0.0)
            return column[ends[1]] - before
        return column[ends[1]] - column[known]

    def rate(self, ends: Ends, name: str) -> float | None:
        """How much a total grew per second since it was known.

        Where all steps fell between two samples: per second of the steps, of which the first had no known beginning.
        """
        found = self._per(ends, name, "at_s")
        if found is None and name in ("steps", "items"):
            grown, steps, took_s = (self.grown(ends, column) for column in (name, "steps", "stepping_s"))
            if grown is not None and steps and took_s:
                return grown * (steps - 1) / steps / took_s
        return found

    def per_step(self, ends: Ends, name: str) -> float | None:
        """How much a total grew per step since it was known; None where no step ended.

        Where all steps fell between two samples the total is known at one row alone: then it grew from 0.
        """
        found = self._per(ends, name, "steps")
        if found is None and ends is not None and self._known_from(ends, name) == self._known_from(ends, "steps"):
            grown, steps = self.grown(ends, name), self.grown(ends, "steps")
            return grown / steps if grown is not None and steps else None
        return found

    def _per(self, ends: Ends, name: str, unit: str) -> float | None:
        known = self._known_from(ends, name)
        if known is None or ends is None:
            return None
        column, units = self._columns[name], self._columns[unit]
        span = units[ends[1]] - units[known]
        return (column[ends[1]] - column[known]) / span if span > 0 else None

    def _known_from(self, ends: Ends, name: str) -> int | None:
        """The first row of a span that knows a total; None where the last does not."""
        if ends is None:
            return None
        column = self._columns[name]
        if column[ends[1]] != column[ends[1]]:
            return None
        return next(i for i in range(ends[0], ends[1] + 1) if column[i] == column[i])

    def peak(self, ends: Ends, name: str) -> float | None:
        """The largest that the rows know."""
        return max(self._known(ends, name), default=None)

    def mean(self, ends: Ends, name: str) -> float | None:
        """The mean of the samples that the rows stand for."""
        if ends is None:
            return None
        first, last = ends
        column, counts = self._columns[name], self._counts
        known = [(column[i], counts[i]) for i in range(first, last + 1) if column[i] == column[i]]
        weight = sum(count for _, count in known)
        return math.fsum(value * count for value, count in known) / weight if weight else None

    def _known(self, ends: Ends, name: str) -> Sequence[float]:
        return [] if ends is None else [v for v in self._columns[name][ends[0] : ends[1] + 1] if v == v]


def _begun(steps: float) -> float:
    return steps if steps == steps else float("-inf")


def _larger(a: float, b: float) -> float:
    return b if a != a or b > a else a


def _mean(a: float, b: float, of_a: int, of_b: int) -> float:
    if a != a or b != b:
        return b if a != a else a
    return (a * of_a + b * of_b) / (of_a + of_b)
