"""What /proc tells of a family of processes: who descends from whom, and how they share memory."""

from __future__ import annotations

import errno
import os

from resmon.sensors.linux_files import KernelFiles


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
