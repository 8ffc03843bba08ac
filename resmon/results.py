"""What a span of work cost: facts like the readings they are made of, frozen, with units in their names."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from resmon.energy_results import CarbonIntensity, Claim, Energy, EnergyComponent, Factors, Price
from resmon.facts import Device
from resmon.ranks import RankUse

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from resmon.energy.idle import AboveIdle

T = TypeVar("T")

__all__ = [
    "CarbonIntensity",
    "Claim",
    "Energy",
    "EnergyComponent",
    "Factors",
    "GpuUse",
    "HostUse",
    "Measurement",
    "Price",
    "Series",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """What one GPU did over a span: means, peaks and the share of time it was held back.

    ``others_max`` is the largest number of processes on it that are not of this process tree, ``own_share`` this
    tree's mean share of the memory in use; of a MIG slice, of the memory of its whole GPU.
    """

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
    others_max: float | None = None
    own_share: float | None = None

    @property
    def shared(self) -> bool | None:
        """Whether processes of others used it; None where that cannot be known."""
        return None if self.others_max is None else self.others_max >= 1


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
    sample; ``cpu_time_s`` is the CPU time of that tree. ``ranks`` are those of distributed runs in the span, whose
    joules are in ``energy`` once. ``error`` names the exception that ended the span.
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
    ranks: tuple[RankUse, ...] = ()
    items: float | None = None
    items_unit: str = "items"
    samples: int = 0
    missed: int = 0
    interval_s: float | None = None
    resmon_cpu_fraction: float | None = None
    error: str | None = None
    series: Series = field(default_factory=Series)
    notes: tuple[str, ...] = ()
    factors: Factors = field(default_factory=Factors)

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

    def above_idle(self, idle: Measurement) -> AboveIdle:
        """What this took above an idle window of the same devices; see :func:`resmon.energy.above_idle`."""
        from resmon.energy.idle import above_idle

        return above_idle(self, idle)

    def attribution(self) -> tuple[EnergyComponent, ...]:
        """Estimates of whose the joules of shared GPUs were; see :func:`resmon.energy.attribution`."""
        from resmon.energy.attribution import attribution

        return attribution(self)

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


def _measurement_from_dict(data: Mapping[str, Any]) -> Measurement:
    if not isinstance(data, Mapping):
        raise TypeError(f"a measurement is read from what to_dict gave, not from {data!r}")
    version = data.get("version")
    if version != 1:
        raise ValueError(f"this resmon reads measurements of version 1, not {version!r}")
    try:
        energy = dict(data["energy"])
        parts = tuple(_made(EnergyComponent, c, EnergyComponent.from_dict) for c in energy["components"])
        series = data["series"]
        own = ("energy", "gpus", "host", "ranks", "series", "started_at", "notes", "factors")
        rest = {f.name: data[f.name] for f in dataclasses.fields(Measurement) if f.name not in own and f.name in data}
        whole = {
            **rest,
            "started_at": dt.datetime.fromisoformat(data["started_at"]).astimezone(dt.UTC),
            "energy": _made(Energy, {**energy, "components": parts, "not_covered": tuple(energy["not_covered"])}),
            "gpus": tuple(_made(GpuUse, {**g, "device": _made(Device, g["device"])}) for g in data["gpus"]),
            "host": None
            if data["host"] is None
            else _made(HostUse, {**data["host"], "device": _made(Device, data["host"]["device"])}),
            "ranks": tuple(_made(RankUse, r) for r in data.get("ranks", ())),
            "series": Series(at_s=tuple(series["at_s"]), values={k: tuple(v) for k, v in series["values"].items()}),
            "notes": tuple(data.get("notes", ())),
            "factors": Factors.from_dict(data.get("factors", {})),
        }
        return _made(Measurement, whole)
    except KeyError as error:
        raise ValueError(f"the measurement lacks the field {error}") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"the measurement has a field that is wrong, or that this resmon does not know: {error}"
        ) from None


_PLAIN: Mapping[str, tuple[type, ...]] = {"float": (float, int), "int": (int,), "str": (str,)}


def _made(kind: type[T], data: Mapping[str, Any], make: Callable[[Mapping[str, Any]], T] | None = None) -> T:
    """One of the facts above from its fields. Raises ValueError naming a number or a text that is none."""
    for field_ in dataclasses.fields(kind):  # type: ignore[arg-type]  # all of them are dataclasses
        plain, _, optional = str(field_.type).partition(" | ")
        value = data.get(field_.name)
        if plain not in _PLAIN or field_.name not in data or (optional == "None" and value is None):
            continue
        if isinstance(value, bool) or not isinstance(value, _PLAIN[plain]) or value != value:
            raise ValueError(f"{field_.name} of {kind.__name__} is {value!r}")
    return kind(**data) if make is None else make(data)
