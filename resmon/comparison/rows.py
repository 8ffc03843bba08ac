"""One measurement beside another: ratios, and what they may be taken of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from resmon import units
from resmon.facts import Basis
from resmon.results import Measurement
from resmon.views.rank_table import runs_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRow:
    """One measurement beside the first one.

    ``speedup`` is the ratio of throughputs where both count the same items, else of durations; above 1 is faster.
    ``energy_ratio`` is this energy over the first one's, of ``energy_ratio_basis`` in both, per item where both
    count the same items. Its ends are those of the intervals divided crosswise: an interval that holds
    even if the errors of the two have nothing in common. It is None where no common basis exists.

    ``ranks`` is how many ranks a distributed run had. ``scaling_efficiency`` is the speed-up per rank, against that of
    the first (which counts as one rank if it had none): 1 is ideal. The three fractions are the shares of a step, means
    over the ranks. ``items`` of a measurement that counts none itself are those of its ranks.
    """

    name: str
    duration_s: float
    speedup: float | None
    ranks: int | None
    scaling_efficiency: float | None
    items: float | None
    items_per_s: float | None
    items_unit: str
    measured_j: float | None
    measured_low_j: float | None
    measured_high_j: float | None
    estimated_j: float | None
    estimated_low_j: float | None
    estimated_high_j: float | None
    measured_j_per_item: float | None
    estimated_j_per_item: float | None
    energy_ratio: float | None
    energy_ratio_low: float | None
    energy_ratio_high: float | None
    energy_ratio_basis: Basis | None
    cpu_utilization: float | None
    gpu_utilization: float | None
    peak_memory_bytes: float | None
    gpu_peak_memory_bytes: float | None
    compute_fraction: float | None
    communication_fraction: float | None
    wait_fraction: float | None
    error: str | None

    @property
    def energy_differs(self) -> bool | None:
        """Whether the two energies differ by more than their intervals; None without a ratio and its interval."""
        if self.energy_ratio_low is None or self.energy_ratio_high is None:
            return None
        return not self.energy_ratio_low <= 1.0 <= self.energy_ratio_high


def compared(m: Measurement, name: str, first: Measurement) -> ComparedRow:
    """One measurement beside the first."""
    energy = m.energy
    busy = (gpu.utilization_mean for gpu in m.gpus)
    gpu_memory = [gpu.memory_own_peak_bytes or gpu.memory_peak_bytes for gpu in m.gpus]
    ratio, low, high, basis = _energy_ratio(m, first)
    items, speedup = items_of(m), _speedup(m, first)
    return ComparedRow(
        name=name,
        duration_s=m.duration_s,
        speedup=speedup,
        ranks=ranks_of(m),
        scaling_efficiency=_scaling_efficiency(speedup, m, first),
        items=items,
        items_per_s=_per_s(m),
        items_unit=m.items_unit,
        measured_j=energy.measured_j,
        measured_low_j=energy.measured_low_j,
        measured_high_j=energy.measured_high_j,
        estimated_j=energy.estimated_j,
        estimated_low_j=energy.estimated_low_j,
        estimated_high_j=energy.estimated_high_j,
        measured_j_per_item=_divided(energy.measured_j, items),
        estimated_j_per_item=_divided(energy.estimated_j, items),
        energy_ratio=ratio,
        energy_ratio_low=low,
        energy_ratio_high=high,
        energy_ratio_basis=basis,
        cpu_utilization=m.cpu_utilization,
        gpu_utilization=_mean(busy),
        peak_memory_bytes=m.peak_memory_bytes,
        gpu_peak_memory_bytes=max((b for b in gpu_memory if b is not None), default=None),
        compute_fraction=_mean(use.compute_fraction for use in m.ranks),
        communication_fraction=_mean(use.communication_fraction for use in m.ranks),
        wait_fraction=_mean(use.wait_fraction for use in m.ranks),
        error=m.error,
    )


def ranks_of(m: Measurement) -> int | None:
    """How many ranks; None without any, and where several runs leave it open."""
    runs = runs_of(m.ranks)
    return len(runs[0]) if len(runs) == 1 else None


def items_of(m: Measurement) -> float | None:
    """The items of the whole measurement: as it counts them, else the sum of its ranks where each counts some."""
    if m.items is not None or not m.ranks:
        return m.items
    counted = [use.items for use in m.ranks if use.items is not None]
    return sum(counted) if len(counted) == len(m.ranks) else None


def same_items(m: Measurement, first: Measurement) -> bool:
    """Whether both count items of one kind."""
    return bool(items_of(m) and items_of(first)) and m.items_unit == first.items_unit


def _speedup(m: Measurement, first: Measurement) -> float | None:
    if same_items(m, first):
        return _divided(_per_s(m), _per_s(first))
    return _divided(first.duration_s, m.duration_s)


def _scaling_efficiency(speedup: float | None, m: Measurement, first: Measurement) -> float | None:
    if not (m.ranks or first.ranks) or speedup is None:
        return None
    ranks = [ranks_of(each) if each.ranks else 1 for each in (m, first)]
    return None if ranks[0] is None or ranks[1] is None else speedup * ranks[1] / ranks[0]


def _per_s(m: Measurement) -> float | None:
    return _divided(items_of(m), m.duration_s)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _divided(value: float | None, by: float | None) -> float | None:
    return None if value is None or not by else value / by


def _interval(m: Measurement, basis: Basis) -> units.Interval:
    e = m.energy
    if basis == "measured":
        return e.measured_j, e.measured_low_j, e.measured_high_j
    return e.estimated_j, e.estimated_low_j, e.estimated_high_j


def covers(m: Measurement, basis: Basis) -> frozenset[tuple[str, str]]:
    """The kinds and scopes of device whose joules of that basis are known."""
    return frozenset((c.kind, c.scope) for c in m.energy.components if c.basis == basis)


def _energy_ratio(m: Measurement, first: Measurement) -> tuple[float | None, float | None, float | None, Basis | None]:
    items = (items_of(m) or 1.0, items_of(first) or 1.0) if same_items(m, first) else (1.0, 1.0)
    bases: tuple[Basis, ...] = ("measured", "estimated")
    for basis in bases:
        covered = covers(m, basis)
        if not covered or covered != covers(first, basis):
            continue
        (value, low, high), (of_value, of_low, of_high) = _interval(m, basis), _interval(first, basis)
        per_item = items[1] / items[0]
        ratio = _divided(value, of_value)
        if ratio is None:
            continue
        ends = [_divided(low, of_high), _divided(high, of_low)]
        if m is first:
            return 1.0, 1.0, 1.0, basis
        low, high = (None if end is None else end * per_item for end in ends)
        return ratio * per_item, low, high, basis
    return None, None, None, None
