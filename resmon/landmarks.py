"""Counters at instants that will be asked for when the history has no rows of them any more.

Rows grow coarser with age, and the oldest go. What a counter was where it began, and where a span of work began that
may last for days, is therefore kept beside the rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple
from weakref import WeakValueDictionary

from resmon.blocks import Row, Tier

MOST_AWAITED = 1024
"""Instants that wait for the row after them: where none comes, the oldest are let go."""


class Point(NamedTuple):
    """The value of one counter in one row."""

    at_s: float
    value: float


Beside = tuple[Point | None, Point | None]
"""A counter at or before an instant, and at or after it."""


class Kept:
    """Holds the rows beside one instant, for as long as somebody holds it. Empty until the row after the instant."""

    __slots__ = ("__weakref__", "at_s", "rows")

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        self.rows: tuple[Row, Row] | None = None

    def beside(self, channel_id: str) -> Beside | None:
        """A counter in both rows; None where it is unknown in one of them."""
        if self.rows is None:
            return None
        before, after = (point_of(row, channel_id) for row in self.rows)
        return None if before is None or after is None else (before, after)


class Landmarks:
    """``keep`` and ``find`` may be called by any thread, the rest by the one that writes the history."""

    __slots__ = ("_first", "_kept", "awaited", "unseen")

    def __init__(self) -> None:
        self._first: dict[str, Point] = {}
        self._kept: WeakValueDictionary[float, Kept] = WeakValueDictionary()
        self.unseen: tuple[str, ...] = ()
        """Counters that had no value yet."""
        self.awaited: deque[Kept] = deque(maxlen=MOST_AWAITED)
        """Instants that have no row after them yet."""

    def keep(self, at_s: float) -> Kept:
        """Keep the counters at an instant that has just come."""
        kept = self._kept.setdefault(at_s, Kept(at_s))
        self.awaited.append(kept)
        return kept

    def find(self, channel_id: str, at_s: float) -> Beside | None:
        """What was kept of a counter at this very instant, or where it began if that was later; else None."""
        kept, first = self._kept.get(at_s), self._first.get(channel_id)
        beside = None if kept is None else kept.beside(channel_id)
        if beside is None and first is not None and at_s <= first.at_s:
            return (first if at_s == first.at_s else None), first
        return beside

    def begin(self, counters: Iterable[str]) -> None:
        """The rows that follow have these counters."""
        self.unseen = tuple(c for c in counters if c not in self._first)

    def take(self, rows: Tier) -> None:
        """A row was written, the last of these."""
        block = rows.blocks[-1]
        last = Row(block, block.rows - 1)
        if self.unseen:
            now = {c: point_of(last, c) for c in self.unseen}
            self._first |= {c: point for c, point in now.items() if point is not None}
            self.unseen = tuple(c for c in self.unseen if c not in self._first)
        for _ in range(len(self.awaited)):
            kept = self.awaited.popleft()
            before, after = rows.beside(kept.at_s)
            if after is None:
                self.awaited.append(kept)
            elif before is not None:
                kept.rows = before.block.copied(before.i), after.block.copied(after.i)


def point_of(row: Row | None, channel_id: str) -> Point | None:
    """A counter in a row; None where there is no row, or the counter is unknown in it."""
    value = float("nan") if row is None else row.value(channel_id)
    return Point(row.at_s, value) if row is not None and value == value else None
