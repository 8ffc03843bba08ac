"""What one tick does: read the sensors, and make rows of it now or later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from resmon.apart import ReadApart
from resmon.clock import Clock
from resmon.counters import Counters, Instant
from resmon.energy.edges import CounterRead
from resmon.energy.meter import Meter
from resmon.facts import HOST, Device, EnergySource, SensorStatus
from resmon.history import History
from resmon.intake import Intake, Noted, Polled
from resmon.news import News
from resmon.origins import Origin
from resmon.plan import Plan, Planned, Ready, devices_of, make_plan, reshaped, sources_of
from resmon.sensors import NAN, Sensor, limits_of
from resmon.writers import RowWriter, record_facts

LOOK_S, LOOK_TICKS, LOOK_MOST_S = 5.0, 10, 10.0
"""How often a sensor without channels is asked whether it has some by now: after ``LOOK_S``, and at slow rates after
``LOOK_TICKS`` ticks or ``LOOK_MOST_S``; then with the next tick that makes rows."""
GAP_PERIODS = 3.0
"""Polled power is not integrated over a stretch longer than this many periods."""
HOLD_S = 16.0
"""How old what was read may become before it is parsed and written to the flight record, where nobody asks for it."""
TIGHT = 0.8
"""Nothing is held back while more than this share of the memory is in use: who is killed for it takes along what was
not written, and that tells why."""
FRESH_S = 2.0
"""For so long after an event nothing is held back: what has just begun may end badly soon."""
HOLD_TICKS = 16
"""How many ticks are parsed together at most: a third of a millisecond."""


class Ticks:
    """The sensors that are read, and ``tick`` and ``poll``, which read them: one thread at a time."""

    def __init__(self, sensors: Sequence[Sensor], history: History, clock: Clock, interval_s: float) -> None:
        self.history = history
        self.clock = clock
        self._now = clock.now
        self.interval_s = interval_s
        self._last_interval_s = interval_s
        self.missed = 0
        self.ticks = 0
        self.cpu_s = 0.0
        self.views_cpu_s = 0.0
        self._apart_cpu_s = 0.0
        self.intake = Intake(history)
        self._apart = ReadApart(self.intake.counters)
        self.after_tick: list[Callable[[float], None]] = []
        """Called after every tick with its time, on its thread."""
        self.sensors: tuple[Sensor, ...] = tuple(sensors)
        self._wants_tick = self._wants_rows = self._wants_write = self._renew = False
        self._due_s = float("-inf")
        self._event_s = float("-inf")
        self._plan: Plan | None = None
        self._next_look_s = float("-inf")
        self._tick_lock = threading.Lock()
        self._reading: tuple[str, float] | None = None
        self._done = News()

    def wake(self) -> None:
        """Something changed that the next tick has to know of. Any thread."""

    def settle(self) -> None:
        """Have all that was read in the history."""
        self.intake.parse()

    def add(self, sensor: Sensor) -> None:
        """Take in a sensor that was discovered; read from the next tick on."""
        self.sensors = (*self.sensors, sensor)
        self._apart.take_in(self.sensors)
        self.wake()

    def remove(self, sensor: Sensor) -> None:
        """Leave a sensor out from the next tick on. The caller closes it."""
        self.sensors = tuple(s for s in self.sensors if s is not sensor)
        self._apart.take_in(self.sensors)
        self.wake()

    def note(self, event: Mapping[str, object]) -> None:
        """Queue an event for the writers; it is written with the next tick."""
        if self.writers:
            self.intake.put(Noted(event))
            self._wants_write = True
            self.wake()

    def add_writer(self, writer: RowWriter, *, exact: bool = False) -> None:
        """Write every row there too, from the next tick on; it is told the layout first.

        ``exact``: what it is told has to do for computing every total from then on to the last digit.
        """
        with self._tick_lock:  # the plan that is being made would tell it, but not exactly
            self.intake.writers.add(writer)
            self._renew = self._renew or exact
            self._plan = None
        self.wake()

    def remove_writer(self, writer: RowWriter) -> None:
        """Write all that was read there, and then no more. The caller closes it."""
        self.settle()
        self.intake.writers.remove(writer)

    @property
    def writers(self) -> tuple[RowWriter, ...]:
        """What rows are written to beside the history."""
        return self.intake.writers.all

    @property
    def counters(self) -> Counters:
        """The energy counters, as of what is in the history."""
        return self.intake.counters

    @property
    def failures(self) -> dict[str, SensorStatus]:
        """What is wrong with the sensors that failed when they were read last, by their names."""
        return self.intake.failures

    @property
    def overhead_s(self) -> float:
        """CPU time that resmon has used so far: its threads, and the processes that read for it."""
        own_s = self.cpu_s + self.views_cpu_s
        return own_s + self._apart.cpu_s if self._apart.sensors else own_s

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices of all sensors, the host first."""
        return devices_of(self.sensors)

    @property
    def sources(self) -> tuple[EnergySource, ...]:
        """The energy sources in use: a model only where nothing measures the same."""
        return sources_of(self.sensors)

    def newest(self, channel_id: str) -> float:
        """The value of a channel in the newest sample, stored or not; NaN where it is unknown."""
        if self.intake.newest is None:
            return NAN
        plan, values = self.intake.newest
        place = plan.place.get(channel_id, -1)
        return NAN if place < 0 else values[place]

    def resume(self, source: EnergySource, origin: Origin) -> None:
        """Let the totals of a source go on from there, before its first tick."""
        self.intake.resume(source, origin)

    def ask(self, at_s: float) -> Instant:
        """Have the totals at this instant: of counters once they have moved on, of the rest from the row after it."""
        instant = self.counters.instant(at_s)
        instant.kept = self.history.keep(at_s)
        return instant

    def meter(self, source_id: str) -> Meter | None:
        """The running totals of a source; None before its first tick."""
        self.settle()
        return self.intake.meters.get(source_id)

    # -- the sampling thread ---------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Read the counters that an instant waits for, and no more; those that cannot be read alone with a tick."""
        wanted = self.counters.unsettled
        alone = [(s, poll) for s in self.sensors if (poll := getattr(s, "poll_counters", None)) is not None]
        within = {source.id for sensor, _ in alone for source in sensor.sources}
        began_s = self.clock.now()
        with self._tick_lock:
            for sensor, poll in alone:
                self._reading = (sensor.name, self.clock.now())
                try:
                    reads = poll(wanted)
                finally:
                    self._reading = None
                self._put(reads)
            self._make_rows()
        self._apart.rest()
        if not wanted <= within:
            self.tick()
        self._apart.polled_in_s = self.clock.now() - began_s

    def _put(self, reads: Iterable[tuple[str, CounterRead]]) -> None:
        for source_id, read in reads:
            self.intake.put(Polled(source_id, read))

    def tick(self) -> float:
        """Read every sensor once, for one row. Returns its time."""
        with self._tick_lock:
            asked = self._wants_tick
            self._wants_tick = False
            now = self._now
            at_s = now()
            apart = self._apart
            if apart.asked:
                apart.ask(at_s)
            plan = self._plan
            if (
                plan is None
                or plan.of is not self.sensors
                or at_s >= self._next_look_s
                or (plan.plain and reshaped(plan.plain))
            ):
                plan = self._look(at_s)
            parts = self._parts(plan, at_s)
            if apart.asked:
                self._put(apart.polled())
                self._apart_cpu_s = apart.cpu_s
            interval_s = self.interval_s
            max_gap_s = GAP_PERIODS * interval_s
            if interval_s != self._last_interval_s:
                # The stretch since the last tick was planned at the rate that was in force then.
                max_gap_s = max(max_gap_s, GAP_PERIODS * self._last_interval_s)
                self._last_interval_s = interval_s
            intake = self.intake
            cpu_s = self.cpu_s + self.views_cpu_s + self._apart_cpu_s
            put = intake.put
            put((plan, at_s, parts, max_gap_s, cpu_s, self.missed))
            self.ticks += 1
            if self._done.awaited:
                self._done.tell()
            if (
                at_s >= self._due_s
                or asked
                or self._wants_rows
                or self._wants_write
                or intake.counters.instants
                or self.history.news.awaited
            ):
                self._make_rows()
        if apart.watched:
            apart.rest()
        if self.after_tick:
            for call in tuple(self.after_tick):
                call(at_s)
        return at_s

    def _parts(self, plan: Plan, at_s: float) -> list[object]:
        """What each sensor gives now, for :meth:`Intake.put`."""
        return [self._part(planned, at_s) for planned in plan.reading]

    def _part(self, planned: Planned, at_s: float) -> object:
        part = None
        if planned.take is not None:
            try:
                part = planned.take(at_s)
            except Exception as error:  # noqa: BLE001 - a failing sensor is a status, never a failed tick
                part = error
        return self._whole(planned, at_s) if part is None else part

    def _whole(self, planned: Planned, at_s: float) -> object:
        """What a sensor gives that has nothing to put off, or not this time."""
        if planned.take is not None:
            self.intake.parse()  # what was taken before it
        return self._read(planned.sensor, at_s)

    def _make_rows(self) -> None:
        """Make rows of all that was read, and write what is due."""
        at_s = self.clock.now()
        writes = self._wants_write or at_s >= self._due_s
        if self._wants_write:
            self._wants_write = False
            self._event_s = at_s
        try:
            self.intake.parse()
        finally:
            self._wants_rows = False
            self._done.tell()
        if writes:
            self.intake.writers.write()
            interval_s = self.interval_s
            may_hold = at_s - self._event_s > FRESH_S and not self._is_tight()
            hold_s = min(HOLD_S, HOLD_TICKS * interval_s) if may_hold else 0.0
            self._due_s = at_s + hold_s + interval_s / 2 if self.clock.threaded else at_s

    def _is_tight(self) -> bool:
        """Whether memory is short, of the limit in force."""
        used_bytes = self.newest(f"{HOST}.memory_used_bytes")
        if used_bytes != used_bytes:
            return False
        limits = next((found for sensor in self.sensors if (found := limits_of(sensor)) is not None), None)
        return limits is not None and used_bytes > TIGHT * limits.memory_bytes

    def _read(self, sensor: Sensor, at_s: float) -> object:
        """What a sensor gives, or the error it failed with."""
        self._reading = (sensor.name, at_s)
        try:
            return Ready(sensor.read(at_s))
        except Exception as error:  # noqa: BLE001 - a failing sensor is a status, never a failed tick
            return error
        finally:
            self._reading = None

    def _look(self, at_s: float) -> Plan:
        """The plan of this tick, made anew where a sensor came, went, or has another shape."""
        plan = self._plan
        if plan is not None and at_s >= self._next_look_s:
            self._next_look_s = at_s + max(LOOK_S, min(LOOK_TICKS * self.interval_s, LOOK_MOST_S))
            for silent in plan.silent:
                self._read(silent.sensor, at_s)
        if plan is None or plan.of is not self.sensors or reshaped(plan.plain) or reshaped(plan.silent):
            plan = self._plan = make_plan(self.sensors, self.intake.meters)
            renew, self._renew = self._renew, False
            self.intake.begin(plan, self._record_facts, renew=renew)
            self._apart.take_in(self.sensors)
            self._apart.set_pace(self.sensors)
        self._apart_cpu_s = self._apart.cpu_s
        return plan

    def _record_facts(self, origins: Mapping[str, Origin]) -> Mapping[str, Any]:
        return record_facts(
            devices=self.devices,
            sources=self.sources,
            sensors=self.sensors,
            derived=self._plan.derived if self._plan is not None else (),
            origins=origins,
            interval_s=self.interval_s,
            clock=self.clock,
        )

    def after_fork(self) -> None:
        """In a forked child: locks that another thread held would never open. What was read becomes rows."""
        self._reading = None
        self._wants_rows = False
        self._done.after_fork()
        self._tick_lock = threading.Lock()
        self.intake.after_fork()
        for sensor in self.sensors:
            sensor.close()
