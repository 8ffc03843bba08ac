"""The façade that everything else uses: start, stop, latest, history, measure."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from resmon.boards import Boards
from resmon.calibration_reading import read_board_calibration
from resmon.clock import Clock, DrivenClock, MonotonicClock
from resmon.errors import MonitorError, ResmonWarning
from resmon.facts import EnergySource, SensorStatus
from resmon.history import History
from resmon.rankboard import RankBoard
from resmon.ranks import RankUse
from resmon.readings import Readings
from resmon.record import FlightRecord
from resmon.results import Energy, EnergyComponent, Factors
from resmon.sampler import Sampler
from resmon.sensors import Apart, Sensor, Sensors, default_sensors
from resmon.span_energy import span_energy
from resmon.trace import TraceWriter
from resmon.windows import Window, Windows

log = logging.getLogger("resmon")

MIN_INTERVAL_S, MAX_INTERVAL_S = 0.01, 60.0


class Monitor(Readings):
    """Samples this machine on a small thread and measures spans of work.

    interval_s: seconds between samples, 0.01 to 60; ValueError otherwise. sensors: what to read instead of what is
    found on the machine. clock: a clock of one's own; where it is not threaded (``resmon.testing.ManualClock``)
    ticks are taken as it is moved on. record: whether to write the flight record beside the history; by default only
    for the machine's own sensors. calibration: a file with the gains of single boards (``docs/calibration.md``) for
    all energies, CalibrationError for one that is wrong; without it and ``sensors``, ``RESMON_CALIBRATION`` names it.

    A context manager; may be started again after ``stop``. In a forked child it is stopped and holds nothing open.
    """

    def __init__(
        self,
        interval_s: float = 0.5,
        sensors: Sequence[Sensor] | None = None,
        clock: Clock | None = None,
        *,
        record: bool | None = None,
        calibration: str | os.PathLike[str] | None = None,
    ) -> None:
        if isinstance(interval_s, bool) or not isinstance(interval_s, (int, float, Real)):
            raise TypeError(f"interval_s must be a number of seconds, not {interval_s!r}")
        if not MIN_INTERVAL_S <= interval_s <= MAX_INTERVAL_S:
            raise ValueError(
                f"interval_s must be between {MIN_INTERVAL_S} and {MAX_INTERVAL_S:g} seconds, not {interval_s!r}"
            )
        given: object = sensors
        if given is not None and not (isinstance(given, Iterable) and all(hasattr(s, "discover") for s in given)):
            raise TypeError(f"sensors takes a list of sensors (resmon.testing makes some), not {sensors!r}")
        if clock is not None and not hasattr(clock, "threaded"):
            raise TypeError(f"clock takes a clock such as resmon.testing.ManualClock(), not {clock!r}")
        self.clock: Clock = clock or MonotonicClock()
        self.interval_s = float(interval_s)
        self.meter_id = f"monitor {os.urandom(4).hex()}"
        self._all = default_sensors() if sensors is None else Sensors(quick=tuple(sensors))
        self._history = History()
        self.sampler = Sampler((), self._history, self.clock, self.interval_s)
        self._wants_record = (clock is None and sensors is None) if record is None else record
        self._record: FlightRecord | None = None
        self._trace: TraceWriter | None = None
        self._windows = Windows(self.sampler)
        gains = None if calibration is None else read_board_calibration(Path(calibration))
        self._boards = Boards(gains=gains, look=sensors is None)
        self.rank_boards: tuple[RankBoard, ...] = ()
        self.on_ranks: list[Callable[[RankBoard], None]] = []
        self.on_close: list[Callable[[Window], None]] = []
        """Called with every window that is closed, on the thread that closes it."""
        self._lock = threading.RLock()
        self._looking: threading.Thread | None = None
        self._running = False
        self._started_s: float | None = None
        self._factors = Factors()
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
            for window in self._windows.made():
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
            self._windows.finish(float("inf"))
        if looking is not None and looking is not threading.current_thread():
            for sensor in self._all.slow:
                if isinstance(sensor, Apart):
                    sensor.close()  # a look that hangs ends with it
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
        self._windows = Windows(self.sampler)
        self.sampler.after_fork()
        self._history.after_fork()

    @property
    def running(self) -> bool:
        """True between ``start`` and ``stop``."""
        return self._running

    def set_idle(self, *, idle: bool, idle_interval_s: float = 2.0) -> None:
        """Sample at the idle rate while nothing runs that anybody watches."""
        self.sampler.set_interval(max(self.interval_s, idle_interval_s) if idle else self.interval_s)

    def record_trace(self, path: str | os.PathLike[str], note: str = "", *, synthetic: bool = False) -> None:
        """Write every raw reading to ``path`` from now on, until ``end_trace`` or ``stop``.

        ``synthetic`` says that no device is measured (sensors or a driver that play a script): every view of a replay
        shows it.

        Raises FileExistsError for a file that exists, OSError where it cannot be made, MonitorError while another
        trace is being written.
        """
        if self._trace is not None:
            raise MonitorError(f"a trace is being written to {self._trace.path}; end it first")
        self._trace = TraceWriter(Path(path), note=note, synthetic=synthetic)
        self.sampler.add_writer(self._trace, exact=True)
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
        if self.clock.threaded:
            if self.sampler.running:
                self.sampler.read_now(1.0)
        elif self._running:
            self._driver().read_edge(self.sampler)

    def note(self, event: Mapping[str, object]) -> None:
        """Write a JSON-ready fact to the flight record, if there is one. Never cell text: it can hold secrets."""
        self.sampler.note({**event, "at_s": self.clock.now()})

    # -- measuring -------------------------------------------------------------------------------------------------

    def measure(
        self, name: str = "", items: float | None = None, items_unit: str = "items", *, synchronize: bool = True
    ) -> Window:
        """A context manager around a span of work; ``.measurement`` afterwards. Starts the monitor if needed.

        items: how many items (samples, images, tokens) the span processes; may also be set on the window before it
        closes. synchronize: where torch uses CUDA, wait at both ends for the GPU work handed out before
        (``torch.cuda.synchronize`` on the devices in use), so that it counts where it belongs; pass False inside a
        loop that must not wait. Raises ValueError for a negative or non-finite number of items, TypeError for what is
        no number or no name.
        """
        window = Window(self, name, items, items_unit, synchronize=synchronize)
        self.start()
        self._windows.add(window)
        return window

    def forget(self, window: Window) -> None:
        """A window was closed: its measurement is built once its closing reading is there, while rows are fresh."""
        self._windows.close(window)
        for call in self.on_close:
            call(window)

    def open_windows(self) -> tuple[Window, ...]:
        """The windows that are open now, oldest first."""
        opened = [window for window in self._windows.made() if window.opened_s is not None]
        return tuple(sorted(opened, key=lambda window: window.opened_s or 0.0))

    def watch_ranks(self, board: RankBoard) -> None:
        """Take in the ranks of a run that begins: views show them, and measurements of its time have them.

        ``on_ranks`` is called with the board, on this thread.
        """
        self.rank_boards = (*self.rank_boards[-7:], board)
        for call in self.on_ranks:
            call(board)

    def rank_uses(self, start_s: float, end_s: float) -> tuple[RankUse, ...]:
        """What the ranks of the runs within a span did; of several runs, one after the other."""
        return tuple(use for board in self.rank_boards for use in board.uses(start_s, end_s))

    def calibrated(self, source: EnergySource, component: EnergyComponent) -> EnergyComponent:
        """The component with its board's own gain divided out, where one was imported."""
        return self._boards.calibrated(source, component)

    @property
    def factors(self) -> Factors:
        """What the panel, and the measurements from now on, turn energy into: set it once for a session."""
        return self._factors

    @factors.setter
    def factors(self, factors: Factors) -> None:
        if not isinstance(factors, Factors):
            raise TypeError(f"factors is a resmon.energy.Factors(carbon=…, price=…), not {factors!r}")
        self._factors = factors

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
