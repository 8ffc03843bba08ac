"""Every read of the energy counters, and their totals at the instants at which windows begin and end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from resmon.energy.counter import CounterTrack
from resmon.energy.edges import Calibration, CounterRead
from resmon.energy.mark import Mark
from resmon.facts import EnergySource

log = logging.getLogger("resmon")

UNSEEN_S = 2.0
"""A counter whose last read is further from an instant than this says nothing about it."""


class Instant:
    """A moment at which the totals of all counters are wanted. ``marks`` is whole once ``ready`` is true."""

    __slots__ = ("at_s", "marks", "ready", "waiting")

    def __init__(self, at_s: float, waiting: Sequence[str]) -> None:
        self.at_s = at_s
        self.marks: dict[str, Mark] = {}
        self.waiting = set(waiting)
        self.ready = not self.waiting


class Counters:
    """The tracks of all counters. Reads come from the sampling thread; everything may be asked by any thread.

    A driver call never happens under the lock, so that one that hangs cannot hang who asks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tracks: dict[str, CounterTrack] = {}
        self._read_s: dict[str, float] = {}
        self._instants: list[Instant] = []
        self._known: dict[str, Calibration] = {}

    def know(self, source_id: str, calibration: Calibration) -> None:
        """What an earlier session learned of a counter, before its first read here."""
        with self._lock:
            self._known[source_id] = calibration

    def learned(self) -> dict[str, Calibration]:
        """What is known of every counter by now."""
        with self._lock:
            return {source_id: track.calibration for source_id, track in self._tracks.items()}

    def shape(self, sources: Sequence[EnergySource]) -> None:
        """Keep a track for each of these that is a counter; the track of one that comes back goes on."""
        with self._lock:
            for source in sources:
                if source.method == "counter" and source.id not in self._tracks:
                    self._tracks[source.id] = CounterTrack(
                        self._known.get(source.id) or _beforehand(source), power_limit_w=source.power_limit_w
                    )

    def take(self, source_id: str, read: CounterRead) -> None:
        """Take one read of a counter, in order of time; NaN for one that failed."""
        with self._lock:
            track = self._tracks.get(source_id)
            if track is None:
                return
            try:
                track.add(read)
            except ValueError as error:
                log.warning("resmon: a read of %s is left out: %s", source_id, error)
                return
            if read.energy_j == read.energy_j:
                self._read_s[source_id] = read.after_s

    def take_poll(self, source_id: str, read: CounterRead) -> None:
        """Take a read that was made for the instants that are waited for."""
        self.take(source_id, read)
        self.settle(read.after_s)

    def instant(self, at_s: float) -> Instant:
        """Ask for the totals at this instant. They are known once the counters have moved on after it."""
        with self._lock:
            instant = Instant(at_s, tuple(self._tracks))
            if not instant.ready:
                self._instants.append(instant)
                self._settle(at_s)
            return instant

    @property
    def unsettled(self) -> set[str]:
        """The counters that have to be read again for the instants that are waited for."""
        if not self._instants:
            return set()
        with self._lock:
            return set().union(*(instant.waiting for instant in self._instants))

    def settle(self, now_s: float) -> None:
        """Mark what is known by now, and what has been waited for long enough."""
        if self._instants:
            with self._lock:
                self._settle(now_s)

    def _settle(self, now_s: float) -> None:
        for instant in self._instants:
            for source_id in tuple(instant.waiting):
                track = self._tracks[source_id]
                # A counter that nobody has watched yet is polled on: its period is known from the first windows then.
                settled = track.settled(instant.at_s) and track.calibration.known
                if settled or now_s > instant.at_s + track.patience_s:
                    instant.waiting.discard(source_id)
                    mark = self._mark(source_id, instant.at_s, final=True)
                    if mark is not None:
                        instant.marks[source_id] = mark
            instant.ready = not instant.waiting
        self._instants = [instant for instant in self._instants if not instant.ready]

    def _mark(self, source_id: str, at_s: float, *, final: bool) -> Mark | None:
        if at_s - self._read_s.get(source_id, float("-inf")) > UNSEEN_S:
            return None
        return self._tracks[source_id].mark(at_s, final=final)

    def look(self, at_s: float) -> Mapping[str, Mark]:
        """The totals at an instant of a window that is still open; binds nothing."""
        with self._lock:
            looks = {source_id: self._mark(source_id, at_s, final=False) for source_id in self._tracks}
        return {source_id: mark for source_id, mark in looks.items() if mark is not None}

    def after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here."""
        self._lock = threading.Lock()
        self._instants = []


def _beforehand(source: EnergySource) -> Calibration:
    """What is known of a counter before it is watched."""
    if source.period_s is None:
        return Calibration()
    return Calibration(period_s=source.period_s, period_p99_s=1.1 * source.period_s, steps=100)
