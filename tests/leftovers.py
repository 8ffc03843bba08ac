"""What a test can leave behind: threads, processes, open files, signal handlers, IPython hooks."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

GRACE_S = 2.0
"""How long something that is already ending may take to be gone."""

OPEN_FILES = Path("/proc/self/fd")
TASKS = Path("/proc/self/task")


def traces() -> Counter[str]:
    """Name what this process holds now and a finished test must not add to. Costs about a millisecond."""
    return Counter((*_threads(), *_children(), *_readers(), *_files(), *_signal_handlers(), *_shell_hooks()))


def left_since(before: Counter[str]) -> list[str]:
    """Return what is there now and was not before, once what is ending has had the time to end."""
    until = time.monotonic() + GRACE_S
    while (left := traces() - before) and time.monotonic() < until:
        time.sleep(0.01)
    return sorted(left.elements())


def hooks_of(shell: Any) -> list[str]:
    """Name the callbacks, input transformers and magics of resmon in an IPython shell."""
    callbacks = [(event, f) for event, functions in shell.events.callbacks.items() for f in functions]
    transformers = [("input_transformers_cleanup", f) for f in shell.input_transformers_cleanup]
    transformers += [("input_transformers_post", f) for f in shell.input_transformers_post]
    transformers += [("custom_matchers", f) for f in shell.Completer.custom_matchers]
    magics = [(f"{kind} magic", f) for kind, table in shell.magics_manager.magics.items() for f in table.values()]
    return [f"IPython {where}: {f!r}" for where, f in callbacks + transformers + magics if _is_ours(f)]


def _is_ours(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    modules = (getattr(function, "__module__", None), type(function).__module__, type(owner).__module__)
    return any(str(module).split(".", maxsplit=1)[0] == "resmon" for module in modules)


def _threads() -> Iterator[str]:
    return (f"thread {t.name}" for t in threading.enumerate() if t.name.startswith("resmon"))


def _children() -> Iterator[str]:
    try:
        pids = {int(pid) for task in TASKS.iterdir() for pid in (task / "children").read_text().split()}
    except OSError:  # no such list in this kernel, or a thread ended meanwhile
        pids = {child.pid for child in psutil.Process().children()}
    return (f"child process {pid}" for pid in pids if not _is_helper(pid))


def _is_helper(pid: int) -> bool:
    """Multiprocessing keeps its own helpers until the interpreter ends."""
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
    return "multiprocessing.resource_tracker" in command or "multiprocessing.forkserver" in command


def readers() -> dict[int, int]:
    """Each process of this machine that reads GPUs for another, by its pid, with the pid of that other one.

    They are nobody's children. A zombie reads nothing.
    """
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "comm").read_text() != "resmon-nvml\n":
                continue
            words = (place / "cmdline").read_bytes().split(b"\0")  # of a zombie: none
        except OSError:
            continue  # ended meanwhile
        after = [words[i + 1] for i, word in enumerate(words) if b"resmon.sensors.nvml_helper" in word]
        if after:
            found[int(place.name)] = int(after[0])
    return found


def _readers() -> Iterator[str]:
    for pid, served in readers().items():
        if served == os.getpid() or not Path(f"/proc/{served}").exists():
            yield f"process {pid} that reads GPUs for {served}"


def _files() -> Iterator[str]:
    """Open files by their paths: of sockets and pipes, event loops keep their own."""
    if not OPEN_FILES.is_dir():
        return
    for fd in OPEN_FILES.iterdir():
        try:
            target = str(fd.readlink())
        except OSError:  # the descriptor of this very listing
            continue
        own_listing = target.endswith("/fd")
        known = target in {"/dev/null", "/dev/urandom"} or target.startswith(("/dev/pts/", "/memfd:"))
        if target.startswith("/") and not own_listing and not known and ".coverage" not in target:
            yield f"open file {target}"


def _signal_handlers() -> Iterator[str]:
    """All but SIGALRM, which the timeout of a test uses."""
    return (f"handler of {s.name}: {signal.getsignal(s)!r}" for s in signal.Signals if s != signal.SIGALRM)


def _shell_hooks() -> list[str]:
    from IPython.core.interactiveshell import InteractiveShell

    return hooks_of(InteractiveShell.instance()) if InteractiveShell.initialized() else []
