"""The flight record: the same samples, written beside the history to a bounded file that survives a killed kernel.

The file is preallocated and split into two banks that take turns, so that it never grows and the newest half is
always whole. A bank is a run of frames; each frame carries its bank's turn and a checksum, so a torn or stale
frame ends the bank instead of being believed. Plain ``pwrite``: what was written survives the death of the
process in the page cache, and a full disk is an exception, where a memory map
would be a SIGBUS. No cell text is written.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resmon.energy.edges import CounterRead
from resmon.facts import Channel

MAGIC = b"resmon1\n"
FILE_BYTES = 8 * 2**20
KEEP_FILES = 5
HEADER_BYTES = 64
WRITE_S = 0.45
"""Rows that follow each other faster are written together: each write gives up the interpreter lock."""
FRAME = struct.Struct("<IIBxxxI")  # payload bytes, checksum, kind, turn
KIND_SCHEMA, KIND_ROW, KIND_EVENT = 1, 2, 3


def record_directory() -> Path:
    """The user's own directory for records, on a local disk where there is one.

    ``RESMON_RECORD_DIR`` overrides it; then ``XDG_RUNTIME_DIR``; then the user's cache or state directory.
    """
    chosen = os.environ.get("RESMON_RECORD_DIR")
    if chosen:
        return Path(chosen)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        return Path(runtime) / "resmon"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "resmon"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "resmon"
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "resmon"


_NETWORK_FILESYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "lustre",
    "ceph",
    "glusterfs",
    "afs",
    "gpfs",
    "beegfs",
    "fuse.sshfs",
}


def _is_network(path: Path) -> str | None:
    """The kind of network file system that holds ``path``, or None; only Linux can tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return None
    best, kind = "", ""
    real = os.path.realpath(path)
    for line in mounts:
        fields = line.split(" ")
        if len(fields) > 2:
            place = fields[1].replace("\\040", " ")
            inside = real == place or real.startswith(place.rstrip("/") + "/")
            if inside and len(place) >= len(best):
                best, kind = place, fields[2]
    return kind if kind in _NETWORK_FILESYSTEMS else None


class FlightRecord:
    """Writes rows and events; turns itself off, with ``notice`` saying why, when it cannot.

    One writer thread. Nothing here raises into the caller after construction; ``path`` is None while off.
    """

    def __init__(self, directory: Path | None = None, max_bytes: int = FILE_BYTES) -> None:
        self.path: Path | None = None
        self.notice = ""
        self._fd = -1
        self._bank_bytes = (max_bytes - HEADER_BYTES) // 2
        self._turn = 0
        self._offset = 0
        self._end = 0
        self._preamble = b""
        self._rows: list[tuple[float, Sequence[float]]] = []
        self._pending = bytearray()
        self._written_s = float("-inf")
        self._pid = os.getpid()
        self._pack_row = struct.Struct("<d").pack
        try:
            self._open(directory or record_directory(), max_bytes)
        except OSError as error:
            self._turn_off(error)

    def _open(self, directory: Path, max_bytes: int) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        network = _is_network(directory)
        if network:
            raise OSError(
                f"{directory} is on a network file system ({network}); set RESMON_RECORD_DIR to a local directory"
            )
        info = os.lstat(directory)
        if not stat.S_ISDIR(info.st_mode) or (hasattr(os, "getuid") and info.st_uid != os.getuid()):
            raise OSError(f"{directory} is not a directory of yours; set RESMON_RECORD_DIR to one")
        os.chmod(directory, 0o700)
        _prune(directory)
        path = directory / f"{os.getpid()}-{os.urandom(4).hex()}.resmon"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        self._fd = os.open(path, flags, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._fd, 0, max_bytes)
            self._pwrite(MAGIC + struct.pack("<II", 1, self._bank_bytes), 0)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        self.path = path

    def start(self, facts: Mapping[str, Any], channels: Sequence[Channel]) -> None:
        """Begin a layout: the channels of the rows that follow, and the facts a reader needs (JSON-ready)."""
        self._add_rows()  # they are of the layout before
        head = {**facts, "channels": [asdict(c) for c in channels]}
        self._preamble = json.dumps(head).encode()
        self._pack_row = struct.Struct(f"<{1 + len(channels)}d").pack
        if self.path is not None:
            self._next_bank()

    def row(self, at_s: float, values: Sequence[float]) -> None:
        """One sample, in the order of the channels. ``values`` are kept until they are written."""
        if self.path is None:
            return
        self._rows.append((at_s, values))
        if not 0.0 <= at_s - self._written_s < WRITE_S:
            self._written_s = at_s
            self._flush()

    def event(self, event: Mapping[str, Any]) -> None:
        """A JSON-ready fact that is no sample: the start and end of a cell, by number, never its text."""
        if self.path is not None:
            self._add_rows()
            self._add(KIND_EVENT, json.dumps(event).encode())
            self._write()

    def _add_rows(self) -> None:
        rows, self._rows = self._rows, []
        for at_s, values in rows:
            self._add(KIND_ROW, self._pack_row(at_s, *values))

    def poll(self, source_id: str, read: CounterRead) -> None:
        """Left out: the reads between samples would fill the file with the ends of windows. A trace has them."""

    def _next_bank(self) -> None:
        self._write()
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

    def _flush(self) -> None:
        self._add_rows()
        self._write()

    def _write(self) -> None:
        if not self._pending or self.path is None:
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

    def _turn_off(self, error: OSError) -> None:
        self.notice = f"flight record off: {error.strerror or error}; measuring goes on in memory"
        self._rows.clear()
        self._pending.clear()
        self.close()
        self.path = None

    def close(self) -> None:
        """Close the file, which stays for :func:`resmon.replay`. Idempotent."""
        if self._fd >= 0:
            if self._pid == os.getpid():  # in a forked child what is pending is the parent's to write
                self._flush()
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)


def _prune(directory: Path) -> None:
    """Keep the newest few records. Two kernels may prune at once: a file that is already gone is no error."""
    records = []
    for path in directory.glob("*.resmon"):
        with contextlib.suppress(OSError):
            records.append((path.stat().st_mtime, path))
    for _, path in sorted(records, reverse=True)[KEEP_FILES - 1 :]:
        with contextlib.suppress(OSError):
            path.unlink()
