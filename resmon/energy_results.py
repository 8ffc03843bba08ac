"""Joules as facts: by component, with where they come from, how wrong they can be, and what they amount to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from resmon import units
from resmon.facts import Basis, EnergyKind, Method


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

    ``coverage`` is the fraction of the span that was really seen, ``claim`` which joules these are. ``gain_error`` is
    the relative 1-sigma gain error in the interval, which all spans of the device have in common; 0 for an estimate,
    whose bounds are no such sum.
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
    gain_error: float = 0.0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EnergyComponent:
        """The inverse of ``dataclasses.asdict``. Raises TypeError for a field that is missing or not known."""
        claim = data.get("claim")
        return cls(**{**data, "claim": None if claim is None else Claim(**claim)})


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, (int, float, Real)):
        raise TypeError(f"{name} must be a number, not {value!r}")


def _check_factor(name: str, value: float) -> None:
    _check_number(name, value)
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a finite number >= 0, not {value!r}")


def _check_pue(pue: float | None) -> None:
    if pue is None:
        return
    _check_number("pue", pue)
    if not 1.0 <= pue < float("inf"):
        raise ValueError(f"pue is a ratio of at least 1, not {pue!r}")


@dataclass(frozen=True, slots=True)
class CarbonIntensity:
    """Grams of CO2-equivalent per kilowatt-hour of electricity, with where and when the figure holds.

    ``date`` is kept as text. Raises ValueError for a negative or non-finite factor, or an empty source, zone or date,
    TypeError for a factor that is no number.
    """

    g_per_kwh: float
    source: str
    zone: str
    date: dt.date | str

    def __post_init__(self) -> None:
        _check_factor("g_per_kwh", self.g_per_kwh)
        for name, example in (("source", "ENTSO-E 2025"), ("zone", "DE"), ("date", "2025")):
            value = getattr(self, name)
            if value is None or not str(value).strip():
                raise ValueError(f"{name} must name where or when the factor holds, for example {example!r}")
        object.__setattr__(self, "date", str(self.date))


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a kilowatt-hour costs, in a currency (its ISO 4217 code), with where the figure comes from.

    Raises ValueError for a negative or non-finite price, or an empty currency or source, TypeError for a price that is
    no number.
    """

    per_kwh: float
    currency: str
    source: str

    def __post_init__(self) -> None:
        _check_factor("per_kwh", self.per_kwh)
        if not str(self.currency or "").strip() or not str(self.source or "").strip():
            raise ValueError("currency and source must name what the price is in and where it comes from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """What energy is turned into beyond joules, each with its source; None where nobody gave one.

    ``pue`` multiplies the CO2 of a figure that is shown beside the one without it. Raises ValueError for a ``pue``
    below 1, or without ``carbon``.
    """

    carbon: CarbonIntensity | None = None
    price: Price | None = None
    pue: float | None = None

    def __post_init__(self) -> None:
        _check_pue(self.pue)
        if self.pue is not None and self.carbon is None:
            raise ValueError("pue multiplies a carbon intensity: give carbon too")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Factors:
        """The inverse of ``dataclasses.asdict``. Raises TypeError for a field that is missing or not known."""
        carbon, price = data.get("carbon"), data.get("price")
        made = None if carbon is None else CarbonIntensity(**carbon)
        return cls(**{**data, "carbon": made, "price": None if price is None else Price(**price)})


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
        _check_factor("price_per_kwh", price_per_kwh)
        return None if self.wh is None else self.wh / 1000.0 * price_per_kwh

    def co2_g(self, intensity: CarbonIntensity, pue: float | None = None) -> float | None:
        """Grams of CO2-equivalent at ``intensity``; multiplied by ``pue`` (>= 1) only where one is given."""
        if not isinstance(intensity, CarbonIntensity):
            raise TypeError(f"intensity is a resmon.energy.CarbonIntensity(g_per_kwh=…, …), not {intensity!r}")
        _check_pue(pue)
        if self.wh is None:
            return None
        return self.wh / 1000.0 * intensity.g_per_kwh * (1.0 if pue is None else pue)

    def __str__(self) -> str:
        return units.format_energy_parts(
            measured=(self.measured_j, self.measured_low_j, self.measured_high_j),
            estimated=(self.estimated_j, self.estimated_low_j, self.estimated_high_j),
            not_covered=self.not_covered,
        )
