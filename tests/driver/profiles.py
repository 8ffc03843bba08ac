"""How a scripted quantity moves over time, with its exact integral. Time 0 is the script's epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Profile(Protocol):
    """A function of time. Before time 0 it holds its value at 0."""

    def line(self) -> str:
        """The words of the script."""
        ...

    def value(self, at_s: float) -> float:
        """The value at an instant."""
        ...

    def integral(self, until_s: float) -> float:
        """The integral from 0 to ``until_s``; of watts: joules."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """The same value for ever."""

    level: float

    def line(self) -> str:
        return f"c {self.level!r}"

    def value(self, at_s: float) -> float:
        return self.level

    def integral(self, until_s: float) -> float:
        return self.level * until_s


@dataclass(frozen=True, slots=True)
class Steps:
    """``(from_s, value)`` pairs in order of time; before the first, its value. At most 128 pairs."""

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.points) <= 128:
            raise ValueError(f"1 to 128 steps, not {len(self.points)}")

    def line(self) -> str:
        return "s " + " ".join(f"{at!r} {value!r}" for at, value in self.points)

    def value(self, at_s: float) -> float:
        return next((value for at, value in reversed(self.points) if at_s >= at), self.points[0][1])

    def integral(self, until_s: float) -> float:
        total, since, level = 0.0, 0.0, self.points[0][1]
        for at, value in self.points:
            if at >= until_s:
                break
            if at > since:
                total += level * (at - since)
                since = at
            level = value
        return total + level * (until_s - since)


@dataclass(frozen=True, slots=True)
class Square:
    """From ``start_s`` on ``high`` for ``duty`` of every ``period_s``, else ``low``."""

    low: float
    high: float
    period_s: float
    duty: float = 0.5
    start_s: float = 0.0

    def line(self) -> str:
        return f"q {self.low!r} {self.high!r} {self.period_s!r} {self.duty!r} {self.start_s!r}"

    def value(self, at_s: float) -> float:
        since = at_s - self.start_s
        return self.high if since >= 0 and since % self.period_s < self.duty * self.period_s else self.low

    def integral(self, until_s: float) -> float:
        since = until_s - self.start_s
        if until_s <= 0:
            return self.value(0.0) * until_s
        if since <= 0:
            return self.low * until_s
        on_s = self.duty * self.period_s
        rest_s = math.fmod(since, self.period_s)
        rounds = round((since - rest_s) / self.period_s)  # not the floor, which may be one more than the rest says
        high_s = rounds * on_s + min(rest_s, on_s)
        return self.low * until_s + (self.high - self.low) * high_s


def profile(what: Profile | float) -> Profile:
    """Take a number for a constant."""
    return Constant(float(what)) if isinstance(what, (int, float)) else what
