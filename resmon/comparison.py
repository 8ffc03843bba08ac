"""Measurements side by side: what was faster, what took fewer joules, and whether the difference is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resmon import units
from resmon.facts import Basis
from resmon.results import Measurement
from resmon.views import table
from resmon.views.content import MARKS
from resmon.views.escape import markup, plain, shortened
from resmon.views.table import Cell, Column, Row

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRow:
    """One measurement beside the first one.

    ``speedup`` is the ratio of throughputs where both count the same items, else of durations; above 1 is faster.
    ``energy_ratio`` is this energy over the first one's, of ``energy_ratio_basis`` in both, per item where both
    count the same items. Its ends are those of the intervals divided crosswise: an interval that holds
    even if the errors of the two have nothing in common. It is None where no common basis exists.
    """

    name: str
    duration_s: float
    speedup: float | None
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
    error: str | None

    @property
    def energy_differs(self) -> bool | None:
        """Whether the two energies differ by more than their intervals; None without a ratio and its interval."""
        if self.energy_ratio_low is None or self.energy_ratio_high is None:
            return None
        return not self.energy_ratio_low <= 1.0 <= self.energy_ratio_high


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows in the order given, and notes on what must not be read out of them."""

    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...] = ()

    def figure(self) -> Figure:
        """Bars of duration, energy and peak memory (plotly)."""
        from resmon.views import figure

        return figure.comparison_figure(
            [
                figure.Bar(
                    name=row.name,
                    duration_s=row.duration_s,
                    measured_j=(row.measured_j, row.measured_low_j, row.measured_high_j),
                    estimated_j=(row.estimated_j, row.estimated_low_j, row.estimated_high_j),
                    peak_memory_bytes=row.peak_memory_bytes,
                )
                for row in self.rows
            ]
        )

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame with a column for each field of a row. Raises ImportError where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_pandas needs pandas, which is not installed here: pip install pandas") from None
        return pd.DataFrame([dataclasses.asdict(row) for row in self.rows])

    def __str__(self) -> str:
        return "\n".join([table.to_text(*_table(self.rows)), *(f"Note: {note}" for note in self.notes)])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        notes = "".join(
            f'<div style="margin:4px 0 0;font-size:13px;line-height:18px">Note: {markup(note)}</div>'
            for note in self.notes
        )
        return {"text/plain": str(self), "text/html": table.to_html(*_table(self.rows), caption="Comparison") + notes}


def compare(measurements: Sequence[Measurement], names: Sequence[str] | None = None) -> Comparison:
    """Set measurements side by side, each against the first; ``names`` stand for their own names.

    Measured and estimated joules are never compared with each other: an energy ratio is between equal bases
    that cover the same kinds of device, else it is left out and a note says why. Raises ValueError for no measurement
    or for another number of names, TypeError for anything that is not a Measurement.
    """
    found = _checked(measurements)
    if not found:
        raise ValueError("compare needs at least one measurement, the list is empty")
    if names is not None and len(names) != len(found):
        raise ValueError(f"{len(names)} names for {len(found)} measurements: give one for each, or none")
    called = [m.name for m in found] if names is None else list(names)
    rows = tuple(_row(m, name, found[0]) for m, name in zip(found, called, strict=True))
    return Comparison(rows=rows, notes=tuple(_notes(found, rows)))


def _checked(measurements: object) -> list[Measurement]:
    if isinstance(measurements, Measurement) or not isinstance(measurements, Iterable):
        raise TypeError(
            f"compare takes a list of measurements, compare([a, b]), and not a {type(measurements).__name__}"
        )
    found = list(measurements)
    for i, m in enumerate(found):
        if not isinstance(m, Measurement):
            remedy = "pass its .measurement" if hasattr(m, "measurement") else "pass the .measurement of a window"
            raise TypeError(f"item {i} is a {type(m).__name__} and not a Measurement: {remedy}")
    return found


