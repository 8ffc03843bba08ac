"""Simulated boards whose true energy is known, and how a sampler reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from resmon.energy.edges import Calibration, CounterRead

Array = NDArray[np.float64]
Instant = Literal["fresh", "with the counter", "25 ms with the counter", "mean of 25 ms"]

HORIZON_S = 40.0
CALL_S = 2e-5
"""Half of what a driver call takes."""


@dataclass(frozen=True)
class Load:
    """Power over time with its exact integral: straight lines between ``knots``; a jump is two knots at one instant."""

    knots: Array
    watts: Array
    joules: Array

    @classmethod
    def of(cls, knots: Array, watts: Array) -> Load:
        steps = (watts[1:] + watts[:-1]) / 2 * np.diff(knots)
        return cls(knots, watts, np.concatenate([[0.0], np.cumsum(steps)]))

    @classmethod
    def held(cls, starts: Array, watts: Array) -> Load:
        """Each of ``watts`` from its start to the next."""
        ends = np.append(starts[1:], HORIZON_S + 10)
        return cls.of(np.column_stack([starts, ends]).ravel(), np.repeat(watts, 2))

    def power_w(self, at_s: Array) -> Array:
        i, rest = self._place(at_s)
        return self.watts[i] + self._slope(i) * rest

    def energy_j(self, at_s: Array) -> Array:
        """Joules from an arbitrary origin until each instant."""
        i, rest = self._place(at_s)
        return self.joules[i] + rest * (self.watts[i] + self._slope(i) * rest / 2)

    def _place(self, at_s: Array) -> tuple[NDArray[np.intp], Array]:
        i = np.clip(np.searchsorted(self.knots, at_s, "right") - 1, 0, len(self.knots) - 2)
        return i, at_s - self.knots[i]

    def _slope(self, i: NDArray[np.intp]) -> Array:
        length = self.knots[i + 1] - self.knots[i]
        rise = self.watts[i + 1] - self.watts[i]
        return np.divide(rise, length, out=np.zeros_like(rise), where=length > 0)


def constant(rng: np.random.Generator, period_s: float) -> Load:
    return Load.held(np.array([-10.0]), rng.uniform(100, 700, 1))


def steps(rng: np.random.Generator, period_s: float) -> Load:
    """A new level about every second."""
    starts = -10 + np.concatenate([[0.0], np.cumsum(rng.exponential(1.0, 90))])
    return Load.held(starts, rng.uniform(80, 700, len(starts)))


def ramps(rng: np.random.Generator, period_s: float) -> Load:
    """Up in a second and down in a second."""
    knots = np.arange(-11.0, HORIZON_S + 11, 1.0) - rng.random()
    return Load.of(knots, np.where(np.arange(len(knots)) % 2 == 0, 100.0, 700.0))


def duty(periods: float, high: float = 0.25) -> Callable[[np.random.Generator, float], Load]:
    """100 and 700 W, the latter for a quarter of each cycle of so many periods of the counter."""

    def load(rng: np.random.Generator, period_s: float) -> Load:
        cycle_s = periods * period_s
        starts = np.arange(-10.0, HORIZON_S + 10, cycle_s) - rng.random() * cycle_s
        edges = np.column_stack([starts, starts + high * cycle_s]).ravel()
        return Load.held(edges, np.tile([700.0, 100.0], len(starts)))

    return load


def bursts(rng: np.random.Generator, period_s: float) -> Load:
    """600 W over 90 W for less than a period, at random."""
    count = int(60 / (5 * period_s))
    gaps, lengths = rng.exponential(5 * period_s, count), rng.uniform(0.1, 0.8, count) * period_s
    starts = -10 + np.concatenate([[0.0], np.cumsum(np.column_stack([gaps, lengths]).ravel())])
    return Load.held(starts, np.where(np.arange(len(starts)) % 2 == 1, 600.0, 90.0))


LOADS: dict[str, Callable[[np.random.Generator, float], Load]] = {
    "constant": constant,
    "steps": steps,
    "ramps": ramps,
    "duty, 4 periods": duty(4.0),
    "duty, 1.1 periods": duty(1.1),
    "duty, 1 period": duty(1.0),
    "duty, 0.9 periods": duty(0.9),
    "duty, 0.23 periods": duty(0.23),
    "bursts": bursts,
}


@dataclass(frozen=True)
class Board:
    """A board under a load. ``at_s`` are the edges of its counter, ``counted_j`` what it shows from each on."""

    load: Load
    period_s: float
    gain: float
    instant: Instant
    at_s: Array
    exact_j: Array

    @classmethod
    def make(
        cls, load: Load, rng: np.random.Generator, *, period_s: float, jitter: float, gain: float, instant: Instant
    ) -> Board:
        """The edges move by up to half of ``jitter`` periods to either side of an even grid of random phase."""
        grid = np.arange(-2.0, HORIZON_S, period_s) + rng.random() * period_s
        at_s = grid + jitter * period_s * (rng.random(len(grid)) - 0.5)
        origin_j = 1000.0 - float(load.energy_j(np.array([-3.0]))[0])
        return cls(load, period_s, gain, instant, at_s, gain * (load.energy_j(at_s) + origin_j))

    def true_j(self, from_s: Array, to_s: Array) -> Array:
        """What it truly took."""
        return self.load.energy_j(to_s) - self.load.energy_j(from_s)

    def oracle_j(self, from_s: Array, to_s: Array) -> Array:
        """What one would say who saw every edge perfectly and interpolates between them."""
        totals: Array = np.interp(to_s, self.at_s, self.exact_j) - np.interp(from_s, self.at_s, self.exact_j)
        return totals

    def reads(self, at_s: Array) -> list[CounterRead]:
        """Reads at these instants: whole millijoules and the instantaneous power, both with the board's gain."""
        i = np.searchsorted(self.at_s, at_s, "right") - 1
        if self.instant == "fresh":
            power_w = self.load.power_w(at_s)
        elif self.instant == "mean of 25 ms":
            power_w = (self.load.energy_j(at_s) - self.load.energy_j(at_s - 0.025)) / 0.025
        else:
            since = self.at_s[i - 1] if self.instant == "with the counter" else self.at_s[i] - 0.025
            power_w = (self.load.energy_j(self.at_s[i]) - self.load.energy_j(since)) / (self.at_s[i] - since)
        joules = np.floor(self.exact_j[i] * 1000) / 1000
        watts = np.round(self.gain * power_w, 3)
        columns = (at_s - CALL_S, at_s + CALL_S, joules, watts)
        return [CounterRead(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


class Readable(Protocol):
    """What a tool may know of a board: what it shows at any instants, asked in order of time."""

    def reads(self, at_s: Array) -> list[CounterRead]: ...


@dataclass(frozen=True)
class Polling:
    """How a sampler comes to read: ticks, a read soon after an end of a window, then polls until the value changed.

    Between two polls lie what resmon rests for that counter and ``least_s`` to ``most_s`` more: as was seen of the
    process that reads the GPUs, over the scripted driver, whose calls take microseconds.
    """

    least_s: float = 0.00008
    most_s: float = 0.00015
    first_s: float = 0.001
    held_s: float = 0.0
    tick_s: float = 0.5

    def after(self, board: Readable, at_s: float, calibration: Calibration, rng: np.random.Generator) -> Array:
        """The reads that an end of a window causes: until as many changes were seen in the act as are asked for."""
        first = at_s + rng.uniform(0.1, 1.0) * self.first_s + self.held_s * rng.random()
        polls, shown_j = np.array([first]), board.reads(np.array([first]))[0].energy_j
        wanted = calibration.edges_after
        while polls[-1] < first + 4 * calibration.period_s:
            gaps = calibration.poll_gap_s + rng.uniform(self.least_s, self.most_s, 64)
            more = polls[-1] + np.cumsum(gaps)
            for i, read in enumerate(board.reads(more)):
                if read.energy_j != shown_j:
                    shown_j, wanted = read.energy_j, wanted - 1
                    if not wanted:
                        return np.concatenate([polls, more[: i + 1]])
            polls = np.concatenate([polls, more])
        return polls

    def window(
        self, board: Readable, start_s: float, end_s: float, calibration: Calibration, rng: np.random.Generator
    ) -> Array:
        """All reads that a window sees: those of its two ends and the ticks around and between."""
        opening = self.after(board, start_s, calibration, rng)
        closing = self.after(board, end_s, calibration, rng)
        ticks = np.arange(start_s - (1 + rng.random()) * self.tick_s, closing[-1], self.tick_s)
        # While the thread does not run, no tick comes either.
        for at_s, reads in ((start_s, opening), (end_s, closing)):
            ticks = ticks[(ticks <= at_s) | (ticks >= reads[0])]
        return np.unique(np.concatenate([ticks, opening, closing]))


IDLE = Polling()
BUSY = Polling(least_s=0.005, most_s=0.008, first_s=0.006)
HELD = Polling(held_s=0.6)


def calibration_reads(board: Board, rng: np.random.Generator, seconds: float = 2.0) -> list[CounterRead]:
    """What a calibration reads."""
    polls = 1.0 + np.cumsum(rng.uniform(0.001, 0.002, int(seconds / 0.001)))
    return board.reads(polls[polls < 1.0 + seconds])
