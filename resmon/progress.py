"""A progress bar that also says what each item costs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TextIO, TypeVar

from resmon import units
from resmon.monitor import Monitor
from resmon.process import get_monitor
from resmon.results import Measurement
from resmon.stepped import listeners
from resmon.windows import Window, checked_items, describe_error

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

REFRESH_S = 0.5


class track(Generic[T]):  # noqa: N801 - used as a function, like tqdm and range
    """Iterate with a progress bar (tqdm) that shows items/s, W and J per item.

    iterable: what is iterated over. items_per_step: items (samples, tokens) in one step, for rates per item.
    items_unit: what they are called. monitor: the process's own by default. Further keyword arguments go to ``tqdm``.

    ``measurement`` is there once the loop has ended, also after ``break`` or an exception. An iterator made twice
    from the same object begins a new measurement. ValueError for ``items_per_step`` that is not positive, TypeError
    for one that is no number, and for what cannot be iterated over.
    """

    def __init__(
        self,
        iterable: Iterable[T],
        *,
        items_per_step: float = 1,
        name: str = "",
        items_unit: str = "items",
        monitor: Monitor | None = None,
        **tqdm_options: Any,
    ) -> None:
        if not (hasattr(iterable, "__iter__") or hasattr(iterable, "__getitem__")):
            raise TypeError(f"track takes what can be iterated over, such as range(100), not {iterable!r}")
        per_step = checked_items(items_per_step, "items_per_step")
        if not per_step:
            raise ValueError(f"items_per_step must be a finite number > 0, not {items_per_step!r}")
        self._iterable = iterable
        self._per_step = per_step
        self._name = name or str(tqdm_options.get("desc") or "track")
        self._unit = items_unit
        self._monitor = monitor
        self._options = tqdm_options
        self._window: Window | None = None

    def __repr__(self) -> str:
        state = "not begun" if self._window is None else repr(self._window)
        return f"<track {self._name!r}: {state}>"

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]  # a TypeError, as for any iterable without a length

    @property
    def measurement(self) -> Measurement | None:
        """What the loop cost; None until it has ended."""
        return None if self._window is None else self._window.measurement

    def __iter__(self) -> Iterator[T]:
        # As text: a widget's bar is gone when the saved notebook is opened again.
        from tqdm import tqdm

        monitor = self._monitor or get_monitor()
        window = self._window = monitor.measure(self._name, items=0, items_unit=self._unit)
        total: int | None = None
        with suppress(TypeError):
            total = len(self)
        # The bar is moved by hand: one that iterates closes itself before the last figures are on it.
        bar: tqdm[T] = tqdm(**{"unit": "step", "file": _stream(), "total": total, **self._options})
        error: str | None = None
        steps = 0
        shown_s = time.monotonic()
        window.open()
        try:
            for element in self._iterable:
                yield element
                steps += 1
                window.items = steps * self._per_step
                for listener in listeners:
                    listener(self._per_step)
                if time.monotonic() - shown_s >= REFRESH_S:
                    shown_s = time.monotonic()
                    self._show(bar, window, monitor)
                bar.update()
        except GeneratorExit:
            raise
        except BaseException as failure:
            error = describe_error(failure)
            raise
        finally:
            window.close(error)
            self._show(bar, window, monitor)
            bar.close()

    def _show(self, bar: tqdm[T], window: Window, monitor: Monitor) -> None:
        start_s = window.opened_s
        if start_s is None or not window.items:
            return
        duration_s = (window.closed_s or monitor.clock.now()) - start_s
        energy = window.energy_so_far()
        # The measured part leads; where nothing is measured the estimate stands alone and says so.
        joules, mark = (energy.measured_j, "") if energy.measured_j is not None else (energy.estimated_j, " est.")
        rate = units.format_items_per_s(window.items / duration_s if duration_s > 0 else None)
        shown = {f"{self._unit}/s": rate.removesuffix(" items/s")}
        if joules is not None and duration_s > 0:
            shown["W"] = units.format_power_w(joules / duration_s).removesuffix("W").strip() + mark
            shown["J/" + self._unit.removesuffix("s")] = f"{joules / window.items:.3g}{mark}"
        bar.set_postfix(shown, refresh=False)


def _stream() -> TextIO:
    """Where tqdm writes: stderr as always, but stdout in a notebook, which shows stderr as an error."""
    return sys.stdout if "ipykernel" in sys.modules else sys.stderr
