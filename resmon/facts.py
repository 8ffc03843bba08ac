"""The facts that travel through resmon: frozen, slotted, with units in their names.

What is unknown is ``None``, never 0. Ratios are fractions between 0 and 1. Times are seconds of the
monitor's monotonic clock unless a name says otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal

from resmon import units

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

DeviceKind = Literal["host", "gpu", "mig"]
EnergyKind = Literal["gpu", "module", "cpu", "dram"]
Method = Literal["counter", "integrated", "model"]
Basis = Literal["measured", "estimated"]
ChannelKind = Literal["gauge", "counter"]
SensorState = Literal["looking", "available", "degraded", "unavailable", "lost"]

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
    a value at an instant; a *counter* only grows, so that a span is the difference of its ends.
    """

    device_id: str
    quantity: str
    unit: str
    kind: ChannelKind = "gauge"
    code: Literal["f", "d"] = "f"

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
    ``power_limit_w`` bounds what the device can draw, where that is known.
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
    power_limit_w: float | None = None
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

    ``memory_own_bytes`` is what this process and its children hold; ``None`` where a container hides the pids.
    ``throttle`` is the driver's bit mask of active clock-event reasons.
    """

    device: Device
    utilization: float | None = None
    memory_used_bytes: float | None = None
    memory_own_bytes: float | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyComponent:
    """The joules of one device over one span, with the 95 % interval ``[low_j, high_j]`` and where they come from.

    ``coverage`` is the fraction of the span that was really seen.
    """

    device: str
    kind: EnergyKind
    energy_j: float
    low_j: float
    high_j: float
    method: Method
    basis: Basis
    scope: str
    coverage: float = 1.0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonIntensity:
    """Grams of CO2-equivalent per kilowatt-hour of electricity, with where and when the figure holds.

    Raises ValueError for a negative or non-finite factor, or an empty source.
    """

    g_per_kwh: float
    source: str
    zone: str
    date: date | str

    def __post_init__(self) -> None:
        if not 0 <= self.g_per_kwh < float("inf"):
            raise ValueError(f"g_per_kwh must be a finite number >= 0, not {self.g_per_kwh!r}")
        if not self.source:
            raise ValueError("source must name where the factor comes from, for example 'ENTSO-E 2025'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Joules over a span, by component, with measured and estimated kept apart.

    Built by :func:`resmon.energy.combine`; ``low_j``/``high_j`` bound the total at 95 %, and the
    ``measured_*`` and ``estimated_*`` pairs bound each part. A part without any component is ``None``.
    """

    components: tuple[EnergyComponent, ...] = ()
    not_covered: tuple[str, ...] = ()
    low_j: float | None = None
    high_j: float | None = None
    measured_low_j: float | None = None
    measured_high_j: float | None = None
    estimated_low_j: float | None = None
    estimated_high_j: float | None = None

    def _sum(self, basis: Basis) -> float | None:
        values = [c.energy_j for c in self.components if c.basis == basis]
        return sum(values) if values else None

    @property
    def measured_j(self) -> float | None:
        """Joules read from counters or integrated from power sensors; None when nothing was measured."""
        return self._sum("measured")

    @property
    def estimated_j(self) -> float | None:
        """Joules from a model; None when nothing was estimated."""
        return self._sum("estimated")

    @property
    def total_j(self) -> float | None:
        """``measured_j + estimated_j``; None when nothing is known."""
        return sum(c.energy_j for c in self.components) if self.components else None

    @property
    def wh(self) -> float | None:
        """The total in watt-hours (3600 J)."""
        return None if self.total_j is None else self.total_j / 3600.0

    def cost(self, price_per_kwh: float) -> float | None:
        """The total's price, in the currency of ``price_per_kwh``."""
        if not 0 <= price_per_kwh < float("inf"):
            raise ValueError(f"price_per_kwh must be a finite number >= 0, not {price_per_kwh!r}")
        return None if self.wh is None else self.wh / 1000.0 * price_per_kwh

    def co2_g(self, intensity: CarbonIntensity, pue: float | None = None) -> float | None:
        """Grams of CO2-equivalent at ``intensity``; multiplied by ``pue`` (>= 1) only where one is given."""
        if pue is not None and not 1.0 <= pue < float("inf"):
            raise ValueError(f"pue is a ratio of at least 1, not {pue!r}")
        if self.wh is None:
            return None
        return self.wh / 1000.0 * intensity.g_per_kwh * (1.0 if pue is None else pue)

    def __str__(self) -> str:
        return units.format_energy_parts(
            measured=(self.measured_j, self.measured_low_j, self.measured_high_j),
            estimated=(self.estimated_j, self.estimated_low_j, self.estimated_high_j),
            not_covered=self.not_covered,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """What one GPU did over a span: means, peaks and the share of time it was held back."""

    device: Device
    utilization_mean: float | None = None
    utilization_max: float | None = None
    memory_peak_bytes: float | None = None
    memory_own_peak_bytes: float | None = None
    power_mean_w: float | None = None
    power_max_w: float | None = None
    temperature_max_c: float | None = None
    throttled_fraction: float | None = None
    throttle_reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUse:
    """What the machine did over a span. ``memory_limit_bytes`` and ``cpu_limit_cores`` are the limits in force."""

    device: Device
    cpu_limit_cores: float | None = None
    memory_limit_bytes: float | None = None
    limit_source: str = "machine"
    memory_used_peak_bytes: float | None = None
    power_mean_w: float | None = None
    power_max_w: float | None = None
    temperature_max_c: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A bounded shape of a span: at most a few hundred points, so that it can be drawn for ever.

    ``at_s`` are seconds since the span's start, ``values`` maps a channel id to one value per point (``None``
    where nothing is known).
    """

    at_s: tuple[float, ...] = ()
    values: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a span of work cost. ``cpu_utilization`` is the fraction of the CPU limit in force that was busy.

    ``peak_memory_bytes`` is the largest memory of the process tree (shared pages counted once) seen by a
    sample; ``cpu_time_s`` is the CPU time of that tree. ``error`` names the exception that ended the span.
    """

    name: str
    started_at: datetime
    duration_s: float
    energy: Energy
    cpu_time_s: float | None = None
    cpu_utilization: float | None = None
    peak_memory_bytes: float | None = None
    gpus: tuple[GpuUse, ...] = ()
    host: HostUse | None = None
    items: float | None = None
    items_unit: str = "items"
    samples: int = 0
    missed: int = 0
    interval_s: float | None = None
    resmon_cpu_fraction: float | None = None
    error: str | None = None
    series: Series = field(default_factory=Series)
    notes: tuple[str, ...] = ()

    @property
    def items_per_s(self) -> float | None:
        """Items per second of the span; None without ``items``."""
        return None if self.items is None or self.duration_s <= 0 else self.items / self.duration_s

    @property
    def measured_j_per_item(self) -> float | None:
        """Joules per item, of the measured part alone; None without items or without a measured part."""
        measured = self.energy.measured_j
        return None if not self.items or measured is None else measured / self.items

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict (``version`` 1); :meth:`from_dict` gives the same measurement back."""
        plain = _plain(dataclasses.asdict(self))
        assert isinstance(plain, dict)
        return {"version": 1, **plain}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        """The inverse of :meth:`to_dict`. Raises ValueError naming the field that is missing or wrong."""
        return _measurement_from_dict(data)

    def figure(self) -> Figure:
        """A plotly figure of the series."""
        from resmon.views import figure

        return figure.measurement_figure(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        from resmon.views import summary

        return summary.mimebundle(self)

    def __str__(self) -> str:
        from resmon.views import text

        return text.measurement_line(self)


def _plain(value: Any) -> Any:
    """Tuples to lists, dates to ISO text: what JSON can hold and give back."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return value


