"""``resmon.launch``: run a function on several ranks, processes of their own, and wait for what they return."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NoReturn, TypeVar

from resmon.distributed import failures, payload
from resmon.distributed.arguments import check, check_call, count_of, name_of, shown_of
from resmon.distributed.engines import ranks_on
from resmon.distributed.launched import Run
from resmon.distributed.output import Output
from resmon.distributed.receiver import Receiver
from resmon.distributed.rundir import RunDirectory, write_whole
from resmon.distributed.unpicklable import explain
from resmon.errors import LaunchError, NotPicklableError
from resmon.monitor import Monitor
from resmon.process import get_monitor
from resmon.rankboard import RankBoard
from resmon.windows import describe_error

log = logging.getLogger("resmon")

LOOK_S = 0.1
OTHERS_S = 8.0
"""How long the other ranks may take to end once one has failed."""

_Error = TypeVar("_Error", bound=BaseException)
_turn = threading.Lock()
_running = ""


def launch(
    fn: Callable[..., Any],
    ranks: int = 1,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    backend: str | None = None,
    on: Any = None,
    timeout_s: float | None = None,
    *,
    output: Literal["first", "all"] | Sequence[int] = "first",
) -> Run:
    """Run ``fn(*args, **kwargs)`` on ``ranks`` processes, and return what they returned.

    Each rank is a process of its own, with RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set, as under
    ``torchrun --standalone``, which starts those of this machine: what works there works here. ``fn`` may be defined in
    the notebook; what it uses travels with it. Tensors come back on the CPU.

    backend: None leaves ``torch.distributed.init_process_group()`` to ``fn``; ``"nccl"``, ``"gloo"`` or another makes
    the process group before ``fn`` runs, with NCCL on the GPU of the rank's number.
    on: None for this machine; a Ray address (``"auto"``, ``"head:6379"``) for actors in a placement group, all ranks or
    none; a ``distributed.Client`` for the workers of a Dask cluster, a rank on each. Their nodes need resmon and torch.
    timeout_s: the most that the whole run may take. output: whose output is shown while it runs, ``"first"`` for
    rank 0, ``"all"``, or the ranks themselves; the files in ``run.logs`` have all of it.

    Raises LaunchError where a rank fails (its ``__cause__`` has the rank's traceback), LaunchTimeoutError,
    NotPicklableError, and ValueError or TypeError for arguments that are wrong. An interrupt ends every rank within a
    few seconds and raises KeyboardInterrupt. What is raised while ranks run has the ``run``.
    """
    __tracebackhide__ = True  # where IPython shows an error: the user's lines and the rank's, not ours
    global _running  # noqa: PLW0603 - there is one turn for the whole process
    world_size = count_of(ranks)
    shown = shown_of(output, world_size)
    check(fn, backend, on, timeout_s)
    check_call(args, kwargs)
    name = name_of(fn)
    if not _turn.acquire(blocking=False):
        raise LaunchError(f"{_running or 'a run'} still runs in this process; launch {name} when it has ended")
    try:
        _running = name
        packed = _pack(name, fn, args, kwargs or {}, backend)
        return _Launch(name, world_size, shown, timeout_s, on).run(packed, backend)
    finally:
        _running = ""
        _turn.release()


class _Launch:
    """One launch, from the run's directory to its Run."""

    def __init__(self, name: str, world_size: int, shown: Sequence[int], timeout_s: float | None, on: Any) -> None:
        self.name = name
        self.timeout_s = timeout_s
        try:
            self.directory = RunDirectory.make()
        except OSError as error:
            raise LaunchError(f"{name}: no directory for the run: {error}") from error
        try:
            self.ranks = ranks_on(on, self.directory, world_size)
        except BaseException:
            self.directory.path.rmdir()  # it would push the output of an earlier run out
            raise
        self.monitor = get_monitor()
        self.board = RankBoard(world_size, self.monitor.clock, title=name)
        self.window = self.monitor.measure(name)
        self.output = Output({rank: self.directory.log(rank) for rank in shown}, _print)
        self.oom_kills = failures.oom_kills()

    def run(self, packed: bytes, backend: str | None) -> Run:
        """Run to the end, and leave nothing but the files of output."""
        __tracebackhide__ = True
        try:
            self._write(packed)
            self.ranks.place(backend, self.timeout_s)
            self.window.open()
            self._watch_ranks()
            with _interruptible(), _samples_of(self.board, self.monitor, self.ranks.listen_on) as env:
                self._until_the_end(env, backend)
            return self._ended()
        finally:
            self.ranks.kill()
            self.output.close()
            self.board.close()
            self.window.close()
            self.directory.remove_data()

    def _write(self, packed: bytes) -> None:
        try:
            write_whole(self.directory.payload, packed)
        except OSError as error:
            raise LaunchError(
                f"{self.name}: {len(packed)} bytes for the ranks cannot be written to {self.directory.path}: "
                f"{error.strerror}; set RESMON_RECORD_DIR to a directory on a disk with room"
            ) from error

    def _watch_ranks(self) -> None:
        try:
            self.monitor.watch_ranks(self.board)
        except Exception:  # a view that cannot be shown must not cost the user the run
            log.warning("resmon: the ranks cannot be shown", exc_info=True)

    def _until_the_end(self, env: Mapping[str, str], backend: str | None) -> None:
        """Start the ranks and wait for them; however this is left, no process is."""
        __tracebackhide__ = True
        limits = self.monitor.limits
        cores = limits.cpu_cores if limits is not None else os.cpu_count() or 1
        until_s = math.inf if self.timeout_s is None else time.monotonic() + self.timeout_s
        failed_s: float | None = None
        try:
            self.ranks.start(env, backend, threads=max(1, int(cores) // len(self.ranks.ranks)))
            while self.ranks.running:
                self._look()
                now_s = time.monotonic()
                if now_s > until_s:
                    self._time_is_up()
                if not self.ranks.some_failed:
                    failed_s = None
                elif failed_s is None:
                    failed_s = now_s
                elif now_s - failed_s > OTHERS_S:
                    self.ranks.kill()
                time.sleep(LOOK_S)
        except KeyboardInterrupt as interrupt:
            self.ranks.end()
            self._last_look()
            raise self._with_run(interrupt, failures.read_ends(self.ranks, None, stopped_by="interrupted")) from None
        finally:
            self.ranks.kill()

    def _look(self) -> None:
        self.ranks.look()
        self.output.poll()
        for i, rank in enumerate(self.ranks.ranks):
            if rank.returned:
                self.board.ended(i, "done", rank.host)

    def _last_look(self) -> None:
        self._look()
        self.output.poll(final=True)

    def _time_is_up(self) -> NoReturn:
        __tracebackhide__ = True
        assert self.timeout_s is not None
        error = failures.timed_out(self.name, self.ranks, self.timeout_s)
        self.ranks.end()
        self._last_look()
        raise self._with_run(error, failures.read_ends(self.ranks, None, stopped_by="timed out"))

    def _ended(self) -> Run:
        __tracebackhide__ = True
        self._last_look()
        ends = failures.read_ends(self.ranks, self.oom_kills)
        if any(outcome != "done" for outcome in ends.outcomes):
            raise self._with_run(failures.failed(self.name, self.ranks, ends), ends)
        return self._run(ends.outcomes, None)

    def _with_run(self, error: _Error, ends: failures.Ends) -> _Error:
        """The error, with what there is of the run."""
        error.run = self._run(ends.outcomes, describe_error(error))  # type: ignore[attr-defined]  # any exception takes it
        return error

    def _run(self, outcomes: Sequence[str], error: str | None) -> Run:
        for i, outcome in enumerate(outcomes):
            self.board.ended(i, outcome, self.ranks.ranks[i].host)
        self.window.close(error)
        return Run(
            name=self.name,
            results=[self._result(i, fails=error is None) for i in range(len(outcomes))],
            outcomes=tuple(outcomes),
            measurement=self.window.measurement,
            directory=self.directory.path,
            logs=tuple(self.directory.log(i) for i in range(len(outcomes))),
        )

    def _result(self, rank: int, *, fails: bool) -> Any:
        path = self.directory.result(rank)
        try:
            return payload.load_result(path) if path.exists() else None
        except Exception as error:
            if not fails:
                return None
            raise LaunchError(
                f"{self.name}: what rank {rank} returned cannot be read here: {describe_error(error)}; "
                f"return plain values, arrays, tensors or a state_dict()"
            ) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have an interrupt raise KeyboardInterrupt while this thread waits for the ranks.

    In a cell with ``await``, as under ``asyncio.run``, an interrupt would only cancel the task, which takes no notice
    while it does not await. The handler that was there is put back.
    """
    handler = signal.getsignal(signal.SIGINT)
    if (
        threading.current_thread() is not threading.main_thread()
        or not callable(handler)
        or handler is signal.default_int_handler
        or asyncio._get_running_loop() is None  # noqa: SLF001 - the public name raises where there is none
    ):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _samples_of(board: RankBoard, monitor: Monitor, host: str) -> Iterator[dict[str, str]]:
    """Listen for the samples of the ranks; gives what the ranks must find in their environment."""
    receiver = None
    try:
        receiver = Receiver(board, monitor, host)
        receiver.start()
        env = {"RESMON_CONNECTION": str(receiver.connection_file)}
    except Exception:  # without samples the run is what it was
        log.warning("resmon: no samples of the ranks", exc_info=True)
        env = {}
    try:
        yield env
    finally:
        if receiver is not None:
            receiver.stop()


def _pack(
    name: str, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], backend: str | None
) -> bytes:
    __tracebackhide__ = True
    try:
        return payload.dump_work(fn, args, kwargs, backend)
    except Exception as error:  # noqa: BLE001 - whatever a class does when it is pickled, its message is passed on
        raise NotPicklableError(
            f"{name} cannot be sent to its ranks: {explain(fn, args, kwargs, error)}. "
            f"Make it inside the function, or pass what it is made from"
        ) from None


def _print(text: str) -> None:
    sys.stdout.write(text)  # what stands there now: a notebook's cell, or what the caller redirected it to
    sys.stdout.flush()
