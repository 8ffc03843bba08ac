"""This process and its descendants alone: what a rank tells of itself, without the machine that it runs on."""

from __future__ import annotations

import sys
import time
from typing import NamedTuple, Protocol

from resmon.facts import HOST
from resmon.sensors.base import NAN

SLOW_S = 2.0
"""How old the part of the children may be, and what the process waited for: it is read beside work on cold caches."""


class ProcessReading(NamedTuple):
    """NaN for what is unknown. The part of the descendants and the two waits are as of two seconds ago at most.

    ``cpu_wait_s`` is how long the main thread was ready to run and had no core. ``memory_wait_s`` is how long, since
    this process was first read, some process of its cgroup (where that is not told, of the machine) waited for memory
    that was to be freed or read back: the kernel's pressure stall information.
    """

    memory_bytes: float = NAN
    cpu_time_s: float = NAN
    cpu_wait_s: float = NAN
    memory_wait_s: float = NAN


class OwnProcess(Protocol):
    """Reads this process. ``read`` and ``close`` on one thread."""

    def read(self, at_s: float) -> ProcessReading:
        """What the process and its descendants hold and have used. ``at_s`` grows from call to call."""
        ...

    def close(self) -> None:
        """Give back the descriptors. Idempotent."""
        ...


def own_process(root: str = "/") -> OwnProcess:
    """The way that this system has: on Linux kept descriptors of /proc, which is under ``root``, psutil elsewhere."""
    return _LinuxProcess(root.rstrip("/")) if sys.platform == "linux" else _PsutilProcess()


class _LinuxProcess:
    def __init__(self, root: str) -> None:
        # Here, and not at the top: these need ctypes and a Linux.
        from resmon.sensors.limits import LimitsReader
        from resmon.sensors.linux_files import KernelFiles
        from resmon.sensors.process_files import PAGE
        from resmon.sensors.process_tree import ProcessTree

        self._page = PAGE
        self._files = KernelFiles()
        self._statm = self._files.open(f"{root}/proc/self/statm")
        self._tree = ProcessTree(self._files, f"{root}/proc", None)
        self._tree.open()
        self._schedstat = self._files.open(f"{root}/proc/self/schedstat")
        limits = LimitsReader(root=root, process=f"{root}/proc/self", slurp=self._files.slurp, environ={})
        told = (path for path in limits.memory_pressure_files() if _stalled_s(self._files.slurp(path)) is not None)
        self._pressure = self._files.open(next(told, ""))  # one that is not there reads as nothing
        self._stalled_s: float | None = None
        self._next_slow_s = float("-inf")
        self._children = (NAN, NAN)
        self._waits = (NAN, NAN)

    def read(self, at_s: float) -> ProcessReading:
        fields = self._files.read(self._statm).split(None, 2)
        own_bytes = int(fields[1]) * self._page if len(fields) == 3 else NAN
        if at_s >= self._next_slow_s:
            self._next_slow_s = at_s + SLOW_S
            self._tree.read(at_s, b"%d" % at_s)  # asks for new children: cheaper than to see whether there are any
            # Its own time after the tree's: what the look took must not count twice, or the sum would go back.
            self._children = (self._tree.memory_bytes - own_bytes, self._tree.cpu_time_s - time.process_time())
            self._waits = self._read_waits()
        memory_bytes, cpu_time_s = own_bytes + self._children[0], time.process_time() + self._children[1]
        if memory_bytes < 0.0:  # this process gave back what it took between the two looks at it
            memory_bytes = own_bytes
        return ProcessReading(memory_bytes, cpu_time_s, *self._waits)

    def _read_waits(self) -> tuple[float, float]:
        waited = self._files.read(self._schedstat).split(None, 2)
        cpu_wait_s = int(waited[1]) * 1e-9 if len(waited) == 3 else NAN
        stalled_s = _stalled_s(self._files.read(self._pressure))
        if self._stalled_s is None:
            self._stalled_s = stalled_s
        return cpu_wait_s, NAN if stalled_s is None or self._stalled_s is None else stalled_s - self._stalled_s

    def close(self) -> None:
        self._tree.close()
        for fd in (self._statm, self._schedstat, self._pressure):
            self._files.close(fd)
        self._statm = self._schedstat = self._pressure = -1


def _stalled_s(pressure: bytes) -> float | None:
    """Seconds in which some process waited, of ``some avg10=0.00 avg60=0.00 avg300=0.00 total=4711``; None without."""
    kind, _, total = pressure.split(b"\n", 1)[0].partition(b" total=")
    return int(total) * 1e-6 if kind.startswith(b"some ") and total.isdigit() else None


class _PsutilProcess:
    def __init__(self) -> None:
        from resmon.sensors.host import HostSensor

        self._host = HostSensor(use_psutil=True)
        self._host.discover()
        channels = [channel.id for channel in self._host.channels]
        self._memory = channels.index(f"{HOST}.memory_tree_bytes")
        self._cpu_time = channels.index(f"{HOST}.tree_cpu_time_s")

    def read(self, at_s: float) -> ProcessReading:
        values = self._host.read(at_s)
        return ProcessReading(values[self._memory], values[self._cpu_time])

    def close(self) -> None:
        self._host.close()
