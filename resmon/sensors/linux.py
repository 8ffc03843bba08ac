"""The host on Linux, by direct reads of /proc, /sys and the cgroup tree through kept descriptors.

Every tick: ``/proc/stat``, the memory in use, the process tree. What moves slowly or only matters as a mean is read
less often: network, disks, temperature and load at every fourth tick, at least 2 s apart (a rate is the mean since its
previous read and stands until the next); the limits every minute; which disks and interfaces there are every two.
"""

from __future__ import annotations

import os
import time
from typing import Final

from resmon.facts import Limits
from resmon.sensors.base import NAN
from resmon.sensors.limits import InForce, LimitsReader
from resmon.sensors.linux_cores import Cores
from resmon.sensors.linux_files import KernelFiles
from resmon.sensors.linux_group import UnderLimit
from resmon.sensors.linux_rates import Slower, TakenSlower
from resmon.sensors.process_tree import ProcessTree
from resmon.sensors.process_tree import Taken as TakenTree

MIN_SPAN_S: Final = 0.15
"""Utilisation is a mean over at least this time: the kernel counts in ticks of 10 ms. Until then ``/proc/stat``, which
costs as much as all other reads together, is left alone."""

_HOST_VALUES: Final = 12  # those before the cores
_LIMITS_S: Final = 60.0
_DEVICES_S: Final = 120.0


Taken = tuple[float, bytes | None, bytes, TakenTree | None, bytes, int, TakenSlower]
"""What the files said at a tick: when it was, ``/proc/stat`` (None where it was left alone), the cgroup's CPU time, the
process tree (None where it is parsed), the memory in use, the file cache in it, the slower files. A plain tuple: one is
made at every tick."""
_Quick = tuple[float, bytes, int, float, tuple[int, ...], tuple[int, ...], int, int, int]
"""For as long as no process is started, a tick has nothing to find out: until when, the mark in ``/proc/stat`` that
then stands, what :class:`ProcessTree` says of itself, the descriptors of the memory in use and of the cgroup's CPU time
(-1: not read), the file cache in that memory."""
_NOT_QUICK: Final[_Quick] = (float("-inf"), b"", -1, 0.0, (), (), -1, -1, 0)
_clock: Final = time.clock_gettime


