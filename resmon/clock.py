"""Time: a monotonic clock inside, the wall clock only for display."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the monitor asks of a clock. ``threaded`` is False where somebody else drives the ticks."""

    threaded: bool

    def now(self) -> float:
        """Seconds that never go back."""
        ...

    def wall(self, at_s: float) -> datetime:
        """The wall-clock time of a monotonic instant, timezone-aware."""
        ...


class MonotonicClock:
    """``CLOCK_MONOTONIC``, with an offset to the wall clock taken once for display."""

    threaded = True

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic()

    def wall(self, at_s: float) -> datetime:
        return datetime.fromtimestamp(at_s + self._offset_s, UTC)
