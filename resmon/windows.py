"""Windows: spans of work that are opened and closed, without waiting in the work."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Protocol, Self, cast

from resmon.clock import DrivenClock
from resmon.counters import Instant
from resmon.results import Energy, Measurement
from resmon.spans import Watched, Work, measure_span, span_energy

EDGE_WAIT_S = 0.001
"""The most that opening or closing a window may wait for a fresh reading."""
MARK_WAIT_S = 0.002
READY_WAIT_S = 1.0
"""The most that ``measurement`` waits for the reading that closes a window; then the last sample serves."""


class Measuring(Watched, Protocol):
    """What a window needs of its monitor."""

    def forget(self, window: Window) -> None: ...


class Window:
    """One span of work: a context manager whose ``measurement`` is there afterwards.

    Opening and closing ask the sampler for a reading and wait for it 1 ms at most, so that a driver that hangs
    cannot hang the work. Windows nest, overlap and may be closed in another thread than the one that opened
    them. Closing twice is harmless: the first counts. ``items`` may be set until the window is closed.
    """

    def __init__(self, monitor: Measuring, name: str, items: float | None = None, items_unit: str = "items") -> None:
        self.name = name
        self.items = items
        self.items_unit = items_unit
        self.error: str | None = None
        self.notes: list[str] = []
        self.opened_s: float | None = None
        self.closed_s: float | None = None
        self._monitor = monitor
        self._lock = threading.Lock()
        self._measurement: Measurement | None = None
        self._process_s = 0.0
        self._start: Instant | None = None
        self._end: Instant | None = None

    def __repr__(self) -> str:
        state = "not opened" if self.opened_s is None else "open" if self.closed_s is None else "closed"
        return f"<Window {self.name!r}, {state}>"

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(None if error is None else describe_error(error))

    def open(self) -> Self:
        """Begin. Returns the window itself."""
        if self.opened_s is not None:
            raise RuntimeError(f"the window {self.name!r} was opened before; make a new one with measure()")
        self._read_edge()
        self._process_s = time.process_time()
        opened_s = self._monitor.clock.now()
        self._start = self._monitor.sampler.instant(opened_s)
        self.opened_s = opened_s
        return self

    def close(self, error: str | None = None) -> None:
        """End. ``error`` names what ended the work early. A second call does nothing."""
        with self._lock:
            if self.closed_s is not None or self.opened_s is None:
                return
            self.closed_s = self._monitor.clock.now()
            self._end = self._monitor.sampler.instant(self.closed_s)
            self._process_s = time.process_time() - self._process_s
            self.error = error
        self._read_edge()
        self._monitor.forget(self)

    def _read_edge(self) -> None:
        sampler = self._monitor.sampler
        if not self._monitor.clock.threaded:
            cast(DrivenClock, self._monitor.clock).read_edge(sampler)
        elif sampler.running:
            rows = sampler.history.rows
            sampler.request()
            sampler.history.wait(rows, EDGE_WAIT_S)

    @property
    def measurement(self) -> Measurement | None:
        """What the span cost; None until the window is closed. Waits at most a second for the closing reading."""
        if self.closed_s is None:
            return None
        with self._lock:
            if self._measurement is None:
                self._await_reading(self.closed_s)
                self._measurement = self._build(self.closed_s)
            return self._measurement

    def finish(self, newest_s: float) -> bool:
        """Build the measurement if its closing reading is there; never waits. True when it is built."""
        if (
            self._measurement is None
            and (self._is_marked() or newest_s == float("inf"))
            and self.closed_s is not None
            and newest_s >= self.closed_s
            and self._lock.acquire(blocking=False)
        ):
            try:
                self._measurement = self._build(self.closed_s)
            finally:
                self._lock.release()
        return self._measurement is not None

    def _await_reading(self, until_s: float) -> None:
        sampler = self._monitor.sampler
        give_up_s = time.monotonic() + READY_WAIT_S
        while sampler.running and time.monotonic() < give_up_s:
            rows = sampler.history.rows
            newest = sampler.history.newest_s
            if sampler.stalled is not None:
                return
            if newest is not None and newest >= until_s:
                if self._is_marked():
                    return
                time.sleep(MARK_WAIT_S)  # the counters are being polled: another sample would not help
                continue
            sampler.request()
            sampler.history.wait(rows, 0.05)

    def _is_marked(self) -> bool:
        """Whether the counters' totals at both ends are known."""
        return (self._start is None or self._start.ready) and (self._end is None or self._end.ready)

    def energy_so_far(self) -> Energy:
        """The energy from the opening to the newest sample (or the closing)."""
        history = self._monitor.sampler.history
        start_s = self.opened_s if self.opened_s is not None else self._monitor.clock.now()
        end_s = self.closed_s if self.closed_s is not None else (history.newest_s or start_s)
        marks = None
        if self._start is not None and self._start.ready:
            marks = self._start.marks, self._monitor.sampler.counters.look(end_s)
        return span_energy(self._monitor, start_s, max(start_s, end_s), marks)

    def _build(self, end_s: float) -> Measurement:
        assert self.opened_s is not None
        work = Work(
            name=self.name,
            items=self.items,
            items_unit=self.items_unit,
            error=self.error,
            process_cpu_s=self._process_s if self._monitor.clock.threaded else None,
            notes=tuple(self.notes),
        )
        marks = None if self._start is None or self._end is None else (self._start.marks, self._end.marks)
        return measure_span(self._monitor, self.opened_s, end_s, work, marks)


def describe_error(error: BaseException) -> str:
    """``Type: message``, or the type alone; one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
