"""The ranks of one run on this machine, as the notebook sees them: started, looked at, ended."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from resmon.distributed import ending
from resmon.distributed.agent import BACKEND
from resmon.distributed.rundir import RUN, RunDirectory, read_json
from resmon.distributed.worker import STACKS_SIGNAL

KILLED_S = 5.0
SAMPLE_S = 0.5
STACKS_S = 1.0


@dataclass(slots=True)
class Rank:
    """What is known of one rank. ``memory_bytes`` is the resident memory of its process at ``memory_at_s``.

    ``gone_s`` is the wall-clock time at which its process was first missed, when it had not said that it ended.
    """

    pid: int | None = None
    host: str = ""
    memory_bytes: int | None = None
    memory_at_s: float = 0.0
    returned: bool = False
    failed: bool = False
    gone_s: float | None = None

    @property
    def runs(self) -> bool:
        """True from its first sign of life to its end, as far as it told of it."""
        return self.pid is not None and not self.returned and not self.failed


class LocalRanks:
    """Ranks as processes below a launcher's process. One thread uses it; after :meth:`kill` nothing of it is left."""

    def __init__(self, directory: RunDirectory, world_size: int) -> None:
        self.directory = directory
        self.ranks = [Rank() for _ in range(world_size)]
        self._launcher: subprocess.Popen[bytes] | None = None
        self._sampled_s = float("-inf")
        self.listen_on = "127.0.0.1"

    def place(self, backend: str | None, timeout_s: float | None) -> None:
        """This machine has a place for every rank; the launcher counts its GPUs."""

    def start(self, env: Mapping[str, str], backend: str | None, threads: int) -> None:
        """Start the launcher, which starts the ranks. ``threads`` is for OpenMP in each, unless the user chose."""
        full = {"OMP_NUM_THREADS": str(threads), **os.environ, **env, RUN: str(self.directory.path)}
        full |= {"PYTHONPATH": _python_path(full.get("PYTHONPATH", "")), BACKEND: backend or ""}
        command = [sys.executable, "-m", "resmon.distributed.agent", str(len(self.ranks))]
        log = os.open(self.directory.agent_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._launcher = subprocess.Popen(
                command, env=full, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        finally:
            os.close(log)

    @property
    def running(self) -> bool:
        """Whether the launcher runs; it outlives the ranks."""
        return self._launcher is not None and self._launcher.poll() is None

    @property
    def launcher_status(self) -> int | None:
        """The exit status of the launcher, negative for a signal; None while it runs."""
        return None if self._launcher is None else self._launcher.poll()

    def look(self) -> None:
        """Take in what the ranks told since, and twice a second their memory."""
        now_s = time.monotonic()
        sample = now_s - self._sampled_s >= SAMPLE_S
        if sample:
            self._sampled_s = now_s
        for i, rank in enumerate(self.ranks):
            if rank.pid is None and (told := read_json(self.directory.started(i))):
                rank.pid, rank.host = int(told["pid"]), str(told["host"])
            if rank.runs:
                rank.returned = self.directory.result(i).exists()
                rank.failed = self.directory.failure(i).exists()
            if sample and rank.runs and rank.pid is not None:
                with suppress(psutil.Error):  # it ends now
                    memory_bytes = psutil.Process(rank.pid).memory_info().rss
                    if memory_bytes:  # a process that was just killed has none any more
                        rank.memory_bytes, rank.memory_at_s = memory_bytes, now_s
            if rank.gone_s is None and rank.runs and not self._is_rank(rank):
                rank.gone_s = time.time()

    @property
    def some_failed(self) -> bool:
        """Whether a rank told that it failed, or is gone without a word."""
        return any(rank.failed or (rank.runs and rank.gone_s is not None) for rank in self.ranks)

    def stopped(self, rank: int) -> bool:
        """Whether a signal stopped the rank's process."""
        pid = self.ranks[rank].pid
        try:
            return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False

    def ask_for_stacks(self) -> None:
        """Have every rank that runs write where its threads are; waits a moment for that."""
        if STACKS_SIGNAL is None:
            return
        asked = [i for i, rank in enumerate(self.ranks) if rank.runs and not self.stopped(i)]
        for i in asked:
            self._signal(self.ranks[i], STACKS_SIGNAL)
        until = time.monotonic() + STACKS_S
        while time.monotonic() < until and not all(_filled(self.directory.stacks(i)) for i in asked):
            time.sleep(0.02)
        time.sleep(0.05)  # a long dump is written in pieces

    def end(self) -> None:
        """End the run: SIGINT, SIGTERM, SIGKILL, each after a bounded time. A second interrupt goes to the last."""
        ending.end(self._ask, self.kill)

    def _ask(self, number: int, within_s: float) -> bool:
        self.look()
        told = [rank for rank in self.ranks if rank.runs]
        for rank in told:
            self._signal(rank, number)
        return not told or self._wait(within_s)

    def kill(self) -> None:
        """Leave no process. Idempotent, and not to be interrupted: an interrupt only makes it look again."""
        ending.to_the_end(self._kill)

    def _kill(self) -> None:
        launcher = self._launcher
        if launcher is None:
            return
        if launcher.stdin is not None:
            with suppress(OSError):
                launcher.stdin.close()  # the launcher kills its ranks and ends
        if not self._wait(KILLED_S):
            launcher.kill()  # its ranks follow by themselves
            launcher.wait()
        self.look()

    def _wait(self, within_s: float) -> bool:
        until = time.monotonic() + within_s
        while self.running:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        return True

    def _is_rank(self, rank: Rank) -> bool:
        """Whether the process of that number is still this rank: a number may be given out again."""
        try:
            process = psutil.Process(rank.pid)
            return (
                self._launcher is not None
                and process.ppid() == self._launcher.pid
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False

    def _signal(self, rank: Rank, number: int) -> None:
        if rank.pid is None or not self._is_rank(rank):
            return
        with suppress(ProcessLookupError, PermissionError):
            if number == STACKS_SIGNAL:
                os.kill(rank.pid, number)
            else:
                os.killpg(rank.pid, number)  # its session: what it started hears it too, as at a terminal


def _filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _python_path(inherited: str) -> str:
    """``PYTHONPATH`` with the place of this very package first, unless it is installed where Python looks anyway."""
    home = str(Path(__file__).parents[2])
    places = [part for part in inherited.split(os.pathsep) if part]
    if home in places or home in (*site.getsitepackages(), site.getusersitepackages()):
        return inherited
    return os.pathsep.join([home, *places])
