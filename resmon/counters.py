"""Every read of the energy counters, and their totals at the instants at which windows begin and end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from resmon.energy.counter import CounterTrack
from resmon.energy.edges import MAX_POLL_GAP_S, Calibration, CounterRead
from resmon.energy.load import Moments
from resmon.energy.mark import Mark
from resmon.facts import EnergySource
from resmon.origins import CounterOrigin

log = logging.getLogger("resmon")

UNSEEN_S = 2.0
"""A counter whose last read is further from an instant than this says nothing about it."""


LESSON_S, MOST_LESSONS = 2.0, 4
"""A counter that is new is watched for so long from when a window opens or closes: work goes on there, and nobody waits
for what is learned. So often at most, where it does not move or no power is told with it."""


class _Track:
    """The track of one counter, whose totals go on from where the track before it had come to."""

    __slots__ = ("origin", "track")

    def __init__(self, origin: CounterOrigin, power_limit_w: float | None) -> None:
        self.origin = origin
        self.track = CounterTrack(origin.calibration, power_limit_w=power_limit_w, ahead_j=origin.ahead_j)
        if origin.read is not None:
            self.track.add(origin.read)

    def mark(self, at_s: float, *, final: bool) -> Mark | None:
        mark = self.track.mark(at_s, final=final)
        if mark is None or self.origin.read is None:
            return mark
        origin = self.origin
        return replace(
            mark,
            total_j=mark.total_j + origin.total_j,
            floor_j=mark.floor_j + origin.total_j,
            ceiling_j=mark.ceiling_j + origin.total_j,
            gap_s=mark.gap_s + origin.gap_s,
            gap_j=mark.gap_j + origin.gap_j,
            resets=mark.resets + origin.resets,
            load=Moments(*(a + b for a, b in zip(mark.load, origin.load, strict=True))),
            origin_j=mark.origin_j - origin.total_j,
        )

    def successor(self, power_limit_w: float | None) -> _Track:
        """A fresh track that goes on from here, knowing of the reads so far only what they came to."""
        track, origin, edge, read = self.track, self.origin, self.track.latest, self.track.last_read
        if edge is None or read is None:
            return _Track(replace(origin, calibration=track.calibration), power_limit_w)
        load = track.load_at(read.at_s)
        came_to = CounterOrigin(
            calibration=track.calibration,
            total_j=edge.total_j + origin.total_j,
            gap_s=edge.gap_s + origin.gap_s,
            gap_j=edge.gap_j + origin.gap_j,
            resets=track.resets + origin.resets,
            ahead_j=track.ahead_j,
            load=Moments(*(a + b for a, b in zip(load, origin.load, strict=True))),
            read=read,
        )
        return _Track(came_to, power_limit_w)


class Instant:
    """A moment at which the totals of all counters are wanted. ``marks`` is whole once ``ready`` is true.

    ``lesson``: nobody wants them, and the counters are watched to learn how they move.
    """

    __slots__ = ("at_s", "kept", "lesson", "marks", "ready", "waiting")

    def __init__(self, at_s: float, waiting: Mapping[str, _Track], *, lesson: bool = False) -> None:
        self.at_s = at_s
        self.lesson = lesson
        self.kept: object = None
        """What keeps the history of this instant exact, where that is wanted."""
        self.marks: dict[str, Mark] = {}
        self.waiting = dict(waiting)
        self.ready = not self.waiting


class Counters:
    """The tracks of all counters. Reads come from the sampling thread; everything may be asked by any thread.

    A driver call never happens under the lock, so that one that hangs cannot hang who asks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tracks: dict[str, _Track] = {}
        self._limits_w: dict[str, float | None] = {}
        self._read_s: dict[str, float] = {}
        self.instants: list[Instant] = []
        """Those that are waited for."""
        self._known: dict[str, Calibration] = {}
        self._lessons: dict[str, int] = {}

    def know(self, source_id: str, calibration: Calibration) -> None:
        """What an earlier session learned of a counter, before its first read here."""
        with self._lock:
            self._known[source_id] = calibration

    def learned(self) -> dict[str, Calibration]:
        """What is known of every counter by now."""
        with self._lock:
            return {source_id: track.track.calibration for source_id, track in self._tracks.items()}

    def shape(self, sources: Sequence[EnergySource]) -> None:
        """Keep a track for each of these that is a counter; the track of one that comes back goes on."""
        with self._lock:
            for source in sources:
                if source.method == "counter" and source.id not in self._tracks:
                    known = self._known.get(source.id) or _beforehand(source)
                    self._limits_w[source.id] = source.power_limit_w
                    self._tracks[source.id] = _Track(CounterOrigin(calibration=known), source.power_limit_w)

    def renew(self) -> None:
        """Begin every track anew where it has come to, so that its ``origin`` says all that is to be known of before.

        An instant that is waited for keeps the track that it was asked of.
        """
        with self._lock:
            for source_id, track in self._tracks.items():
                self._tracks[source_id] = track.successor(self._limits_w[source_id])

    def origin(self, source_id: str) -> CounterOrigin | None:
        """How the track of a counter began; None where there is none."""
        with self._lock:
            track = self._tracks.get(source_id)
            return None if track is None else track.origin

    def resume(self, source: EnergySource, origin: CounterOrigin) -> None:
        """Begin the track of a counter where another one had come to."""
        with self._lock:
            self._limits_w[source.id] = source.power_limit_w
            self._tracks[source.id] = _Track(origin, source.power_limit_w)
            if origin.read is not None:
                self._read_s[source.id] = origin.read.after_s

    def take(self, source_id: str, read: CounterRead) -> None:
        """Take one read of a counter, in order of time; NaN for one that failed."""
        with self._lock:
            newest = self._tracks.get(source_id)
            if newest is None:
                return
            asked = (instant.waiting.get(source_id) for instant in self.instants)
            before = {id(track): track for track in asked if track is not None and track is not newest}
            try:
                for track in (newest, *before.values()):
                    track.track.add(read)
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
            instant = Instant(at_s, self._tracks)
            if not instant.ready:
                self.instants.append(instant)
                self._teach(at_s)
                self._settle(at_s)
            return instant

    def _teach(self, at_s: float) -> None:
        """Have the counters watched that are new."""
        if any(instant.lesson for instant in self.instants):
            return
        new = {
            source_id: track
            for source_id, track in self._tracks.items()
            if not track.track.taught and self._lessons.get(source_id, 0) < MOST_LESSONS
        }
        if new:
            self._lessons |= {source_id: self._lessons.get(source_id, 0) + 1 for source_id in new}
            self.instants.append(Instant(at_s, new, lesson=True))

    @property
    def unsettled(self) -> set[str]:
        """The counters that have to be read again for the instants that are waited for."""
        if not self.instants:
            return set()
        with self._lock:
            return set().union(*(instant.waiting for instant in self.instants))

    @property
    def patience_s(self) -> float:
        """How long the counters that an instant waits for are worth polling; 0 where none does."""
        with self._lock:
            return max(
                (
                    LESSON_S if instant.lesson else self._tracks[source_id].track.patience_s
                    for instant in self.instants
                    for source_id in instant.waiting
                ),
                default=0.0,
            )

    @property
    def poll_gap_s(self) -> float:
        """How long to rest between two polls of the counters that an instant waits for: as the quickest asks for."""
        with self._lock:
            waiting = set().union(*(instant.waiting for instant in self.instants))
            gaps = [self._tracks[source_id].track.calibration.poll_gap_s for source_id in waiting]
        return min(gaps, default=MAX_POLL_GAP_S)

    def settle(self, now_s: float) -> None:
        """Mark what is known by now, and what has been waited for long enough."""
        if self.instants:
            with self._lock:
                self._settle(now_s)

    def _settle(self, now_s: float) -> None:
        for instant in self.instants:
            for source_id, held in tuple(instant.waiting.items()):
                track = held.track
                if instant.lesson:
                    if track.taught or now_s > instant.at_s + LESSON_S:
                        del instant.waiting[source_id]
                    continue
                # A counter that nobody has watched yet is polled on: its period is known from the first windows then.
                settled = track.settled(instant.at_s) and track.calibration.known
                if settled or now_s > instant.at_s + track.patience_s:
                    del instant.waiting[source_id]
                    mark = self._mark(source_id, held, instant.at_s, final=True)
                    if mark is not None:
                        instant.marks[source_id] = mark
            instant.ready = not instant.waiting
        self.instants = [instant for instant in self.instants if not instant.ready]

    def _mark(self, source_id: str, track: _Track, at_s: float, *, final: bool) -> Mark | None:
        if at_s - self._read_s.get(source_id, float("-inf")) > UNSEEN_S:
            return None
        return track.mark(at_s, final=final)

    def look(self, at_s: float) -> Mapping[str, Mark]:
        """The totals at an instant of a window that is still open; binds nothing."""
        with self._lock:
            looks = {name: self._mark(name, track, at_s, final=False) for name, track in self._tracks.items()}
        return {source_id: mark for source_id, mark in looks.items() if mark is not None}

    def after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here."""
        self._lock = threading.Lock()
        self.instants = []


def _beforehand(source: EnergySource) -> Calibration:
    """What is known of a counter before it is watched."""
    if source.period_s is None:
        return Calibration()
    return Calibration(period_s=source.period_s, period_p99_s=1.1 * source.period_s, steps=100)
