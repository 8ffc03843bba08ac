"""From what sensors gave to rows of the history: at once, or several ticks together.

A tick finds its code and data fallen out of the processor's caches, beside work that uses them. What a sensor can put
off (``take`` of a sensor) is therefore only read at a tick. To parse it, to feed the meters and counters and to write
the row comes later, for some ticks together, in their order and with the same result.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from resmon.counters import Counters
from resmon.energy.edges import CounterRead
from resmon.energy.meter import Meter
from resmon.facts import EnergySource, SensorStatus
from resmon.history import History
from resmon.origins import Origin
from resmon.plan import Plan, Ready, add_energy
from resmon.sensors import NAN, Sensor
from resmon.writers import Writers

log = logging.getLogger("resmon")


MOST = 1e30
"""A reading of more, in whatever unit, is none: it fits neither the history nor a trace."""

Taken = tuple[Plan, float, Sequence[object], float, float, int]
"""One tick: its plan, when it was, its parts, the longest stretch to integrate over (s), the CPU time of resmon itself
(s), missed ticks. A part is :class:`Ready` values, what ``parse`` makes values of, or the error that reading ended
with. A plain tuple: one is made at every tick."""


class Polled(NamedTuple):
    """A read of a counter between ticks."""

    source_id: str
    read: CounterRead


class Noted(NamedTuple):
    """Something that happened, for the writers."""

    event: Mapping[str, Any]


class Intake:
    """What was read and is not yet in the history, and all that rows are made with.

    ``begin`` and what is ``put`` of reads are the sampling thread's. ``parse`` may be called by any thread: it holds a
    lock while it works (a fraction of a millisecond), reads nothing and waits for no device and no disk.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.counters = Counters()
        self.meters: dict[str, Meter] = {}
        self.failures: dict[str, SensorStatus] = {}
        self.writers = Writers()
        self.newest: tuple[Plan, Sequence[float]] | None = None
        self._pending: deque[Taken | Polled | Noted] = deque()
        self.put: Callable[[Taken | Polled | Noted], None] = self._pending.append
        """Something was read, or happened."""
        self._lock = threading.RLock()
        self._parsing = False

    def __len__(self) -> int:
        """How many ticks, polls and events wait."""
        return len(self._pending)

    def begin(self, plan: Plan, facts: Callable[[Mapping[str, Origin]], Mapping[str, Any]], *, renew: bool) -> None:
        """The rows from now on are of this plan. ``facts`` are the writers', made of where the totals stand now.

        ``renew``: that has to do for computing every later total to the last digit.
        """
        self.parse()
        with self._lock:
            self.counters.shape([feed.meter.source for feed in plan.feeds])
            if renew:
                self.counters.renew()
            self.newest = None
            self.history.set_channels(plan.channels)
            origins = {
                name: Origin(meter=meter.state(), counter=self.counters.origin(name))
                for name, meter in self.meters.items()
            }
            self.writers.start(facts(origins), plan.channels)

    def resume(self, source: EnergySource, origin: Origin) -> None:
        """Let the totals of a source go on from there, before its first tick."""
        self.meters[source.id] = meter = Meter(source)
        meter.resume(origin.meter)
        if origin.counter is not None:
            self.counters.resume(source, origin.counter)

    def finish(self) -> None:
        """Wait for the row that another thread is making."""
        if self._parsing:
            with self._lock:
                pass

    def parse(self) -> None:
        """Make rows of all that waits."""
        with self._lock:
            if self._parsing:  # this thread was interrupted in the middle by something that asks
                return
            self._parsing = True
            pending = self._pending
            rows: list[tuple[float, Sequence[float]]] = []
            try:
                while pending:
                    item = pending.popleft()
                    try:
                        if not isinstance(item, (Polled, Noted)):
                            rows.append(self._add_row(item))
                            continue
                        if rows:  # what happened stands where it did among the rows
                            self.writers.add_rows(rows)
                            rows = []
                        if isinstance(item, Polled):
                            self.writers.poll(*item)
                            self.counters.take_poll(*item)
                        else:
                            self.writers.event(item.event)
                    except Exception:
                        # It is nothing to who asks for rows, and the next tick is whole again.
                        log.exception("resmon: what a tick read is lost")
            finally:  # an interrupt of this thread may come at any of these lines
                try:
                    if rows:
                        self.writers.add_rows(rows)
                finally:
                    self._parsing = False

    def _add_row(self, taken: Taken) -> tuple[float, Sequence[float]]:
        """One row of the history; returned for the writers."""
        plan, at_s, parts, max_gap_s, cpu_s, missed = taken
        values: list[float] = []
        for sensor, _, width, _, parse, place in plan.sensors:
            part = parts[place] if place >= 0 else None
            try:
                found = _ready(part) if parse is None or isinstance(part, (Ready, Exception)) else parse(part)
            except Exception as error:  # noqa: BLE001 - a failing sensor is a status, never a failed tick
                values += self._failed(sensor, width, f"{type(error).__name__}: {error}")
                continue
            if len(found) != width:
                values += self._failed(sensor, width, f"gave {len(found)} values for {width} channels")
                continue
            # Not of one that can put off parsing: those are the host's own, and read at every tick.
            if parse is None and (beyond := [value for value in found if value > MOST or value < -MOST]):
                values += self._failed(sensor, width, f"gave {beyond[0]!r}, which no reading can be")
                continue
            values += found
            if self.failures:
                self.failures.pop(sensor.name, None)
        counters = self.counters
        add_energy(plan, counters, at_s, values, max_gap_s)
        values += (cpu_s, missed)
        self.history.append(at_s, values)
        self.newest = plan, values
        if counters.instants:
            counters.settle(at_s)
        return at_s, values

    def _failed(self, sensor: Sensor, width: int, problem: str) -> Sequence[float]:
        if sensor.name not in self.failures:
            log.warning("resmon: the sensor %s failed: %s", sensor.name, problem)
        self.failures[sensor.name] = SensorStatus(
            name=sensor.name, state="lost", cause=problem, remedy="it is tried again while sampling goes on"
        )
        return [NAN] * width

    def after_fork(self) -> None:
        """In a forked child: what was read becomes rows, unless another thread was about that when it was forked."""
        self._lock = threading.RLock()
        self.counters.after_fork()
        self.writers.after_fork()
        if self._parsing:
            self._parsing = False
            self._pending.clear()
        self.parse()


def _ready(part: object) -> Sequence[float]:
    """The values of a part that needs no parsing; raises the error that the reading ended with."""
    if isinstance(part, Exception):
        raise part
    return cast(Ready, part).values
