"""The host on Linux, by direct reads of /proc, /sys and the cgroup tree through kept descriptors.

Every tick: ``/proc/stat``, the memory in use, the process tree. What moves slowly or only matters as a mean is read
less often: network, disks and temperature every 2 s, the first two in turn (a rate is the mean since its previous read
and stands until the next); the load every 5 s, which is when the kernel computes it; the limits every 30 s; which disks
and interfaces there are every minute.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from heapq import heappush, heapreplace
from typing import Final

from resmon.facts import Limits
from resmon.sensors.base import NAN
from resmon.sensors.limits import InForce, LimitsReader, inactive_file_bytes
from resmon.sensors.linux_files import KernelFiles
from resmon.sensors.linux_rates import Disks, Interfaces, Thermometer
from resmon.sensors.process_tree import ProcessTree
from resmon.sensors.throughput import Throughput

MIN_SPAN_S: Final = 0.15
"""Utilisation is a mean over at least this time: the kernel counts in ticks of 10 ms. Until then ``/proc/stat``, which
costs as much as all other reads together, is left alone."""

_WIDTH: Final = 11  # words of a CPU's line in /proc/stat: its name and ten times
_CACHE_PERIOD_S: Final = 2.0
_TURN_SLACK_S: Final = 0.1  # keeps a period of whole ticks at that


class LinuxHost:
    """Reads the host under ``root`` for the process ``pid`` (None: this one). One thread at a time.

    ``cores`` are the CPU numbers that the process may run on at ``open``; ``utilization`` is the latest fraction of
    the CPU limit in force that was busy.
    """

    how = "direct reads of /proc"

    def __init__(self, root: str, pid: int | None) -> None:
        self._root = root.rstrip("/")
        self._proc = f"{self._root}/proc"
        self._pid = pid
        self._fds: list[int] = []
        self.cores: tuple[int, ...] = ()
        self.machine_cores = 1
        self.machine_memory_bytes = 0
        self.utilization = NAN

    # ------------------------------------------------------------- life

    def open(self) -> None:
        """Find the cores, disks, interfaces and limits, and open what every tick reads."""
        files = self._files = KernelFiles()
        self._stat = self._open(f"{self._proc}/stat")
        self._meminfo = self._open(f"{self._proc}/meminfo")
        self._loadavg = self._open(f"{self._proc}/loadavg")
        self._disks = Disks(files, self._root)
        self._interfaces = Interfaces(files, self._root)
        self._thermometer = Thermometer(files, self._root)
        self.tree = ProcessTree(files, self._proc, self._pid)
        self.tree.open()

        words = files.read(self._stat).partition(b"\nintr")[0].split()
        self._online = _cpu_numbers(words)
        self.machine_cores = len(self._online) or os.cpu_count() or 1
        meminfo = files.read(self._meminfo)
        if meminfo.startswith(b"MemTotal:"):
            self.machine_memory_bytes = int(meminfo[9 : meminfo.index(b"kB")]) << 10
        allowed = self._affinity()
        self.cores = tuple(core for core in self._online if allowed is None or core in allowed)

        self._words = 0
        self._idle: list[int] = []
        self._total = 0
        self._stat_s = self._used_at_s = float("-inf")
        self._mark = b""
        self._used_s = NAN
        self._core_values = [NAN] * len(self.cores)
        self._load = self._temperature = NAN
        self._net, self._disk = Throughput(), Throughput()
        # When, in which order, how often (s), what: a heap whose first entry is the next one due.
        self._turns: list[tuple[float, int, float, Callable[[float], None]]] = [
            (float("-inf"), 0, 1.0, self._set_turns_apart)
        ]
        self._usage_fd = self._cache_fd = self._cpu_fd = -1
        self._cache = 0
        self._next_cache_s = float("-inf")
        self._force: InForce | None = None
        self._limits_reader = LimitsReader(
            root=self._root,
            process=f"{self._proc}/{'self' if self._pid is None else self._pid}",
            slurp=files.slurp,
            environ=os.environ,
        )
        self._read_limits(0.0)
        self._find_devices(0.0)

    def close(self) -> None:
        """Close all descriptors. Idempotent."""
        if not self._fds:
            return
        for fd in (*self._fds, self._usage_fd, self._cache_fd, self._cpu_fd):
            self._files.close(fd)
        self._fds = []
        self._usage_fd = self._cache_fd = self._cpu_fd = -1
        for part in (self._disks, self._interfaces, self._thermometer, self.tree):
            part.close()

    def _open(self, path: str) -> int:
        fd = self._files.open(path)
        self._fds.append(fd)
        return fd

    @property
    def limits(self) -> Limits:
        """The limits in force, as of at most 30 s ago."""
        assert self._force is not None
        return self._force.limits

    @property
    def problems(self) -> tuple[str, ...]:
        """What cannot be read, in words."""
        found = []
        if self._fds and self._stat < 0:
            found.append(f"{self._proc}/stat cannot be opened")
        if self.tree.is_partial:
            found.append("no file descriptor is left to read all child processes: raise `ulimit -n`")
        return tuple(found)

    @property
    def pids(self) -> frozenset[int]:
        return self.tree.pids

    def paths(self) -> list[str]:
        """The files that ticks read, those of slower turns included."""
        memory = f"{self._proc}/meminfo"
        usage = [path for path in (self._force and self._force.cpu_usage,) if path]
        if self._force and self._force.memory_usage:
            memory = self._force.memory_usage
        slower = [f"{self._proc}/loadavg", self._interfaces.path, self._disks.path, *self._thermometer.paths]
        return [f"{self._proc}/stat", memory, *usage, *self.tree.paths(), *slower]

    # ------------------------------------------------------------- a tick

    def read(self, at_s: float) -> list[float]:
        """The values of the host's channels, in their order."""
        read = self._files.read
        tree, turns = self.tree, self._turns
        if at_s - self._stat_s >= MIN_SPAN_S:
            stat = read(self._stat)
            self._mark = stat[stat.rfind(b"\nprocesses ") :][:24]
            tree.read(at_s, self._mark)
            self._read_cpu(stat, at_s)
        else:
            tree.read(at_s, self._mark)
        if self._by_group:
            used = self._read_group_memory(at_s)
        elif self._by_tree:
            used = tree.memory_bytes
        else:
            meminfo = read(self._meminfo)
            at = meminfo.find(b"MemAvailable:")
            used = (
                self.machine_memory_bytes - int(meminfo[at + 13 : at + 40].split(None, 1)[0]) * 1024.0
                if at > 0
                else NAN
            )
        while at_s >= turns[0][0]:
            _, order, period_s, turn = turns[0]
            heapreplace(turns, (at_s + period_s - _TURN_SLACK_S, order, period_s, turn))
            turn(at_s)
        disk, net = self._disk.rates, self._net.rates
        return [
            self.utilization,
            self._load,
            used,
            tree.memory_bytes,
            tree.pss_bytes,
            tree.cpu_time_s,
            tree.processes,
            disk[0],
            disk[1],
            net[0],
            net[1],
            self._temperature,
            *self._core_values,
        ]

    def _read_cpu(self, stat: bytes, at_s: float) -> None:
        words = stat[: stat.find(b"\nintr")].split()
        if len(words) != self._words:
            self._map_cores(words)
        if not self._online:
            return
        total = sum(map(int, words[1:9]))
        before = self._idle
        idle = self._idle = list(map(int, words[_WIDTH + 4 :: _WIDTH] + words[_WIDTH + 5 :: _WIDTH]))
        count = len(self._online)
        # Ticks of one core: all cores' times advance together, so that their sum tells it without reading each.
        span = (total - self._total) / count
        self._total = total
        self._stat_s = at_s
        if not before or span <= 0.0:
            return
        values = []
        for place in range(count):
            waited = place + count
            busy = 1.0 - (idle[place] + idle[waited] - before[place] - before[waited]) / span
            values.append(0.0 if busy < 0.0 else min(busy, 1.0))
        if self._own is None:
            mean = 1.0 - (sum(idle) - sum(before)) / (span * count)
        else:
            mean = sum([values[place] for place in self._own]) / len(self._own)
        self._core_values = values if self._shown is None else [values[i] if i >= 0 else NAN for i in self._shown]
        if self._by_usage:
            mean = self._usage_share(at_s)
        self.utilization = max(0.0, min(mean, 1.0))

    def _map_cores(self, words: list[bytes]) -> None:
        """Where each core stands in the lines; they move when a CPU goes on or off line."""
        self._words = len(words)
        self._online = _cpu_numbers(words)
        self._idle = []
        self.utilization = NAN
        self._core_values = [NAN] * len(self.cores)
        places = {core: place for place, core in enumerate(self._online)}
        shown = [places.get(core, -1) for core in self.cores]
        self._shown = None if shown == list(range(len(self._online))) else shown
        allowed = self._affinity() if self.limits.cpu_source == "affinity" else None
        self._own = [place for place, core in enumerate(self._online) if core in allowed] if allowed else None

    def _usage_share(self, at_s: float) -> float:
        """What the processes under the limit used of it: the cgroup's CPU time, else the process tree's."""
        assert self._force is not None
        if self._cpu_fd >= 0:
            text = self._files.read(self._cpu_fd).split(None, 2)
            word = text[1] if len(text) > 1 else text[0] if text else b""
            used_s = int(word) * self._force.cpu_usage_unit_s if word.isdigit() else NAN
        else:
            used_s = self.tree.cpu_time_s
        share = (used_s - self._used_s) / (at_s - self._used_at_s) / self._force.limits.cpu_cores
        self._used_s, self._used_at_s = used_s, at_s
        return share

    def _read_group_memory(self, at_s: float) -> float:
        """What the cgroup uses, without file cache that would be dropped first."""
        content = self._files.read(self._usage_fd)
        if not content:
            return NAN
        used = int(content)
        if at_s >= self._next_cache_s:
            started = time.thread_time()
            self._cache = _read_inactive_file(self._cache_fd)
            self._next_cache_s = at_s + max(_CACHE_PERIOD_S, 100.0 * (time.thread_time() - started))
        return float(max(0, used - self._cache))

    def _set_turns_apart(self, at_s: float) -> None:
        """At the first tick everything is read; after that disks and network take turns."""
        for read in (self._read_net, self._read_disk, self._read_temperature, self._read_load):
            read(at_s)
        self._turns[:] = [
            (at_s + 1.0 - _TURN_SLACK_S, 0, 2.0, self._read_disk),
            (at_s + 2.0 - _TURN_SLACK_S, 1, 2.0, self._read_net),
            (at_s + 5.0 - _TURN_SLACK_S, 2, 5.0, self._read_load),
            (at_s + 30.0, 3, 30.0, self._read_limits),
            (at_s + 60.0, 4, 60.0, self._find_devices),
        ]
        if self._thermometer.paths:
            heappush(self._turns, (at_s + 1.0 - _TURN_SLACK_S, 5, 2.0, self._read_temperature))

    def _read_net(self, at_s: float) -> None:
        self._net.update(at_s, self._interfaces.counts())

    def _read_disk(self, at_s: float) -> None:
        self._disk.update(at_s, self._disks.counts())

    def _read_temperature(self, at_s: float) -> None:
        self._temperature = self._thermometer.read_c()

    def _read_load(self, at_s: float) -> None:
        words = self._files.read(self._loadavg).split(None, 1)
        self._load = float(words[0]) if words else NAN

    def _find_devices(self, at_s: float) -> None:
        self._interfaces.find()
        self._disks.find()

    # ------------------------------------------------------------- limits

    def _affinity(self) -> set[int] | None:
        """The CPUs that this thread (or the process ``pid``) may run on.

        Of this thread, not of the main one: an OpenMP runtime may bind the main thread to a single core.
        """
        try:
            return os.sched_getaffinity(self._pid or 0)
        except OSError:  # the process is gone
            return None

    def _read_limits(self, at_s: float) -> None:
        allowed = self._affinity()
        cores = None if allowed is None else len(allowed.intersection(self._online)) or None
        force = self._limits_reader.read(
            machine_cores=self.machine_cores,
            machine_memory_bytes=self.machine_memory_bytes,
            affinity_cores=cores,
        )
        if force == self._force:
            return
        self._force = force
        for fd in (self._usage_fd, self._cache_fd, self._cpu_fd):
            self._files.close(fd)
        self._usage_fd = self._files.open(force.memory_usage) if force.memory_usage else -1
        self._cache_fd = self._files.open(force.memory_stat) if force.memory_stat else -1
        self._cpu_fd = self._files.open(force.cpu_usage) if force.cpu_usage else -1
        self._next_cache_s = float("-inf")
        self._by_group = force.memory_usage is not None
        self._by_tree = force.limits.memory_source == "slurm"
        self._by_usage = force.limits.cpu_source in ("cgroup", "slurm")
        self._used_s = NAN
        self._words = 0  # the cores in force may be others


def _cpu_numbers(words: list[bytes]) -> list[int]:
    return [int(word[3:]) for word in words[_WIDTH::_WIDTH]]


def _read_inactive_file(fd: int) -> int:
    """The file cache that the kernel drops first, of ``memory.stat``; 0 where it cannot be read.

    The read can take milliseconds on a large machine: it gives the interpreter lock away.
    """
    try:
        return inactive_file_bytes(os.pread(fd, 16384, 0))
    except OSError:
        return 0