def _row(m: Measurement, name: str, first: Measurement) -> ComparedRow:
    energy = m.energy
    busy = [gpu.utilization_mean for gpu in m.gpus if gpu.utilization_mean is not None]
    gpu_memory = [gpu.memory_own_peak_bytes or gpu.memory_peak_bytes for gpu in m.gpus]
    ratio, low, high, basis = _energy_ratio(m, first)
    return ComparedRow(
        name=name,
        duration_s=m.duration_s,
        speedup=_speedup(m, first),
        items_per_s=m.items_per_s,
        items_unit=m.items_unit,
        measured_j=energy.measured_j,
        measured_low_j=energy.measured_low_j,
        measured_high_j=energy.measured_high_j,
        estimated_j=energy.estimated_j,
        estimated_low_j=energy.estimated_low_j,
        estimated_high_j=energy.estimated_high_j,
        measured_j_per_item=m.measured_j_per_item,
        estimated_j_per_item=_divided(energy.estimated_j, m.items),
        energy_ratio=ratio,
        energy_ratio_low=low,
        energy_ratio_high=high,
        energy_ratio_basis=basis,
        cpu_utilization=m.cpu_utilization,
        gpu_utilization=sum(busy) / len(busy) if busy else None,
        peak_memory_bytes=m.peak_memory_bytes,
        gpu_peak_memory_bytes=max((b for b in gpu_memory if b is not None), default=None),
        error=m.error,
    )


def _same_items(m: Measurement, first: Measurement) -> bool:
    return bool(m.items and first.items) and m.items_unit == first.items_unit


def _speedup(m: Measurement, first: Measurement) -> float | None:
    if _same_items(m, first):
        return _divided(m.items_per_s, first.items_per_s)
    return _divided(first.duration_s, m.duration_s)


def _divided(value: float | None, by: float | None) -> float | None:
    return None if value is None or not by else value / by


def _interval(m: Measurement, basis: Basis) -> units.Interval:
    e = m.energy
    if basis == "measured":
        return e.measured_j, e.measured_low_j, e.measured_high_j
    return e.estimated_j, e.estimated_low_j, e.estimated_high_j


def _covers(m: Measurement, basis: Basis) -> frozenset[tuple[str, str]]:
    return frozenset((c.kind, c.scope) for c in m.energy.components if c.basis == basis)


def _energy_ratio(m: Measurement, first: Measurement) -> tuple[float | None, float | None, float | None, Basis | None]:
    items = (m.items or 1.0, first.items or 1.0) if _same_items(m, first) else (1.0, 1.0)
    bases: tuple[Basis, ...] = ("measured", "estimated")
    for basis in bases:
        covered = _covers(m, basis)
        if not covered or covered != _covers(first, basis):
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


def _notes(found: Sequence[Measurement], rows: Sequence[ComparedRow]) -> list[str]:
    notes = []
    first = found[0]
    bases = {_bases(m) for m in found}
    if len(bases) > 1:
        each = "; ".join(f"{shortened(row.name, 40)}: {_bases(m)}" for m, row in zip(found, rows, strict=True))
        notes.append(f"not all of them know the same parts ({each}): compare measured with measured only")
    for m, row in zip(found, rows, strict=True):
        name = shortened(row.name, 40)
        if m is not first and row.energy_ratio is None and (m.energy.components and first.energy.components):
            notes.append(f"{name} has no energy ratio: it shares no basis that covers the same devices with the first")
        if row.error is not None:
            notes.append(f"{name} failed ({shortened(row.error)}): it is measured up to there")
    if len({m.items_unit for m in found if m.items}) > 1:
        notes.append("the items are of different kinds: speed-ups between them are ratios of durations")
    elif 0 < sum(bool(m.items) for m in found) < len(found):
        notes.append("not every measurement counts its items: speed-ups to those that do not are ratios of durations")
    return notes


