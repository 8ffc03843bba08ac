"""Ranks that somebody else launched join the notebook that listens: by a call, or unasked when they start.

``resmon-join.pth``, which is installed beside the package, calls :func:`join_unasked` at the start of a Python that
inherits ``RESMON_CONNECTION``, and of no other: ``torchrun train.py`` needs no change.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence

from resmon.distributed.environment import REPORTS, find_place, started_by_rank

SWITCH = "RESMON_JOIN"
"""``0`` leaves joining to the script."""
IN_LAUNCHER = "RESMON_IN_LAUNCHER"
"""Set by a launcher, which may itself be a process of mpirun or Slurm: what it starts inherits their variables; those
among it that are ranks have torch's, or are the one script of ``accelerate launch``."""

_LAUNCHERS = frozenset(
    {
        "accelerate",
        "accelerate-launch",
        "accelerate.commands.launch",
        "deepspeed",
        "deepspeed.launcher.launch",
        "deepspeed.launcher.runner",
        "torch.distributed.launch",
        "torch.distributed.run",
        "torchrun",
    }
)
_NOTEBOOKS = ("jupyter", "ipykernel")
"""How the names begin of what runs a notebook: it may lie within a launcher's job, and what it starts may be ranks."""
_SLURM_OWN_STEPS = 0xFFFFFFF0
"""Slurm's numbers for what is no job step of ``srun``: the batch script, the shell of ``salloc``."""
_asked: list[bool] = []


def join() -> bool:
    """In a training script: tell the notebook that ``RESMON_CONNECTION`` leads to what this rank does.

    Which rank this is comes from the launcher's variables (torchrun, accelerate, mpirun, Slurm). Returns at once, never
    raises, never holds the rank up; True where it reports. At the end of the script the notebook learns how it ended.
    Idempotent; not needed where resmon is installed in the Python that a launcher starts.
    """
    from resmon.distributed import connection, sender  # here: most of what imports this is no rank
    from resmon.distributed.reporting import say

    if not os.environ.get(connection.VARIABLE):
        say(f"{connection.VARIABLE} is not set, so this process is not shown in a notebook")
        return False
    if not sender.start_reporting():
        return False
    atexit.unregister(_leave)
    atexit.register(_leave)
    return True


def join_unasked() -> bool:
    """Join where this process is a rank that a launcher started; True where it reports. Never raises.

    What is none starts as ever: the launchers themselves, notebooks, what a rank starts, the ranks of ``resmon.launch``
    (they report by themselves), a process without a launcher's variables. Under Slurm a rank is a task of ``srun``: a
    batch script has the variables of rank 0 too. Does its work once: in a virtual environment Python reads its
    ``.pth`` files twice.
    """
    if _asked:
        return False
    _asked.append(True)
    environ = os.environ
    program = program_of(sys.orig_argv)
    if environ.get(SWITCH) == "0" or program.startswith(_NOTEBOOKS) or started_by_rank():
        return False
    if program in _LAUNCHERS:
        environ[IN_LAUNCHER] = "1"
        return False
    try:
        launcher = find_place().launcher
    except ValueError:  # which join says
        launcher = "torch"
    if launcher == "accelerate":
        joins = program != "-c"  # what multiprocessing starts beside it
    elif launcher == "Slurm":
        joins = IN_LAUNCHER not in environ and _is_srun_step(environ.get("SLURM_STEP_ID", ""))
    else:
        joins = launcher == "torch" or (launcher != "" and IN_LAUNCHER not in environ)
    if not joins:
        return False
    from resmon.distributed.rundir import RUN

    if RUN in environ:
        return False
    environ[REPORTS] = str(os.getpid())  # where it fails too: what this rank starts need not say so again
    return join()


def _is_srun_step(number: str) -> bool:
    return number.isascii() and number.isdigit() and int(number) < _SLURM_OWN_STEPS


def program_of(words: Sequence[str]) -> str:
    """What a Python command line runs: a script's file name, a module's name, ``-c``, or nothing.

    words: as in ``sys.orig_argv``: ``("python", "-u", "-m", "torch.distributed.run", …)``.
    """
    rest = iter(words[1:])
    for word in rest:
        if not word.startswith("-"):
            return word.rpartition(os.sep)[2].removesuffix(".exe")
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                next(rest, None)
            continue
        for at, letter in enumerate(word[1:], 2):  # letters may stand together: -um module
            if letter == "m":
                return word[at:] or next(rest, "")
            if letter == "c":
                return "-c"
            if letter in "WX":
                if not word[at:]:
                    next(rest, None)
                break
    return ""


def _leave() -> None:
    from resmon.distributed import sender
    from resmon.errors import message_of

    error = getattr(sys, "last_value", None)
    sender.stop_reporting("done" if error is None else f"failed: {type(error).__name__}: {message_of(error)}")
