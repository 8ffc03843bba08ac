"""What the tests of launched runs share: a kernel that launches, and what a run may not leave behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.kernels import Kernel, kernel
from tests.leftovers import GRACE_S

RUN_S = 120.0
GONE_S = 30.0
"""What lives on for so long would live for ever: what these ranks run takes far longer."""
HANDLERS = "[str(__import__('signal').getsignal(s)) for s in (2, 15, 1, 3, 10, 12)]"
# SQLite, which keeps IPython's history, has files without a name now and then.
FILES = """sorted(target for fd in os.listdir('/proc/self/fd')
    if os.path.lexists(f'/proc/self/fd/{fd}')
    and (target := os.readlink(f'/proc/self/fd/{fd}')).startswith(('/', 'pipe:')) and '/etilqs_' not in target)"""


@contextmanager
def launching(directory: Path) -> Iterator[Kernel]:
    """A kernel without the extension, as ``resmon.launch`` needs none; it keeps its runs in ``directory``."""
    with kernel({**os.environ, "RESMON_RECORD_DIR": str(directory)}) as started:
        started.run("import os, sys, time, signal, resmon\nmonitor = resmon.get_monitor()")
        yield started


def below(pid: int) -> list[psutil.Process]:
    """The processes below a kernel that live."""
    return [p for p in psutil.Process(pid).children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


def wait_for_output(running: Kernel, word: str, times: int = 1) -> None:
    """Wait until a word was printed so often; several lines may come in one message."""
    seen = 0
    while seen < times:
        seen += running.wait_for("stream")["text"].count(word)


def left(running: Kernel) -> list[object]:
    """What a launch may not change: signal handlers, open files and pipes."""
    return [running.json(expression) for expression in (HANDLERS, FILES)]


def assert_nothing_is_left(running: Kernel, before: list[object]) -> None:
    """No process below a kernel, and nothing that was not there before; what is ending has the time to end."""
    until_s = time.monotonic() + GRACE_S
    while (below(running.pid) or left(running) != before) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert below(running.pid) == []
    assert left(running) == before


def run(running: Kernel, code: str, *, fails: bool = False) -> str:
    """Run a cell that launches; nothing of it may be left: no process, file or signal handler."""
    before = left(running)
    text = running.run(code, fails=fails, timeout_s=RUN_S).text
    assert_nothing_is_left(running, before)
    return text
