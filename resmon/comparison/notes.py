"""What must not be read out of a comparison, in words."""

from __future__ import annotations

from collections.abc import Sequence

from resmon import units
from resmon.comparison.rows import ComparedRow, covers, items_of, same_items
from resmon.facts import Basis
from resmon.results import Measurement
from resmon.views.escape import plain, shortened

SAME = 0.01
"""Work that differs by less is the same: what ranks count is known to their last sample."""


def notes_on(found: Sequence[Measurement], rows: Sequence[ComparedRow]) -> list[str]:
    """A line for each thing that the rows alone would not tell."""
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
    notes += [note for m, row in zip(found[1:], rows[1:], strict=True) if (note := _other_work(m, row, first, rows[0]))]
    if len({m.items_unit for m in found if items_of(m)}) > 1:
        notes.append("the items are of different kinds: speed-ups between them are ratios of durations")
    elif 0 < sum(bool(items_of(m)) for m in found) < len(found):
        notes.append("not every measurement counts its items: speed-ups to those that do not are ratios of durations")
    return notes


def _other_work(m: Measurement, row: ComparedRow, first: Measurement, first_row: ComparedRow) -> str:
    """What to think of a scaling of work that is not, or not known to be, the same."""
    if not (m.ranks or first.ranks):
        return ""
    name = shortened(row.name, 40)
    if (m.ranks and row.ranks is None) or (first.ranks and first_row.ranks is None):
        return f"{name} has no scaling efficiency: several runs of ranks lie in one measurement"
    if not (row.items and first_row.items):
        return f"whether {name} is the same work as the first is not known: not both count their items"
    if not same_items(m, first):
        return f"{name} is not the same work as the first: {m.items_unit} are not {first.items_unit}"
    if abs(row.items / first_row.items - 1.0) > SAME:
        counts = f"{units.format_count(row.items)} {plain(m.items_unit)} against {units.format_count(first_row.items)}"
        return (
            f"{name} is not the same work as the first ({counts}): its speed-up is one of throughput, "
            "and its duration and joules are not to be set against the first's"
        )
    return ""


def _bases(m: Measurement) -> str:
    parts = []
    bases: tuple[Basis, ...] = ("measured", "estimated")
    for basis in bases:
        kinds = sorted({kind.upper() if kind != "module" else kind for kind, _ in covers(m, basis)})
        if kinds:
            parts.append(f"{' and '.join(kinds)} {basis}")
    return ", ".join(parts) or "no energy"
