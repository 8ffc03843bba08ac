"""The CPU's energy counters (RAPL), through powercap or, where that is closed, through perf events.

A counter counts small units of energy up to its range and starts again. The sensor adds the differences as whole
numbers, so that its channels only grow; where the energy of an interval cannot be known (a wrap with an unreadable
range, a gap in which it may have wrapped more than once, a reset by suspend), the interval is discarded and the
channel starts again from 0, which says so to whoever reads it.

A counter is a sensor once it has advanced. Which counters hold the same joules is decided in
:mod:`resmon.sensors.powercap` and :mod:`resmon.sensors.rapl_perf`; counters of the two ways are never mixed.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from resmon.facts import HOST, Channel, Device, EnergySource, SensorState, SensorStatus
from resmon.sensors.base import has_memory
from resmon.sensors.cpu_info import read_cpu_info
from resmon.sensors.rapl_counter import RETRY_S, Found, RaplCounter, Way

if TYPE_CHECKING:
    from resmon.sensors.linux_files import KernelFiles

SERVER_GAIN_ERROR: Final = 0.05
"""Relative gain error (1 sigma) of servers by Intel; like ``GAIN_ERROR`` a placeholder, no calibration."""
GAIN_ERROR: Final = 0.10
"""That of other processors, whose counters are models of the power at least in part."""
_ADVANCE_S: Final = 0.1  # counters advance about every millisecond
POWERCAP_REMEDY: Final = "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj"
PERF_REMEDY: Final = "sudo sysctl kernel.perf_event_paranoid=0"
_WAYS: Final[dict[Way, str]] = {"powercap": "powercap", "perf": "perf events"}
_REFUSED: Final[dict[Way, tuple[str, str]]] = {
    "powercap": ("energy_uj is readable by root only", POWERCAP_REMEDY),
    "perf": ("counting on a whole CPU is refused above kernel.perf_event_paranoid = 0", PERF_REMEDY),
}


class RaplSensor:
    """The sensor named ``"rapl"``: one counter in joules per CPU package and per package's DRAM.

    ``root`` is where ``sys`` and ``proc`` lie. Counters that cannot be read at ``discover``, or do not advance, are
    tried again every 2 s; when one can be, the shape changes and ``generation`` grows. Perf events are looked for
    where powercap gives nothing at ``discover``; the way that gives the first counter is kept.
    """

    name = "rapl"
    devices: tuple[Device, ...] = ()

    def __init__(self, root: str = "/") -> None:
        self.generation = 0
        self.channels: tuple[Channel, ...] = ()
        self.sources: tuple[EnergySource, ...] = ()
        self._root = root
        self._counters: list[RaplCounter] = []
        self._waiting: list[RaplCounter] = []
        self._ways: dict[Way, Found] = {}
        self._next_retry_s = float("-inf")
        self._found = False
        self._refusal = ("", "")
        self._gain_error = GAIN_ERROR

    # ------------------------------------------------------------- discovery

    def discover(self) -> None:
        """Find the counters and wait for them to advance: up to 0.1 s for powercap's, and as long for perf's."""
        self.close()
        self._find()
        for counter in self._waiting:
            counter.start_again()  # what follows is on the sampler's clock
        self._found = True

    def _find(self) -> None:
        try:
            from resmon.sensors.linux_files import KernelFiles

            files = KernelFiles()
        except (OSError, AttributeError, TypeError):  # Windows has no C library to ask, macOS no powercap
            self._refusal = ("RAPL is read on Linux only", "")
            return
        self._gain_error = SERVER_GAIN_ERROR if "Xeon" in read_cpu_info(self._root).model else GAIN_ERROR
        self._look("powercap", files)
        if not self._counters:
            self._look("perf", files)

    def _look(self, way: Way, files: KernelFiles) -> None:
        if way == "powercap":
            from resmon.sensors.powercap import find_powercap as find
        else:
            from resmon.sensors.rapl_perf import find_perf as find
        found = self._ways[way] = find(self._root, files)
        _shorten_labels(found.counters)
        self._waiting.extend(found.counters)
        deadline = time.monotonic() + _ADVANCE_S
        while self._waiting and time.monotonic() < deadline:
            self._promote(time.monotonic())
            if all(counter.error for counter in self._waiting):
                break
            time.sleep(0.002)

    def _promote(self, at_s: float) -> None:
        """Make sensors of the waiting counters that have advanced, and let those of the other way go."""
        for counter in self._waiting:
            counter.advance(at_s)
        ready = [counter for counter in self._waiting if counter.total > 0]
        if not ready:
            return
        way = (self._counters or ready)[0].way  # powercap's wait before perf's
        if way == "perf" and not self._counters:
            self._refusal = self._why_not("powercap")
        others = [counter for counter in self._waiting if counter.way != way]
        self._waiting = [counter for counter in self._waiting if counter not in ready and counter not in others]
        for counter in others:
            counter.close()
        for counter in sorted(ready, key=lambda counter: counter.key):
            if counter in others:
                continue
            if any(counter.is_mirror(other) for other in self._counters):
                counter.close()
            else:
                counter.start_again()
                self._counters.append(counter)
        self._counters.sort(key=lambda counter: (counter.kind, counter.key))
        self._describe()

    def _describe(self) -> None:
        self.channels = tuple(
            Channel(device_id=HOST, quantity=counter.quantity, unit="J", kind="counter", code="d")
            for counter in self._counters
        )
        self.sources = tuple(
            EnergySource(
                id=f"rapl:{counter.key}",
                device_id=HOST,
                label=counter.label,
                kind=counter.kind,
                method="counter",
                basis="measured",
                scope=counter.scope,
                channel=f"{HOST}.{counter.quantity}",
                gain_error=self._gain_error,
                note=f"RAPL counter by {_WAYS[counter.way]}; "
                f"its gain error is a placeholder of {self._gain_error * 100:.0f} %, not a calibration",
            )
            for counter in self._counters
        )
        self.generation += 1

    # ------------------------------------------------------------- reading

    def read(self, at_s: float) -> Sequence[float]:
        """Joules since ``discover`` per counter, NaN where it cannot be read now."""
        if self._waiting and at_s >= self._next_retry_s:
            self._next_retry_s = at_s + RETRY_S
            self._promote(at_s)
        return [counter.advance(at_s) for counter in self._counters]

    # ------------------------------------------------------------- what is said of it

    @property
    def status(self) -> Sequence[SensorStatus]:
        """What can be read and by which way; why the better way, or any, is closed; what would mend it."""
        if not self._found:
            return (SensorStatus(name=self.name, state="looking"),)
        counters, waiting = self._counters, self._waiting
        if counters:
            way = counters[0].way
            detail = f"{', '.join(counter.label for counter in counters)}; by {_WAYS[way]}"
            cause, remedy = self._why_not(way)
            if not cause and self._refusal[0]:
                cause, remedy = f"not by powercap: {self._refusal[0]}", self._refusal[1]
        else:
            detail = ""
            cause, remedy = self._why_nothing()
        failing = any(counter.error for counter in (*counters, *waiting))
        state: SensorState = "degraded" if failing or waiting else "available"
        if not any(counter.error == 0 for counter in counters):
            state = "lost" if counters else "unavailable" if waiting or remedy else "absent"
        return (SensorStatus(name=self.name, state=state, detail=detail, cause=cause, remedy=remedy),)

    def _why_nothing(self) -> tuple[str, str]:
        """Both ways, the better first; perf is not worth a word where the machine has no such events."""
        (cause, remedy), (second, second_remedy) = self._why_not("powercap"), self._why_not("perf")
        cause, remedy = cause or self._refusal[0], remedy or second_remedy
        return (f"{cause}; perf events: {second}" if second else cause), remedy

    def _why_not(self, way: Way) -> tuple[str, str]:
        """What keeps the counters of one way, or some of them, from being read, and what would mend it."""
        mine = [counter for counter in (*self._counters, *self._waiting) if counter.way == way]
        error = next((counter.error for counter in mine if counter.error), 0)
        if error == errno.EACCES:
            return _REFUSED[way]
        if error == errno.EPERM and way == "perf":  # the kernel itself says EACCES
            return "the container forbids perf_event_open", "start the container with --cap-add PERFMON"
        if error:
            return f"{'energy_uj' if way == 'powercap' else 'the event'} cannot be read: {os.strerror(error)}", ""
        if any(counter.way == way for counter in self._waiting):
            return "the counter does not advance", ""
        found = self._ways.get(way)
        return (found.cause, found.remedy) if found else ("", "")

    @property
    def not_covered(self) -> Sequence[str]:
        """``"DRAM"`` where packages are counted and their memory is not."""
        return ("DRAM",) if self.sources and not has_memory(self.sources) else ()

    def close(self) -> None:
        """Give back the descriptors. Idempotent."""
        for counter in (*self._counters, *self._waiting):
            counter.close()
        self._counters, self._waiting = [], []
        self._ways = {}
        self._refusal = ("", "")


def _shorten_labels(counters: list[RaplCounter]) -> None:
    """``"CPU"`` and ``"DRAM"`` where there is one of them."""
    for kind, alone in (("cpu", "CPU"), ("dram", "DRAM")):
        same = [counter for counter in counters if counter.kind == kind and counter.key != "psys"]
        if len(same) == 1:
            same[0].label = alone
