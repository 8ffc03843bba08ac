"""What a span of work cost: facts like the readings they are made of, frozen, with units in their names."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resmon import units
from resmon.facts import Basis, Device, EnergyKind, Method

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Which joules a component is made of: a stretch of the running total of one energy source.

    ``boot`` names the boot of the machine, on whose monotonic clock ``start_s`` and ``end_s`` are instants. ``meter``
    names the running total on which ``start_j`` and ``end_j`` lie: the device's own counter, which every process
    reads alike, or one monitor's sum. See :class:`resmon.energy.Ledger`.
    """

    boot: str
    source: str
    meter: str
    start_s: float
    end_s: float
    start_j: float
    end_j: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyComponent:
    """The joules of one device over one span, with the 95 % interval ``[low_j, high_j]`` and where they come from.

    ``coverage`` is the fraction of the span that was really seen, ``claim`` which joules these are.
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
    claim: Claim | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonIntensity:
    """Grams of CO2-equivalent per kilowatt-hour of electricity, with where and when the figure holds.

    Raises ValueError for a negative or non-finite factor, or an empty source.
    """

    g_per_kwh: float
    source: str
    zone: str
    date: dt.date | str

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
    started_at: dt.datetime
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
        return self._per_item(self.energy.measured_j)

    @property
    def estimated_j_per_item(self) -> float | None:
        """Joules per item, of the estimated part alone; None without items or without an estimated part."""
        return self._per_item(self.energy.estimated_j)

    def _per_item(self, joules: float | None) -> float | None:
        return None if not self.items or joules is None else joules / self.items

    @property
    def own_cpu_utilization(self) -> float | None:
        """The fraction of the CPU limit that this process and its children used: ``cpu_utilization`` is everybody's."""
        cores = self.host.cpu_limit_cores if self.host is not None else None
        if self.cpu_time_s is None or not cores or self.duration_s <= 0:
            return None
        return self.cpu_time_s / (self.duration_s * cores)

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

    def __repr__(self) -> str:
        return f"<Measurement {self}>"


def _plain(value: Any) -> Any:
    """Tuples to lists, dates to ISO text: what JSON can hold and give back."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, dt.date):
        return value.isoformat()
    return value


def _component(data: Mapping[str, Any]) -> EnergyComponent:
    claim = data.get("claim")
    return EnergyComponent(**{**data, "claim": None if claim is None else Claim(**claim)})


def _measurement_from_dict(data: Mapping[str, Any]) -> Measurement:
    version = data.get("version")
    if version != 1:
        raise ValueError(f"this resmon reads measurements of version 1, not {version!r}")
    try:
        energy = dict(data["energy"])
        energy["components"] = tuple(_component(c) for c in energy["components"])
        energy["not_covered"] = tuple(energy["not_covered"])
        series = data["series"]
        rest = {
            f.name: data[f.name]
            for f in dataclasses.fields(Measurement)
            if f.name not in ("energy", "gpus", "host", "series", "started_at", "notes") and f.name in data
        }
        return Measurement(
            **rest,
            started_at=dt.datetime.fromisoformat(data["started_at"]).astimezone(dt.UTC),
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
