"""This process and all its descendants on Linux: memory that counts shared pages once, CPU time that never goes back.

Known processes are read through kept descriptors, which stay bound to *their* process when its number is used again;
the time of a child by its clock as well, and then its ``stat`` only where the kernel has started something since.
Only when the kernel has started something since, and at most once a second, the main threads of the known processes
are asked for their children; a change there, or 15 s, makes the whole tree be walked, thread by thread (most children
are started by a main thread, and a walk costs as much as twenty reads). While this process has no child at all, the
kernel says so at once, and nothing is walked.

Memory of the tree is the resident memory of the root plus, for each child, what is resident and not file or shared
memory. Pages that a fork left shared (copy on write) look private in ``statm``: until the proportional set size (PSS)
of the whole tree has been read, what a child held when it was first seen counts as its parent's; after that the
kernel's own split is used. That read is slow: it is repeated every 10 s, and every 40 s while its result stands still.
"""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Sequence
from itertools import repeat
from typing import Final

from resmon.sensors.base import NAN
from resmon.sensors.linux_files import KernelFiles
from resmon.sensors.process_files import PAGE, CpuAccount, OwnTime, Process, cpu_s, descendants
from resmon.sensors.process_sizes import BACKOFF, ProportionalSizes

MAX_KEPT: Final = 256
"""Processes with kept descriptors, three each, a fifth of what this process may have; others are opened anew."""

_SCAN_S: Final = 1.0
_WALK_S: Final = 15.0

Taken = tuple[float | bytes, bytes, Sequence[float | None], Sequence[bytes], Sequence[bytes] | None]
"""The root's CPU time or ``stat``, and ``statm``; the children's clocks, ``statm`` and ``stat`` (None: not read)."""
Quick = tuple[int, float, tuple[int, ...], tuple[int, ...], float]
"""The descriptor of this process's ``statm``; the CPU time of its children that ended (s), which with its own clock is
its time; the children's clocks and descriptors of ``statm``; until when this holds."""


