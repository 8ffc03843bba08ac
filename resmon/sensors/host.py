"""The machine: CPU, memory, process tree, disks, network, temperature, against the limits in force.

On Linux the values come from direct reads of kernel files (:mod:`resmon.sensors.linux`), elsewhere from psutil
(:mod:`resmon.sensors.host_psutil`). Both give the same channels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from resmon.facts import HOST, Channel, ChannelKind, Device, EnergySource, Limits, SensorState, SensorStatus
from resmon.sensors.base import NAN
from resmon.sensors.cpu_info import CpuInfo, read_cpu_info


def _channel(quantity: str, unit: str, kind: ChannelKind = "gauge") -> Channel:
    return Channel(device_id=HOST, quantity=quantity, unit=unit, kind=kind, code="d" if kind == "counter" else "f")


CHANNELS: Final = (
    _channel("cpu_utilization", ""),
    _channel("load_1min", ""),
    _channel("memory_used_bytes", "B"),
    _channel("memory_tree_bytes", "B"),
    _channel("memory_tree_pss_bytes", "B"),
    _channel("tree_cpu_time_s", "s", "counter"),
    _channel("tree_processes", ""),
    _channel("disk_read_bytes_per_s", "B/s"),
    _channel("disk_write_bytes_per_s", "B/s"),
    _channel("net_in_bytes_per_s", "B/s"),
    _channel("net_out_bytes_per_s", "B/s"),
    _channel("temperature_c", "°C"),
)
"""The host's channels; one ``core_{i}`` for each core that the process may use follows."""


class HostReads(Protocol):
    """One way to read the host. The attributes stand after ``open``."""

    how: str
    cores: tuple[int, ...]
    machine_cores: int
    machine_memory_bytes: int
    utilization: float

    @property
    def limits(self) -> Limits: ...

    @property
    def pids(self) -> frozenset[int]: ...

    @property
    def problems(self) -> Sequence[str]: ...

    def open(self) -> None: ...

    def read(self, at_s: float) -> list[float]: ...

    def paths(self) -> list[str]: ...

    def close(self) -> None: ...


class HostSensor:
    """The sensor named ``"host"``: one device, and the channels of ``CHANNELS`` plus one per core.

    ``root`` is where ``proc`` and ``sys`` lie, ``pid`` the root of the process tree that is watched (None: this
    process), ``use_psutil`` reads through psutil on Linux too.

    ``core_{i}`` are the cores that the process may run on when ``discover`` is called, numbered from 0 in the order
    of their CPU numbers: a core it cannot use says nothing about its work. ``Device.cores`` counts all the machine's.
    ``cpu_utilization`` is relative to the limit in force: of the whole machine, the allowed cores, or the CPU time that
    the cgroup used of its quota; for a limit that only Slurm's environment states, of the process tree.
    ``memory_used_bytes`` is what all processes under the same limit use.
    """

    name = "host"
    sources: tuple[EnergySource, ...] = ()

    def __init__(self, root: str = "/", pid: int | None = None, *, use_psutil: bool = False) -> None:
        self.generation = 0
        self.devices: tuple[Device, ...] = ()
        self.channels: tuple[Channel, ...] = CHANNELS
        self.cpu = CpuInfo(model="", threads=1, virtual=True)
        self._root = root
        self._pid = pid
        self._use_psutil = use_psutil or sys.platform != "linux"
        self._reads: HostReads | None = None
        self.take: Callable[[float], Any] | None = None
        self.parse: Callable[[Any], Sequence[float]] | None = None

    def _make(self) -> HostReads:
        # Here, and not at the top: ctypes and psutil would be a third of the time of `import resmon`.
        if self._use_psutil:
            from resmon.sensors.host_psutil import PsutilHost

            return PsutilHost(self._root, self._pid)
        from resmon.sensors.linux import LinuxHost

        return LinuxHost(self._root, self._pid)

    def discover(self) -> None:
        """Find the cores, limits, disks and interfaces, and open what every tick reads."""
        self.close()
        self.cpu = read_cpu_info(self._root)
        reads = self._make()
        reads.open()
        self.devices = (
            Device(
                id=HOST,
                kind="host",
                label="CPU",
                name=self.cpu.model,
                cores=reads.machine_cores,
                memory_total_bytes=reads.machine_memory_bytes or None,
            ),
        )
        self.channels = CHANNELS + tuple(_channel(f"core_{i}", "") for i in range(len(reads.cores)))
        self.generation += 1
        self._reads = reads
        # Direct reads can be made sense of later; psutil's are not worth it. No method of this class in between: a tick
        # runs on cold caches.
        self.take, self.parse = getattr(reads, "take", None), getattr(reads, "parse", None)

    def read(self, at_s: float) -> Sequence[float]:
        """One value per channel. ``at_s`` must grow from call to call: rates and means are taken over it."""
        reads = self._reads
        return [NAN] * len(self.channels) if reads is None else reads.read(at_s)

    @property
    def limits(self) -> Limits:
        """The limits in force, as of at most a minute ago. Any thread; before ``discover`` it reads them once."""
        if self._reads is not None:
            return self._reads.limits
        reads = self._make()
        reads.open()
        try:
            return reads.limits
        finally:
            reads.close()

    @property
    def cpu_utilization(self) -> float:
        """The latest fraction of the CPU limit that was busy; NaN before the second read."""
        return NAN if self._reads is None else self._reads.utilization

    def of_the_limit(self) -> tuple[float, Limits | None]:
        """``cpu_utilization``, and the limits it is of; None before ``discover``."""
        reads = self._reads
        return (NAN, None) if reads is None else (reads.utilization, reads.limits)

    def pids(self) -> frozenset[int]:
        """The processes of the watched tree, as of the last look; empty before the first. Any thread."""
        return frozenset() if self._reads is None else self._reads.pids

    @property
    def status(self) -> Sequence[SensorStatus]:
        if self._reads is None:
            return (SensorStatus(name=self.name, state="looking"),)
        problems = "; ".join(self._reads.problems)
        state: SensorState = "degraded" if problems else "available"
        return (SensorStatus(name=self.name, state=state, detail=self._reads.how, cause=problems),)

    @property
    def not_covered(self) -> Sequence[str]:
        return ()

    def paths(self) -> list[str]:
        """The kernel files that ticks read (not psutil's), so that bare reads of the very same can be timed."""
        return [] if self._reads is None else self._reads.paths()

    def close(self) -> None:
        """Give back the descriptors. Idempotent."""
        if self._reads is not None:
            self._reads.close()
            self._reads = self.take = self.parse = None
