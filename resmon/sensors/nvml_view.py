"""How the watched process sees the GPUs: what CUDA shows it, and which processes are its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol

from resmon.sensors.torch_memory import cuda_uuids, initialized_torch

FROM_ENVIRONMENT: Final = "<CUDA_VISIBLE_DEVICES>"
"""The default of ``visible``: what the environment says, followed while it changes and CUDA is not initialised."""


class View(Protocol):
    """What the NVML sensor has to know of the process whose GPUs it describes."""

    def environment(self) -> tuple[str | None, str | None]:
        """``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER`` as they stand; None: not set."""
        ...

    def pids(self) -> Collection[int]:
        """The processes whose GPU memory is "own"."""
        ...

    def uses_cuda(self) -> bool:
        """Whether its CUDA is initialised, so that what the environment says is settled."""
        ...

    def cuda_order(self, known: Sequence[str]) -> tuple[str, ...] | None:
        """Which of the ``known`` UUIDs CUDA's ordinals stand for; empty: CUDA does not tell, None: not asked yet."""
        ...


class OwnView:
    """The view of this very process. ``visible`` stands for ``CUDA_VISIBLE_DEVICES`` (None: not set)."""

    def __init__(
        self, visible: str | None = FROM_ENVIRONMENT, own_pids: Callable[[], Collection[int]] | None = None
    ) -> None:
        self._visible = visible
        self.pids = own_pids or _this_process

    def environment(self) -> tuple[str | None, str | None]:
        order = os.environ.get("CUDA_DEVICE_ORDER")
        if self._visible != FROM_ENVIRONMENT:
            return self._visible, order
        return os.environ.get("CUDA_VISIBLE_DEVICES"), order

    def uses_cuda(self) -> bool:
        return initialized_torch() is not None

    def cuda_order(self, known: Sequence[str]) -> tuple[str, ...] | None:
        torch = initialized_torch()
        return None if torch is None else cuda_uuids(torch, known)


class ToldView:
    """The view of another process, as that one tells it: the facts that :func:`facts_of` gives there."""

    def __init__(self) -> None:
        self._facts: dict[str, Any] = {}
        self._pids: frozenset[int] = frozenset()

    def tell(self, facts: dict[str, Any]) -> None:
        """Replace what is known."""
        self._facts = facts
        self._pids = frozenset(facts["pids"])

    def environment(self) -> tuple[str | None, str | None]:
        visible, order = self._facts["environment"]
        return visible, order

    def pids(self) -> Collection[int]:
        return self._pids

    def uses_cuda(self) -> bool:
        return bool(self._facts["uses_cuda"])

    def cuda_order(self, known: Sequence[str]) -> tuple[str, ...] | None:
        order = self._facts["cuda_order"]
        return None if order is None else tuple(order)


def facts_of(view: View, unsure_of: Sequence[str]) -> dict[str, Any]:
    """What a :class:`ToldView` is told of this one. ``unsure_of``: the UUIDs whose order CUDA shall be asked for."""
    return {
        "environment": view.environment(),
        "pids": frozenset(view.pids()),
        "uses_cuda": view.uses_cuda(),
        "cuda_order": view.cuda_order(unsure_of) if unsure_of else None,
    }


def _this_process() -> Collection[int]:
    return (os.getpid(),)
