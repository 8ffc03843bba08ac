"""The proportional set size (PSS) of a process tree: a slow read, made in slices and seldom."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from resmon.sensors.base import NAN
from resmon.sensors.linux_files import KernelFiles
from resmon.sensors.process_files import Process, read_pss

BACKOFF: Final = 100.0  # what is slow may take one part in a hundred of the time
_ALONE_S: Final = 300.0  # near the resident memory, and a walk over the page tables of a large process
_TREE_S: Final = 10.0  # doubled as long as two passes say the same, up to
_STILL_S: Final = 40.0
_STILL: Final = 0.02  # the same: within this part of it
_SOON_S: Final = 1.0
_SLICE_S: Final = 0.002


class ProportionalSizes:
    """Reads the sizes of processes in passes of slices. ``total_bytes`` is what the last whole pass came to, or NaN.

    ``next_s`` is when the next pass begins; ``under_way``, whether one has begun that has not ended.
    """

    def __init__(self, files: KernelFiles) -> None:
        self._files = files
        self.total_bytes = NAN
        self.next_s = float("inf")
        self._queue: list[tuple[Process, str]] = []
        self._done: list[tuple[Process, int, int]] = []
        self._cost_s = 0.0
        self._period_s = _TREE_S

    @property
    def under_way(self) -> bool:
        return bool(self._queue)

    def plan(self, at_s: float) -> None:
        """The processes were looked through: soon where no size is known yet."""
        self.next_s = min(self.next_s, at_s + (_ALONE_S if self.total_bytes == self.total_bytes else _SOON_S))

    def plan_soon(self, at_s: float) -> None:
        """Some process is gone."""
        self.next_s = min(self.next_s, at_s + _SOON_S)

    def plan_next(self, at_s: float) -> None:
        """Some process is new, and how much of it is its parent's is not known: as soon as the cost allows."""
        self.next_s = min(self.next_s, at_s + BACKOFF * self._cost_s)

    def stop(self) -> None:
        """Give up the pass that is under way."""
        self._queue.clear()

    def read(self, at_s: float, root: Process, children: Sequence[Process], proc: str, name: str) -> None:
        """One slice of a pass over the tree; a finished pass is used as a whole, since its parts share pages.

        ``name`` is that of the root's directory in ``proc``, ``children`` are those that live.
        """
        if not self._queue:
            self._queue = [(root, f"{proc}/{name}"), *((child, f"{proc}/{child.pid}") for child in children)]
            self._done = []
            self._cost_s = 0.0
        deadline = time.perf_counter() + _SLICE_S
        while True:  # one at least, however late this thread is
            process, place = self._queue.pop()
            started = time.thread_time()
            pss, cow = read_pss(self._files, place)
            self._cost_s += time.thread_time() - started
            if pss >= 0:
                self._done.append((process, pss, cow))
            if not self._queue:
                break
            if time.perf_counter() >= deadline:
                return
        for process, pss, cow in self._done:
            process.pss_bytes = float(pss)
            process.cow_bytes = cow
        before = self.total_bytes
        self.total_bytes = root.pss_bytes + sum(child.pss_bytes for child in children)
        still = abs(self.total_bytes - before) <= _STILL * before
        self._period_s = min(2 * self._period_s, _STILL_S) if still else _TREE_S
        period_s = self._period_s if children else _ALONE_S
        self.next_s = at_s + max(period_s, BACKOFF * self._cost_s)
