"""The cells of a record: which instants their windows began and ended at, and whether all of them is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resmon.counters import Instant


@dataclass(slots=True)
class CellEnd:
    """One end of a cell. Its window began or ended at ``instant``, a little after the event that tells of the cell."""

    event: Mapping[str, Any]
    instant: Instant | None = None
    process_cpu_s: float | None = None

    @property
    def at_s(self) -> float:
        """When the window began or ended, as far as it is known."""
        return float(self.event["at_s"]) if self.instant is None else self.instant.at_s


@dataclass(slots=True)
class RecordedCell:
    """A cell of a record; ``end`` is None while it runs."""

    start: CellEnd
    end: CellEnd | None = None

    @property
    def name(self) -> str:
        """What it is called: its text is not recorded."""
        number = self.start.event.get("number")
        return "cell" if number is None else f"In [{number}]"

    def measurable(self, newest_s: float) -> bool:
        """Whether its closing reading is there and the counters' totals at both ends are known."""
        ends = (self.start, self.end)
        return all(end is not None and newest_s >= end.at_s and _ready(end) for end in ends)


def _ready(end: CellEnd) -> bool:
    return end.instant is None or end.instant.ready


@dataclass(slots=True)
class RecordedCells:
    """Takes the events of a record in order."""

    open: dict[Any, RecordedCell] = field(default_factory=dict)
    ended: list[RecordedCell] = field(default_factory=list)
    awaiting: CellEnd | None = None
    """The end whose instant is still to come: it is the next one, unless another cell begins or ends before it."""
    newest: tuple[Instant, float | None] | None = None

    def take(self, event: Mapping[str, Any]) -> None:
        """A cell begins or ends."""
        key, end = event.get("id"), CellEnd(event)
        if event["cell"] == "start":
            self.open[key] = RecordedCell(end)
        elif key in self.open:
            cell = self.open.pop(key)
            cell.end = end
            self.ended.append(cell)
        else:
            return
        self.awaiting = end
        if self.newest is not None and self.newest[0].at_s >= end.at_s:
            self.instant(*self.newest)  # at the very time of the event: told before it

    def instant(self, instant: Instant, process_cpu_s: float | None) -> None:
        """A window began or ended."""
        self.newest = instant, process_cpu_s
        if self.awaiting is not None:
            self.awaiting.instant, self.awaiting.process_cpu_s = instant, process_cpu_s
            self.awaiting = None

    def next_measurable(self, newest_s: float) -> RecordedCell | None:
        """The oldest cell that has ended and can be measured now; it is handed out once."""
        if self.ended and self.ended[0].end is not self.awaiting and self.ended[0].measurable(newest_s):
            return self.ended.pop(0)
        return None