def _measurement_from_dict(data: Mapping[str, Any]) -> Measurement:
    version = data.get("version")
    if version != 1:
        raise ValueError(f"this resmon reads measurements of version 1, not {version!r}")
    try:
        energy = dict(data["energy"])
        energy["components"] = tuple(EnergyComponent(**c) for c in energy["components"])
        energy["not_covered"] = tuple(energy["not_covered"])
        series = data["series"]
        rest = {
            f.name: data[f.name]
            for f in dataclasses.fields(Measurement)
            if f.name not in ("energy", "gpus", "host", "series", "started_at", "notes") and f.name in data
        }
        return Measurement(
            **rest,
            started_at=datetime.fromisoformat(data["started_at"]).astimezone(UTC),
            energy=Energy(**energy),
            gpus=tuple(GpuUse(**{**g, "device": Device(**g["device"])}) for g in data["gpus"]),
            host=None
            if data["host"] is None
            else HostUse(**{**data["host"], "device": Device(**data["host"]["device"])}),
            series=Series(at_s=tuple(series["at_s"]), values={k: tuple(v) for k, v in series["values"].items()}),
            notes=tuple(data.get("notes", ())),
        )
    except KeyError as error:
        raise ValueError(f"the measurement lacks the field {error}") from None
    except TypeError as error:
        raise ValueError(f"the measurement has a field this resmon does not know: {error}") from None
