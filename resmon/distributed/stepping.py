"""The steps of this rank: how many, how long they took, and how much of that went into communication and waiting."""

from __future__ import annotations

import threading
import time
from typing import Literal, NamedTuple

Source = Literal["step", "optimizer", "track"]
"""Who says that a step ended: the script itself, torch's optimizer, or the progress bar. The first of them counts."""

_TRUST: dict[Source, int] = {"track": 1, "optimizer": 2, "step": 3}


class Totals(NamedTuple):
    """As of the end of the newest step. ``collective_s`` is None where nothing watches the collectives."""

    steps: int | None = None
    items: float | None = None
    stepping_s: float | None = None
    collective_s: float | None = None


class Steps:
    """Counts the steps of one process. A step lasts from the end of the one before it to its own end.

    ``totals`` is replaced as a whole at the end of each step, so that what another thread reads belongs together.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self.watched = False
        self._source: Source | None = None
        self._items_by_step = False
        self._ended_s: float | None = None
        self._waited_s = 0.0
        self._thread: int | None = None
        self._optimizers: set[int] = set()

    def ended(self, source: Source, items: float | None = None) -> None:
        """A step ended, of so many items. Called on the thread that trains."""
        totals = self.totals
        if items is not None and (source == "step" or not self._items_by_step):
            self._items_by_step = source == "step"
            totals = totals._replace(items=(totals.items or 0.0) + items)
        more = 1
        if self._source is None or _TRUST[source] > _TRUST[self._source]:
            if source == "step" and self._source == "optimizer":
                more = 0  # the optimizer, which comes before the script says so, has counted this one
            self._source = source
        if source != self._source:
            self.totals = totals
            return
        now_s = time.perf_counter()
        self._thread = threading.get_ident()
        took_s = 0.0 if self._ended_s is None else now_s - self._ended_s
        waited_s, self._waited_s = self._waited_s, 0.0
        before_s = totals.collective_s or 0.0
        if self._ended_s is None:
            waited_s = 0.0  # it belongs to what came before the first step
        self._ended_s = now_s
        self.totals = Totals(
            steps=(totals.steps or 0) + more,
            items=totals.items,
            stepping_s=(totals.stepping_s or 0.0) + took_s,
            collective_s=before_s + waited_s if self.watched else None,
        )

    def optimizer_stepped(self, optimizer: object) -> None:
        """An optimizer took a step. Of several in one step (a GAN's two), the first that comes round again ends it."""
        which = id(optimizer)
        if self._optimizers and which not in self._optimizers:
            self._optimizers.add(which)
            return
        self._optimizers = {which}
        self.ended("optimizer")

    def waited(self, seconds: float) -> None:
        """The calling thread did nothing but communicate or wait for so long. Counts on the thread that trains."""
        if self._thread is None or self._thread == threading.get_ident():
            self._waited_s += seconds

    def after_fork(self) -> None:
        """In a forked child: it has taken no steps."""
        self.__init__()  # type: ignore[misc]


steps = Steps()
"""Those of this process."""


def step(items: float | None = None) -> None:
    """Say that a training step of ``items`` samples ended, for a loop that no torch optimizer and no ``track`` counts.

    Once it was called, only these calls count as steps. Costs a microsecond; may be left in a script that nobody
    listens to. ValueError for items that are negative or not finite.
    """
    if items is not None and not 0 <= items < float("inf"):
        raise ValueError(f"items must be a finite number >= 0, not {items!r}")
    steps.ended("step", items)
