"""The cells that were executed, and what each cost."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from resmon.results import Measurement
from resmon.windows import Window

CellState = Literal["running", "done", "failed"]

KEPT = 5_000
TITLE_LENGTH = 60


@dataclass(slots=True, eq=False)
class Cell:
    """One executed cell. ``number`` is the one in ``In [number]``; None where the execution keeps no history."""

    id: int
    number: int | None
    title: str
    window: Window
    state: CellState = "running"
    error: str | None = None
    shown_live: bool = field(default=False)

    @property
    def label(self) -> str:
        """``In [12]``, or ``cell`` without a number."""
        return "cell" if self.number is None else f"In [{self.number}]"

    @property
    def asks_resmon(self) -> bool:
        """True for a cell that only calls ``%resmon``: a panel has better to show than the cell that opened it."""
        return self.title.startswith("%resmon")

    @property
    def measurement(self) -> Measurement | None:
        """None while the cell runs."""
        return self.window.measurement


class CellLog:
    """The newest few thousand cells of a session. Written by the main thread, read by any."""

    def __init__(self) -> None:
        self._cells: deque[Cell] = deque(maxlen=KEPT)
        self._ids = itertools.count(1)
        self.total = 0

    def start(self, number: int | None, title: str, window: Window) -> Cell:
        if len(title) > TITLE_LENGTH:
            title = f"{title[: TITLE_LENGTH - 1].rstrip()}…"
        cell = Cell(id=next(self._ids), number=number, title=title, window=window)
        self._cells.append(cell)
        self.total += 1
        return cell

    @staticmethod
    def end(cell: Cell, error: str | None) -> None:
        cell.error = error
        cell.state = "done" if error is None else "failed"

    @property
    def running(self) -> Cell | None:
        """The innermost cell that runs now."""
        return next((cell for cell in reversed(tuple(self._cells)) if cell.state == "running"), None)

    def __iter__(self) -> Iterator[Cell]:
        return iter(tuple(self._cells))

    def __len__(self) -> int:
        return len(self._cells)
