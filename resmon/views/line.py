"""The live view where no widget can be shown: one line of text, written anew about once a second."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from resmon.cells import Cell
from resmon.monitor import Monitor
from resmon.views.text import live_line

EVERY_S = 1.0
CLEAR = "\r\x1b[2K"


class LiveLine:
    """A live view of one cell. ``write`` puts a line where the last one stands; it is called by any thread.

    ``last`` is written when the view is closed; nothing is written after that.
    """

    kind = "line"

    def __init__(self, monitor: Monitor, cell: Cell, write: Callable[[str], None], last: str | None = None) -> None:
        self._monitor = monitor
        self._cell = cell
        self._write = write
        self._last = last
        self._lock = threading.Lock()
        self._closed = False
        self._due_s = time.monotonic() + EVERY_S

    def send_wire(self, content: Mapping[str, Any], *buffers: bytes) -> bool:
        """Take what a panel would be sent: a new row is the time to look. False once closed."""
        with self._lock:
            sample = self._monitor.latest()
            if content["k"] == "row" and not self._closed and sample is not None and time.monotonic() >= self._due_s:
                self._due_s = time.monotonic() + EVERY_S
                window = self._cell.window
                now_s = self._monitor.clock.now()
                elapsed_s = now_s - (now_s if window.opened_s is None else window.opened_s)
                self._write(
                    live_line(self._cell.title, elapsed_s, window.energy_so_far(), sample, content.get("ranks"))
                )
            return not self._closed

    def close(self) -> None:
        """End the view. Idempotent."""
        with self._lock:
            if not self._closed and self._last is not None:
                self._write(self._last)
            self._closed = True


def on_terminal(stream: TextIO) -> Callable[[str], None]:
    """What writes a line over the last one of a terminal, cut to its width; the empty one clears it."""

    def write(line: str) -> None:
        try:
            columns = os.get_terminal_size(stream.fileno()).columns
        except OSError:  # a terminal that does not tell
            columns = 80
        stream.write(CLEAR + line[: columns - 1])
        stream.flush()

    return write
