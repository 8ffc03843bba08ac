"""The check that guards every other test sees what it is meant to see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tests import leftovers


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE_S", 0.0)


def test_sees_a_thread_of_resmon_and_no_other() -> None:
    before, done = leftovers.traces(), threading.Event()
    threads = [threading.Thread(target=done.wait, name=name) for name in ("resmon-sampler", "somebody else's")]
    for thread in threads:
        thread.start()
    left = leftovers.left_since(before)
    done.set()
    for thread in threads:
        thread.join()
    assert left == ["thread resmon-sampler"]


def test_gives_a_thread_that_is_ending_the_time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE_S", 30.0)
    before = leftovers.traces()
    threading.Thread(target=lambda: time.sleep(0.05), name="resmon-ending").start()
    assert leftovers.left_since(before) == []


def test_sees_a_child_process() -> None:
    before = leftovers.traces()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        left = leftovers.left_since(before)
    assert left == [f"child process {child.pid}"]


def test_sees_a_process_that_reads_gpus(tmp_path: Path) -> None:
    before = leftovers.traces()
    program = "import ctypes; ctypes.CDLL(None).prctl(15, b'resmon-nvml', 0, 0, 0); print(flush=True); input()"
    words = [sys.executable, "-c", program + " # resmon.sensors.nvml_helper", str(os.getpid())]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        left = leftovers.left_since(before)
    assert left == [f"child process {reader.pid}", f"process {reader.pid} that reads GPUs for {os.getpid()}"]


def test_sees_an_open_file(tmp_path: Path) -> None:
    before = leftovers.traces()
    fds = [os.open(path, os.O_RDONLY | os.O_CREAT, 0o600) for path in ("/proc/self/stat", tmp_path / "record")]
    left = leftovers.left_since(before)
    for fd in fds:
        os.close(fd)
    assert left == [f"open file /proc/{os.getpid()}/stat", f"open file {tmp_path}/record"]


def test_sees_a_signal_handler() -> None:
    before = leftovers.traces()
    old = signal.signal(signal.SIGUSR1, lambda *_: None)
    left = leftovers.left_since(before)
    signal.signal(signal.SIGUSR1, old)
    assert len(left) == 1
    assert left[0].startswith("handler of SIGUSR1")


def test_sees_a_hook_in_a_shell(shell: InteractiveShell) -> None:
    def ours() -> None: ...

    ours.__module__ = "resmon.magics"
    assert leftovers.hooks_of(shell) == []
    shell.events.register("post_run_cell", ours)
    assert len(leftovers.hooks_of(shell)) == 1
    shell.events.unregister("post_run_cell", ours)
    assert leftovers.hooks_of(shell) == []
