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
from resmon.ticks import Ticks

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
        now, cpu_time, gate, tick = self.clock.now, time.thread_time, self._gate.acquire, self.tick
        counters = self.counters
        due_s = now()
        while self._run_number == number:
            self._safely(tick)
            self.cpu_s = cpu_before_s + cpu_time()
            interval_s = self.interval_s
            at_s = now()
            due_s = min(due_s, at_s) + interval_s
            if due_s <= at_s:
                # Late ticks are skipped and counted, never made up in a burst.
                skipped = int((at_s - due_s) / interval_s) + 1
                self.missed += skipped
                due_s += skipped * interval_s
            while self._run_number == number:
                wait_s = min(due_s - at_s, self.interval_s)
                if wait_s <= 0:
                    break
                polling = bool(counters.instants) and bool(counters.unsettled)
                woken = gate(True, min(wait_s, self._apart.poll_s) if polling else wait_s)  # noqa: FBT003 - blocking, timeout
                if self._run_number != number:
                    break
                if self._wants_tick:
                    self._safely(tick)
                elif woken and self._wants_rows:
                    self._safely(self._make_rows)
                elif polling:
                    self._safely(self.poll)
                elif not woken:
                    break
                at_s = now()

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
