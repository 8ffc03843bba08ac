"""torch's launcher in a process of its own: ``python -m resmon.distributed.agent RANKS``.

Its standard input is a pipe to the notebook. When that closes, because the notebook says so or because it died, every
process of the run is killed. torch's launcher changes signal handlers and gives each rank a session of its own; here
that touches nobody else.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from resmon.distributed.rundir import RUN, RunDirectory, write_whole
from resmon.distributed.worker import AGENT

BACKEND = "RESMON_BACKEND"
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.25
_LAST_WORDS_S = 1.5
"""How long the launcher may take to report once its ranks were killed."""


def main() -> int:
    """Launch the ranks, report how they ended, leave no process; 0 if all ended well."""
    directory = RunDirectory(os.environ[RUN])
    os.environ[AGENT] = str(os.getpid())
    notebook = os.getppid()
    life = os.dup(0)
    os.set_inheritable(life, False)  # noqa: FBT003 - the os module takes it by position only
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    _adopt_orphans()
    watcher = threading.Thread(target=_watch, args=(life, notebook), name="resmon-life", daemon=True)
    watcher.start()
    report = _launch(directory, int(sys.argv[1]))
    end_descendants()
    _reap()
    write_whole(directory.report, json.dumps(report).encode())
    return 0 if report == {"failures": {}} else 1


def _launch(directory: RunDirectory, ranks: int) -> dict[str, Any]:
    """Run torch's launcher; ``failures``: the exit status of each rank that failed; ``error``: what else there was."""
    try:
        from torch.distributed import run
        from torch.distributed.elastic.multiprocessing.api import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

        problem = _too_few_gpus(ranks)
        if problem:
            return {"failures": {}, "error": problem}
        options = ["--standalone", f"--nproc-per-node={ranks}", "--max-restarts=0", "--monitor-interval=0.1"]
        options += ["--local-addr=127.0.0.1", f"--log-dir={directory.path / 'torch'}"]
        parsed = run.parse_args(  # type: ignore[no-untyped-call]  # torch leaves these two untyped
            [*options, "-m", "resmon.distributed.worker"]
        )
        parsed.shutdown_timeout = 3
    except BaseException as error:  # noqa: BLE001 - an ImportError, or argparse's SystemExit: the notebook tells of it
        return {"failures": {}, "error": f"{type(error).__name__}: {error}"}
    try:
        run.run(parsed)  # type: ignore[no-untyped-call]
    except ChildFailedError as failed:
        return {"failures": {str(rank): failure.exitcode for rank, failure in failed.failures.items()}}
    except SignalException as error:
        return {"failures": {}, "error": f"the launcher was ended by {error.sigval.name}"}
    except Exception as error:  # noqa: BLE001 - whatever the launcher raises, the notebook tells of it
        return {"failures": {}, "error": f"{type(error).__name__}: {error}"}
    return {"failures": {}}


def _too_few_gpus(ranks: int) -> str:
    if "nccl" not in os.environ.get(BACKEND, ""):
        return ""
    import torch

    count = torch.cuda.device_count()
    if count >= ranks:
        return ""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    limited = "" if seen is None else f" (CUDA_VISIBLE_DEVICES={seen!r})"
    remedy = "ask for backend='gloo'" + (f" or ranks={count}" if count else "")
    return f"{ranks} ranks with NCCL need {ranks} GPUs, and PyTorch sees {count}{limited}; {remedy}"


def _watch(life: int, notebook: int) -> None:
    """Wait for the notebook's word or end. A child that it forked may hold the pipe open: look at the parent too."""
    while os.getppid() == notebook:
        if select.select([life], [], [], _LOOK_S)[0] and not os.read(life, 1):
            break
    end_descendants()
    time.sleep(_LAST_WORDS_S)
    _reap()
    os._exit(1)


def _adopt_orphans() -> None:
    """What the ranks' children leave behind becomes ours, wherever it was started, so that it can be ended."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants(within_s: float = 3.0) -> None:
    """Kill every process below this one, again until none is left."""
    import psutil

    until = time.monotonic() + within_s
    me = psutil.Process()
    while (left := [p for p in me.children(recursive=True) if _alive(p)]) and time.monotonic() < until:
        for process in left:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        time.sleep(0.02)


def _reap() -> None:
    """Take the exit status of what has ended and is ours now: where process 1 does not, it would stay a zombie.

    Only once torch's launcher asks for none any more.
    """
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _alive(process: Any) -> bool:
    import psutil

    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the notebook waits: nothing is left to be done, and taking torch down takes its time
