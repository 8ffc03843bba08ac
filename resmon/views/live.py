"""Keeps live views up to date: one thread, only while a view is open, silent while no cell runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from resmon.cells import Cell, CellLog
from resmon.monitor import Monitor
from resmon.views.line import LiveLine
from resmon.views.rank_wire import RankFeed
from resmon.views.wire import Layout, cell_facts

if TYPE_CHECKING:
    from resmon.views.panel import Panel

log = logging.getLogger("resmon")

REFRESH_S = 0.25
GRACE_S = 2.0
"""How long messages go on after the last cell ended: an open panel must not keep a kernel from being culled."""
SNAPSHOT_S = 24 * 3600.0


class View(Protocol):
    """What is kept up to date: a panel, or a line of text. ``send_wire`` is called by any thread."""

    @property
    def kind(self) -> str: ...

    def send_wire(self, content: Mapping[str, Any], *buffers: bytes) -> bool: ...

    def close(self) -> None: ...


class Live:
    """The live views of one session. What opens and closes one belongs to the main thread, the rest to any."""

    def __init__(self, monitor: Monitor, cells: CellLog, *, subshells: bool) -> None:
        self._monitor = monitor
        self._cells = cells
        self._subshells = subshells
        self._views: tuple[View, ...] = ()
        self._layout = Layout(monitor, 1)
        self._ranks = RankFeed(monitor)
        self._lock = threading.Lock()
        self._sending_cell = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._quiet_after_s = 0.0
        self._units: dict[int, str] = {}
        self._cpu = (0.0, 0.0)
        self._fraction: float | None = None
        self.answered = False

    # -- views -----------------------------------------------------------------------------------------------------

    def open_panel(self, kind: str) -> Panel:
        """A new panel with everything so far in it; live from now on."""
        from resmon.views.panel import Panel

        layout = self._fresh_layout()
        _, snapshot = layout.history(self._monitor.history(SNAPSHOT_S))
        ranks, rank_numbers = self._ranks.message(self._begun_cell()) or ({"ranks": {}}, b"")
        panel = Panel(
            self._clicked,
            _schema=layout.schema(kind, subshells=self._subshells),
            _snapshot=snapshot,
            _cells=[cell_facts(cell) for cell in self._recent_cells()],
            _ranks=ranks["ranks"],
            _rank_numbers=rank_numbers,
            _kind=kind,
        )
        self._take_in(panel)
        return panel

    def open_line(self, cell: Cell, write: Callable[[str], None], last: str | None = None) -> LiveLine:
        """A line of text about a cell, live from now on; see :class:`LiveLine`."""
        line = LiveLine(self._monitor, cell, write, last)
        self._take_in(line)
        return line

    def _take_in(self, view: View) -> None:
        with self._lock:
            self._views = (*self._views, view)
            self._quiet_after_s = time.monotonic() + GRACE_S
            if self._thread is None:
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="resmon-views", daemon=True)
                self._thread.start()
        self._wake.set()

    def close_view(self, view: View) -> None:
        """Close a view, a panel with its comm; the thread ends with the last one."""
        with self._lock:
            self._views = tuple(v for v in self._views if v is not view)
            last = not self._views
        view.close()
        if last:
            self._end_thread()

    def close(self) -> None:
        """Close every view and end the thread."""
        for view in self._views:
            self.close_view(view)
        self._end_thread()

    def _end_thread(self) -> None:
        thread, self._thread = self._thread, None
        self._stopping = True
        self._wake.set()
        self._monitor.sampler.history.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)

    # -- what happens ----------------------------------------------------------------------------------------------

    def cell_changed(self, cell: Cell) -> None:
        """A cell began or ended."""
        if self._views:
            self._quiet_after_s = time.monotonic() + GRACE_S
            self._send_cell(cell)
            self._send_ranks(self._ranks.message(cell))
            self._wake.set()

    def state_changed(self) -> None:
        """The monitor was started or stopped."""
        if self._views:
            self._quiet_after_s = time.monotonic() + GRACE_S
            self._send(self._state())
            self._wake.set()

    def _state(self) -> dict[str, str]:
        if not self._monitor.running:
            return {"k": "state", "state": "stopped", "text": "measuring was stopped"}
        return {"k": "state", "state": "running" if self._cells.running else "idle", "text": ""}

    def _clicked(self, panel: Panel, content: Mapping[str, Any]) -> None:
        self.answered = True
        word = content.get("k")
        if word == "hello":
            layout = self._fresh_layout()
            count, buffer = layout.history(self._monitor.history(SNAPSHOT_S))
            panel.send_wire({"k": "schema", "schema": layout.schema(panel.kind, subshells=self._subshells)})
            cells = [cell_facts(cell) for cell in self._recent_cells()]
            panel.send_wire({"k": "history", "n": count, "cells": cells}, buffer)
            panel.send_wire(self._state())
            ranks = self._ranks.message(self._shown_cell())
            if ranks is not None:
                panel.send_wire(*ranks)
            row = self._row()
            if row is not None:
                panel.send_wire(*row)
        elif word == "stop":
            self._monitor.stop()
            self.state_changed()
        elif word == "start":
            self._monitor.start()
            self.state_changed()
        else:
            panel.send_wire({"k": "said", "text": f"unknown message {word!r}"})

    def _recent_cells(self) -> list[Cell]:
        shown = [cell for cell in self._cells if cell.window.opened_s is not None and not cell.asks_resmon]
        return shown[-200:]

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        history = self._monitor.sampler.history
        cpu_before_s = self._monitor.sampler.views_cpu_s - time.thread_time()
        sent_rows = -1
        quiet = False
        while not self._is_stopping():
            busy = self._cells.running is not None or time.monotonic() < self._quiet_after_s
            if not busy:
                if not quiet:
                    quiet = True
                    self._safely(self._refresh)  # what the last cell cost is known by now
                    self._safely(lambda: self._send(self._state()))
                self._wake.wait()
                self._wake.clear()
                continue
            if quiet:
                quiet = False
                self._safely(lambda: self._send(self._state()))
            spacing_s = self._ranks.spacing_s(self._begun_cell())
            most_s = 1.0 if spacing_s is None else spacing_s
            if self._cells.running is None:  # nobody waits for a row: be silent as soon as it is due
                most_s = min(most_s, max(0.01, self._quiet_after_s - time.monotonic()))
            history.wait(sent_rows, most_s)
            if self._is_stopping():
                return
            if history.rows != sent_rows:
                sent_rows = history.rows
                self._safely(self._refresh)
            else:
                self._safely(lambda: self._send_ranks(self._ranks.fresh(self._begun_cell())))
            self._monitor.sampler.views_cpu_s = cpu_before_s + time.thread_time()
            self._wake.clear()
            if spacing_s is None or self._monitor.interval_s < spacing_s:
                self._wake.wait(REFRESH_S if spacing_s is None else spacing_s)

    def _is_stopping(self) -> bool:
        return self._stopping

    @staticmethod
    def _safely(call: Any) -> None:
        try:
            call()
        except Exception:
            log.exception("resmon: a live view could not be brought up to date")

    def _refresh(self) -> None:
        if self._layout.stale():
            layout = self._fresh_layout()
            for view in self._views:
                view.send_wire({"k": "schema", "schema": layout.schema(view.kind, subshells=self._subshells)})
        cell = self._begun_cell()
        _, unit = self._items()
        if cell is not None and unit and self._units.get(cell.id) != unit:
            self._units = {cell.id: unit}
            self._send_cell(cell)
        self._send_ranks(self._ranks.news(cell))
        row, ranks = self._row(), self._ranks.numbers(cell)
        if row is not None and ranks is not None:
            self._send({**row[0], "ranks": ranks[0]}, row[1], ranks[1])
        elif row is not None:
            self._send(*row)

    def _send_ranks(self, message: tuple[Mapping[str, Any], bytes] | None) -> None:
        if message is not None:
            self._send(*message)

    def _row(self) -> tuple[dict[str, Any], bytes] | None:
        """The ``row`` message of the newest sample, with the energy of the cell that the panel is about."""
        cell = self._shown_cell()
        row = self._layout.row(cell, self._items()[0], self._cpu_fraction())
        return None if row is None else ({"k": "row", "cell": None if cell is None else cell.id}, row)

    def _shown_cell(self) -> Cell | None:
        """The cell that runs, or else the last: a panel keeps what that cost."""
        return self._begun_cell() or next(reversed(self._recent_cells()), None)

    def _begun_cell(self) -> Cell | None:
        """The cell that runs; None while its own view is being opened: it begins when that is done."""
        cell = self._cells.running
        return None if cell is None or cell.window.opened_s is None or cell.asks_resmon else cell

    def _send_cell(self, cell: Cell) -> None:
        """Send what a cell is now. Looking and sending are one: the last that is sent is the last that was true."""
        if cell.asks_resmon:
            return
        with self._sending_cell:
            facts = cell_facts(cell)
            self._send({"k": "cell", "cell": {**facts, "items_unit": self._units.get(cell.id, facts["items_unit"])}})

    def _items(self) -> tuple[float | None, str]:
        """Items per second, and their unit, of the newest open window that counts any."""
        for window in reversed(self._monitor.open_windows()):
            if window.items and window.opened_s is not None:
                span_s = self._monitor.clock.now() - window.opened_s
                return (window.items / span_s if span_s > 0 else None), window.items_unit
        return None, ""

    def _cpu_fraction(self) -> float | None:
        """Resmon's own share of a core since the last refresh, sampler and views together."""
        sampler = self._monitor.sampler
        now_s, cpu_s = time.monotonic(), sampler.overhead_s
        before_s, cpu_before_s = self._cpu
        if now_s - before_s >= 2.0 or not before_s:
            self._cpu = (now_s, cpu_s)
            self._fraction = (cpu_s - cpu_before_s) / (now_s - before_s) if before_s else None
        return self._fraction

    def _fresh_layout(self) -> Layout:
        if self._layout.stale():
            self._layout = Layout(self._monitor, self._layout.revision + 1)
        return self._layout

    def _send(self, content: Mapping[str, Any], *buffers: bytes) -> None:
        for view in self._views:
            view.send_wire(content, *buffers)
