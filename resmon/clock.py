"""Time: a monotonic clock inside, the wall clock only for display."""

from __future__ import annotations

import hashlib
import platform
import time
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

MOVED_S = 1.0
"""A wall clock that differs by more from the monotonic one was set, or the machine slept."""


class Clock(Protocol):
    """What the monitor asks of a clock. ``threaded`` is False where somebody else drives the ticks."""

    threaded: bool

    @property
    def boot(self) -> str:
        """Names the boot of the machine whose clock this is: instants of two boots cannot be compared."""
        ...

    def now(self) -> float:
        """Seconds that never go back."""
        ...

    def wall(self, at_s: float) -> datetime:
        """The wall-clock time of a monotonic instant, timezone-aware."""
        ...


class MonotonicClock:
    """``CLOCK_MONOTONIC``, with an offset to the wall clock for display, which is kept until one of them was moved."""

    threaded = True
    now = staticmethod(time.monotonic)
    """The function itself: one call less for whoever asks on cold caches."""

    def __init__(self) -> None:
        self._offset_s = _wall_offset_s()

    @cached_property
    def boot(self) -> str:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except OSError:  # not Linux: the machine and when it started, to the minute; a trace must not tell its name
            return hashlib.sha256(f"{platform.node()} {round(self._offset_s / 60)}".encode()).hexdigest()[:32]

    def wall(self, at_s: float) -> datetime:
        offset_s = _wall_offset_s()
        if abs(offset_s - self._offset_s) > MOVED_S:  # a laptop that sleeps: its monotonic clock stands still
            self._offset_s = offset_s
        return datetime.fromtimestamp(at_s + self._offset_s, UTC)


def _wall_offset_s() -> float:
    """To the microsecond, as it is written down: a replay then shows the same times."""
    return round(time.time() - time.monotonic(), 6)


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

    def look_ahead(self, ticking: Ticking) -> bool:
        """Give what is to be read next before its time, to whoever waits for it; now stays. False without such."""
        ...
