"""Reads of kernel files that keep the interpreter lock.

``os.pread`` gives the lock away for every call, and beside busy Python code each call then waits in the queue for
up to a switch interval (5 ms). Files of /proc, /sys and the cgroup tree are made by the kernel in microseconds, so
these reads keep the lock. What can take longer (``smaps_rollup``, ``memory.stat``) is read with ``os.pread`` instead.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

_BUFFER_BYTES: Final = 1 << 18
_DIRENT_HEADER: Final = struct.Struct("=QqHB")
_AT_FDCWD: Final = -100
_P_ALL: Final = 0
_ANY_CHILD: Final = 0x41000005  # WNOHANG | WEXITED | WNOWAIT | __WALL


class KernelFiles:
    """Opens, reads and lists kernel files through one reused buffer. One thread at a time.

    Errors are values: ``open`` gives ``-errno``, ``read`` and ``slurp`` give ``b""``, ``names`` gives ``[]``.
    """

    def __init__(self) -> None:
        # Two handles on the same library: keeping errno costs time in each call, which only `open` needs.
        libc = ctypes.PyDLL(None)
        libc_errno = ctypes.PyDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
        size = ctypes.c_size_t(_BUFFER_BYTES)
        start = ctypes.c_long(0)
        pread = libc.pread
        self.exhausted = False
        """Set when an open failed for want of a descriptor; whoever asks clears it."""
        self._buffer = buffer
        self._openat = libc_errno.openat
        self._openat.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        self._close = libc.close
        # musl before 1.2.4 and glibc before 2.30 name it otherwise or not at all.
        self._getdents = getattr(libc, "getdents64", None) or getattr(libc, "getdents", None)
        self._size = size

        self._waitid = libc_errno.waitid

        # A closure over prepared ctypes arguments: half the cost of a method with declared argument types.
        def read(fd: int) -> bytes:
            count = pread(fd, buffer, size, start)
            return buffer[:count] if count > 0 else b""  # type: ignore[return-value]  # typeshed: c_char slices are bytes

        self.read = read
        """``read(fd)``: the content from its start, up to 256 KiB; ``b""`` where it cannot be read."""

    def open(self, path: str, directory: int = _AT_FDCWD, *, flags: int = os.O_RDONLY) -> int:
        """A descriptor that is closed on exec, or ``-errno``."""
        fd: int = self._openat(directory, os.fsencode(path), flags | os.O_CLOEXEC)
        if fd >= 0:
            return fd
        error = ctypes.get_errno()
        self.exhausted = self.exhausted or error in (errno.EMFILE, errno.ENFILE)
        return -error

    def has_children(self) -> bool:
        """Whether this process, any thread of it, has a child: one call tells, which takes no child's exit away."""
        result: int = self._waitid(_P_ALL, 0, None, _ANY_CHILD)
        return result == 0 or ctypes.get_errno() != errno.ECHILD

    def close(self, fd: int) -> None:
        """Close ``fd``; a negative one is no descriptor and ignored."""
        if fd >= 0:
            self._close(fd)

    def slurp(self, path: str) -> bytes:
        """The content of ``path`` at this moment, ``b""`` where it cannot be read."""
        fd = self.open(path)
        if fd < 0:
            return b""
        content = self.read(fd)
        self._close(fd)
        return content

    def names(self, path: str) -> list[str]:
        """The names in a directory, without ``.`` and ``..``; ``[]`` where it cannot be listed."""
        if self._getdents is None:
            try:
                return os.listdir(path)
            except OSError:
                return []
        fd = self.open(path, flags=os.O_RDONLY | os.O_DIRECTORY)
        if fd < 0:
            return []
        found: list[str] = []
        while (count := self._getdents(fd, self._buffer, self._size)) > 0:
            block = ctypes.string_at(self._buffer, count)
            at = 0
            while at < count:
                length = _DIRENT_HEADER.unpack_from(block, at)[2]
                name = block[at + _DIRENT_HEADER.size : at + length].split(b"\0", 1)[0]
                if name not in (b".", b".."):
                    found.append(os.fsdecode(name))
                at += length
        self._close(fd)
        return found
