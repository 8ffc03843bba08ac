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


class Ticking(Protocol):
    """What a driven clock drives: ``tick`` is due every ``interval_s`` seconds."""

    interval_s: float

    def tick(self) -> float: ...


class DrivenClock(Clock, Protocol):
    """A clock that somebody moves on by hand; what is attached to it ticks as it moves."""

    def attach(self, ticking: Ticking) -> None:
        """Tick now and then whenever an interval has passed."""
        ...

    def detach(self, ticking: Ticking) -> None:
        """No more ticks."""
        ...

    def read_edge(self, ticking: Ticking) -> None:
        """A window opens or closes at this instant: tick, where there is something new to read."""
        ...
