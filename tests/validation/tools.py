"""Tools that say how much energy a board took in a window: resmon's own arithmetic, and the two plain ways.

To judge another tool on the same boards, write a class with the two methods of :class:`Tool` and give it to
:func:`tests.validation.table.table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from resmon.energy.counter import CounterTrack, calibrate
from resmon.energy.edges import Calibration, CounterRead
from resmon.energy.intervals import between
from tests.validation.devices import IDLE, Polling, Readable

LIMIT_W = 700.0
NAN = float("nan")


class Answer(NamedTuple):
    """What a tool says of a window. NaN bounds: it gives no interval."""

    energy_j: float
    low_j: float = NAN
    high_j: float = NAN


class Tool(Protocol):
    """A tool under test. All instants are seconds of virtual time; a tool reads the board when it likes."""

    @property
    def name(self) -> str: ...

    def learn(self, reads: Sequence[CounterRead]) -> None:
        """Before its windows: 2 s of reads 1-2 ms apart from a board of the same kind under another load."""

    def measure(self, board: Readable, start_s: float, end_s: float, rng: np.random.Generator) -> Answer:
        """The energy between two instants. ``rng`` is for the tool's own delays."""


@dataclass
class Resmon:
    """resmon: reads until the counter has moved after each end, and ticks twice a second."""

    gain_error: float
    polling: Polling = IDLE
    name: str = "resmon"
    calibration: Calibration = field(default_factory=Calibration)

    def learn(self, reads: Sequence[CounterRead]) -> None:
        self.calibration = calibrate(reads)

    def measure(self, board: Readable, start_s: float, end_s: float, rng: np.random.Generator) -> Answer:
        track = CounterTrack(self.calibration, power_limit_w=LIMIT_W)
        for read in board.reads(self.polling.window(board, start_s, end_s, self.calibration, rng)):
            track.add(read)
        start, end = track.mark(start_s), track.mark(end_s)
        assert start is not None
        assert end is not None
        window = between(start, end, gain_error=self.gain_error, power_limit_w=LIMIT_W)
        return Answer(window.energy_j, window.low_j, window.high_j)


@dataclass
class StartStop:
    """The counter read once at each end of the window, and the difference."""

    name: str = "start/stop"

    def learn(self, reads: Sequence[CounterRead]) -> None:
        """Nothing to learn."""

    def measure(self, board: Readable, start_s: float, end_s: float, rng: np.random.Generator) -> Answer:
        first, last = board.reads(np.array([start_s, end_s]))
        return Answer(last.energy_j - first.energy_j)


@dataclass
class PolledPower:
    """The power read every ``interval_s``, at both ends too, and the trapezoids under it."""

    interval_s: float = 0.1
    name: str = "polled power"

    def learn(self, reads: Sequence[CounterRead]) -> None:
        """Nothing to learn."""

    def measure(self, board: Readable, start_s: float, end_s: float, rng: np.random.Generator) -> Answer:
        at_s = np.append(np.arange(start_s, end_s, self.interval_s), end_s)
        power_w = np.array([read.power_w for read in board.reads(at_s)])
        return Answer(float(np.sum((power_w[1:] + power_w[:-1]) / 2 * np.diff(at_s))))


def plain_tools() -> tuple[Tool, ...]:
    """The plain ways, to stand beside."""
    return StartStop(), PolledPower()
