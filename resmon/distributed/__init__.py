"""Distributed runs: ranks started from a notebook or by somebody else, and watched in it.

Importing this starts nothing and loads next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resmon.distributed.balancing import BalancedBatchSampler, partition
    from resmon.distributed.joining import join
    from resmon.distributed.launched import Run
    from resmon.distributed.listening import Listener, listen
    from resmon.distributed.stepping import step

_HOME = {
    "BalancedBatchSampler": "balancing",
    "Listener": "listening",
    "Run": "launched",
    "join": "joining",
    "listen": "listening",
    "partition": "balancing",
    "step": "stepping",
}

__all__ = [
    "BalancedBatchSampler",
    "Listener",
    "Run",
    "join",
    "listen",
    "partition",
    "step",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'resmon.distributed' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"resmon.distributed.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
