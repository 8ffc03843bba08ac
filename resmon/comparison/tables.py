"""A comparison as the columns and rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resmon import units
from resmon.comparison.rows import ComparedRow
from resmon.facts import Basis
from resmon.views.content import MARKS
from resmon.views.escape import plain, shortened
from resmon.views.table import Cell, Column, Row

ABREAST = 5
"""So many measurements have room side by side."""


def table_of(rows: Sequence[ComparedRow]) -> tuple[list[Column], list[Row]]:
    """A row for each measurement; of a few with ranks a column for each, as results are read.

    Quantities of which nothing is known are left out.
    """
    right: dict[str, Callable[[ComparedRow], str]] = {
        "Duration": lambda r: units.format_duration_words(r.duration_s),
        "Ranks": lambda r: units.format_count(r.ranks),
        "Speed-up": lambda r: _times(r.speedup),
        "Scaling efficiency": lambda r: units.format_percent(r.scaling_efficiency),
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
        "Compute": lambda r: units.format_percent(r.compute_fraction),
        "Communication": lambda r: units.format_percent(r.communication_fraction),
        "Wait": lambda r: units.format_percent(r.wait_fraction),
        "GPU": lambda r: units.format_percent(r.gpu_utilization),
        "CPU": lambda r: units.format_percent(r.cpu_utilization),
        "Peak memory": lambda r: units.format_gib(r.peak_memory_bytes),
        "Peak GPU memory": lambda r: units.format_gib(r.gpu_peak_memory_bytes),
    }
    names = [shortened(row.name, 40) for row in rows]
    told = {title: [written(row) for row in rows] for title, written in right.items()}
    told = {title: texts for title, texts in told.items() if any(text != units.UNKNOWN for text in texts)}
    if any(row.ranks is not None for row in rows) and len(rows) <= ABREAST:
        columns = [Column(title=""), *(Column(title=name, align="right", wrap=True) for name in names)]
        return columns, [[Cell(title), *texts] for title, texts in told.items()]
    wide = {"Energy to first", *(title for title in told if title.startswith(tuple(MARKS.values())))}
    columns = [Column(title="Name"), *(Column(title=title, align="right", wrap=title in wide) for title in told)]
    return columns, [[Cell(name), *(texts[i] for texts in told.values())] for i, name in enumerate(names)]


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
