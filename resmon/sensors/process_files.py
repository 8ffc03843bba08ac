"""What /proc tells of processes: of one, who descends from whom, and how they share memory."""

from __future__ import annotations

import errno
import os
import resource
import time
from typing import Final

from resmon.sensors.base import NAN
from resmon.sensors.linux_files import KernelFiles

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICK_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED: Final = 2
"""With the complement of a process's number above it, its clock: as ``clock_getcpuclockid`` makes it."""
_SAME_S: Final = 0.25


class Process:
    """A process of the tree; ``statm``, ``stat`` and ``kids`` (its main thread's children) are descriptors or -1."""

    __slots__ = (
        "_is_zombie",
        "_stat",
        "_stat_s",
        "_statm",
        "alive",
        "clock",
        "cow_bytes",
        "cpu_s",
        "kids",
        "offspring",
        "pid",
        "private_bytes",
        "pss_bytes",
        "started",
        "stat",
        "statm",
        "waited_s",
    )

    def __init__(self, pid: int, statm: int, stat: int) -> None:
        self.pid = pid
        self.statm = statm
        self.stat = stat
        self.kids = -1
        self.clock: int | None = None
        """The kernel's clock of its CPU time, where it may be asked by number."""
        self.offspring = b""
        self.private_bytes = 0  # resident, neither file nor shared memory
        self.cow_bytes = 0  # the part of it that another process of the tree holds too
        self.cpu_s = 0.0  # of its children that were waited for too
        self.waited_s = 0.0  # of these alone
        self.pss_bytes = NAN
        self.started: list[bytes] = []
        self.alive = True
        self._is_zombie = False
        self._stat_s = 0.0
        self._statm = self._stat = b""

    def update(self, statm: bytes, stat: bytes | None, own_s: float | None) -> None:
        """Take in what its two files and its clock say now; where a file says the same as before, at no cost.

        ``stat`` None: not read, what it said stands. ``own_s`` None: it has no clock, ``stat`` tells its time.
        """
        if stat is not None and stat != self._stat:
            self._stat = stat
            fields = stat[stat.rfind(b")") + 2 :].split(None, 15)
            if len(fields) == 16:  # else cut short: it ends at this moment
                self._is_zombie = fields[0] in (b"Z", b"X")
                self._stat_s = (int(fields[11]) + int(fields[12])) * _TICK_S
                self.waited_s = (int(fields[13]) + int(fields[14])) * _TICK_S
                self.alive = not self._is_zombie and self._statm[:2] != b"0 "
        if statm != self._statm:
            self._statm = statm
            sizes = statm.split(None, 3)
            if len(sizes) == 4:
                self.private_bytes = (int(sizes[1]) - int(sizes[2])) * PAGE
            self.alive = not self._is_zombie and statm[:2] != b"0 "  # a zombie has no memory
        self.cpu_s = (self._stat_s if own_s is None else own_s) + self.waited_s

    def own_s(self) -> float | None:
        """Its CPU time by its clock; None where it has none, or is gone: its files tell."""
        try:
            return None if self.clock is None else time.clock_gettime(self.clock)
        except OSError:
            return None

    def find_clock(self) -> None:
        """Use the kernel's clock, a ninth of the cost of ``stat``, where it says what that said in ``update``."""
        clock = ~self.pid << 3 | _CPUCLOCK_SCHED
        try:
            if abs(time.clock_gettime(clock) - self._stat_s) < _SAME_S:
                self.clock = clock
        except (OSError, OverflowError, AttributeError):  # not on this kernel
            pass


class OwnTime:
    """CPU time of this process and of the children it has waited for: the clocks of its ``stat``, finer and cheaper."""

    __slots__ = ("_mark", "childless_mark", "waited_s")

    def __init__(self) -> None:
        self.childless_mark: bytes | None = None
        """This process had no child when this mark was the newest; a mark changes when any process is started."""
        self._mark: bytes | None = None
        self.waited_s = 0.0
        """Of the children that were waited for, as of the last ``read``."""

    def read(self, mark: bytes | None) -> float:
        """The time now, in seconds. ``mark`` was read just now (None: none was)."""
        if mark is None or mark != self._mark:
            waited = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.waited_s = waited.ru_utime + waited.ru_stime
            self._mark = mark if mark == self.childless_mark else None  # it stands as long as the mark does
        return time.process_time() + self.waited_s


