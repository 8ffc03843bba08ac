"""The host through psutil, for macOS, Windows and wherever psutil runs.

The values mean what those of :mod:`resmon.sensors.linux` mean. What differs: the CPU used of a cgroup's quota is taken
from the process tree, and the memory of children counts what they share with the root as the system tells it
(Linux: file and shared memory; elsewhere their unique set size where it may be read).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import psutil

from resmon.facts import Limits
from resmon.sensors.base import NAN
from resmon.sensors.limits import LimitsReader, inactive_file_bytes
from resmon.sensors.throughput import Throughput

_MIN_SPAN_S: Final = 0.05
_TREE_S: Final = 1.0
_SLOW_S: Final = 2.0
_LIMITS_S: Final = 60.0
_PSS_S: Final = 10.0
_LOOPBACK: Final = ("lo", "lo0", "Loopback")
_GONE: Final = (psutil.NoSuchProcess, psutil.AccessDenied)


class PsutilHost:
    """Reads the host for the process ``pid`` (None: this one). ``root`` is used for the cgroup limits alone."""

    how = "psutil"

    def __init__(self, root: str, pid: int | None) -> None:
        self._pid = pid
        self._limits_reader = LimitsReader(
            root=root,
            process=f"{root.rstrip('/')}/proc/{'self' if pid is None else pid}",
            slurp=_slurp,
            environ=os.environ,
        )
        self.cores: tuple[int, ...] = ()
        self.machine_cores = 1
        self.machine_memory_bytes = 0
        self.utilization = NAN

    def open(self) -> None:
        """Find the cores and limits and take the first readings that rates start from."""
        self._process = psutil.Process(self._pid)
        self._children: list[psutil.Process] = []
        self._cpu_s = 0.0
        self._times: list[Any] = []
        self._times_s = self._used_at_s = float("-inf")
        self._used_s = NAN
        self._next_tree_s = self._next_slow_s = self._next_limits_s = self._next_pss_s = float("-inf")
        self._pss = self._temperature = NAN
        self._disk, self._net = Throughput(), Throughput()
        self.machine_cores = psutil.cpu_count() or 1
        self.machine_memory_bytes = psutil.virtual_memory().total
        allowed = self._affinity()
        self.cores = tuple(core for core in range(self.machine_cores) if allowed is None or core in allowed)
        self._core_values = [NAN] * len(self.cores)
        self._read_limits()

    def close(self) -> None:
        """Forget the processes. Idempotent."""
        self._children = []

    @property
    def limits(self) -> Limits:
        """The limits in force, as of at most a minute ago."""
        return self._limits

    @property
    def problems(self) -> tuple[str, ...]:
        """What cannot be read, in words."""
        return ()

    def paths(self) -> list[str]:
        """No kernel files: psutil knows its own."""
        return []

    @property
    def pids(self) -> frozenset[int]:
        return frozenset((self._process.pid, *(child.pid for child in self._children)))

    def read(self, at_s: float) -> list[float]:
        """The values of the host's channels, in their order."""
        if at_s >= self._next_limits_s:
            self._next_limits_s = at_s + _LIMITS_S
            self._read_limits()
        memory = psutil.virtual_memory()
        tree_memory, tree_cpu_s, processes = self._read_tree(at_s)
        if at_s - self._times_s >= _MIN_SPAN_S:
            self._read_cpu(at_s, tree_cpu_s)
        if at_s >= self._next_slow_s:
            self._next_slow_s = at_s + _SLOW_S - _MIN_SPAN_S
            self._disk.update(at_s, _disk_counts())
            self._net.update(at_s, _net_counts())
            self._temperature = _temperature_c()
        used = float(memory.total - memory.available)
        if self._usage is not None:
            text = _slurp(self._usage)
            used = max(0.0, float(text) - inactive_file_bytes(_slurp(self._stat))) if text.strip().isdigit() else NAN
        elif self._limits.memory_source == "slurm":
            used = tree_memory
        return [
            self.utilization,
            psutil.getloadavg()[0],
            used,
            tree_memory,
            self._read_pss(at_s),
            tree_cpu_s,
            processes,
            *self._disk.rates,
            *self._net.rates,
            self._temperature,
            *self._core_values,
        ]

    def _affinity(self) -> set[int] | None:
        if not hasattr(psutil.Process, "cpu_affinity"):  # macOS
            return None
        try:
            return set(self._process.cpu_affinity() or ())
        except psutil.Error:
            return None

    def _read_limits(self) -> None:
        allowed = self._affinity()
        force = self._limits_reader.read(
            machine_cores=self.machine_cores,
            machine_memory_bytes=self.machine_memory_bytes,
            affinity_cores=len(allowed) if allowed else None,
        )
        self._limits = force.limits
        self._usage = force.memory_usage
        self._stat = force.memory_stat or ""

    def _read_cpu(self, at_s: float, tree_cpu_s: float) -> None:
        times = psutil.cpu_times(percpu=True)
        before, self._times = self._times, times
        self._times_s = at_s
        span_s, self._used_at_s = at_s - self._used_at_s, at_s
        used_s, self._used_s = tree_cpu_s - self._used_s, tree_cpu_s
        if len(before) != len(times):
            self._core_values = [NAN] * len(self.cores)
            return
        busy = [_busy(old, new) for old, new in zip(before, times, strict=True)]
        self._core_values = [busy[core] if core < len(busy) else NAN for core in self.cores]
        if self._limits.cpu_source in ("cgroup", "slurm"):
            mean = used_s / span_s / self._limits.cpu_cores
        else:
            seen = self._core_values if self._limits.cpu_source == "affinity" else busy
            mean = sum(seen) / len(seen)
        self.utilization = max(0.0, min(1.0, mean))

    def _read_tree(self, at_s: float) -> tuple[float, float, float]:
        """Memory in bytes, CPU seconds that never go back, and the number of processes."""
        try:
            if at_s >= self._next_tree_s:
                self._next_tree_s = at_s + _TREE_S
                self._children = self._process.children(recursive=True)
            memory = float(self._process.memory_info().rss)
            times = self._process.cpu_times()
        except psutil.Error:
            return NAN, NAN, NAN
        live_s = _cpu_s(times)
        counted = 1
        for child in self._children:
            try:
                memory += _own_bytes(child)
                times = child.cpu_times()
            except _GONE:
                continue
            live_s += _cpu_s(times)
            counted += 1
        self._cpu_s = max(self._cpu_s, live_s)
        return memory, self._cpu_s, float(counted)

    def _read_pss(self, at_s: float) -> float:
        """Proportional set size of the tree, where the system has one; NaN elsewhere."""
        if at_s >= self._next_pss_s:
            self._next_pss_s = at_s + _PSS_S
            try:
                family = [self._process, *self._children]
                self._pss = float(sum(getattr(p.memory_full_info(), "pss", NAN) for p in family))
            except psutil.Error:
                self._pss = NAN
        return self._pss


