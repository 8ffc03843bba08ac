"""See what each notebook cell costs — time, GPU, CPU, memory, joules — while it runs.

``%load_ext resmon`` starts it in IPython and Jupyter; ``resmon.measure``, ``resmon.track``, ``resmon.compare``
and ``resmon.launch`` work anywhere. Importing this package starts nothing and loads next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from resmon import distributed, energy, errors, testing
    from resmon.comparison import Comparison, compare
    from resmon.distributed.launch import launch
    from resmon.errors import ResmonError, ResmonWarning
    from resmon.facts import Sample
    from resmon.monitor import Monitor
    from resmon.playback import replay
    from resmon.process import get_monitor, measure
    from resmon.progress import track
    from resmon.results import Energy, EnergyComponent, Measurement
    from resmon.shared_ledger import SharedLedger

__version__ = "0.1.0"

_HOME = {
    "Comparison": "comparison",
    "Energy": "results",
    "EnergyComponent": "results",
    "Measurement": "results",
    "Monitor": "monitor",
    "ResmonError": "errors",
    "ResmonWarning": "errors",
    "Sample": "facts",
    "SharedLedger": "shared_ledger",
    "compare": "comparison",
    "get_monitor": "process",
    "launch": "distributed.launch",
    "measure": "process",
    "replay": "playback",
    "track": "progress",
}
_ROOMS = ("distributed", "energy", "errors", "testing")

__all__ = [
    "Comparison",
    "Energy",
    "EnergyComponent",
    "Measurement",
    "Monitor",
    "ResmonError",
    "ResmonWarning",
    "Sample",
    "SharedLedger",
    "compare",
    "distributed",
    "energy",
    "errors",
    "get_monitor",
    "launch",
    "measure",
    "replay",
    "testing",
    "track",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"resmon.{_HOME[name]}"), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"resmon.{name}")
    else:
        raise AttributeError(f"module 'resmon' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext resmon``: start the monitor in the background and measure every cell from now on."""
    from resmon import magics

    magics.load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext resmon``: undo exactly what loading did."""
    from resmon import magics

    magics.unload(shell)
