"""How busy each core was, from ``/proc/stat``."""

from __future__ import annotations

from collections.abc import Collection
from operator import add
from typing import Final

from resmon.sensors.base import NAN

_WIDTH: Final = 11  # words of a CPU's line: its name and ten times


class Cores:
    """The cores of the machine. ``values`` are those that are shown, ``online`` the CPU numbers there are now.

    ``stat`` is the file's content when it is first read. Nothing is read here.
    """

    def __init__(self, stat: bytes) -> None:
        self.online = _cpu_numbers(stat.partition(b"\nintr")[0].split())
        self.values: list[float] = []
        self._cores: tuple[int, ...] = ()
        self._own_cores: Collection[int] | None = None
        self._words = 0
        self._idle: list[int] = []
        self._total = 0
        self._shown: list[int] | None = None
        self._own: list[int] | None = None

    def show(self, allowed: Collection[int] | None) -> tuple[int, ...]:
        """Have ``values`` for the cores among these (None: for all) from now on; returns them."""
        self._cores = tuple(core for core in self.online if allowed is None or core in allowed)
        self.values = [NAN] * len(self._cores)
        return self._cores

    @property
    def own(self) -> Collection[int] | None:
        """The cores whose mean is wanted; None for all. Setting it begins anew."""
        return self._own_cores

    @own.setter
    def own(self, cores: Collection[int] | None) -> None:
        self._own_cores = cores
        self._words = 0

    def parse(self, stat: bytes) -> float | None:
        """The mean since the last call, from the lines of the CPUs; NaN and None where it is not known.

        NaN where the cores are others than before, None where too little time has passed: then what was known stands.
        """
        words = stat.split()
        anew = len(words) != self._words
        if anew:
            self._map(words)
        count = len(self.online)
        if not count:
            return NAN
        total = sum(map(int, words[1:9]))
        before = self._idle
        idle = self._idle = list(
            map(add, map(int, words[_WIDTH + 4 :: _WIDTH]), map(int, words[_WIDTH + 5 :: _WIDTH]))
        )  # and waiting for a disk
        # Ticks of one core: all cores' times advance together, so that their sum tells it without reading each.
        span = (total - self._total) / count
        self._total = total
        if anew:
            return NAN
        if span <= 0.0:
            return None
        values = [1.0 - (now - then) / span for now, then in zip(idle, before, strict=True)]
        if min(values) < 0.0 or max(values) > 1.0:  # the kernel's own counting is a tick off at times
            values = [max(0.0, min(value, 1.0)) for value in values]
        self.values = values if self._shown is None else [values[i] if i >= 0 else NAN for i in self._shown]
        if self._own is None:
            return 1.0 - (sum(idle) - sum(before)) / (span * count)
        return sum([values[place] for place in self._own]) / len(self._own)

    def _map(self, words: list[bytes]) -> None:
        """Where each core stands in the lines; they move when a CPU goes on or off line."""
        self._words = len(words)
        self.online = _cpu_numbers(words)
        self._idle = []
        self.values = [NAN] * len(self._cores)
        places = {core: place for place, core in enumerate(self.online)}
        shown = [places.get(core, -1) for core in self._cores]
        self._shown = None if shown == list(range(len(self.online))) else shown
        allowed = self._own_cores
        self._own = [place for place, core in enumerate(self.online) if core in allowed] if allowed else None


def _cpu_numbers(words: list[bytes]) -> list[int]:
    return [int(word[3:]) for word in words[_WIDTH::_WIDTH]]
