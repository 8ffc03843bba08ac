"""A rank: ``python -m resmon.distributed.worker``, started by torch's launcher with RANK, WORLD_SIZE and the rest set.

It imports next to nothing before the user's function is loaded.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from resmon.distributed.rundir import RUN, RunDirectory, write_whole

AGENT = "RESMON_LAUNCHER_PID"
STACKS_SIGNAL = getattr(signal, "SIGUSR2", None)
"""Asks a rank where its threads are."""
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the function of this run as one rank; 0 if it returned and its result could be kept."""
    rank = int(os.environ["RANK"])
    directory = RunDirectory(os.environ[RUN])
    _die_with(int(os.environ[AGENT]))
    _redirect(directory, rank)
    stacks = _append_to(directory.stacks(rank))  # held open for as long as the process lives
    if STACKS_SIGNAL is not None and signal.getsignal(STACKS_SIGNAL) == signal.SIG_DFL:
        faulthandler.register(STACKS_SIGNAL, stacks, all_threads=True)
    faulthandler.enable(sys.stderr)
    host = socket.gethostname()
    write_whole(directory.started(rank), json.dumps({"pid": os.getpid(), "host": host}).encode())
    try:
        stop_reporting = _report()
        try:
            value = _work(directory)
        finally:
            stop_reporting()
        _keep_result(directory, rank, value)
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt end a rank too, and are told
        if isinstance(error, SystemExit) and error.code in (None, 0):
            _keep_result(directory, rank, None)
            return 0
        _keep_failure(directory, rank, error, host)
        return 1
    return 0


def _work(directory: RunDirectory) -> Any:
    from resmon.distributed import payload

    work = payload.load_work(directory.payload)
    _stand_in_for_main(work.function)
    if work.backend is not None:
        _join_group(work.backend)
    value = work.function(*work.args, **work.kwargs)
    if type(value).__name__ == "coroutine":
        import asyncio

        value = asyncio.run(value)
    _leave_group()
    return value


def _stand_in_for_main(function: Callable[..., Any]) -> None:
    """Make ``__main__`` what the function's globals say it is.

    So plain pickle finds the notebook's classes (``torch.save``, queues of child processes), and processes that a
    rank spawns do not begin by running this module.
    """
    main = ModuleType("__main__")
    scope = getattr(function, "__globals__", {})
    if scope.get("__name__") == "__main__":
        vars(main).update({k: v for k, v in scope.items() if not k.startswith("__")})
        vars(main).setdefault("__builtins__", __builtins__)
    sys.modules["__main__"] = main


def _join_group(backend: str) -> None:
    import torch.distributed as dist

    if "nccl" in backend:
        import torch

        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(backend)


def _leave_group() -> None:
    """Destroy the process group that is left, whoever made it: torch warns of one that is not."""
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _report() -> Callable[[], None]:
    """Tell the notebook of this rank's samples, where it listens; returns what ends that."""
    if "RESMON_CONNECTION" not in os.environ:
        return lambda: None
    from resmon.distributed import sender
    from resmon.distributed.environment import REPORTS

    os.environ.pop(REPORTS, None)  # inherited where the notebook itself had joined another one
    sender.start_reporting()
    return sender.stop_reporting


def _keep_result(directory: RunDirectory, rank: int, value: Any) -> None:
    from resmon.distributed import payload

    try:
        packed = payload.dump_result(value)
    except Exception as error:
        raise TypeError(
            f"what the function returned, of type {type(value).__qualname__}, cannot be sent back: {error}; "
            f"return plain values, arrays, tensors or a state_dict()"
        ) from error
    try:
        write_whole(directory.result(rank), packed)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the result ({len(packed)} bytes) cannot be written to {directory.path}: {error.strerror}; "
            f"set RESMON_RECORD_DIR to a directory on a disk with room",
        ) from error


def _keep_failure(directory: RunDirectory, rank: int, error: BaseException, host: str) -> None:
    from resmon.distributed import payload

    packed, text = payload.dump_failure(error, host, time.time())
    with suppress(OSError):  # a full disk: what is known is in the exit status and the end of the output
        write_whole(directory.traceback(rank), text.encode("utf-8", "backslashreplace"))
        write_whole(directory.failure(rank), packed)


def _redirect(directory: RunDirectory, rank: int) -> None:
    """Standard output and standard error go to the rank's own file, those of its children too."""
    fd = _append_to(directory.log(rank))
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]  # both are text


def _append_to(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _die_with(launcher: int) -> None:
    """End when the launcher does: by the kernel's hand, which a call that holds the GIL cannot put off."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(launcher,), name="resmon-launcher", daemon=True).start()
    if os.getppid() != launcher:
        os._exit(1)


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
