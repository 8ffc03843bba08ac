"""The façade that everything else uses: start, stop, latest, history, measure."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from resmon.blocks import Row
from resmon.boards import Boards
from resmon.clock import Clock, DrivenClock, MonotonicClock
from resmon.errors import MonitorError, ResmonWarning
from resmon.facts import HOST, Device, GpuReading, HostReading, Limits, Sample, SensorStatus
from resmon.history import History, HistoryView
from resmon.plan import CPU_S, MISSED
from resmon.record import FlightRecord
from resmon.results import Energy
from resmon.sampler import Sampler
from resmon.sensors import Sensor, Sensors, default_sensors
from resmon.sensors.wording import why_nothing_is_measured
from resmon.spans import span_energy
from resmon.trace import TraceWriter
from resmon.windows import Window

log = logging.getLogger("resmon")

MIN_INTERVAL_S, MAX_INTERVAL_S = 0.01, 60.0
NEVER_COVERED = ("PSU", "fans")
"""Consumers that no sensor inside a machine sees."""

_NO_CHANNEL = ("core_utilization", "cpu_limit_cores", "memory_limit_bytes")
_HOST_FIELDS = tuple(f.name for f in fields(HostReading) if f.name not in _NO_CHANNEL)
_GPU_FIELDS = tuple(f.name for f in fields(GpuReading) if f.name != "device")


class Monitor:
    """Samples this machine on a small thread and measures spans of work.

    interval_s: seconds between samples, 0.01 to 60; ValueError otherwise. sensors: what to read instead of what is
    found on the machine. clock: a clock of one's own; where it is not threaded (``resmon.testing.ManualClock``)
    ticks are taken as it is moved on. record: whether to write the flight record beside the history; by default only
    for the machine's own sensors.

    A context manager; may be started again after ``stop``. In a forked child it is stopped and holds nothing open.
    """

    def __init__(
        self,
        interval_s: float = 0.5,
        sensors: Sequence[Sensor] | None = None,
        clock: Clock | None = None,
        *,
        record: bool | None = None,
    ) -> None:
        if isinstance(interval_s, bool) or not isinstance(interval_s, (int, float)):
            raise TypeError(f"interval_s must be a number of seconds, not {interval_s!r}")
        if not MIN_INTERVAL_S <= interval_s <= MAX_INTERVAL_S:
            raise ValueError(
                f"interval_s must be between {MIN_INTERVAL_S} and {MAX_INTERVAL_S:g} seconds, not {interval_s!r}"
            )
        self.clock: Clock = clock or MonotonicClock()
        self.interval_s = float(interval_s)
        self.meter_id = f"monitor {os.urandom(4).hex()}"
        self._all = default_sensors() if sensors is None else Sensors(quick=tuple(sensors))
        self._history = History()
        self.sampler = Sampler((), self._history, self.clock, self.interval_s)
        self.sampler.after_tick.append(self._finish_windows)
        self._wants_record = (clock is None and sensors is None) if record is None else record
        self._record: FlightRecord | None = None
        self._trace: TraceWriter | None = None
        self._windows: set[Window] = set()
        self._closed: list[Window] = []
        self._boards = Boards()
        self._lock = threading.RLock()
        self._looking: threading.Thread | None = None
        self._running = False
        self._started_s: float | None = None
        _monitors.add(self)

    def __repr__(self) -> str:
        state = "running" if self._running else "stopped"
        devices = ", ".join(device.label for device in self.sampler.devices) or "no device yet"
        return f"<{type(self).__name__} {state}, every {self.interval_s:g} s: {devices}>"

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to sample and return at once; slow discovery goes on in the background. Idempotent."""
        with self._lock:
            if self._running:
                return self
            if self.clock.threaded and any(m.running and m.clock.threaded for m in _monitors if m is not self):
                warnings.warn(
                    "another resmon monitor runs in this process already, so sensors are read by both; "
                    "resmon.get_monitor() gives the one that the extension uses",
                    ResmonWarning,
                    stacklevel=2,
                )
            self._running = True
            if self._started_s is None:
                self._started_s = self.clock.now()
            for sensor in self.sampler.sensors:
                self.sampler.remove(sensor)
            for sensor in self._all.quick:
                sensor.discover()
                self.sampler.add(sensor)
            self._open_record()
            if self.clock.threaded:
                self.sampler.start()
                if self._all.slow:
                    self._looking = threading.Thread(target=self._discover, name="resmon-discovery", daemon=True)
                    self._looking.start()
            else:
                self._discover()
                self._driver().attach(self.sampler)
        return self

    def stop(self) -> None:
        """Stop sampling and give back the thread, descriptors and driver handles. What was sampled stays. Idempotent.

        A window that is still open is closed here, and its measurement says so.
        """
        with self._lock:
            if not self._running:
                return
            self.end_trace()
            for window in tuple(self._windows):
                window.notes.append("closed because the monitor was stopped")
                window.close()
            self._running = False
            looking, self._looking = self._looking, None
            if self.clock.threaded:
                ended = self.sampler.stop()
            else:
                self._driver().detach(self.sampler)
                ended = True
            self.sampler.counters.settle(float("inf"))
            self._boards.keep(self.sampler.counters)
            self._finish_windows(float("inf"))
        if looking is not None and looking is not threading.current_thread():
            looking.join(2.0)
        with self._lock:
            if ended:
                self._release()
            else:
                log.warning("resmon: a driver call has not returned; its handles stay open until it does")

    def _release(self) -> None:
        for sensor in self.sampler.sensors:
            sensor.close()
        for writer in self.sampler.writers:
            self.sampler.remove_writer(writer)
            writer.close()

    def _discover(self) -> None:
        for sensor in self._all.slow:
            try:
                sensor.discover()
            except Exception as error:  # noqa: BLE001 - whatever a driver does, the other sensors are still looked for
                log.warning("resmon: looking for %s failed: %r", sensor.name, error)
                self.sampler.failures[sensor.name] = SensorStatus(
                    name=sensor.name, state="unavailable", cause=f"{type(error).__name__}: {error}"
                )
                continue
            if not self._take_in(sensor):
                return

    def _take_in(self, sensor: Sensor) -> bool:
        """Read a discovered sensor from now on; False if the monitor was stopped meanwhile."""
        self._boards.recall(sensor, self.sampler.counters)
        with self._lock:
            if self._running:
                self.sampler.add(sensor)
                return True
        sensor.close()
        return False

    def _open_record(self) -> None:
        if not self._wants_record:
            return
        self._record = FlightRecord()
        self.sampler.add_writer(self._record)

    def _driver(self) -> DrivenClock:
        if not hasattr(self.clock, "attach"):
            raise MonitorError(f"a clock that is not threaded needs attach() and detach(), which {self.clock!r} lacks")
        return cast(DrivenClock, self.clock)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def after_fork(self) -> None:
        """In a forked child: the thread stayed with the parent; close what came along, keep what was sampled."""
        self._lock = threading.RLock()
        self._running = False
        self._looking = None
        self._windows = set()
        self.sampler.after_fork()
        self._history.after_fork()

    @property
    def running(self) -> bool:
        """True between ``start`` and ``stop``."""
        return self._running

    def set_idle(self, *, idle: bool, idle_interval_s: float = 2.0) -> None:
        """Sample at the idle rate while nothing runs that anybody watches."""
        self.sampler.set_interval(max(self.interval_s, idle_interval_s) if idle else self.interval_s)

    def record_trace(self, path: str | os.PathLike[str], note: str = "") -> None:
        """Write every raw reading to ``path`` from now on, until ``end_trace`` or ``stop``.

        Raises FileExistsError for a file that exists, OSError where it cannot be made, MonitorError while another
        trace is being written.
        """
        if self._trace is not None:
            raise MonitorError(f"a trace is being written to {self._trace.path}; end it first")
        self._trace = TraceWriter(Path(path), note=note)
        self.sampler.add_writer(self._trace)
        self._tick_now()

    def end_trace(self) -> TraceWriter | None:
        """Finish the trace; returns its writer (path, rows, notice), None where none was written."""
        trace, self._trace = self._trace, None
        if trace is not None:
            self._tick_now()
            self.sampler.remove_writer(trace)
            trace.close()
        return trace

    def _tick_now(self) -> None:
        """One more row, so that the shortest trace has its first and its last instant; waits 1 s at most."""
        rows = self._history.rows
        if self.clock.threaded:
            self.sampler.request()
            if self.sampler.running:
                self._history.wait(rows, 1.0)
        elif self._running:
            self._driver().read_edge(self.sampler)

    def note(self, event: Mapping[str, object]) -> None:
        """Write a JSON-ready fact to the flight record, if there is one. Never cell text: it can hold secrets."""
        self.sampler.note({**event, "at_s": self.clock.now()})

    # -- what was read ---------------------------------------------------------------------------------------------

    @property
    def started_s(self) -> float | None:
        """When sampling first began, on the monitor's clock; None before."""
        return self._started_s

    @property
    def sensors(self) -> tuple[SensorStatus, ...]:
        """The status of every sensor: available or why not, and what would mend it."""
        found: list[SensorStatus] = []
        taken_in = self.sampler.sensors
        stalled = self.sampler.stalled
        for sensor in (*self._all.quick, *self._all.slow):
            failure = self.sampler.failures.get(sensor.name)
            if stalled is not None and stalled[0] == sensor.name:
                cause = f"has not answered for {stalled[1]:.0f} s" if stalled[1] >= 1 else "does not answer"
                found.append(SensorStatus(name=sensor.name, state="lost", cause=cause))
            elif failure is not None:
                found.append(failure)
            elif sensor in taken_in or self._looking is None:
                found.extend(sensor.status)
            else:
                found.append(SensorStatus(name=sensor.name, state="looking", detail="looking…"))
        if self._record_text():
            found.append(SensorStatus(name="record", state="degraded", cause=self._record_text()))
        return tuple(found)

    def _record_text(self) -> str:
        return "" if self._record is None else self._record.notice

    @property
    def limits(self) -> Limits | None:
        """What this process may really use of the machine; None before the first look."""
        return self._all.limits()

    def host_device(self) -> Device | None:
        """The machine itself."""
        return next((d for d in self.sampler.devices if d.kind == "host"), None)

    def gpu_devices(self) -> tuple[Device, ...]:
        """GPUs and MIG slices in the order in which this process sees them."""
        return tuple(d for d in self.sampler.devices if d.kind != "host")

    def why_not_measured(self) -> str:
        """Why the CPU's energy is not measured; empty where it is."""
        if any(source.kind == "cpu" and source.basis == "measured" for source in self.sampler.sources):
            return ""
        return why_nothing_is_measured(self.sensors)

    def core_count(self) -> int:
        """How many cores have a channel of their own: those that this process may run on."""
        return sum(channel.quantity.startswith("core_") for sensor in self._all.quick for channel in sensor.channels)

    def not_covered(self) -> tuple[str, ...]:
        """Consumers of energy that nothing here sees."""
        seen = dict.fromkeys(name for sensor in self.sampler.sensors for name in sensor.not_covered)
        return (*seen, *NEVER_COVERED)

    def latest(self) -> Sample | None:
        """The newest sample; None before the first."""
        newest_s = self._history.newest_s
        if newest_s is None:
            return None
        row, _ = self._history.around(CPU_S, newest_s)
        return None if row is None else self._sample(row)

    def _sample(self, row: Row) -> Sample:
        def known(channel_id: str) -> float | None:
            value = row.value(channel_id)
            if value != value:
                value = self.sampler.newest(channel_id)  # not stored
            return value if value == value else None

        limits = self.limits
        return Sample(
            at_s=row.at_s,
            wall=self.clock.wall(row.at_s),
            host=HostReading(
                **{name: known(f"{HOST}.{name}") for name in _HOST_FIELDS},
                core_utilization=tuple(known(f"{HOST}.core_{i}") for i in range(self.core_count())),
                cpu_limit_cores=limits.cpu_cores if limits else None,
                memory_limit_bytes=limits.memory_bytes if limits else None,
            ),
            gpus=tuple(
                GpuReading(device=device, **{name: known(f"{device.id}.{name}") for name in _GPU_FIELDS})
                for device in self.gpu_devices()
            ),
            missed=round(known(MISSED) or 0),
            resmon_cpu_s=known(CPU_S),
        )

    def history(self, seconds: float | None = None) -> HistoryView:
        """What was sampled in the last ``seconds``, or since the start. ValueError for a span that is not positive."""
        if seconds is None:
            return self._history.view()
        if not seconds > 0:
            raise ValueError(f"seconds must be positive, not {seconds!r}; without it the whole history is returned")
        return self._history.view(self.clock.now() - seconds)

    # -- measuring -------------------------------------------------------------------------------------------------

    def measure(self, name: str = "", items: float | None = None, items_unit: str = "items") -> Window:
        """A context manager around a span of work; ``.measurement`` afterwards. Starts the monitor if needed.

        items: how many items (samples, images, tokens) the span processes; may also be set on the window before it
        closes. Raises ValueError for a negative or non-finite number.
        """
        if items is not None and not 0 <= items < float("inf"):
            raise ValueError(f"items must be a finite number >= 0, not {items!r}")
        self.start()
        window = Window(self, name, items, items_unit)
        self._windows.add(window)
        return window

    def forget(self, window: Window) -> None:
        """A window was closed: its measurement is built once its closing reading is there, while rows are fresh."""
        self._windows.discard(window)
        self._closed.append(window)

    def _finish_windows(self, newest_s: float) -> None:
        if self._closed:
            self._closed = [window for window in self._closed if not window.finish(newest_s)]

    def open_windows(self) -> tuple[Window, ...]:
        """The windows that are open now, oldest first."""
        opened = [window for window in tuple(self._windows) if window.opened_s is not None]
        return tuple(sorted(opened, key=lambda window: window.opened_s or 0.0))

    def session_energy(self) -> Energy:
        """The energy since sampling began."""
        start_s = self._started_s if self._started_s is not None else self.clock.now()
        return span_energy(self, start_s, max(start_s, self._history.newest_s or start_s))


_monitors: weakref.WeakSet[Monitor] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for monitor in tuple(_monitors):
        monitor.after_fork()


def _stop_all() -> None:
    for monitor in tuple(_monitors):
        monitor.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_stop_all)
