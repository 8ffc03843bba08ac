"""One thread: sensors → a row of the history, at a fixed rate, missed ticks counted; and "read the counters now"."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Protocol

from resmon.clock import Clock
from resmon.counters import Counters, Instant
from resmon.energy.edges import CounterRead
from resmon.energy.meter import Meter
from resmon.facts import Channel, Device, EnergySource, SensorStatus
from resmon.history import History
from resmon.plan import Plan, add_energy, make_plan, reshaped
from resmon.sensors import NAN, Sensor, in_use, limits_of

log = logging.getLogger("resmon")

LOOK_S = 5.0
"""How often a sensor without channels is asked whether it has some by now."""
POLL_S = 0.0015
"""How often a counter is read while an instant waits for its next edge."""
STALLED_S = 0.25
"""A sensor that has not answered for so long holds up the others: nobody waits for it."""
GAP_PERIODS = 3.0
"""Polled power is not integrated over a stretch longer than this many periods."""


class RowWriter(Protocol):
    """What rows are written to beside the history: the flight record, a trace. Called on the sampling thread."""

    def start(self, facts: Mapping[str, Any], channels: Sequence[Channel]) -> None: ...

    def row(self, at_s: float, values: Sequence[float]) -> None: ...

    def event(self, event: Mapping[str, Any]) -> None: ...

    def poll(self, source_id: str, read: CounterRead) -> None: ...

    def close(self) -> None: ...


class Sampler:
    """Reads sensors at ``interval_s`` and writes the history and the record.

    ``tick`` and everything it calls run on one thread at a time: the sampler's own, or the caller's where
    the clock is driven by hand. ``request``, ``add`` and ``stop`` may be called from any thread.
    """

    def __init__(self, sensors: Sequence[Sensor], history: History, clock: Clock, interval_s: float) -> None:
        self.history = history
        self.clock = clock
        self.interval_s = interval_s
        self._last_interval_s = interval_s
        self.missed = 0
        self.ticks = 0
        self.cpu_s = 0.0
        self.views_cpu_s = 0.0
        self.writers: tuple[RowWriter, ...] = ()
        self.failures: dict[str, SensorStatus] = {}
        self.after_tick: list[Callable[[float], None]] = []
        self.sensors: tuple[Sensor, ...] = tuple(sensors)
        self._events: deque[Mapping[str, object]] = deque()
        self._meters: dict[str, Meter] = {}
        self.counters = Counters()
        self._wants_tick = False
        self._plan: Plan | None = None
        self._next_look_s = float("-inf")
        self._tick_lock = threading.Lock()
        self._gate = threading.Lock()
        self._gate.acquire()
        self._run_number = 0
        self._thread: threading.Thread | None = None
        self._reading: tuple[str, float] | None = None
        self._newest: Sequence[float] = ()

    # -- any thread ------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """True while the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def add(self, sensor: Sensor) -> None:
        """Take in a sensor that was discovered; read from the next tick on."""
        self.sensors = (*self.sensors, sensor)

    def remove(self, sensor: Sensor) -> None:
        """Leave a sensor out from the next tick on. The caller closes it."""
        self.sensors = tuple(s for s in self.sensors if s is not sensor)

    def request(self) -> None:
        """Ask for a tick now. Returns at once."""
        self._wants_tick = True
        self.wake()

    def wake(self) -> None:
        """Let the thread look what is to be done: an instant may be waited for. Returns at once."""
        with suppress(RuntimeError):  # the gate is open already: a tick is due anyway
            self._gate.release()

    @property
    def stalled(self) -> tuple[str, float] | None:
        """The sensor that does not answer, and for how many seconds; None while all is well."""
        reading = self._reading
        if reading is None:
            return None
        for_s = self.clock.now() - reading[1]
        return (reading[0], for_s) if for_s > STALLED_S else None

    def start(self) -> None:
        """Start the thread. One that a driver call still holds ends with that call."""
        self._run_number += 1
        self._thread = threading.Thread(target=self._run, args=(self._run_number,), name="resmon-sampler", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """End the thread after the tick in progress; False if it did not end in time (a driver call hangs)."""
        self._run_number += 1
        self.request()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout_s)
        if thread.is_alive():
            return False
        self._thread = None
        for meter in self._meters.values():
            meter.pause()
        return True

    def instant(self, at_s: float) -> Instant:
        """Ask for the counters' totals at this instant; the thread reads them until they are known."""
        instant = self.counters.instant(at_s)
        if instant.waiting or instant.marks:
            self.note({"instant": at_s, "at_s": at_s})
        if not instant.ready:
            self.wake()
        return instant

    def set_interval(self, interval_s: float) -> None:
        """Change the rate. Going faster takes effect at once."""
        faster = interval_s < self.interval_s
        if interval_s != self.interval_s:
            self.interval_s = interval_s
            self.note({"interval_s": interval_s, "at_s": self.clock.now()})
        if faster:
            self.request()

    def note(self, event: Mapping[str, object]) -> None:
        """Queue an event for the writers; it is written with the next tick."""
        if self.writers:
            self._events.append(event)

    def add_writer(self, writer: RowWriter) -> None:
        """Write every row there too, from the next tick on; it is told the layout first."""
        self.writers = (*self.writers, writer)
        self._plan = None

    def remove_writer(self, writer: RowWriter) -> None:
        """No more rows there; waits for the tick in progress. The caller closes it."""
        with self._tick_lock:
            self.writers = tuple(w for w in self.writers if w is not writer)

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices of all sensors, the host first."""
        found = {d.id: d for sensor in self.sensors for d in sensor.devices}
        return tuple(
            sorted(found.values(), key=lambda d: (d.kind != "host", d.index if d.index is not None else -1, d.label))
        )

    @property
    def sources(self) -> tuple[EnergySource, ...]:
        """The energy sources in use: a model only where nothing measures the same."""
        return tuple(source for sensor in in_use(self.sensors) for source in sensor.sources)

    def newest(self, channel_id: str) -> float:
        """The value of a channel in the newest sample, stored or not; NaN where it is unknown."""
        plan, values = self._plan, self._newest
        place = -1 if plan is None else plan.place.get(channel_id, -1)
        return values[place] if 0 <= place < len(values) else NAN

    def meter(self, source_id: str) -> Meter | None:
        """The running totals of a source; None before its first tick."""
        return self._meters.get(source_id)

    # -- the sampling thread ---------------------------------------------------------------------------------------

    def _run(self, number: int) -> None:
        cpu_before_s = self.cpu_s - time.thread_time()
        now = self.clock.now
        gate = self._gate.acquire
        due_s = now()
        while self._run_number == number:
            self._safely(self.tick)
            self.cpu_s = cpu_before_s + time.thread_time()
            interval_s = self.interval_s
            at_s = now()
            due_s = min(due_s, at_s) + interval_s
            if due_s <= at_s:
                # Late ticks are skipped and counted, never made up in a burst.
                skipped = int((at_s - due_s) / interval_s) + 1
                self.missed += skipped
                due_s += skipped * interval_s
            while self._run_number == number:
                at_s = now()
                wait_s = min(due_s - at_s, self.interval_s)
                if wait_s <= 0:
                    break
                polling = bool(self.counters.unsettled)
                woken = gate(timeout=min(wait_s, POLL_S) if polling else wait_s)
                if self._run_number != number:
                    break
                if self._wants_tick:
                    self._safely(self.tick)
                elif polling:
                    self._safely(self.poll)
                elif not woken:
                    break

    @staticmethod
    def _safely(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            # Nothing that goes wrong here may reach the cell that is being watched; the next tick tries again.
            log.exception("resmon: a tick failed")

    def poll(self) -> None:
        """Read the counters that an instant waits for, and no more; those that cannot be read alone with a tick."""
        wanted = self.counters.unsettled
        alone = [(s, poll) for s in self.sensors if (poll := getattr(s, "poll_counters", None)) is not None]
        within = {source.id for sensor, _ in alone for source in sensor.sources}
        with self._tick_lock:
            for sensor, poll in alone:
                self._reading = (sensor.name, self.clock.now())
                try:
                    reads = poll(wanted)
                finally:
                    self._reading = None
                for source_id, read in reads:
                    for writer in self.writers:
                        writer.poll(source_id, read)
                    self.counters.take_poll(source_id, read)
        if not wanted <= within:
            self.tick()

    def tick(self) -> float:
        """Read every sensor once and write one row. Returns its time."""
        with self._tick_lock:
            self._wants_tick = False
            at_s = self.clock.now()
            plan = self._plan
            if plan is None or plan.of is not self.sensors or reshaped(plan.sensors):
                plan = self._replan()
            if at_s >= self._next_look_s:
                self._next_look_s = at_s + LOOK_S
                for sensor, _, _ in plan.silent:
                    self._read(sensor, 0, at_s)
                if reshaped(plan.silent):
                    plan = self._replan()
            values: list[float] = []
            for sensor, _, width in plan.sensors:
                values += self._read(sensor, width, at_s)
            # The stretch since the last tick was planned at the rate that was in force then.
            max_gap_s = GAP_PERIODS * max(self.interval_s, self._last_interval_s)
            self._last_interval_s = self.interval_s
            add_energy(plan, self.counters, at_s, values, max_gap_s)
            values += (self.cpu_s + self.views_cpu_s, self.missed)
            self.history.append(at_s, values)
            self._newest = values
            self.ticks += 1
            self.counters.settle(at_s)
            if self.writers:
                self._write(at_s, values)
        for call in self.after_tick:
            call(at_s)
        return at_s

    def _write(self, at_s: float, values: Sequence[float]) -> None:
        while self._events:
            event = self._events.popleft()
            for writer in self.writers:
                writer.event(event)
        for writer in self.writers:
            writer.row(at_s, values)

    def _read(self, sensor: Sensor, width: int, at_s: float) -> Sequence[float]:
        self._reading = (sensor.name, at_s)
        try:
            values = sensor.read(at_s)
        except Exception as error:  # noqa: BLE001 - a failing sensor is a status, never a failed tick
            return self._failed(sensor, width, f"{type(error).__name__}: {error}")
        finally:
            self._reading = None
        if len(values) != width:
            return self._failed(sensor, width, f"gave {len(values)} values for {width} channels")
        if self.failures:
            self.failures.pop(sensor.name, None)
        return values

    def _failed(self, sensor: Sensor, width: int, problem: str) -> Sequence[float]:
        if sensor.name not in self.failures:
            log.warning("resmon: the sensor %s failed: %s", sensor.name, problem)
        self.failures[sensor.name] = SensorStatus(
            name=sensor.name, state="lost", cause=problem, remedy="it is tried again while sampling goes on"
        )
        return [NAN] * width

    def _replan(self) -> Plan:
        plan = make_plan(self.sensors, self._meters)
        self.counters.shape([meter.source for meter, *_ in plan.feeds])
        self._newest = ()
        self.history.set_channels(plan.channels)
        for writer in self.writers:
            writer.start(self._record_facts(plan.derived), plan.channels)
        self._plan = plan
        return plan

    def _record_facts(self, derived: Iterable[str]) -> dict[str, object]:
        """What a reader of the record needs besides the channels."""
        return {
            "devices": [asdict(d) for d in self.devices],
            "sources": [asdict(s) for s in self.sources],
            "not_covered": sorted({n for s in self.sensors for n in s.not_covered}),
            "derived": list(derived),
            "limits": next((asdict(found) for s in self.sensors if (found := limits_of(s)) is not None), None),
            "interval_s": self.interval_s,
            "boot": self.clock.boot,
            "wall_at_0": self.clock.wall(0.0).isoformat(),
        }

    def after_fork(self) -> None:
        """In a forked child: no thread came along, and locks it held would never open."""
        self._thread = None
        self._run_number += 1
        self._reading = None
        self.counters.after_fork()
        self._tick_lock = threading.Lock()
        self._gate = threading.Lock()
        self._gate.acquire()
        for writer in self.writers:
            writer.close()
        self.writers = ()
        for sensor in self.sensors:
            sensor.close()
