"""The process tree: real forks whose memory is known, and process directories that the test writes."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resmon.sensors import process_sizes
from resmon.sensors.process_tree import ProcessTree
from tests.fake_root import process_files, write

if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)

from resmon.sensors.linux_files import KernelFiles

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


def descriptors() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/fd").iterdir()]


@contextmanager
def opened(proc: Path | str, pid: int | None, max_kept: int | None = None) -> Iterator[ProcessTree]:
    """However slow the machine is, a pass over the proportional sizes ends in the read that began it."""
    tree = ProcessTree(KernelFiles(), str(proc), pid, max_kept)
    tree.open()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process_sizes, "_SLICE_S", 1e9)
            yield tree
    finally:
        tree.close()


@contextmanager
def program(source: str) -> Iterator[subprocess.Popen[str]]:
    """A process that says "ready", and whose family goes when its input closes."""
    # Without coverage, which would need memory of its own in each of them.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with subprocess.Popen(
        [sys.executable, "-c", source],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


FORKED = """
import mmap, os, sys, time
private = bytearray(128 << 20)                      # shared by fork until somebody writes
common = mmap.mmap(-1, 64 << 20)                    # shared memory, as a DataLoader's tensors are
for i in range(0, len(private), 4096): private[i] = 1
for i in range(0, len(common), 4096): common[i] = 1
read, write = os.pipe()
for _ in range(4):
    if os.fork() == 0:
        sum(private[::4096]); sum(common[::4096])
        own = bytearray(16 << 20)
        for i in range(0, len(own), 4096): own[i] = 1
        os.write(write, b".")
        time.sleep(60)
for _ in range(4): os.read(read, 1)
print("ready", flush=True)
sys.stdin.read()
"""


def test_forked_children_count_shared_pages_once() -> None:
    with program(FORKED) as process, opened("/proc", process.pid) as tree:
        tree.read(0.0, b"1")
        assert tree.processes == 5
        first = tree.memory_bytes
        for second in range(1, 12):  # the proportional sizes, a few in a tick
            tree.read(float(second), b"1")
        base = 30 * MIB  # interpreters and libraries
        truth = (128 + 64 + 4 * 16) * MIB
        assert truth - 4 * 16 * MIB - MIB < first < truth + base
        assert truth < tree.memory_bytes < truth + base
        assert truth < tree.pss_bytes < truth + base


def test_cpu_time_holds_when_children_go() -> None:
    source = """
import os, sys, time
for line in ["ready"] + ["done"]:
    if line == "done":
        sys.stdin.readline()
    for _ in range(2):
        child = os.fork()
        if child == 0:
            end = time.process_time() + 0.3
            while time.process_time() < end: pass
            time.sleep(0.3)
            os._exit(0)
    if line == "ready": print(line, flush=True)
    for _ in range(2): os.wait()
