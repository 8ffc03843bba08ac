"""The flight record: the same samples, written beside the history to a bounded file that survives a killed kernel.

The file is preallocated and split into two banks that take turns, so that it never grows and the newest half is
always whole. A bank is a run of frames; each frame carries its bank's turn and a checksum, so a torn or stale
frame ends the bank instead of being believed. Plain ``pwrite``: what was written survives the death of the
process in the page cache, and a full disk is an exception, where a memory map
would be a SIGBUS. No cell text is written.

Rows are written together with one system call, which gives up the interpreter lock: a killed process takes those of the
last 16 ticks along (``resmon.ticks.HOLD_TICKS``). An event, such as the start of a cell, is written with the next tick,
and all that was read before it; every row of the 2 s after it (``FRESH_S``), and every row while memory is short, at
once.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resmon.energy.edges import CounterRead
from resmon.facts import Channel
from resmon.private_files import prepare_directory, record_directory

try:
    import fcntl
except ImportError:  # Windows: a file that is open cannot be deleted there
    fcntl = None  # type: ignore[assignment]

MAGIC = b"resmon1\n"
FILE_BYTES = 8 * 2**20
KEEP_FILES = 5
HEADER_BYTES = 64
FRAME = struct.Struct("<IIBxxxI")  # payload bytes, checksum, kind, turn
KIND_SCHEMA, KIND_ROW, KIND_EVENT = 1, 2, 3


REMEDY = "make room there, or set RESMON_RECORD_DIR to a directory of your own before the kernel starts"
ANEW = "%resmon stop, then %resmon start, begins another"
LOOK_S = 10.0
"""How often the writer looks whether the file is still its own."""


class FlightRecord:
    """Writes rows and events; turns itself off, with ``notice`` saying why, when it cannot.

    One writer thread. Nothing here raises into the caller after construction; ``path`` is None while off.
    """

    def __init__(self, directory: Path | None = None, max_bytes: int = FILE_BYTES) -> None:
        self.path: Path | None = None
        self.notice = ""
        self.remedy = REMEDY
        self._fd = -1
        self._identity = (0, 0)
        self._reaches = 0
        self._next_look_s = time.monotonic() + LOOK_S
        self._bank_bytes = (max_bytes - HEADER_BYTES) // 2
        self._turn = 0
        self._offset = 0
        self._end = 0
        self._preamble = b""
        self._pending = bytearray()
        self._pid = os.getpid()
        self._pack_row, self._row_bytes = struct.Struct("<d").pack, 8
        self._directory = directory or record_directory()
        try:
            self._open(self._directory, max_bytes)
        except OSError as error:
            self._turn_off(error)

    def _open(self, directory: Path, max_bytes: int) -> None:
        prepare_directory(directory)
        _prune(directory)
        path = directory / f"{os.getpid()}-{os.urandom(4).hex()}.resmon"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        self._fd = os.open(path, flags, 0o600)
        _held(self._fd)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._fd, 0, max_bytes)
                self._reaches = max_bytes
            self._pwrite(MAGIC + struct.pack("<II", 1, self._bank_bytes), 0)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        own = os.fstat(self._fd)
        self._identity = own.st_dev, own.st_ino
        self.path = path

    def start(self, facts: Mapping[str, Any], channels: Sequence[Channel]) -> None:
        """Begin a layout: the channels of the rows that follow, and the facts a reader needs (JSON-ready)."""
        # No origins: the older half is written over, and what they say is of the beginning.
        kept = {key: fact for key, fact in facts.items() if key != "origins"}
        head = {**kept, "channels": [asdict(c) for c in channels]}
        self._preamble = json.dumps(head).encode()
        layout = struct.Struct(f"<{1 + len(channels)}d")
        self._pack_row, self._row_bytes = layout.pack, layout.size
        if self.path is not None:
            self._next_bank()

    def add_rows(self, rows: Sequence[tuple[float, Sequence[float]]]) -> None:
        """Samples: when each was, and its values in the order of the channels."""
        if self.path is None:
            return
        pack, header, checksum, turn = self._pack_row, FRAME.pack, zlib.crc32, self._turn
        size = FRAME.size + self._row_bytes
        room = self._end - self._offset - len(self._pending)
        for at_s, values in rows:
            body = pack(at_s, *values)
            if size > room:  # once in hours: the next bank has room
                self._add(KIND_ROW, body)
                turn = self._turn
                room = self._end - self._offset - len(self._pending)
            else:
                self._pending += header(len(body), checksum(body, turn), KIND_ROW, turn) + body
                room -= size

    def event(self, event: Mapping[str, Any]) -> None:
        """A JSON-ready fact that is no sample: the start and end of a cell, by number, never its text."""
        if self.path is not None:
            self._add(KIND_EVENT, json.dumps(event).encode())

    def poll(self, source_id: str, read: CounterRead) -> None:
        """Left out: the reads between samples would fill the file with the ends of windows. A trace has them."""

    def _next_bank(self) -> None:
        self.flush()
        self._turn += 1
        self._offset = HEADER_BYTES + (self._turn % 2) * self._bank_bytes
        self._end = self._offset + self._bank_bytes
        self._add(KIND_SCHEMA, self._preamble)

    def _add(self, kind: int, body: bytes) -> None:
        size = FRAME.size + len(body)
        if self._offset + len(self._pending) + size > self._end:
            if kind == KIND_SCHEMA or size + FRAME.size + len(self._preamble) + 64 > self._bank_bytes:
                return
            self._next_bank()
        self._pending += FRAME.pack(len(body), zlib.crc32(body, self._turn), kind, self._turn)
        self._pending += body

    def flush(self) -> None:
        """Write what was given since the last time, with one system call."""
        if not self._pending or self.path is None:
            return
        if self._fd >= 0 and time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + LOOK_S
            self.look()
        if self.notice:
            self._give_up()
            return
        try:
            self._pwrite(self._pending, self._offset)
        except OSError as error:
            self._turn_off(error)
            return
        self._offset += len(self._pending)
        self._pending.clear()

    def _pwrite(self, data: bytes | bytearray, offset: int) -> None:
        if hasattr(os, "pwrite"):
            written = os.pwrite(self._fd, data, offset)
        else:
            os.lseek(self._fd, offset, os.SEEK_SET)
            written = os.write(self._fd, data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written: the disk is full")
        self._reaches = max(self._reaches, offset + written)

    def look(self) -> None:
        """Give notice if somebody else has removed, replaced or truncated the file; any thread. It is left to them."""
        path = self.path
        if path is None or self.notice:
            return
        try:
            there = path.lstat()
        except OSError:
            wrong = "removed"
        else:
            replaced = (there.st_dev, there.st_ino) != self._identity
            wrong = "replaced" if replaced else "truncated" if there.st_size < self._reaches else ""
        if wrong:
            self.remedy = ANEW
            self.notice = f"flight record off: {path.name} was {wrong} by somebody else; measuring goes on in memory"

    def _turn_off(self, error: OSError) -> None:
        reason = f"{self._directory}: {error.strerror}" if error.strerror else str(error)
        self.notice = f"flight record off: {reason}; measuring goes on in memory"
        self._give_up()

    def _give_up(self) -> None:
        self._pending.clear()
        self.close()
        self.path = None

    def close(self) -> None:
        """Close the file, which stays for :func:`resmon.replay`. Idempotent."""
        if self._fd >= 0:
            if self._pid == os.getpid():  # in a forked child what is pending is the parent's to write
                self.flush()
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)


def _held(fd: int) -> bool:
    """Hold a record for as long as it is written; False where another process holds it. Dies with its process."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (OSError, AttributeError):  # a file system or a system without such locks
        return True
    return True


def _prune(directory: Path) -> None:
    """Keep the newest few records, and those of kernels that live. Two kernels may prune at once: gone is no error."""
    records = []
    for path in directory.glob("*.resmon"):
        with contextlib.suppress(OSError):
            records.append((path.stat().st_mtime, path))
    for _, path in sorted(records, reverse=True)[KEEP_FILES - 1 :]:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
            try:
                ended = _held(fd)
            finally:
                os.close(fd)
            if ended:
                path.unlink()
