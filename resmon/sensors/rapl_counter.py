"""One RAPL counter, whichever way the kernel shows it: how far it has come, and what of that cannot be known."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Literal

from resmon.facts import EnergyKind
from resmon.sensors.base import NAN

Way = Literal["powercap", "perf"]

RETRY_S: Final = 2.0
"""How often a counter that cannot be read is tried again."""
_MAX_W: Final = 1000.0
"""More than any package draws: a wrap that needs more is a reset, and a gap that allows a whole round is lost."""


@dataclass(slots=True, eq=False)
class RaplCounter(ABC):
    """A counter of ``unit_j`` joules that starts again at ``wrap``, where that is known.

    ``key`` (``"package-0"``) is stable; ``total`` is how far it has come since it was started, in its own units,
    ``last`` what it read last, ``error`` the errno that keeps it from being read (0: none). One thread at a time.
    """

    key: str
    label: str
    kind: EnergyKind
    scope: str
    way: Way
    unit_j: float
    wrap: int | None = None
    total: int = 0
    last: int | None = None
    last_at_s: float = 0.0
    next_open_s: float = float("-inf")
    error: int = 0

    @property
    def quantity(self) -> str:
        """The quantity of its channel."""
        return f"{self.key.replace('-', '_')}_energy_j"

    def start_again(self) -> None:
        """Forget the readings so far: the next one is where the energy counts from."""
        self.total, self.last, self.next_open_s = 0, None, float("-inf")

    def advance(self, at_s: float) -> float:
        """Read it and give the joules so far; NaN where it cannot be read or what it counted cannot be known.

        Then the joules start again from 0, which says so to whoever reads them. One that is not open, or fails, is
        opened again, at most every ``RETRY_S``.
        """
        now = self.value()
        if now is None and at_s >= self.next_open_s:
            self.next_open_s = at_s + RETRY_S
            self.error = self.reopen()
            now = None if self.error else self.value()
        if now is None:
            self.error = self.error or errno.EIO
            return NAN
        self.error = 0
        last, self.last = self.last, now
        gap_s, self.last_at_s = at_s - self.last_at_s, at_s
        if last is None:
            return self.total * self.unit_j
        step = now - last
        bound = _MAX_W / self.unit_j * max(gap_s, 0.01)
        lost = self.wrap is not None and bound > self.wrap  # it may have wrapped more than once
        if step < 0:
            step = step % self.wrap if self.wrap else -1
            lost = lost or not 0 <= step <= bound
        if lost:
            self.total = 0
            return NAN
        self.total += step
        return self.total * self.unit_j

    @abstractmethod
    def value(self) -> int | None:
        """What it reads now; None where it is not open or cannot be read."""

    @abstractmethod
    def reopen(self) -> int:
        """Open it, or open it again; 0 or the errno."""

    @abstractmethod
    def is_mirror(self, other: RaplCounter) -> bool:
        """Whether it shows the very counter that ``other`` shows."""

    @abstractmethod
    def close(self) -> None:
        """Give back its descriptor. Idempotent."""


@dataclass(slots=True, kw_only=True)
class Found:
    """The counters of one way; where there are none, why not, and what would mend it."""

    counters: list[RaplCounter]
    cause: str = ""
    remedy: str = ""