print("done", flush=True)
sys.stdin.read()
"""
    with program(source) as process, opened("/proc", process.pid) as tree:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        seen: list[float] = []
        deadline = time.monotonic() + 30
        while (now := time.monotonic()) < deadline and not (seen and seen[-1] > 1.1 and tree.processes == 1):
            tree.read(now, b"%d" % len(seen))
            seen.append(tree.cpu_time_s)
            time.sleep(0.02)
        assert seen == sorted(seen)
        assert 1.1 < seen[-1] < 1.8
        assert tree.processes == 1


def test_this_process_and_a_real_child() -> None:
    with opened("/proc", None) as tree:
        tree.read(0.0, b"1")
        assert tree.processes == 1
        assert tree.memory_bytes == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, rel=0.9)
        with program("import sys, time; print('ready', flush=True); time.sleep(60)"):
            tree.read(0.5, b"2")
            assert tree.processes == 1  # a second has not passed
            tree.read(1.5, b"2")
            assert tree.processes == 2
        tree.read(2.0, b"2")
        assert tree.processes == 1
        assert tree.cpu_time_s == pytest.approx(sum(os.times()[:4]), abs=2)


def test_a_child_that_nobody_waited_for_keeps_its_time(tmp_path: Path) -> None:
    write(tmp_path, process_files(1, ticks=100, children="7"))
    write(tmp_path, process_files(7, ticks=50))
    with opened(tmp_path / "proc", 1) as tree:
        tree.read(0.0, b"1")
        assert tree.cpu_time_s == pytest.approx(150 * TICK_S)
        write(tmp_path, {"proc/7/stat": "", "proc/7/statm": ""})
        tree.read(1.0, b"1")
        assert tree.cpu_time_s == pytest.approx(150 * TICK_S)
        write(tmp_path, process_files(1, ticks=110))
        tree.read(2.0, b"1")
        assert tree.cpu_time_s == pytest.approx(160 * TICK_S)


def test_a_child_that_was_waited_for_is_counted_once(tmp_path: Path) -> None:
    write(tmp_path, process_files(1, ticks=100, children="7"))
    write(tmp_path, process_files(7, ticks=50))
    with opened(tmp_path / "proc", 1) as tree:
        tree.read(0.0, b"1")
        write(tmp_path, {"proc/7/stat": "", "proc/7/statm": ""})
        write(tmp_path, process_files(1, ticks=100, waited=52))
        tree.read(1.0, b"1")
        assert tree.cpu_time_s == pytest.approx(152 * TICK_S)


def test_a_number_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    write(tmp_path, process_files(1, children="7"))
    write(tmp_path, process_files(7, resident=500))
    with opened(tmp_path / "proc", 1) as tree:
        tree.read(0.0, b"1")
        assert tree.processes == 2
        for name in ("stat", "statm"):  # the kernel: what was open reads nothing, what is opened is the new one
            (tmp_path / "proc/7" / name).write_text("")
            (tmp_path / "proc/7" / name).unlink()
        write(tmp_path, process_files(7, parent=999, resident=700))
        tree.read(1.0, b"2")
        tree.read(2.5, b"2")
        assert tree.processes == 1  # a stranger, with another parent
        assert tree.memory_bytes == 1000 * PAGE
        write(tmp_path, process_files(7, parent=1, resident=700))
        tree.read(20.0, b"3")
        assert tree.processes == 2


def test_memory_a_child_grows_is_counted_from_the_first_read(tmp_path: Path) -> None:
    write(tmp_path, process_files(1, resident=1000, children="7"))
    write(tmp_path, process_files(7, resident=900, shared=100))
    with opened(tmp_path / "proc", 1) as tree:
        tree.read(0.0, b"1")
        assert tree.memory_bytes == 1000 * PAGE  # what it holds at first may still be its parent's
        write(tmp_path, process_files(7, resident=950, shared=100))
        tree.read(0.5, b"1")
        assert tree.memory_bytes == 1050 * PAGE
        rollup = "Rss: {0} kB\nPss: {1} kB\nPss_Anon: {1} kB\nAnonymous: {0} kB\n"
        write(tmp_path, {f"proc/{pid}/smaps_rollup": rollup.format(400, 200) for pid in (1, 7)})
        tree.read(70.0, b"1")
        tree.read(70.5, b"1")
        assert tree.pss_bytes == 400 << 10
        assert tree.memory_bytes == 1850 * PAGE - (400 << 10)


def test_more_children_than_descriptors_are_all_counted(tmp_path: Path) -> None:
    write(tmp_path, process_files(1, children=" ".join(map(str, range(10, 30)))))
    for pid in range(10, 30):
        write(tmp_path, process_files(pid, ticks=10, state="Z" if pid == 29 else "S"))
    with opened(tmp_path / "proc", 1, max_kept=5) as tree:
        before = len(descriptors())
        tree.read(0.0, b"1")
        assert len(descriptors()) - before == 15
        assert tree.processes == 20  # the root, and all but the zombie
        assert tree.cpu_time_s == pytest.approx(200 * TICK_S)
        write(tmp_path, {"proc/28/stat": "", "proc/28/statm": ""})
        tree.read(2.0, b"1")
        assert tree.processes == 19
        assert tree.cpu_time_s == pytest.approx(200 * TICK_S)


@pytest.mark.parametrize("free", [0, 1, 4])
def test_without_a_free_descriptor_the_memory_is_unknown_until_there_is(tmp_path: Path, free: int) -> None:
    write(tmp_path, process_files(1))
    write(tmp_path, process_files(7, resident=500))
    with opened(tmp_path / "proc", 1) as tree:
        tree.read(0.0, b"1")
        write(tmp_path, {"proc/1/task/1/children": "7"})
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(descriptors())
        held: list[int] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, limit[1]))
        try:
            with pytest.raises(OSError, match="Too many"):
                held.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(1000))
            for _ in range(free):
                os.close(held.pop())
            tree.read(2.0, b"2")
        finally:
            for fd in held:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert tree.is_partial == (free == 0)
        assert math.isnan(tree.memory_bytes) == (free == 0)
        tree.read(30.0, b"3")
        assert (tree.processes, tree.is_partial) == (2, False)
        assert tree.memory_bytes == 1000 * PAGE


def test_a_kernel_without_children_files_is_walked_by_parents(tmp_path: Path) -> None:
    for pid, parent in ((1, 0), (7, 1), (8, 7), (9, 2)):
        files = process_files(pid, parent=parent)
        del files[f"proc/{pid}/task/{pid}/children"]
        write(tmp_path, files)
        (tmp_path / f"proc/{pid}/task/{pid}").mkdir(parents=True)
    with opened(tmp_path / "proc", 1) as tree:
        tree.read(0.0, b"1")
        assert tree.processes == 3


def test_a_root_that_is_gone_is_unknown(tmp_path: Path) -> None:
    with opened(tmp_path / "proc", 12345) as tree:
        tree.read(0.0, b"1")
        assert math.isnan(tree.memory_bytes)
        assert math.isnan(tree.cpu_time_s)


def test_a_child_that_another_thread_started_is_found() -> None:
    with opened("/proc", None) as tree:
        tree.read(0.0, b"1")
        tree.read(1.2, b"2")
        assert tree.pss_bytes > MIB
        assert tree.take(2.5, b"2") is not None, "without any child nothing is walked"
        started: list[subprocess.Popen[bytes]] = []
        go, started_it = threading.Event(), threading.Event()

        def start_and_stay() -> None:  # a child belongs to the thread that started it while that lives
            started.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
            started_it.set()
            go.wait(30.0)

        thread = threading.Thread(target=start_and_stay)
        thread.start()
        assert started_it.wait(30.0)
        try:
            assert tree.take(4.0, b"3") is None, "more than reads is due"
            tree.read(4.0, b"3")
            assert tree.processes == 2
        finally:
            go.set()
            thread.join(30.0)
            started[0].communicate(b"\n")
        tree.read(5.0, b"3")
        assert tree.processes == 1


@pytest.mark.parametrize("counts", [True, False], ids=["the kernel counts what is started", "it does not"])
def test_a_child_that_came_and_went_between_two_ticks_is_counted(counts: bool) -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    with opened("/proc", None) as tree:

        def tick(number: int) -> float:
            mark = b"%d" % number if counts else b"0"
            taken = tree.take(2.0 * number, mark, mark)
            assert taken is not None, "without any child nothing is walked"
            tree.parse(taken)
            return tree.cpu_time_s

        tree.read(0.0, b"0")
        tree.read(2.0, b"1" if counts else b"0")  # with the sizes, which are due now
        for number in (2, 3):
            before_s = tick(number)
        subprocess.run([sys.executable, "-c", busy], check=True)
        after_s = tick(4)
        assert after_s - before_s >= 0.3
        again_s = tick(4)
        assert after_s <= again_s < after_s + 0.1


def test_proportional_sizes_that_stand_still_are_read_less_often(tmp_path: Path) -> None:
    def sizes(kib: int) -> dict[str, object]:
        text = f"Rss: {kib} kB\nPss: {kib} kB\nPss_Anon: {kib} kB\nAnonymous: {kib} kB\n"
        return {f"proc/{pid}/smaps_rollup": text for pid in (1, 7)}

    write(tmp_path, process_files(1, children="7") | process_files(7) | sizes(1000))
    with opened(tmp_path / "proc", 1) as tree:
        seen = []
        for second in range(130):
            if second in (40, 95):
                write(tmp_path, sizes(1000 + second))
            tree.read(float(second), b"1")
            seen.append(tree.pss_bytes)
        changes = [second for second in range(2, 130) if seen[second] != seen[second - 1]]
    # Read at about 1, 11, 31 and 71 s; after the change that is seen then at 81 and 101 s.
    first, second = changes
    assert 65 < first < 80
    assert 95 < second < 110
