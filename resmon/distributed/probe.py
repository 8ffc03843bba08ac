"""What only the rank itself knows: its process, its allocator, its steps. It reads no driver and starts no thread."""

from __future__ import annotations

import os
import socket
import time

from resmon.clock import MonotonicClock
from resmon.distributed.environment import Place
from resmon.distributed.messages import NAN, Hello, Sample
from resmon.distributed.stepping import Steps
from resmon.sensors.own_process import OwnProcess, ProcessReading, own_process
from resmon.sensors.torch_memory import initialized_torch


class Probe:
    """Reads this process. ``open``, ``read`` and ``close`` on one thread.

    The GPU of the rank is the one on which its allocator holds most: CUDA's current device belongs to a thread, and
    asking for it here would answer for this one.
    """

    def __init__(self, place: Place, steps: Steps) -> None:
        self.place = place
        self.clock = MonotonicClock()
        self._steps = steps
        self._process: OwnProcess | None = None
        self._ordinal: int | None = None
        self._device = ("CPU", "")
        self._name = socket.gethostname()

    def open(self) -> None:
        """Open what every read reads."""
        self._process = own_process()

    def close(self) -> None:
        """Give everything back. Idempotent."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def hello(self, sent_s: float) -> Hello:
        """Who this rank is."""
        label, device_id = self._device
        return Hello(
            rank=self.place.rank,
            world_size=self.place.world_size,
            sent_s=sent_s,
            boot=self.clock.boot,
            pid=os.getpid(),
            host=self._name,
            device=label,
            device_id=device_id or None,
            job=self.place.job,
        )

    def look(self) -> bool:
        """Look which GPU this rank works on; True when it is another one than before. Initialises nothing."""
        torch = initialized_torch()
        if torch is None:
            return False
        held = [torch.cuda.memory_allocated(i) for i in range(torch.cuda.device_count())]
        if not any(held):
            return False
        ordinal = held.index(max(held))
        if ordinal == self._ordinal:
            return False
        self._ordinal = ordinal
        properties = torch.cuda.get_device_properties(ordinal)
        uuid = str(getattr(properties, "uuid", ""))
        self._device = (f"GPU {ordinal}", f"gpu:GPU-{uuid}" if uuid else f"gpu:{ordinal}")
        return True

    @property
    def uuid(self) -> str:
        """NVML's name of the rank's GPU; empty for a rank on CPU."""
        return self._device[1].removeprefix("gpu:")

    def steps(self, at_s: float) -> Sample:
        """What was trained so far, and no more: nothing is read. ``at_s`` is on ``clock``."""
        return Sample(at_s, *[NAN if total is None else total for total in self._steps.totals])

    def read(self, at_s: float) -> Sample:
        """A whole sample. ``at_s`` is on ``clock``, and now."""
        process = ProcessReading() if self._process is None else self._process.read(at_s)
        allocated = reserved = peak = retries = NAN
        torch = initialized_torch() if self._ordinal is not None else None
        if torch is not None:
            allocator = torch.cuda.memory_stats_as_nested_dict(self._ordinal)
            allocated = allocator["allocated_bytes"]["all"]["current"]
            reserved = allocator["reserved_bytes"]["all"]["current"]
            peak = allocator["allocated_bytes"]["all"]["peak"]
            retries = allocator.get("num_alloc_retries", NAN)
        # In their order, and in one piece: a tick runs on cold caches, where each function more costs a microsecond.
        steps, items, stepping_s, collective_s = self._steps.totals
        return Sample(
            at_s,
            NAN if steps is None else steps,
            NAN if items is None else items,
            NAN if stepping_s is None else stepping_s,
            NAN if collective_s is None else collective_s,
            process.cpu_time_s,
            process.memory_bytes,
            allocated,
            reserved,
            peak,
            process.cpu_wait_s,
            process.memory_wait_s,
            retries,
            time.thread_time(),
        )
