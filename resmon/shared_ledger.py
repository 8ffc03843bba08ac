"""A ledger between the kernels of one user: what several of them measured, without a joule added twice.

A file that only grows, one line for each addition, with a checksum. Whoever adds holds ``flock`` on a file beside it;
no pids are compared, which mean nothing between containers. The system lets a lock go when its holder is killed, and a
line that was not finished then is cut off by the next who adds: an addition is there as a whole or not at all. A file
that grew too large is replaced by a smaller one that says the same, or nearly so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import threading
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from resmon.clock import MonotonicClock
from resmon.energy import Ledger
from resmon.errors import LedgerError, ResmonWarning
from resmon.private_files import network_filesystem, prepare_directory, record_directory
from resmon.results import Energy, EnergyComponent, Measurement

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

VERSION: Final = 1
MAX_BYTES: Final = 2**20
BYTES_PER_ENTRY: Final = 1024
"""A file beyond its bound is made smaller: so many bytes of the bound stand for each entry that stays."""
LOCK_WAIT_S: Final = 10.0
"""The longest wait for others who add."""
KEEP_S: Final = 24 * 3600.0
"""How long a file of an earlier boot stays after its last change."""

_HEAD: Final = b"resmon-ledger "
_HEAD_LINE: Final = re.compile(rb"resmon-ledger (\d{1,9}) [0-9a-f]{16}\n")
_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class SharedLedger:
    """Counts each joule once among all who give the same ``path``; see :class:`resmon.energy.Ledger` for the rules.

    Without a path: one file for each user and boot of the machine, in the directory of the flight record. Where that
    cannot be used, the ledger goes on in memory, with a :class:`~resmon.errors.ResmonWarning` and ``notice``. With a
    path (whose directory must exist, on a local disk) nothing is hidden: :class:`~resmon.errors.LedgerError` says what
    is wrong.

    ``max_bytes`` bounds the file: beyond it the oldest entries are joined (:meth:`resmon.energy.Ledger.join`). May be
    used by any thread. Holds nothing open between calls. Reading never waits; adding waits for others who add, 10 s at
    most.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        if max_bytes < 2 * BYTES_PER_ENTRY:
            raise ValueError(f"max_bytes must be at least {2 * BYTES_PER_ENTRY}, not {max_bytes!r}")
        self.notice = ""
        self._max_bytes = max_bytes
        self.path: Path | None = None
        self._chosen = path is not None
        self._ledger = Ledger()
        self._head = b""
        self._read_to = 0
        self._damaged = 0
        self._pid = os.getpid()
        self._lock = threading.Lock()
        with self._failing():
            self.path = _default_path() if path is None else Path(path)
            if fcntl is None:
                raise OSError("this system has no flock")
            if self._chosen and (network := network_filesystem(self.path.parent)):
                raise OSError(f"it is on a network file system ({network}); a local disk is wanted")
            with self._locked() as fd:
                self._read(fd)
                if not self._head:
                    self._begin(fd)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path or 'in memory'}>"

    def add(self, item: Measurement | Energy | EnergyComponent) -> float:
        """Count what nobody counted before; returns those joules (0.0 when all was counted).

        Raises ValueError for a component without a claim, TypeError for what is no energy, and
        :class:`~resmon.errors.LedgerError` (with a path of one's own) where the file cannot be locked or written; then
        nothing is counted.
        """
        with self._guard():
            joules: float | None = None
            if self.path is not None:
                with self._failing(), self._locked() as fd:
                    self._read(fd)
                    known = self._ledger.not_covered
                    entries = self._ledger.enter(item)
                    joules = sum(entry.energy_j for entry in entries)
                    if entries or self._ledger.not_covered != known:
                        self._append(fd, entries)
            return self._ledger.add(item) if joules is None else joules

    @property
    def energy(self) -> Energy:
        """All that was counted by anybody, each joule once."""
        return self._latest().energy

    @property
    def entries(self) -> tuple[EnergyComponent, ...]:
        """What was counted by anybody: stretches of each source that do not overlap, with their claims."""
        return self._latest().entries

    def _latest(self) -> Ledger:
        with self._guard():
            if self.path is not None:
                with self._failing(), _opened(self.path, os.O_RDONLY) as fd:
                    self._read(fd)
            return self._ledger

    def _guard(self) -> threading.Lock:
        if self._pid != os.getpid():  # in a forked child: who held the lock may not be here
            self._pid, self._lock = os.getpid(), threading.Lock()
        return self._lock

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn what the disk says into a LedgerError or, with the user's own file, into a notice."""
        try:
            yield
        except (OSError, LedgerError) as error:
            said = str(error)
            if isinstance(error, OSError):
                said = f"{error.filename or self.path or 'the ledger'}: {error.strerror or error}"
            if self._chosen:
                self._forget()
                raise LedgerError(said) from error
            self.path = None
            self.notice = f"ledger in memory only, other kernels do not see it: {said}"
            warnings.warn(self.notice, ResmonWarning, stacklevel=4)

    # -- the file --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, open, while nobody else adds."""
        assert self.path is not None
        with _opened(_beside(self.path, ".lock"), os.O_RDWR | os.O_CREAT) as lock:
            give_up_s = time.monotonic() + LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up_s:
                        raise LedgerError(
                            f"{self.path}: another process has held the lock for {LOCK_WAIT_S:g} s; is it stopped?"
                        ) from None
                    time.sleep(0.002)
            with _opened(self.path, os.O_RDWR | os.O_CREAT) as fd:
                yield fd  # closing lets the lock go

    def _read(self, fd: int) -> None:
        """Take in what was added since the last look; all of it where the file is another one by now."""
        with os.fdopen(os.dup(fd), "rb") as file:
            head = file.readline()
            if not head.endswith(b"\n") and _HEAD.startswith(head[: len(_HEAD)]):
                head = b""  # empty, or its maker was killed: nothing was added
            if head != self._head or os.fstat(fd).st_size < self._read_to:
                self._forget()
                if head:
                    self._check(head)
                self._head, self._read_to = head, len(head)
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                self._take(line)
        if self._damaged:
            self.notice = f"{self._damaged} damaged entries in {self.path} were left out"

    def _check(self, head: bytes) -> None:
        found = _HEAD_LINE.fullmatch(head)
        if found is None:
            raise LedgerError(
                f"{self.path} is no ledger, or its first line is damaged; move it away to begin a new one"
            )
        version = int(found[1])
        if version > VERSION:
            raise LedgerError(f"{self.path} was written by a newer resmon (version {version}, this reads {VERSION})")

    def _take(self, line: bytes) -> None:
        try:
            facts = _content(line)
            self._ledger.restore([EnergyComponent.from_dict(e) for e in facts["entries"]], facts["not_covered"])
        except (KeyError, TypeError, ValueError, AttributeError):
            self._damaged += 1

    def _forget(self) -> None:
        self._ledger, self._head, self._read_to, self._damaged = Ledger(), b"", 0, 0

    def _begin(self, fd: int) -> None:
        head = b"%s%d %s\n" % (_HEAD, VERSION, os.urandom(8).hex().encode())  # an id, for inodes are used again
        _write(fd, head, 0)
        self._head, self._read_to = head, len(head)

    def _append(self, fd: int, entries: Iterable[EnergyComponent]) -> None:
        if not self._head:
            self._begin(fd)
        line = _line({"entries": [asdict(e) for e in entries], "not_covered": self._ledger.not_covered})
        _write(fd, line, self._read_to)
        self._read_to += len(line)
        if self._read_to > self._max_bytes:
            self._shrink()

    def _shrink(self) -> None:
        """Put a file in its place that holds the entries alone, joined where they are too many."""
        assert self.path is not None
        self._ledger.join(self._max_bytes // BYTES_PER_ENTRY)
        new = _beside(self.path, ".new")
        new.unlink(missing_ok=True)  # of one who was killed here: the lock is ours
        with _opened(new, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
            self._begin(fd)
            for entry in self._ledger.entries:
                line = _line({"entries": [asdict(entry)], "not_covered": self._ledger.not_covered})
                _write(fd, line, self._read_to)
                self._read_to += len(line)
        new.replace(self.path)


def _default_path() -> Path:
    directory = record_directory()
    prepare_directory(directory)
    path = directory / f"{hashlib.sha256(MonotonicClock().boot.encode()).hexdigest()[:16]}.ledger"
    for old in directory.glob("*.ledger*"):
        with contextlib.suppress(OSError):
            if not old.name.startswith(path.name) and time.time() - old.stat().st_mtime > KEEP_S:
                old.unlink()
    return path


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor of a plain file of the user's own. Raises OSError for anything else."""
    fd = os.open(path, flags | _FLAGS | getattr(os, "O_NONBLOCK", 0), 0o600)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or (hasattr(os, "getuid") and info.st_uid != os.getuid()):
            raise OSError(f"{path} is not a plain file of yours")
        yield fd
    finally:
        os.close(fd)


def _write(fd: int, line: bytes, at: int) -> None:
    """Write a line where the last whole one ends, over what a killed process left; nothing of it where that fails."""
    os.ftruncate(fd, at)
    os.lseek(fd, at, os.SEEK_SET)
    try:
        written = os.write(fd, line)
    except OSError:
        os.ftruncate(fd, at)
        raise
    if written != len(line):
        os.ftruncate(fd, at)
        raise OSError(f"only {written} of {len(line)} bytes were written: the disk is full")


def _line(facts: dict[str, Any]) -> bytes:
    content = json.dumps(facts, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _content(line: bytes) -> dict[str, Any]:
    """The object of a line; an empty one where its checksum does not fit."""
    checksum, _, content = line.rstrip(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(content):
        return {}
    facts = json.loads(content)
    return facts if isinstance(facts, dict) else {}
