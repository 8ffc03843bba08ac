"""Watches what a rank's own PyTorch does: the steps of its optimizers, and the time spent in collective operations.

Nothing is imported for it: it waits until the script has imported ``torch``. What it puts around torch's functions adds
two clock reads to each, changes no result, and is taken away by ``remove``.

- Whoever waits for a collective operation, in a synchronous call or later, waits in ``Work.wait``.
- ``DistributedDataParallel`` waits inside C++, at the end of ``backward``; its own logger times that: communication
  less the part that overlaps with computing. It also broadcasts buffers before a forward pass.
- Tensor parallelism waits in ``wait_tensor``.

On CUDA a wait holds up the device's stream, not the caller: there only DDP's share is known, from its CUDA events. What
a compiled graph communicates is not seen.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from resmon.distributed.stepping import Steps, steps

CUDA_EVERY = 10
"""On CUDA reading DDP's timers waits for the device: of so many passes one is read, and stands for the others."""


class Collectives:
    """The instruments on this process's torch; ``install`` until it says True."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._undo: list[Callable[[], None]] = []
        self._inside = threading.local()
        self._passes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._users = 0
        self.installed = False

    def acquire(self) -> bool:
        """One more user: install now what can be, True once all is. ``release`` when it is not needed any more."""
        self._users += 1
        return self.install()

    def release(self) -> None:
        """One user less; the last one takes the instruments away."""
        self._users = max(0, self._users - 1)
        if not self._users:
            self.remove()

    def install(self) -> bool:
        """Put the instruments on what is imported by now; True once all of it is. Cheap; one thread at a time."""
        torch = sys.modules.get("torch")
        if self.installed or torch is None or not _whole(torch):
            return self.installed
        if not self._undo:
            # torch.optim hides the name of this module behind itself
            register = sys.modules["torch.optim.optimizer"].register_optimizer_step_post_hook
            self._undo.append(register(self._optimizer_stepped).remove)
            if torch.distributed.is_available():
                self._time(torch.distributed.Work, "wait")
                parallel = torch.nn.parallel.DistributedDataParallel
                self._time(parallel, "_sync_buffers")
                self._put(parallel, "_pre_forward", self._read_ddp)
            self._steps.watched = True
        functional = sys.modules.get("torch.distributed._functional_collectives")
        if functional is not None and hasattr(functional, "wait_tensor"):
            self._time(functional, "wait_tensor", torch.compiler.is_compiling)
            self.installed = True
        return self.installed

    def remove(self) -> None:
        """Take the instruments away. Idempotent."""
        while self._undo:
            self._undo.pop()()
        self.installed = False

    def _optimizer_stepped(self, optimizer: object, args: object, kwargs: object) -> None:
        self._steps.optimizer_stepped(optimizer)

    def _put(self, owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        original = getattr(owner, name, None)
        if original is None:  # a torch that has no such part
            return
        wrapper = around(original)
        wrapper.__name__ = getattr(original, "__name__", name)
        wrapper.__doc__ = getattr(original, "__doc__", None)
        setattr(owner, name, wrapper)

        def undo() -> None:
            if getattr(owner, name, None) is wrapper:  # somebody else may have come after
                setattr(owner, name, original)

        self._undo.append(undo)

    def _time(self, owner: Any, name: str, compiling: Callable[[], bool] | None = None) -> None:
        """Time how long callers are blocked in a function; one inside another counts once."""
        inside, waited, clock = self._inside, self._steps.waited, time.perf_counter

        def around(original: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*args: Any, **kwargs: Any) -> Any:
                if (compiling is not None and compiling()) or getattr(inside, "now", False):
                    return original(*args, **kwargs)
                inside.now = True
                start_s = clock()
                try:
                    return original(*args, **kwargs)
                finally:
                    inside.now = False
                    waited(clock() - start_s)

            return timed

        self._put(owner, name, around)

    def _read_ddp(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Read DDP's timers of the pass before, which it fills in at the beginning of a forward pass."""

        def pre_forward(ddp: Any, *inputs: Any, **kwargs: Any) -> Any:
            found = original(ddp, *inputs, **kwargs)
            try:
                self._take_timers(ddp)
            except Exception:  # noqa: BLE001 - torch's private logger may change: then the share is unknown
                self._steps.watched = False
            return found

        return pre_forward

    def _take_timers(self, ddp: Any) -> None:
        if ddp.logger is None:
            return
        seen = self._passes.get(ddp)
        if seen is None:
            every = 1 if ddp.device_type == "cpu" else CUDA_EVERY
            ddp._set_ddp_runtime_logging_sample_rate(every)  # noqa: SLF001 - DDP's own way, which has no public name
            self._passes[ddp] = -1
            return
        timers = ddp._get_ddp_logging_data()  # noqa: SLF001
        passes = int(timers.get("iteration", -1))
        if passes > seen >= 0:
            exposed_ns = timers.get("backward_comm_time", 0) - timers.get("backward_compute_comm_overlap_time", 0)
            self._steps.waited(max(0, exposed_ns) * 1e-9 * (passes - seen))
        self._passes[ddp] = passes


def _whole(torch: Any) -> bool:
    """Whether ``import torch`` has ended."""
    return (
        not getattr(getattr(torch, "__spec__", None), "_initializing", False) and "torch.optim.optimizer" in sys.modules
    )


instruments = Collectives(steps)
"""Those on this process's torch."""
