"""One thread: sensors → rows of the history, at a fixed rate, missed ticks counted; and "read the counters now"."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from resmon.clock import Clock
from resmon.counters import Instant
from resmon.history import History
from resmon.sensors import Sensor
from resmon.ticks import GAP_PERIODS, Ticks

log = logging.getLogger("resmon")

STALLED_S = 0.25
"""A sensor that has not answered for so long holds up the others: nobody waits for it."""
SETTLE_S = 0.02
"""How long who asks for rows waits for the sampling thread to make them; then he makes them himself."""


class Sampler(Ticks):
    """Reads sensors at ``interval_s`` and writes the history and the record.

    ``tick`` and everything it calls run on one thread at a time: the sampler's own, or the caller's where
    the clock is driven by hand. ``request``, ``add``, ``settle`` and ``stop`` may be called from any thread.

    A tick of the sampler's own thread only reads, where nobody waits for its row. Rows are made of several ticks
    together: when they are asked for (reading the history asks), when an instant is waited for, and at the latest
    after ``HOLD_S`` seconds or ``HOLD_TICKS`` ticks. The sampling thread makes them, so that an interrupt of the work
    cannot hit it; only where it does not come to it (a driver call holds it, it is stopped) does who asks.
    """

    def __init__(self, sensors: Sequence[Sensor], history: History, clock: Clock, interval_s: float) -> None:
        super().__init__(sensors, history, clock, interval_s)
        self._gate = threading.Lock()
        self._gate.acquire()
        self._run_number = 0
        self._thread: threading.Thread | None = None
        history.bring_up = self.settle

    # -- any thread ------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """True while the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def request(self) -> None:
        """Ask for a tick now. Returns at once."""
        self._wants_tick = True
        self.wake()

    def wake(self) -> None:
        """Let the thread look what is to be done: an instant may be waited for. Returns at once."""
        with suppress(RuntimeError):  # the gate is open already: a tick is due anyway
            self._gate.release()

    def read_now(self, timeout_s: float) -> bool:
        """Ask for a tick and wait until it has read the sensors; False after ``timeout_s`` seconds."""
        ticks = self.ticks
        self.request()
        return self._done.wait_for(lambda: self.ticks > ticks, timeout_s)

    def settle(self) -> None:
        """Have all that was read in the history. Waits ``SETTLE_S`` at most, and never for a sensor."""
        if not self.intake:
            self.intake.finish()  # the last of it may be in the making in another thread
            if self.history.news.awaited:
                self.wake()
            return
        if self._reading is None and self.running and self._thread is not threading.current_thread():
            self._wants_rows = True
            self.wake()
            self._done.wait_for(lambda: not self._wants_rows, SETTLE_S)
        self.intake.parse()

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
        ended = not thread.is_alive()
        if ended:
            self._thread = None
        self.settle()
        self.intake.writers.write()
        if ended:
            for meter in self.intake.meters.values():
                meter.pause()
        return ended

    def instant(self, at_s: float, **known: float) -> Instant:
        """Ask for the counters' totals at this instant; ``known`` is noted with it."""
        instant = self.ask(at_s)
        self.note({"instant": at_s, "at_s": at_s, **known})
        if not instant.ready:
            self._apart.watch()
            self.wake()
        return instant

    def set_interval(self, interval_s: float) -> None:
        """Change the rate. Going faster takes effect at once."""
        faster = interval_s < self.interval_s
        slower = interval_s > self.interval_s
        if faster or slower:
            self.interval_s = interval_s
            self.note({"interval_s": interval_s, "at_s": self.clock.now()})
        if faster:
            self.request()
        elif slower:  # the next tick may come too late for what is held
            self._wants_rows = True
            self.wake()

    # -- the sampling thread ---------------------------------------------------------------------------------------

    def _run(self, number: int) -> None:
        cpu_before_s = self.cpu_s - time.thread_time()
        due_s = self.clock.now()
        while self._run_number == number:
            self._safely(self.tick)
            self.cpu_s = cpu_before_s + time.thread_time()
            due_s = self._tick_quietly(self._after(due_s), number)
            self.cpu_s = cpu_before_s + time.thread_time()
            self._wait(due_s, number)

    def _tick_quietly(self, due_s: float, number: int) -> float:
        """Read the only sensor, tick after tick, until rows are due or the thread is woken; then says when a tick is.

        A tick runs on cold caches, where each question costs as much as a read of a kernel file. None is asked here:
        whatever changes what a tick has to do wakes the thread, and the tick after that is a whole one.
        """
        plan, apart = self._plan, self._apart
        lone = plan.lone if plan is not None else None
        if plan is None or lone is None or lone.take is None:
            return due_s
        if self.counters.instants or apart.asked or apart.watched or self.after_tick or self.history.news.awaited:
            return due_s
        take, put, now, gate = lone.take, self.intake.put, self.clock.now, self._gate.acquire
        until_s, interval_s, max_gap_s = self._due_s, self.interval_s, GAP_PERIODS * self.interval_s
        cpu_s, missed = self.cpu_s + self.views_cpu_s + self._apart_cpu_s, self.missed
        wait_s = due_s - now()
        while due_s < until_s and not gate(True, max(0.0, wait_s)):  # noqa: FBT003 - blocking, timeout
            at_s = now()
            try:
                part = take(at_s)
            except Exception as error:  # noqa: BLE001 - a failing sensor is a status, never a failed tick
                part = error
            if part is None:
                part = self._whole(lone, at_s)
            if self._run_number != number:  # the sensor held this thread up, and another goes on
                break
            put((plan, at_s, (part,), max_gap_s, cpu_s, missed))
            self.ticks += 1
            wait_s = due_s + interval_s - now()
            if wait_s > 0:
                due_s += interval_s
            else:
                due_s = self._after(due_s)
                missed = self.missed
        return due_s

    def _wait(self, due_s: float, number: int) -> None:
        """Wait until the next tick is due, and do until then what is asked for."""
        counters = self.counters
        while self._run_number == number:
            if self._wants_tick:
                self._safely(self.tick)
            elif self._wants_rows:
                self._safely(self._make_rows)
            wait_s = min(due_s - self.clock.now(), self.interval_s)
            if wait_s <= 0:
                return
            polling = bool(counters.instants) and bool(counters.unsettled)
            woken = self._gate.acquire(True, min(wait_s, self._apart.poll_s) if polling else wait_s)  # noqa: FBT003 - blocking, timeout
            if self._wants_tick or self._wants_rows:
                continue
            if polling:
                if self._run_number == number:
                    self._safely(self.poll)
            elif not woken:
                return

    def _after(self, due_s: float) -> float:
        """When the tick after the one of then is due. Late ticks are skipped and counted, never made up in a burst."""
        at_s = self.clock.now()
        interval_s = self.interval_s
        due_s = min(due_s, at_s) + interval_s
        if due_s <= at_s:
            skipped = int((at_s - due_s) / interval_s) + 1
            self.missed += skipped
            due_s += skipped * interval_s
        return due_s

    @staticmethod
    def _safely(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            # Nothing that goes wrong here may reach the cell that is being watched; the next tick tries again.
            log.exception("resmon: a tick failed")

    def after_fork(self) -> None:
        """In a forked child: no thread came along, and locks it held would never open."""
        self._thread = None
        self._run_number += 1
        self._gate = threading.Lock()
        self._gate.acquire()
        super().after_fork()
