"""What the processes under the limit in force use of it on Linux: of a cgroup's memory and CPU time."""

from __future__ import annotations

import os
import time
from typing import Final

from resmon.sensors.base import NAN
from resmon.sensors.limits import InForce, inactive_file_bytes
from resmon.sensors.linux_files import KernelFiles

_CACHE_PERIOD_S: Final = 2.0
_BACKOFF: Final = 100.0  # what is slow may take one part in a hundred of the time


class UnderLimit:
    """Follows the limits in force.

    ``memory`` and ``cpu`` are the descriptors of what is used of them, -1 where a limit is no cgroup's. ``share`` may
    run on another thread than the rest.

    ``by_group``: the memory limit is a cgroup's; ``by_tree``: it is known by name only, and what the process tree uses
    counts against it; ``by_usage``: the CPU limit is one of CPU time, not of CPUs.
    """

    __slots__ = (
        "_cache",
        "_files",
        "_used_at_s",
        "_used_s",
        "by_group",
        "by_tree",
        "by_usage",
        "cache_bytes",
        "cpu",
        "force",
        "memory",
        "next_cache_s",
    )

    def __init__(self, files: KernelFiles) -> None:
        self._files = files
        self.force: InForce | None = None
        self.memory = self.cpu = self._cache = -1
        self.by_group = self.by_tree = self.by_usage = False
        self.cache_bytes = 0
        """The file cache in the memory that is used, which the kernel drops first."""
        self.next_cache_s = float("-inf")
        self._used_s, self._used_at_s = NAN, float("-inf")

    def follow(self, force: InForce) -> None:
        """From now on these limits are in force."""
        self.close()
        self.force = force
        self.memory, self._cache, self.cpu = (
            self._files.open(path) if path else -1 for path in (force.memory_usage, force.memory_stat, force.cpu_usage)
        )
        self.next_cache_s = float("-inf")
        self.by_group = force.memory_usage is not None
        self.by_tree = force.limits.memory_source == "slurm"
        self.by_usage = force.limits.cpu_source in ("cgroup", "slurm")
        self._used_s = NAN

    def paths(self) -> list[str]:
        """The files of ``memory`` and ``cpu``."""
        return [path for path in (self.force and self.force.memory_usage, self.force and self.force.cpu_usage) if path]

    def read_cache(self, at_s: float) -> None:
        """Read the file cache. It can take milliseconds on a large machine: that gives the interpreter lock away."""
        started = time.thread_time()
        try:
            self.cache_bytes = inactive_file_bytes(os.pread(self._cache, 16384, 0))
        except OSError:
            self.cache_bytes = 0
        self.next_cache_s = at_s + max(_CACHE_PERIOD_S, _BACKOFF * (time.thread_time() - started))

    def share(self, cpu: bytes, at_s: float, tree_cpu_time_s: float) -> float:
        """The fraction of the CPU time that the limit allows: of the cgroup, else of the process tree."""
        assert self.force is not None
        if self.cpu >= 0:
            text = cpu.split(None, 2)
            word = text[1] if len(text) > 1 else text[0] if text else b""
            used_s = int(word) * self.force.cpu_usage_unit_s if word.isdigit() else NAN
        else:
            used_s = tree_cpu_time_s
        share = (used_s - self._used_s) / (at_s - self._used_at_s) / self.force.limits.cpu_cores
        self._used_s, self._used_at_s = used_s, at_s
        return share

    def close(self) -> None:
        """Close all descriptors. Idempotent."""
        for fd in (self.memory, self._cache, self.cpu):
            self._files.close(fd)
        self.memory = self._cache = self.cpu = -1
