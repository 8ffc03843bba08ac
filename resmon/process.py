"""The monitor of this process: the one that the extension and the module-level functions share."""

from __future__ import annotations

import os
import threading

from resmon.monitor import Monitor
from resmon.windows import Window


class Own:
    """Holds this process's monitor; ``lock`` guards its making."""

    def __init__(self) -> None:
        self.monitor: Monitor | None = None
        self.lock = threading.Lock()

    def forget(self) -> None:
        """In a forked child: the monitor and perhaps the holder of the lock stayed with the parent."""
        self.monitor = None
        self.lock = threading.Lock()


own = Own()


def get_monitor() -> Monitor:
    """This process's monitor, started on first use. In a forked child a new one."""
    with own.lock:
        if own.monitor is None:
            own.monitor = Monitor()
        return own.monitor.start()


def measure(
    name: str = "", items: float | None = None, items_unit: str = "items", *, synchronize: bool = True
) -> Window:
    """``with resmon.measure("epoch 1", items=50_000) as window: ...``; then ``window.measurement``.

    Nestable, thread-safe and exception-safe. At either end it waits for nothing but the GPU work that PyTorch was given
    (``synchronize=False``: not for that either).
    See :meth:`resmon.Monitor.measure`.
    """
    return get_monitor().measure(name, items, items_unit, synchronize=synchronize)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=own.forget)
