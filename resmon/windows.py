"""Windows: spans of work that are opened and closed, without waiting in the work."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self, SupportsFloat, cast

from resmon.clock import DrivenClock
from resmon.counters import Instant
from resmon.errors import message_of
from resmon.results import Energy, Measurement
from resmon.sampler import Sampler
from resmon.sensors.cuda_sync import synchronize
from resmon.span_energy import Watched, span_energy
from resmon.spans import Work, measure_span

MARK_WAIT_S = 0.002
READY_WAIT_S = 1.0
"""The most that ``measurement`` waits for the reading that closes a window; then the last sample serves."""
MODEL_WAIT_S = 0.05
"""How often it asks for another where a model has not spoken yet: only in the first instants after the start."""


class Measuring(Watched, Protocol):
    """What a window needs of its monitor."""

    @property
    def started_s(self) -> float | None: ...

    def forget(self, window: Window) -> None: ...


class Window:
    """One span of work: a context manager whose ``measurement`` is there afterwards.

    Opening and closing ask the sampler for a reading and do not wait for it, so that neither a driver that hangs nor
    busy code of other threads can hold up the work. Windows nest, overlap and may be closed in another thread than the
    one that opened them. Closing twice is harmless: the first counts. ``items`` may be set until the window is closed.

    With ``synchronize`` both ends first wait for the work that the user's PyTorch has handed to the GPU: work that runs
    on after Python has gone on belongs to the window that began it.
    """

    def __init__(
        self,
        monitor: Measuring,
        name: str,
        items: float | None = None,
        items_unit: str = "items",
        *,
        synchronize: bool = False,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {name!r}")
        self.name = name
        self._items = checked_items(items)
        self.items_unit = items_unit
        self.error: str | None = None
        self.notes: list[str] = []
        self.synchronize = synchronize
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

    @property
    def items(self) -> float | None:
        """How many items the span processed; None where nobody counts. ValueError or TypeError for no such number."""
        return self._items

    @items.setter
    def items(self, items: float | None) -> None:
        self._items = checked_items(items)

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
        if self.synchronize:
            synchronize()
        self._read_edge()
        self._process_s = time.process_time()
        opened_s = self._monitor.clock.now()
        self._start = self._monitor.sampler.instant(opened_s)
        self.opened_s = opened_s
        return self

    def close(self, error: str | None = None) -> None:
        """End. ``error`` names what ended the work early. A second call does nothing."""
        if self.synchronize and self.closed_s is None and self.opened_s is not None:
            synchronize()
        with self._lock:
            if self.closed_s is not None or self.opened_s is None:
                return
            self.closed_s = self._monitor.clock.now()
            self._process_s = time.process_time() - self._process_s
            own = {"process_cpu_s": self._process_s} if self._monitor.clock.threaded else {}
            self._end = self._monitor.sampler.instant(self.closed_s, **own)
            self.error = error
        self._read_edge()
        self._monitor.forget(self)

    def _read_edge(self) -> None:
        sampler = self._monitor.sampler
        if not self._monitor.clock.threaded:
            cast(DrivenClock, self._monitor.clock).read_edge(sampler)
        elif sampler.running:
            sampler.request()

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
            and self._is_modelled(newest_s)
            and self._lock.acquire(blocking=False)
        ):
            try:
                self._measurement = self._build(self.closed_s)
            finally:
                self._lock.release()
        return self._measurement is not None

    def _await_reading(self, until_s: float) -> None:
        sampler = self._monitor.sampler
        if not self._monitor.clock.threaded:
            self._look_ahead(until_s)
            return
        give_up_s = time.monotonic() + READY_WAIT_S
        while sampler.running and time.monotonic() < give_up_s:
            newest = sampler.history.newest_s
            if sampler.stalled is not None:
                return
            if newest is not None and newest >= until_s:
                if not self._is_marked():
                    time.sleep(MARK_WAIT_S)  # the counters are being polled: another sample would not help
                    continue
                if self._is_modelled(newest):
                    return
                time.sleep(MODEL_WAIT_S)
            sampler.read_now(0.05)

    def _look_ahead(self, until_s: float) -> None:
        """What :meth:`_await_reading` is under a clock that somebody drives: the wait is by that clock."""
        sampler, clock = self._monitor.sampler, cast(DrivenClock, self._monitor.clock)
        newest_s = sampler.history.newest_s
        while newest_s is not None and newest_s < until_s + READY_WAIT_S:
            if (newest_s >= until_s and self._is_marked()) or not clock.look_ahead(sampler):
                return
            newest_s = sampler.history.newest_s

    def _is_marked(self) -> bool:
        """Whether the counters' totals at both ends are known."""
        return (self._start is None or self._start.ready) and (self._end is None or self._end.ready)

    def _is_modelled(self, newest_s: float) -> bool:
        """Whether the models have spoken: of the time since the reading before, so the first reading tells nothing."""
        sampler, start_s, end_s = self._monitor.sampler, self._monitor.started_s, self.closed_s
        if not self._monitor.clock.threaded or start_s is None or end_s is None:
            return True
        if end_s - start_s > READY_WAIT_S or newest_s - end_s > READY_WAIT_S:
            return True
        models = [sampler.meter(source.id) for source in sampler.sources if source.method == "model"]
        return not any(meter is not None and math.isnan(meter.power_w) for meter in models)

    def energy_so_far(self) -> Energy:
        """The energy from the opening to the newest sample (or the closing). Never waits."""
        if self._measurement is not None:
            return self._measurement.energy
        history = self._monitor.sampler.history
        self._monitor.sampler.settle()
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


class Windows:
    """The windows of a monitor: those that are made or open, and the closed ones whose measurement is not built yet.

    Those are built after a tick, once the closing reading is there, while the rows are fresh. Any thread.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._open: set[Window] = set()
        self._closed: deque[Window] = deque()

    def add(self, window: Window) -> None:
        """One was made."""
        self._open.add(window)

    def made(self) -> tuple[Window, ...]:
        """Those that are not closed."""
        return tuple(self._open)

    def close(self, window: Window) -> None:
        """One was closed."""
        self._open.discard(window)
        self._closed.append(window)
        self._ask()

    def finish(self, newest_s: float) -> None:
        """Build what can be built with readings up to this instant."""
        for _ in range(len(self._closed)):
            try:
                window = self._closed.popleft()
            except IndexError:  # another thread builds them too
                break
            if not window.finish(newest_s):
                self._closed.append(window)
        if not self._closed:
            with suppress(ValueError):
                self._sampler.after_tick.remove(self.finish)
            if self._closed:  # one was closed in between
                self._ask()

    def _ask(self) -> None:
        if self.finish not in self._sampler.after_tick:
            self._sampler.after_tick.append(self.finish)
            self._sampler.wake()


def checked_items(items: object, what: str = "items") -> float | None:
    """A count of items as a plain number, whoever's number it was (NumPy's, a tensor of one element).

    ``what`` it is called in errors: TypeError for what is no number, ValueError for a negative or non-finite one.
    """
    if items is None:
        return None
    if isinstance(items, (str, bytes, bool)) or not hasattr(items, "__float__"):
        raise TypeError(f"{what} must be a number, not {items!r}")
    number = items if isinstance(items, int) else float(cast(SupportsFloat, items))
    if not 0 <= number < float("inf"):
        raise ValueError(f"{what} must be a finite number >= 0, not {items!r}")
    return number


def describe_error(error: BaseException) -> str:
    """``Type: message``, or the type alone; one line."""
    text = message_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
