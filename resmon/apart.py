"""What the sampler has to say to sensors that another process reads: ask, have counters polled, fetch what was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from resmon.counters import Counters
from resmon.energy.edges import POLL_REST, CounterRead
from resmon.sensors import Apart, Sensor

APART_POLL_S = 0.01
"""How often the reads are fetched where another process polls: that one keeps the time."""
MARGIN_S = 0.02
"""So much longer than an instant waits the counters are polled: the read that ends its waiting is among them."""


class ReadApart:
    """The sensors of a sampler that are read by another process; most samplers have none.

    ``watch`` and ``cpu_s`` may be used by any thread, the rest on the sampling thread. ``polled_in_s`` is how long the
    sampling thread's last own poll took.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.sensors: tuple[Apart, ...] = ()
        self.asked: tuple[Apart, ...] = ()
        """Those of them that have channels: the others ask for themselves when they are read, which is seldom."""
        self.watched = False
        """Whether one of them was told to poll, so that :meth:`rest` is due some day."""
        self._elsewhere = False
        self.polled_in_s = 0.0

    def take_in(self, sensors: Iterable[Sensor]) -> None:
        """From now on it is about these."""
        taken_in = [(sensor, bool(sensor.channels)) for sensor in sensors]
        self.sensors = tuple(sensor for sensor, _ in taken_in if isinstance(sensor, Apart))
        self.asked = tuple(sensor for sensor, speaks in taken_in if speaks and isinstance(sensor, Apart))

    def set_pace(self, sensors: Iterable[Sensor]) -> None:
        """Where every counter that is polled is polled elsewhere, the sampling thread may sleep longer."""
        polled = [sensor for sensor in sensors if hasattr(sensor, "poll_counters")]
        self._elsewhere = all(isinstance(s, Apart) and s.apart for s in polled)

    @property
    def poll_s(self) -> float:
        """How long the sampling thread rests between two polls while an instant waits."""
        return APART_POLL_S if self._elsewhere else max(self._counters.poll_gap_s, POLL_REST * self.polled_in_s)

    @property
    def cpu_s(self) -> float:
        """CPU time of those processes."""
        return sum([sensor.cpu_s for sensor in self.sensors])

    def ask(self, at_s: float) -> None:
        """Begin the reading of a tick."""
        for sensor in self.asked:
            sensor.ask(at_s)

    def polled(self) -> Iterator[tuple[str, CounterRead]]:
        """What was polled and not fetched yet, in order of time: all of it before the reading of this tick."""
        for sensor in self.asked:
            yield from sensor.poll_counters(())

    def watch(self) -> None:
        """Have the counters polled that an instant waits for: from this moment on, whoever holds the interpreter."""
        if not self.sensors:
            return
        while True:
            wanted = self._counters.unsettled
            for sensor in self.sensors:
                sensor.watch(wanted, self._counters.patience_s + MARGIN_S, self._counters.poll_gap_s)
            self.watched = bool(wanted)
            # Another thread may have begun to wait before it was told here that nobody does.
            if wanted or not self._counters.unsettled:
                return

    def rest(self) -> None:
        """Have them left alone as soon as no instant waits."""
        if self.watched and not self._counters.unsettled:
            self.watch()
