"""The kernel's clocks of child processes tell what their ``stat`` does, finer; nothing is lost or told twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO

import pytest

from resmon.sensors import process_sizes
from resmon.sensors.process_files import Process
from resmon.sensors.process_tree import ProcessTree, Taken
from tests.fake_root import process_files, write

if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)

from resmon.sensors.linux_files import KernelFiles

# Told a number of seconds, it spends them of the CPU, itself or in a child that it waits for, and tells its own time.
WORKER = """
import os, sys, time
def spend(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
print("ready", flush=True)
for line in sys.stdin:
    who, seconds = line.split()
    if who == "self": spend(float(seconds))
    elif os.fork(): os.wait()
    else:
        spend(float(seconds))
        os._exit(0)
    print(sum(os.times()[:4]), flush=True)
"""


class Worker:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._in: IO[str] = process.stdin  # type: ignore[assignment]  # a pipe
        self._out: IO[str] = process.stdout  # type: ignore[assignment]

    def spend(self, who: str, seconds: float) -> float:
        """Returns the CPU time of the worker and of all that it waited for."""
        print(who, seconds, file=self._in, flush=True)
        return float(self._out.readline())


@contextmanager
def worker() -> Iterator[Worker]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield Worker(process)
        finally:
            process.kill()


@contextmanager
def tree_of_this_process() -> Iterator[ProcessTree]:
    """However slow the machine is, the proportional sizes are read at once and need no more reads soon."""
    tree = ProcessTree(KernelFiles(), "/proc", None)
    tree.open(b"0")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process_sizes, "_SLICE_S", 1e9)
            yield tree
    finally:
        tree.close()


def children_s(tree: ProcessTree, taken: Taken | None) -> float:
    """The time of the children alone."""
    assert taken is not None
    tree.parse(taken)
    return sum(process.cpu_s for process in tree._children.values())


def test_time_is_the_clocks_as_long_as_nobody_is_started() -> None:
    with worker() as busy, worker(), tree_of_this_process() as tree:
        tree.read(2.0, b"1")
        assert tree.processes == 3
        before_s = children_s(tree, tree.take(2.5, b"1"))
        true_s = busy.spend("self", 0.3)
        taken = tree.take(3.0, b"1")
        assert taken is not None
        assert taken[4] is None, "no `stat` was read"
        after_s = children_s(tree, taken)
        assert 0.3 <= after_s - before_s < 0.3 + 0.05
        assert true_s <= after_s + 0.02  # `times` counts whole ticks of 10 ms, two of them
        again_s = children_s(tree, tree.take(3.5, b"1"))
        assert after_s <= again_s < after_s + 0.02


def test_a_grandchild_that_came_and_went_is_counted_where_the_kernel_tells_that_it_came() -> None:
    with worker() as busy, tree_of_this_process() as tree:
        tree.read(2.0, b"1")
        before_s = children_s(tree, tree.take(2.5, b"1"))
        busy.spend("child", 0.3)
        taken = tree.take(3.0, b"2")  # within a second of the last look at who there is
        assert taken is not None
        assert taken[4] is not None
        assert 0.28 <= children_s(tree, taken) - before_s < 0.4


def test_known_grandchildren_that_end_are_counted_once() -> None:
    source = """
import os, sys, time
def spend(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
read, write = os.pipe()
for _ in range(3):
    if not os.fork():
        os.close(write)
        spend(0.2)
        sys.stdout.write("spent\\n"); sys.stdout.flush()
        os.read(read, 1)
        os._exit(0)
os.close(read)
sys.stdin.readline()
os.close(write)
for _ in range(3): os.wait()
print("waited", flush=True)
sys.stdin.readline()
"""
    with (
        subprocess.Popen(
            [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
        tree_of_this_process() as tree,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        assert [process.stdout.readline() for _ in range(3)] == ["spent\n"] * 3
        tree.read(2.0, b"1")
        assert tree.processes == 5
        before_s = tree.cpu_time_s
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "waited\n"
        assert tree.take(2.5, b"1") is None, "who is gone has to be found out"
        tree.read(2.5, b"1")
        assert tree.processes == 2
        # Their time is their parent's now, in whole ticks of user and system time; and this process has gone on.
        assert before_s <= tree.cpu_time_s < before_s + 0.15
        process.communicate("\n")
        tree.read(3.0, b"1")
        assert tree.processes == 1
        assert before_s <= tree.cpu_time_s < before_s + 0.3


def test_marks_that_never_move_say_nothing() -> None:
    with worker() as busy, tree_of_this_process() as tree:
        for second in range(2, 5):
            tree.read(float(second), b"0")
        before_s = tree.cpu_time_s
        busy.spend("child", 0.3)
        taken = tree.take(5.0, b"0")
        assert taken is not None
        tree.parse(taken)
        assert tree.cpu_time_s - before_s >= 0.28


def test_a_clock_that_tells_another_time_than_stat_is_not_used() -> None:
    own = Process(os.getpid(), -1, -1)
    ticks = os.sysconf("SC_CLK_TCK")
    fields = " ".join(["S", "1", *["0"] * 9, "{}", "0", "0", "0", "20"])
    own.update(b"10 10 1 1 ", b"1 (a) " + fields.format(int((time.process_time() + 5) * ticks)).encode(), None)
    own.find_clock()
    assert own.clock is None
    own.update(b"10 10 1 1 ", b"1 (a) " + fields.format(int(time.process_time() * ticks)).encode(), None)
    own.find_clock()
    assert own.own_s() == pytest.approx(time.process_time(), abs=0.5)


def test_numbers_of_another_place_are_never_asked_for_a_clock(tmp_path: Path) -> None:
    with worker() as other:
        write(tmp_path, process_files("self", number=os.getpid(), children=str(other.pid)))
        write(tmp_path, process_files(other.pid, parent=os.getpid(), ticks=0))
        tree = ProcessTree(KernelFiles(), str(tmp_path / "proc"), None)
        tree.open(b"0")
        try:
            for second in count(2):
                tree.read(float(second), b"%d" % second)
                if second > 4:
                    break
            assert [process.clock for process in tree._children.values()] == [None]
        finally:
            tree.close()


def test_a_zombie_is_not_alive_by_its_memory_alone() -> None:
    with tree_of_this_process() as tree:
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            tree.read(2.0, b"1")
            assert tree.processes == 2
            assert process.stdin is not None
            process.stdin.close()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            taken = tree.take(2.5, b"1")
            assert taken is not None
            assert taken[4] is None
            tree.parse(taken)
            assert tree.processes == 1
        finally:
            process.wait()
