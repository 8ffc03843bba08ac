"""Measurements side by side: what was faster, what took fewer joules, and whether the difference is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from resmon.comparison.notes import notes_on
from resmon.comparison.rows import ComparedRow, compared
from resmon.comparison.tables import table_of
from resmon.results import Measurement
from resmon.views import table
from resmon.views.escape import NO_MATHEMATICS, markup

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


class Measured(Protocol):
    """What carries its measurement: a run, or a window that is closed."""

    @property
    def measurement(self) -> Measurement | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows in the order given, and notes on what must not be read out of them."""

    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...] = ()

    def figure(self) -> Figure:
        """Bars of duration, energy and peak memory (plotly).

        Where ranks are among them also training speed, the share of a step and utilisation.
        """
        from resmon.views.comparison_figure import Bar, comparison_figure

        return comparison_figure(
            [
                Bar(
                    name=row.name,
                    duration_s=row.duration_s,
                    measured_j=(row.measured_j, row.measured_low_j, row.measured_high_j),
                    estimated_j=(row.estimated_j, row.estimated_low_j, row.estimated_high_j),
                    peak_memory_bytes=row.peak_memory_bytes,
                    ranks=row.ranks,
                    speedup=row.speedup,
                    items_per_s=row.items_per_s,
                    items_unit=row.items_unit,
                    share=(row.compute_fraction, row.communication_fraction, row.wait_fraction),
                    utilization=(row.gpu_utilization, row.cpu_utilization),
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
        return "\n".join([table.to_text(*table_of(self.rows)), *(f"Note: {note}" for note in self.notes)])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        notes = "".join(
            f'<div {NO_MATHEMATICS} style="margin:4px 0 0;font-size:13px;line-height:18px">Note: {markup(note)}</div>'
            for note in self.notes
        )
        return {"text/plain": str(self), "text/html": table.to_html(*table_of(self.rows), caption="Comparison") + notes}


def compare(measurements: Sequence[Measurement | Measured], names: Sequence[str] | None = None) -> Comparison:
    """Set measurements side by side, each against the first; ``names`` stand for their own names.

    Measured and estimated joules are never compared with each other: an energy ratio is between equal bases
    that cover the same kinds of device, else it is left out and a note says why. So does work that is not the same:
    one rank against several is a speed-up only where both do as many items. What has a ``measurement``, such as a run,
    stands for it. Raises ValueError for no measurement, for one that is not there yet or for another number of
    names, TypeError for anything else.
    """
    found = _checked(measurements)
    if not found:
        raise ValueError("compare needs at least one measurement, the list is empty")
    if names is not None and len(names) != len(found):
        raise ValueError(f"{len(names)} names for {len(found)} measurements: give one for each, or none")
    called = [m.name for m in found] if names is None else list(names)
    rows = tuple(compared(m, name, found[0]) for m, name in zip(found, called, strict=True))
    return Comparison(rows=rows, notes=tuple(notes_on(found, rows)))


def _checked(measurements: object) -> list[Measurement]:
    if isinstance(measurements, Measurement) or not isinstance(measurements, Iterable):
        raise TypeError(
            f"compare takes a list of measurements, compare([a, b]), and not a {type(measurements).__name__}"
        )
    return [_measurement(i, each) for i, each in enumerate(measurements)]


def _measurement(i: int, given: object) -> Measurement:
    found = given if isinstance(given, Measurement) else getattr(given, "measurement", given)
    if found is None:
        raise ValueError(f"item {i}, a {type(given).__name__}, has no measurement: is it over, and was it measured?")
    if not isinstance(found, Measurement):
        raise TypeError(
            f"item {i} is a {type(given).__name__} and not a Measurement: pass the .measurement of a window"
        )
    return found


__all__ = ["ComparedRow", "Comparison", "compare"]