class LinuxHost:
    """Reads the host under ``root`` for the process ``pid`` (None: this one). One thread at a time.

    ``take`` and ``parse`` are ``read`` in two halves. ``parse`` reads nothing: it may run on another thread than the
    rest, and is called in the order of what was taken, all of it before the next ``read``.

    ``cores`` are the CPU numbers that the process may run on at ``open``; ``utilization`` is the latest fraction of
    the CPU limit in force that was busy, ``limits`` what was in force at most a minute ago.
    """

    __slots__ = (
        "_allowed",
        "_cores",
        "_fds",
        "_files",
        "_limit",
        "_limits_reader",
        "_mark",
        "_meminfo",
        "_next_alone_s",
        "_next_devices_s",
        "_next_limits_s",
        "_pid",
        "_proc",
        "_quick",
        "_ran",
        "_root",
        "_sizes",
        "_slower",
        "_stat",
        "_stat_s",
        "_text",
        "_values",
        "cores",
        "limits",
        "machine_cores",
        "machine_memory_bytes",
        "tree",
        "utilization",
    )
    # Slots: with more than 30 attributes an instance has a dictionary, and a tick runs on cold caches.
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
        self.limits: Limits

    # ------------------------------------------------------------- life

    def open(self) -> None:
        """Find the cores, disks, interfaces and limits, and open what every tick reads."""
        files = self._files = KernelFiles()
        self._stat = self._open(f"{self._proc}/stat")
        self._meminfo = self._open(f"{self._proc}/meminfo")
        self._slower = Slower(files, self._root)
        self.tree = ProcessTree(files, self._proc, self._pid)
        stat = files.read(self._stat)
        self.tree.open(_mark_of(stat))

        self._cores = Cores(stat)
        self.machine_cores = len(self._cores.online) or os.cpu_count() or 1
        meminfo = files.read(self._meminfo)
        if meminfo.startswith(b"MemTotal:"):
            self.machine_memory_bytes = int(meminfo[9 : meminfo.index(b"kB")]) << 10
        allowed = self._affinity()
        self.cores = self._cores.show(allowed)

        self._stat_s = float("-inf")
        self._quick = _NOT_QUICK
        self._ran: list[float] = []  # the clocks of the children when their memory, `_sizes`, was read
        self._sizes: list[bytes] = []
        self._mark = b""
        self._text = b""
        self._values = [NAN] * (_HOST_VALUES + len(self.cores))
        self._next_limits_s = self._next_devices_s = self._next_alone_s = float("-inf")
        self._limit = UnderLimit(files)
        self._limits_reader = LimitsReader(
            root=self._root,
            process=f"{self._proc}/{'self' if self._pid is None else self._pid}",
            slurp=files.slurp,
            environ=os.environ,
        )
        self._read_limits()

    def close(self) -> None:
        """Close all descriptors. Idempotent."""
        if not self._fds:
            return
        for fd in self._fds:
            self._files.close(fd)
        self._fds = []
        self._limit.close()
        self._slower.close()
        self.tree.close()

    def _open(self, path: str) -> int:
        fd = self._files.open(path)
        self._fds.append(fd)
        return fd

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
        machine = [f"{self._proc}/stat"] if self._limit.by_group else [f"{self._proc}/stat", f"{self._proc}/meminfo"]
        return [*machine, *self._limit.paths(), *self.tree.paths(), *self._slower.paths]

    # ------------------------------------------------------------- a tick

    def read(self, at_s: float) -> list[float]:
        """The values of the host's channels, in their order."""
        taken = self.take(at_s) or self._take(at_s, b"", whole=True)
        assert taken is not None
        values = list(self.parse(taken))
        if at_s >= self._next_alone_s:
            self._read_seldom(at_s)
        return values

    def take(self, at_s: float) -> Taken | None:
        """The reads of a tick, for ``parse``; None where more than those is due, which ``read`` does.

        In one piece: a tick runs on cold caches, where each function more costs a microsecond.
        """
        until_s, mark, statm, waited_s, clocks, statms, memory, cpu, cache_bytes = self._quick
        step_s = at_s - self._stat_s
        if at_s >= until_s or step_s < MIN_SPAN_S:
            if at_s >= self._next_alone_s and self._must_read_seldom(at_s):
                return None
            return self._take(at_s, b"", whole=False)
        read = self._files.read
        stat = read(self._stat)
        if mark not in stat:
            return self._take(at_s, stat, whole=False)
        tree: TakenTree = (time.process_time() + waited_s, read(statm), (), (), ())
        if statms:
            try:
                ran = [_clock(clock) for clock in clocks]
            except OSError:
                return self._take(at_s, stat, whole=False)
            if ran != self._ran:  # who has not run since has its memory as it was
                self._sizes = [
                    size if now == then else read(file)
                    for size, now, then, file in zip(self._sizes, ran, self._ran, statms, strict=True)
                ]
                self._ran = ran
            if b"" in self._sizes:
                return self._take(at_s, stat, whole=False)
            tree = *tree[:2], ran, self._sizes, None
        self._stat_s = at_s
        return (
            at_s,
            stat,
            read(cpu) if cpu >= 0 else b"",
            tree,
            read(memory) if memory >= 0 else b"",
            cache_bytes,
            self._slower.take(at_s, step_s) if at_s >= self._slower.next_s else (),
        )

    def _take(self, at_s: float, stat: bytes, *, whole: bool) -> Taken | None:
        """``take`` without knowing what may be due. ``stat`` is what was read just now, if it was."""
        read = self._files.read
        step_s = at_s - self._stat_s
        if step_s >= MIN_SPAN_S:  # once for a tick
            self._stat_s = at_s
            text = self._text = stat or read(self._stat)
            self._mark = _mark_of(text)
        fresh = self._stat_s == at_s
        tree = self.tree.take(at_s, self._mark, self._mark if fresh else None)
        if tree is None:
            if not whole:
                return None
            self.tree.read(at_s, self._mark)
        cpu = memory = b""
        limit = self._limit
        if fresh and limit.cpu >= 0 and limit.by_usage:
            cpu = read(limit.cpu)
        if limit.by_group:
            memory = read(limit.memory)
            if at_s >= limit.next_cache_s:
                limit.read_cache(at_s)
        elif not limit.by_tree:
            memory = read(self._meminfo)
        slower = self._slower.take(at_s, step_s) if at_s >= self._slower.next_s else ()
        if fresh:
            self._quick = self._plan_quick()
        return at_s, self._text if fresh else None, cpu, tree, memory, limit.cache_bytes, slower

    def _plan_quick(self) -> _Quick:
        """What the next ticks may go by, after a whole one."""
        tree = self.tree.quick(self._mark)
        if tree is None:
            return _NOT_QUICK
        until_s = tree[4]
        limit = self._limit
        if limit.by_group:
            memory, until_s = limit.memory, min(until_s, limit.next_cache_s)
        else:
            memory = -1 if limit.by_tree else self._meminfo
        cpu = limit.cpu if limit.by_usage else -1
        # The next tick reads them all: now and then, since the system may take memory from one that does not run.
        self._ran = [NAN] * len(tree[3])
        self._sizes = [b""] * len(tree[3])
        return min(until_s, self._next_alone_s), self._mark, *tree[:4], memory, cpu, limit.cache_bytes

    def _must_read_seldom(self, at_s: float) -> bool:
        """Look whether what is read seldom is as it was, so that the ticks that are not parsed yet may go by it."""
        if at_s >= self._next_limits_s:
            if self._limits_now() != self._limit.force:
                return True
            self._next_limits_s = at_s + _LIMITS_S
        if at_s >= self._next_devices_s:
            if self._slower.must_find():
                return True
            self._next_devices_s = at_s + _DEVICES_S
        self._next_alone_s = min(self._next_limits_s, self._next_devices_s)
        return False

    def _read_seldom(self, at_s: float) -> None:
        """The limits and which devices there are: what the next ticks go by."""
        if at_s >= self._next_limits_s:
            self._next_limits_s = at_s + _LIMITS_S
            self._read_limits()
        if at_s >= self._next_devices_s:
            self._next_devices_s = at_s + _DEVICES_S
            self._slower.find()
        self._next_alone_s = min(self._next_limits_s, self._next_devices_s)

    def parse(self, taken: Taken) -> list[float]:
        """The values of the host's channels from what was taken: a list that the next call changes."""
        at_s, stat, cpu, taken_tree, memory, cache_bytes, slow = taken
        tree, values = self.tree, self._values
        if taken_tree is not None:
            tree.parse(taken_tree)
        if stat is not None:
            mean = self._cores.parse(stat[: stat.find(b"\nintr")])
            if mean is not None:
                if self._limit.by_usage and mean == mean:
                    mean = self._limit.share(cpu, at_s, tree.cpu_time_s)
                self.utilization = values[0] = max(0.0, min(mean, 1.0)) if mean == mean else NAN
            values[_HOST_VALUES:] = self._cores.values
        if self._limit.by_group:
            values[2] = float(max(0, int(memory) - cache_bytes)) if memory else NAN
        elif self._limit.by_tree:
            values[2] = tree.memory_bytes
        else:
            at = memory.find(b"MemAvailable:")
            values[2] = (
                self.machine_memory_bytes - int(memory[at + 13 : at + 40].split(None, 1)[0]) * 1024.0 if at > 0 else NAN
            )
        values[3:7] = tree.memory_bytes, tree.pss_bytes, tree.cpu_time_s, tree.processes
        if slow:
            slower = self._slower
            slower.parse(at_s, slow)
            values[1] = slower.load_1min
            values[7:12] = *slower.disk.rates, *slower.net.rates, slower.temperature_c
        return values

    # ------------------------------------------------------------- limits

    def _affinity(self) -> set[int] | None:
        """The CPUs that this thread (or the process ``pid``) may run on.

        Of this thread, not of the main one: an OpenMP runtime may bind the main thread to a single core.
        """
        try:
            return os.sched_getaffinity(self._pid or 0)
        except OSError:  # the process is gone
            return None

    def _limits_now(self) -> InForce:
        allowed = self._allowed = self._affinity()
        return self._limits_reader.read(
            machine_cores=self.machine_cores,
            machine_memory_bytes=self.machine_memory_bytes,
            affinity_cores=None if allowed is None else len(allowed.intersection(self._cores.online)) or None,
        )

    def _read_limits(self) -> None:
        force = self._limits_now()
        if force != self._limit.force:
            self.limits = force.limits
            self._limit.follow(force)
            self._cores.own = self._allowed if force.limits.cpu_source == "affinity" else None


def _mark_of(stat: bytes) -> bytes:
    """What changes in ``/proc/stat`` when any process or thread is started; empty where the kernel does not count."""
    at = stat.rfind(b"\nprocesses ")
    return stat[at : at + 24] if at >= 0 else b""