class CpuAccount:
    """The tree's CPU time from what its living processes show.

    A child that was waited for lives on in its parent's figures. One that nobody waited for, or that another parent
    was given, takes its time with it: that is kept here.
    """

    __slots__ = ("_live_s", "_lost_s", "shrunk")

    def __init__(self) -> None:
        self._live_s = self._lost_s = 0.0
        self.shrunk = False
        """Set when a process has gone."""

    def leave(self, time_s: float) -> None:
        """One that is alive leaves the tree: its time so far stays."""
        self._live_s -= time_s
        self._lost_s += time_s

    def total_s(self, live_s: float) -> float:
        """The time now, which never goes back; NaN where ``live_s`` is."""
        if live_s != live_s:
            return NAN
        if live_s > self._live_s:
            self._live_s = live_s
        elif self.shrunk:
            self._lost_s += self._live_s - live_s
            self._live_s = live_s
        self.shrunk = False
        return self._live_s + self._lost_s


def cpu_s(stat: bytes) -> float:
    """CPU time of a process and of the children it has waited for, from its ``stat``; NaN where that is cut short."""
    fields = stat[stat.rfind(b")") + 2 :].split(None, 15)
    if len(fields) < 16:
        return NAN
    return (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) * _TICK_S


def descendants(files: KernelFiles, proc: str, name: str, root: int) -> dict[int, int]:
    """Each descendant's pid with its parent's, of the process ``root``, whose directory in ``proc`` is ``name``."""
    if not files.slurp(f"{proc}/{name}/stat"):
        return {}
    found: dict[int, int] = {}
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        place = f"{proc}/{name if parent == root else parent}/task"
        for thread in files.names(place):
            fd = files.open(f"{place}/{thread}/children")
            if fd == -errno.ENOENT and parent == root and thread == str(root):
                return _descendants_by_parent(files, proc, root)  # a kernel without CONFIG_PROC_CHILDREN
            if fd >= 0:
                for child in map(int, files.read(fd).split()):
                    if child not in found:
                        found[child] = parent
                        waiting.append(child)
                files.close(fd)
    return found


def _descendants_by_parent(files: KernelFiles, proc: str, root: int) -> dict[int, int]:
    parents: dict[int, list[int]] = {}
    for name in files.names(proc):
        if name.isdigit():
            fields = files.slurp(f"{proc}/{name}/stat").rpartition(b")")[2].split(None, 2)
            if len(fields) == 3:
                parents.setdefault(int(fields[1]), []).append(int(name))
    found: dict[int, int] = {}
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        for child in parents.get(parent, ()):
            found[child] = parent
            waiting.append(child)
    return found


def read_pss(files: KernelFiles, place: str) -> tuple[int, int]:
    """PSS, and the anonymous bytes that are counted with other processes; (-1, 0) where the kernel does not tell.

    The walk over the page tables takes milliseconds per gigabyte: the read gives the interpreter lock away.
    """
    fd = files.open(f"{place}/smaps_rollup")
    if fd < 0:
        return -1, 0
    try:
        text = os.pread(fd, 4096, 0)
    except OSError:  # gone, or not ours to look into: its PSS stays unknown
        return -1, 0
    finally:
        files.close(fd)
    kib = {line.partition(b":")[0]: line.split() for line in text.splitlines()}
    try:
        pss, anonymous = int(kib[b"Pss"][1]), int(kib[b"Anonymous"][1])
        pss_anonymous = int(kib[b"Pss_Anon"][1])
    except KeyError:  # before Linux 5.4 there is no Pss_Anon
        return -1, 0
    return pss << 10, max(0, anonymous - pss_anonymous) << 10