def _bases(m: Measurement) -> str:
    parts = []
    bases: tuple[Basis, ...] = ("measured", "estimated")
    for basis in bases:
        kinds = sorted({kind.upper() if kind != "module" else kind for kind, _ in _covers(m, basis)})
        if kinds:
            parts.append(f"{' and '.join(kinds)} {basis}")
    return ", ".join(parts) or "no energy"


def _table(rows: Sequence[ComparedRow]) -> tuple[list[Column], list[Row]]:
    """Columns in which nothing is known are left out."""
    right: dict[str, Callable[[ComparedRow], str]] = {
        "Duration": lambda r: units.format_duration_words(r.duration_s),
        "Speed-up": lambda r: _times(r.speedup),
        "Energy to first": _ratio_text,
        "Throughput": lambda r: units.format_items_per_s(r.items_per_s, plain(r.items_unit)),
        f"{MARKS['measured']} measured": lambda r: units.format_measured(
            r.measured_j, r.measured_low_j, r.measured_high_j
        ),
        f"{MARKS['estimated']} estimated": lambda r: units.format_estimated(
            r.estimated_j, r.estimated_low_j, r.estimated_high_j
        ),
        f"{MARKS['measured']} per item": lambda r: _per_item(r, "measured"),
        f"{MARKS['estimated']} per item": lambda r: _per_item(r, "estimated"),
        "GPU": lambda r: units.format_percent(r.gpu_utilization),
        "CPU": lambda r: units.format_percent(r.cpu_utilization),
        "Peak memory": lambda r: units.format_gib(r.peak_memory_bytes),
        "Peak GPU memory": lambda r: units.format_gib(r.gpu_peak_memory_bytes),
    }
    columns = [Column(title="Name")]
    cells: list[list[str | Cell]] = [[Cell(shortened(row.name, 40))] for row in rows]
    for title, written in right.items():
        texts = [written(row) for row in rows]
        if any(text != units.UNKNOWN for text in texts):
            columns.append(Column(title=title, align="right"))
            for row_cells, text in zip(cells, texts, strict=True):
                row_cells.append(text)
    return columns, list(cells)


def _per_item(row: ComparedRow, basis: Basis) -> str:
    """The interval of the total, divided by the items."""
    unit = plain(row.items_unit)
    if basis == "measured":
        interval = (row.measured_j, row.measured_low_j, row.measured_high_j)
        scaled = _scaled(interval, row.measured_j_per_item)
        return units.format_measured_per_item(*scaled, unit)
    interval = (row.estimated_j, row.estimated_low_j, row.estimated_high_j)
    return units.format_estimated_per_item(*_scaled(interval, row.estimated_j_per_item), unit)


def _scaled(interval: units.Interval, value: float | None) -> units.Interval:
    total = interval[0]
    if value is None or not total:
        return (None, None, None)
    _, low, high = interval
    factor = value / total
    return (value, None if low is None else low * factor, None if high is None else high * factor)


def _times(ratio: float | None) -> str:
    return units.UNKNOWN if ratio is None else f"{ratio:.2f}×" if ratio < 99.5 else f"{ratio:.0f}×"


def _ratio_text(row: ComparedRow) -> str:
    if row.energy_ratio is None or row.energy_ratio_basis is None:
        return units.UNKNOWN
    mark = MARKS[row.energy_ratio_basis]
    if row.energy_ratio_low is None or row.energy_ratio_high is None:
        return f"{mark} {_times(row.energy_ratio)}"
    if row.energy_ratio_low == row.energy_ratio_high:
        return f"{mark} {_times(row.energy_ratio)}"
    if not row.energy_differs:
        return f"{mark} {_times(row.energy_ratio)}, within the intervals"
    return f"{mark} {_times(row.energy_ratio)} [{row.energy_ratio_low:.2f}, {row.energy_ratio_high:.2f}]"


__all__ = ["ComparedRow", "Comparison", "compare"]
