"""The facts that travel through resmon: frozen, slotted, with units in their names.

What is unknown is ``None``, never 0. Ratios are fractions between 0 and 1. Times are seconds of the
monitor's monotonic clock unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

DeviceKind = Literal["host", "gpu", "mig"]
EnergyKind = Literal["gpu", "module", "cpu", "dram"]
Method = Literal["counter", "integrated", "model"]
Basis = Literal["measured", "estimated"]
ChannelKind = Literal["gauge", "counter"]
SensorState = Literal["looking", "available", "degraded", "absent", "unavailable", "lost"]
"""``absent``: there is nothing here to be read. ``unavailable``: there may be, and something would mend it."""

HOST = "host"
"""Device id of the machine itself: its CPU, memory, disks and network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One thing that is measured. ``id`` is stable and unique on this machine, ``label`` is what a person reads.

    ``name`` comes from outside (a driver, a CPU model string) and is never trusted as markup.
    """

    id: str
    kind: DeviceKind
    label: str
    name: str
    index: int | None = None
    uuid: str | None = None
    cores: int | None = None
    memory_total_bytes: int | None = None
    power_max_w: float | None = None
    parent_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One typed column of the history: a quantity of a device.

    ``code`` is the storage type, ``"f"`` (4 bytes) or ``"d"`` (8 bytes, for what accumulates). A *gauge* is
    a value at an instant; a *counter* only grows, so that a span is the difference of its ends. What is not ``stored``
    is known for the newest sample alone (and in a trace): it can be told from what is.
    """

    device_id: str
    quantity: str
    unit: str
    kind: ChannelKind = "gauge"
    code: Literal["f", "d"] = "f"
    stored: bool = True

    @property
    def id(self) -> str:
        """``device_id.quantity``: the name of the column."""
        return f"{self.device_id}.{self.quantity}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergySource:
    """How the joules of one device can be known, declared by the sensor that reads them.

    ``id`` is stable across kernels (``"nvml:GPU-…"``, ``"rapl:package-0"``, ``"rated:cpu"``), ``label`` is what a
    person reads (``"GPU 0"``). A source with ``method="counter"`` names a channel in joules that grows (a decrease
    means that it was reset); the others name channels in watts. ``low_channel`` and ``high_channel`` bound the power
    where it is only estimated. ``gain_error`` is the relative 1-sigma gain error of the sensor.
    ``absolute`` says that every process reads the same joules from the counter (a sensor that unwraps one for itself
    counts from its own start). ``period_s`` is how often a counter moves on, or over how long polled power is a mean,
    where that is known beforehand. ``sampled_fraction`` is how much of the time the sensor looks. ``power_limit_w``
    bounds what the device can draw, where that is known. ``times`` names the channels with the instants just before
    and just after the read.
    """

    id: str
    device_id: str
    label: str
    kind: EnergyKind
    method: Method
    basis: Basis
    scope: str
    channel: str
    low_channel: str | None = None
    high_channel: str | None = None
    gain_error: float = 0.05
    absolute: bool = False
    sampled_fraction: float = 1.0
    period_s: float | None = None
    power_limit_w: float | None = None
    times: tuple[str, str] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What this process may really use: the smallest of the cgroup chain, Slurm, the affinity mask and the machine.

    The sources say who set each limit: ``"machine"``, ``"cgroup"``, ``"slurm"`` or ``"affinity"``.
    """

    cpu_cores: float
    memory_bytes: int
    cpu_source: str = "machine"
    memory_source: str = "machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorStatus:
    """Whether a sensor can be read: ``cause`` says why not, ``remedy`` the one thing that would mend it."""

    name: str
    state: SensorState
    detail: str = ""
    cause: str = ""
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """True while the sensor gives values (perhaps not all of them)."""
        return self.state in ("available", "degraded")

    def __str__(self) -> str:
        parts = [f"{self.name}: {self.state}"]
        if self.detail:
            parts.append(self.detail)
        if self.cause:
            parts.append(f"({self.cause})")
        if self.remedy:
            parts.append(f"— {self.remedy}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """The machine at one instant. Memory is measured against the limit in force for this process."""

    cpu_utilization: float | None = None
    core_utilization: tuple[float | None, ...] = ()
    cpu_limit_cores: float | None = None
    load_1min: float | None = None
    memory_used_bytes: float | None = None
    memory_tree_bytes: float | None = None
    memory_tree_pss_bytes: float | None = None
    memory_limit_bytes: float | None = None
    tree_cpu_time_s: float | None = None
    tree_processes: float | None = None
    disk_read_bytes_per_s: float | None = None
    disk_write_bytes_per_s: float | None = None
    net_in_bytes_per_s: float | None = None
    net_out_bytes_per_s: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    power_low_w: float | None = None
    power_high_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU (or MIG slice) at one instant.

    ``memory_own_bytes`` is what this process and its children hold, ``other_processes`` how many others use it:
    ``None`` where a container hides the pids.
    ``throttle`` is the driver's bit mask of active clock-event reasons.
    """

    device: Device
    utilization: float | None = None
    memory_used_bytes: float | None = None
    memory_own_bytes: float | None = None
    other_processes: float | None = None
    allocator_allocated_bytes: float | None = None
    allocator_reserved_bytes: float | None = None
    allocator_peak_bytes: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    energy_j: float | None = None
    temperature_c: float | None = None
    sm_clock_hz: float | None = None
    throttle: float | None = None


Reading = HostReading | GpuReading


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Everything that was read in one tick. ``at_s`` is on the monitor's monotonic clock."""

    at_s: float
    wall: datetime
    host: HostReading
    gpus: tuple[GpuReading, ...] = ()
    missed: int = 0
    resmon_cpu_s: float | None = None
