"""The node's end of a rank on a cluster: starts it there as a process of its own, and tells what it does.

It lives in a process of the cluster (a Ray actor, a Dask worker) and imports next to nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from resmon.clock import MonotonicClock
from resmon.distributed.rundir import RUN, RunDirectory, write_whole
from resmon.distributed.worker import AGENT, STACKS_SIGNAL

CHUNK_BYTES = 1 << 20
"""The most output that one look carries."""
PIECE_BYTES = 32 << 20
"""And the most of a file: a large result takes several looks, each of which answers soon; a slow one would be taken for
a lost node."""
_PREFIX = "resmon-rank-"
_NEW_S = 60.0
LEASE_S = 30.0
"""A rank that its notebook has not asked about for so long has lost it, and ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A node as its process tells it: its name, an address that others reach, a port that is free there.

    ``network`` is alike for processes that reach each other over loopback. ``gpus`` are those that CUDA shows to its
    process, its own first; empty where CUDA_VISIBLE_DEVICES does not say.
    """

    host: str
    address: str
    port: int
    network: str
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a rank told since the last look. ``exit_status`` is None while it runs.

    ``files`` are the next pieces of files that are whole, by name; of those in ``more`` others follow.
    """

    pid: int | None
    memory_bytes: int | None
    stopped: bool
    exit_status: int | None
    output: bytes
    files: Mapping[str, bytes]
    more: frozenset[str] = frozenset()


def own_directory() -> tuple[RunDirectory, int]:
    """A new directory for the files of one rank, and what holds it: a lock that ends with this process.

    What processes left behind that were killed is removed: nobody holds it.
    """
    import fcntl

    made = Path(tempfile.mkdtemp(prefix=_PREFIX))
    held = os.open(made, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for other in made.parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            found = other.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < _NEW_S:
                continue  # a stranger's, or one that may not be held yet
            fd = os.open(other, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(other, ignore_errors=True)
            finally:
                os.close(fd)
    return RunDirectory(made), held


def address_towards(other: str) -> str | None:
    """The address of this machine's interface that leads to another; None where none does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other, 9))  # sends nothing
        except OSError:
            return None
        return str(probe.getsockname()[0])


def network_here() -> str:
    """Names the loopback interface of this process: that of a boot of a machine, or of a container on it."""
    boot = MonotonicClock().boot
    try:
        return f"{boot} {Path('/proc/self/ns/net').readlink()}"
    except OSError:  # not Linux
        return boot


class RankHost:
    """One rank on this node. Its methods are called one after the other; ``kill`` is safe from any thread."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: RunDirectory | None = None
        self._held = -1
        self._sent: dict[str, int] = {}
        self._offset = 0
        self._lock = threading.Lock()
        self._asked_s = time.monotonic()

    def where(self, towards: str) -> Where:
        """This node; ``towards`` is an address of the notebook's machine, which chooses the interface."""
        address = address_towards(towards) or "127.0.0.1"
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
            free.bind(("", 0))
            port = int(free.getsockname()[1])
        gpus = tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
        return Where(host=socket.gethostname(), address=address, port=port, network=network_here(), gpus=gpus)

    def start(self, env: Mapping[str, str], payload: bytes, connection: bytes | None) -> None:
        """Start the rank, these variables on top of the node's own. ``connection``: the notebook's connection file."""
        directory, self._held = own_directory()
        self._directory = directory
        write_whole(directory.payload, payload)
        full = {**os.environ, **env, RUN: str(directory.path), AGENT: str(os.getpid())}
        if connection is not None:
            path = directory.path / "connection.json"
            write_whole(path, connection)
            full["RESMON_CONNECTION"] = str(path)
        places = [str(Path(__file__).parents[2]), *filter(None, [full.get("PYTHONPATH")])]
        full["PYTHONPATH"] = os.pathsep.join(places)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "resmon.distributed.worker"],
            env=full,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._asked_s = time.monotonic()
        threading.Thread(target=self._watch, args=(self._process,), name="resmon-lease", daemon=True).start()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """End the rank when nobody asks about it any more: its notebook was killed, or cannot reach this node."""
        while self._process is process:
            time.sleep(1.0)
            if time.monotonic() - self._asked_s > LEASE_S:
                self.kill()

    def look(self) -> Look:
        """What is new since the last look."""
        self._asked_s = time.monotonic()
        process, directory = self._process, self._directory
        if process is None or directory is None:
            return Look(pid=None, memory_bytes=None, stopped=False, exit_status=None, output=b"", files={})
        status = process.poll()  # before the files: what is there at the end is whole
        memory_bytes, stopped = None, False
        with suppress(psutil.Error):
            found = psutil.Process(process.pid)
            memory_bytes = found.memory_info().rss or None
            stopped = found.status() == psutil.STATUS_STOPPED
        files, more = {}, set()
        for path in (
            directory.started(self.rank),
            directory.result(self.rank),
            directory.failure(self.rank),
            directory.traceback(self.rank),
        ):
            sent = self._sent.get(path.name, -1)
            if not path.exists() or sent == path.stat().st_size:
                continue
            with path.open("rb") as file:
                file.seek(max(0, sent))
                files[path.name] = file.read(PIECE_BYTES)
            self._sent[path.name] = max(0, sent) + len(files[path.name])
            if self._sent[path.name] < path.stat().st_size:
                more.add(path.name)
        return Look(
            pid=process.pid,
            memory_bytes=memory_bytes,
            stopped=stopped,
            exit_status=status,
            output=self._output(directory),
            files=files,
            more=frozenset(more),
        )

    def _output(self, directory: RunDirectory) -> bytes:
        try:
            with directory.log(self.rank).open("rb") as file:
                file.seek(self._offset)
                found = file.read(CHUNK_BYTES)
        except OSError:
            return b""
        self._offset += len(found)
        return found

    def stacks(self) -> bytes:
        """Where the rank's threads are, as ``faulthandler`` tells it; what it has written so far."""
        process, directory = self._process, self._directory
        if process is None or directory is None:
            return b""
        with suppress(OSError):
            return directory.stacks(self.rank).read_bytes()
        return b""

    def signal(self, number: int) -> None:
        """Send a signal to the rank and what it started; the one for stacks to the rank alone."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if number == STACKS_SIGNAL:
                os.kill(process.pid, number)
            else:
                os.killpg(process.pid, number)

    def kill(self) -> None:
        """End the rank and remove its files. Idempotent."""
        with self._lock:
            process, self._process = self._process, None
            directory, self._directory = self._directory, None
        if process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if directory is not None:
            shutil.rmtree(directory.path, ignore_errors=True)
            os.close(self._held)