class ProcessTree:
    """The processes under ``pid`` (None: this process), through ``files``. One thread at a time.

    After ``read``: ``memory_bytes``, ``cpu_time_s``, ``processes``
    (alive, without zombies), and ``unread``, the number of descendants that no descriptor was left for. ``take`` and
    ``parse`` are ``read`` in two halves.
    """

    def __init__(self, files: KernelFiles, proc: str, pid: int | None, max_kept: int | None = None) -> None:
        self._files = files
        self._proc = proc
        self._is_self = pid is None
        self._may_ask = pid is None and proc == "/proc"
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._max_kept = min(MAX_KEPT, descriptors // 15) if max_kept is None else max_kept
        self._name = "self" if pid is None else str(pid)
        self._root = Process(os.getpid() if pid is None else pid, -1, -1)
        self._children: dict[int, Process] = {}
        self._kept: list[Process] = []
        self._mark: bytes | None = None
        self._first_mark: bytes | None = None
        self._has_clocks = False
        self._stats_mark: bytes | None = None  # with it no `stat` has more to tell than when it was read
        self._own_time = OwnTime()
        self._next_scan_s = float("-inf")
        self._next_walk_s = float("-inf")
        self._next_loose_s = float("-inf")
        self._sizes = ProportionalSizes(files)
        self._account = CpuAccount()
        self._blind = False
        self.memory_bytes = NAN
        self.cpu_time_s = NAN
        self.processes = NAN
        self.unread = 0

    @property
    def is_partial(self) -> bool:
        """Whether file descriptors ran out, so that some descendants are not counted and the memory is unknown."""
        return self._blind or self.unread > 0

    def open(self, mark: bytes | None = None) -> None:
        """Open the root process's files. ``mark`` is that of now; once there is another it is known to move."""
        self._first_mark = mark
        self._has_clocks = self._proc == "/proc" and os.path.realpath("/proc/self") == f"/proc/{os.getpid()}"
        self._root.statm = self._files.open(f"{self._proc}/{self._name}/statm")
        self._root.stat = self._files.open(f"{self._proc}/{self._name}/stat")
        self._root.kids = self._files.open(f"{self._proc}/{self._name}/task/{self._root.pid}/children")

    @property
    def pss_bytes(self) -> float:
        """The proportional sizes of all of them together; NaN until all were read once."""
        return self._sizes.total_bytes

    @property
    def pids(self) -> frozenset[int]:
        """The processes of the tree as the last walk found them."""
        return frozenset((self._root.pid, *self._children))

    def close(self) -> None:
        """Close all descriptors. Idempotent."""
        for process in (self._root, *self._children.values()):
            self._release(process)
        self._children.clear()
        self._sizes.stop()

    def paths(self) -> list[str]:
        """The files that every read reads."""
        both = ("statm", "stat")
        names = [(self._name, both[: 1 if self._is_self else 2])]
        names += [(str(p.pid), both[: 1 if self._stats_mark else 2]) for p in self._children.values()]
        return [f"{self._proc}/{name}/{file}" for name, files in names for file in files]

    def read(self, at_s: float, mark: bytes) -> None:
        """Read the tree, and look for new processes and at the proportional sizes where that is due.

        ``mark`` changes when the kernel has started a process or thread.
        """
        if self._must_walk(at_s, mark):
            self._walk(at_s, mark)
        some_loose = len(self._kept) < len(self._children)
        loose = some_loose and at_s >= self._next_loose_s
        started = time.thread_time()
        if loose or not some_loose:
            self.unread = 0
        while True:  # until a pass in which nobody vanished: then no time is both in a child and in its parent
            taken = self._reads()
            gone = []
            _, _, _, sizes, stats = taken
            if stats and (b"" in sizes or b"" in stats):
                gone = [p for p, *texts in zip(self._kept, sizes, stats, strict=True) if b"" in texts]
            if loose:
                gone += [p for p in self._children.values() if p.statm < 0 and not self._refresh(p)]
            if not gone:
                break
            self._drop(gone, at_s)
        if loose:
            self._next_loose_s = at_s + max(1.0, BACKOFF * (time.thread_time() - started))
        self.parse(taken)
        known = mark == self._mark and mark not in (b"", self._first_mark)  # one that never moves says nothing
        self._stats_mark = mark if known and all(process.clock for process in self._children.values()) else None
        if at_s >= self._sizes.next_s or self._sizes.under_way:
            living = [process for process in self._children.values() if process.alive]
            self._sizes.read(at_s, self._root, living, self._proc, self._name)
            if not self._children:
                self._root.cow_bytes = 0

    def take(self, at_s: float, mark: bytes, fresh: bytes | None = None) -> Taken | None:
        """The mere reads of ``read``, for :meth:`parse`; None where more is due, which ``read`` does.

        ``fresh`` is the mark where it was read for this very tick.
        """
        if mark != self._mark and at_s >= self._next_scan_s and self._must_walk(at_s, mark):
            self._next_walk_s = at_s
            return None
        if at_s >= self._sizes.next_s or self._sizes.under_way or len(self._kept) < len(self._children):
            return None
        if self._is_self and not self._children:  # nearly always: as little as can be, on cold caches
            read = self._files.read
            return self._own_time.read(fresh), read(self._root.statm), (), (), ()
        taken = self._reads(stats=mark != self._stats_mark or mark != self._mark)
        return None if b"" in taken[3] or (taken[4] and b"" in taken[4]) else taken

    def quick(self, mark: bytes) -> Quick | None:
        """How to ``take`` the tree as long as ``mark``, that of the last ``take``, stands; None where only that can."""
        if self._sizes.under_way or mark != self._mark or not self._is_self:
            return None
        if not self._children:
            if mark != self._own_time.childless_mark:
                return None
        elif mark != self._stats_mark:
            return None
        clocks = tuple(p.clock for p in self._kept if p.clock is not None)
        statms = tuple(p.statm for p in self._kept)
        return self._root.statm, self._own_time.waited_s, clocks, statms, self._sizes.next_s

    def parse(self, taken: Taken) -> None:
        """Make of reads what ``read`` gives. Before the next ``read``, and in the order in which they were taken."""
        root, statm, clocks, sizes, stats = taken
        fields = statm.split(None, 2)
        memory = int(fields[1]) * PAGE if len(fields) == 3 else NAN
        live_s = cpu_s(root) if isinstance(root, bytes) else root
        self.processes = 1.0
        children = self._children
        if children:
            for process, size, stat, own_s in zip(self._kept, sizes, stats or repeat(None), clocks, strict=False):
                process.update(size, stat, own_s)
            memory -= self._root.cow_bytes
            for process in children.values():
                live_s += process.cpu_s
                self.processes += process.alive
                own = process.private_bytes - process.cow_bytes
                if own > 0:
                    memory += own
        self.memory_bytes = NAN if self.unread or self._blind else float(memory)
        self.cpu_time_s = self._account.total_s(live_s)

    def _must_walk(self, at_s: float, mark: bytes) -> bool:
        if mark == self._mark or at_s < self._next_scan_s:
            return False
        if not self._children and self._may_ask and not self._files.has_children():
            moves = self._mark or self._first_mark not in (None, mark)  # one that never moves says nothing
            self._own_time.childless_mark = mark if mark and moves else None
            self._mark = mark
            self._sizes.plan(at_s)
        elif at_s >= self._next_walk_s or self._has_new_children():
            return True
        self._next_scan_s = at_s + _SCAN_S
        return False

    def _reads(self, *, stats: bool = True) -> Taken:
        """Clocks first: a process whose files are read after its clock had its number still, and was not waited for.

        Its parent before it, likewise: none is both in its own time and in its parent's. Without ``stats`` where all
        have clocks and nobody was started since they were read: whoever was waited for since then is one of these.
        """
        read, root, kept = self._files.read, self._root, self._kept
        if not self._is_self:
            own: float | bytes = read(root.stat)
        elif stats:
            own = self._own_time.read(None)
        else:
            own = time.process_time() + self._own_time.waited_s
        statm = read(root.statm)
        if not kept:
            return own, statm, (), (), ()
        clocks = [p.own_s() for p in kept]
        sizes = [read(p.statm) for p in kept]
        return own, statm, clocks, sizes, [read(p.stat) for p in kept] if stats else None

    def _drop(self, gone: list[Process], at_s: float) -> None:
        self._account.shrunk = True
        for process in gone:
            del self._children[process.pid]
            self._release(process)
        self._mark = None  # their children have a new parent
        self._next_walk_s = at_s
        self._sizes.plan_soon(at_s)
        if not self._children:
            self._root.cow_bytes = 0

    def _refresh(self, process: Process) -> bool:
        """Read one child; False when it is gone."""
        own_s = process.own_s()
        if process.statm >= 0:
            statm, stat = self._files.read(process.statm), self._files.read(process.stat)
        else:
            statm, stat = self._peek(process.pid, "statm"), self._peek(process.pid, "stat")
            if self.unread and not (statm and stat):
                return True
            # The start time tells apart processes whose files are opened anew each time.
            started = stat[stat.rfind(b")") + 2 :].split(None, 20)[19:20]
            if process.started and process.started != started:
                return False  # the number was used again
            process.started = started
        if not (statm and stat):
            return False
        process.update(statm, stat, own_s)
        return True

    def _peek(self, pid: int, name: str) -> bytes:
        fd = self._files.open(f"{self._proc}/{pid}/{name}")
        if fd in (-errno.EMFILE, -errno.ENFILE):
            self.unread += 1
            return b""
        content = self._files.read(fd) if fd >= 0 else b""
        self._files.close(fd)
        return content

    def _has_new_children(self) -> bool:
        read = self._files.read
        if self._root.kids < 0 or read(self._root.kids) != self._root.offspring:
            return True
        return any(read(p.kids) != p.offspring for p in self._children.values() if p.kids >= 0)

    def _walk(self, at_s: float, mark: bytes) -> None:
        started = time.thread_time()
        for process in (self._root, *self._children.values()):
            process.offspring = self._files.read(process.kids)  # before the walk, which may then see more, not less
        self._files.exhausted = False
        parents = descendants(self._files, self._proc, self._name, self._root.pid)
        self._blind = self._files.exhausted
        if self._blind:  # part of the tree was not seen: what is known stays
            self._next_scan_s = at_s + _SCAN_S
            self._next_walk_s = at_s
            return
        self._mark = mark
        for pid in [pid for pid in self._children if pid not in parents]:
            process = self._children.pop(pid)
            if self._refresh(process):  # alive, but handed to another parent
                self._account.leave(process.cpu_s)
            else:
                self._account.shrunk = True
            self._release(process)
        for pid, parent in parents.items():
            if pid not in self._children:
                self._adopt(pid, parent, at_s)
        self._next_scan_s = at_s + max(_SCAN_S, BACKOFF * (time.thread_time() - started))
        self._next_walk_s = max(self._next_scan_s, at_s + _WALK_S)
        self._sizes.plan(at_s)

    def _adopt(self, pid: int, parent: int, at_s: float) -> None:
        files = self._files
        process = Process(pid, -1, -1)
        # Both files through one directory descriptor: they belong to one process whatever happens to its number.
        directory = files.open(f"{self._proc}/{pid}", flags=os.O_RDONLY | os.O_DIRECTORY)
        if directory >= 0 and len(self._kept) < self._max_kept:
            process.statm, process.stat = files.open("statm", directory), files.open("stat", directory)
            if process.statm < 0 or process.stat < 0:
                self._close_files(process)
            else:
                process.kids = files.open(f"task/{pid}/children", directory)
        files.close(directory)
        if process.statm >= 0:
            self._kept.append(process)
            fields = files.read(process.stat).rpartition(b")")[2].split(None, 2)
            if len(fields) < 3 or int(fields[1]) != parent:
                self._release(process)
                return
        if not self._refresh(process):
            self._release(process)
            return
        if self._has_clocks and process.statm >= 0:
            process.find_clock()
        process.cow_bytes = process.private_bytes
        self._children[pid] = process
        self._sizes.plan_next(at_s)

    def _release(self, process: Process) -> None:
        if process in self._kept:
            self._kept.remove(process)
        self._close_files(process)

    def _close_files(self, process: Process) -> None:
        for fd in (process.statm, process.stat, process.kids):
            self._files.close(fd)
        process.statm = process.stat = process.kids = -1