def _cpu_s(times: Any) -> float:
    waited = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + waited)


def _own_bytes(process: psutil.Process) -> int:
    info = process.memory_info()
    if hasattr(info, "shared"):
        return max(0, info.rss - info.shared)
    try:
        return int(process.memory_full_info().uss)
    except psutil.AccessDenied:
        return int(info.rss)


def _busy(old: Any, new: Any) -> float:
    """The fraction of time between two readings of one core that was not idle."""
    total = sum(new) - sum(old) - (getattr(new, "guest", 0.0) - getattr(old, "guest", 0.0))
    idle = new.idle - old.idle + getattr(new, "iowait", 0.0) - getattr(old, "iowait", 0.0)
    return max(0.0, min(1.0, 1.0 - idle / total)) if total > 0 else NAN


def _disk_counts() -> tuple[int, int] | None:
    total = psutil.disk_io_counters()
    return None if total is None else (total.read_bytes, total.write_bytes)


def _net_counts() -> tuple[int, int] | None:
    seen = [count for name, count in psutil.net_io_counters(pernic=True).items() if not name.startswith(_LOOPBACK)]
    return (sum(c.bytes_recv for c in seen), sum(c.bytes_sent for c in seen)) if seen else None


def _temperature_c() -> float:
    if not hasattr(psutil, "sensors_temperatures"):  # macOS, Windows
        return NAN
    chips = psutil.sensors_temperatures()
    for chip in ("coretemp", "k10temp", "zenpower", "cpu_thermal"):
        if chips.get(chip):
            return float(max(reading.current for reading in chips[chip]))
    return NAN


def _slurp(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
