"""Real kernels that load by themselves, fork, are restarted, killed and shut down while resmon measures."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import resmon
from tests.kernels import Kernel, ends_by_itself, kernel
from tests.ranks import until

MIB = 1 << 20
TREE_BYTES = "resmon.get_monitor().latest().host.memory_tree_bytes"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Where the kernels of this test write their flight records."""
    return tmp_path / "records"


@pytest.fixture
def running(records: Path) -> Iterator[Kernel]:
    """A kernel of one's own."""
    with kernel({**os.environ, "RESMON_RECORD_DIR": str(records)}) as started:
        yield started


@pytest.fixture(scope="module")
def loaded() -> Iterator[Kernel]:
    """A kernel with resmon loaded, for tests that leave it as it was."""
    with kernel() as started:
        started.run("%load_ext resmon")
        started.run("import os, time, resmon, multiprocessing")
        yield started


# -- how it ends -------------------------------------------------------------------------------------------------------


def test_a_restart_leaves_no_process_and_a_record_that_can_be_read(running: Kernel, records: Path) -> None:
    running.run("%load_ext resmon")
    running.run("%resmon", watched=True)
    running.run("x = 1")
    first = running.pid
    running.restart()
    assert running.pid != first
    assert not psutil.pid_exists(first)
    assert running.json("'resmon' in __import__('sys').modules") is False
    running.run("%load_ext resmon")
    running.run("%%resmon -o m\nimport time; time.sleep(0.2)")
    assert running.json("m.duration_s") >= 0.2
    old, new = sorted(records.glob("*.resmon"), key=lambda path: path.stat().st_mtime)
    assert old.name.startswith(f"{first}-")
    with resmon.replay(old) as replayed:
        replayed.play()
        assert len(replayed.cells) >= 2
    assert new.name.startswith(f"{running.pid}-")


def has_grown(path: Path) -> bool:
    """Whether the record has the last cell for a second and more, and its memory."""
    with resmon.replay(path) as replayed:
        replayed.play()
        last = replayed.cells[-1]
        return last.duration_s > 1.0 and (last.peak_memory_bytes or 0) > 300 * MIB


def test_a_killed_kernel_leaves_a_record_with_its_cells(running: Kernel, records: Path) -> None:
    running.run("%load_ext resmon")
    asked = time.monotonic()
    running.run("import time; secret = 'hunter2'; time.sleep(0.3)")
    took_s = time.monotonic() - asked
    running.send("data = bytearray(300 * 2**20)\nwhile True: pass")
    running.wait_for("execute_input", lambda content: "bytearray" in content["code"])
    (path,) = records.glob("*.resmon")
    until(lambda: has_grown(path), 60)
    os.kill(running.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(running.pid)], timeout=10)
    assert b"hunter2" not in path.read_bytes()
    with resmon.replay(path) as replayed:
        replayed.play()
        finished, killed = replayed.cells[-2:]
        assert finished.error is None
        assert killed.error == "the record ends before the cell did"
        assert 0.3 <= finished.duration_s <= took_s
        assert killed.duration_s > 0.9
        peak = killed.peak_memory_bytes
        assert peak is not None
        assert peak > 300 * MIB
        assert killed.energy.total_j is not None


def test_shutdown_is_prompt_with_a_panel_open_and_a_window_too(running: Kernel) -> None:
    running.run("%load_ext resmon")
    running.run("%resmon", watched=True)
    running.run("import resmon; w = resmon.measure('open').open()")
    process = psutil.Process(running.pid)
    assert ends_by_itself(running)
    assert not process.is_running()


def test_autoloading_is_silent_and_measures_every_cell(records: Path, tmp_path: Path) -> None:
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text("c.InteractiveShellApp.extensions = ['resmon']\n")
    env = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython"), "RESMON_RECORD_DIR": str(records)}
    with kernel(env) as running:
        ran = running.run("x = 1")
        assert ran.text == ""
        assert "x = 1" in running.run("%resmon cells").text


def test_without_a_place_for_the_record_everything_else_works(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with kernel({**os.environ, "RESMON_RECORD_DIR": str(tmp_path / "file" / "records")}) as running:
        assert running.run("%load_ext resmon").text.startswith("resmon ")
        ran = running.run("%%resmon -o m\nimport time; time.sleep(0.3)")
        assert ran.kinds.count("display_data") == 1
        assert "stream" not in ran.kinds
        assert running.json("m.samples") >= 1
        doctor = running.run("%resmon doctor").text
    assert "flight record off" in doctor
    assert "measuring goes on in memory" in doctor


def test_a_record_that_somebody_truncates_harms_no_cell(running: Kernel, records: Path) -> None:
    running.run("%load_ext resmon")
    running.run("import time; time.sleep(0.3)")
    (path,) = records.glob("*.resmon")
    os.truncate(path, 0)
    ran = running.run("%%resmon -o m\ntime.sleep(0.8)")
    assert "done in" in ran.text
    assert running.json("m.samples") >= 1
    with pytest.raises(resmon.ResmonError, match="not a resmon flight record"):
        resmon.replay(path)


# -- forks -------------------------------------------------------------------------------------------------------------


def test_a_forked_child_neither_measures_nor_hangs(loaded: Kernel) -> None:
    code = """%%resmon -o m
read, write = os.pipe()
monitor = resmon.get_monitor()
pid = os.fork()
if pid == 0:
    try:
        import threading
        names = [t.name for t in threading.enumerate() if t.name.startswith("resmon")]
        files = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        records = [file for file in files if os.path.exists(file) and os.readlink(file).endswith(".resmon")]
        os.write(write, repr((names, records, monitor.running)).encode())
    finally:
        os._exit(0)
os.close(write)
told = os.read(read, 1000).decode()
os.close(read)
gone = os.waitpid(pid, 0)[1]
time.sleep(0.2)"""
    ran = loaded.run(code)
    assert ran.text.count("done in") == 1
    assert loaded.json("told") == "([], [], False)"
    assert loaded.json("gone") == 0
    assert loaded.json("m.samples") >= 1


def test_a_child_may_measure_for_itself(loaded: Kernel) -> None:
    code = """
def child(queue):
    began = time.monotonic()
    with resmon.measure("in the child") as window:
        time.sleep(0.2)
    took_s = time.monotonic() - began
    queue.put((window.measurement.name, window.measurement.duration_s, took_s, resmon.get_monitor().running))
context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=child, args=(queue,))
process.start()
answer = queue.get(timeout=60)
process.join(60)
code = process.exitcode
queue.close()"""
    loaded.run(code)
    name, duration_s, took_s, running = loaded.json("answer")
    assert (name, running) == ("in the child", True)
    assert 0.2 <= duration_s <= took_s
    assert loaded.json("code") == 0
    assert loaded.json("resmon.get_monitor().running") is True


def test_what_forked_children_share_is_counted_once(loaded: Kernel) -> None:
    """Four children over 200 MiB of the parent's, each with 50 MiB of its own: 200 MiB more, not 1,000."""
    code = f"""
shared = bytearray(os.urandom(1 << 20)) * 200
time.sleep(1.2)
before = {TREE_BYTES}
def child(ready, go):
    sum(shared[::4096])
    own = bytearray(os.urandom(1 << 20)) * 50
    ready.release()
    go.wait(60)
context = multiprocessing.get_context("fork")
ready, go = context.Semaphore(0), context.Event()
children = [context.Process(target=child, args=(ready, go)) for _ in range(4)]
for process in children: process.start()
for _ in children: assert ready.acquire(timeout=60)
grown, until = [], time.monotonic() + 30
while time.monotonic() < until and not (grown and grown[-1] > 190 * 2**20):
    time.sleep(0.2)
    grown.append({TREE_BYTES} - before)
go.set()
for process in children: process.join(60)
codes = [process.exitcode for process in children]
del shared"""
    loaded.run(code)
    assert loaded.json("codes") == [0] * 4
    grown = [value / MIB for value in loaded.json("grown")]
    assert grown[-1] > 190, grown
    assert max(grown) < 400, grown


def test_a_fork_pool_and_a_data_loader_work_while_a_cell_is_measured(loaded: Kernel) -> None:
    pool = """%%resmon -o pooled
with multiprocessing.get_context("fork").Pool(2) as pool:
    squares = pool.map(abs, range(-4, 0))"""
    assert "done in" in loaded.run(pool, watched=True).text
    assert loaded.json("squares") == [4, 3, 2, 1]
    loader = """%%resmon -o batches
import torch
data = torch.utils.data.TensorDataset(torch.arange(64.0))
total = 0.0
for (batch,) in torch.utils.data.DataLoader(data, batch_size=8, num_workers=2):
    total += float(batch.sum())"""
    ran = loaded.run(loader, watched=True)
    assert "done in" in ran.text
    assert loaded.json("total") == sum(range(64))
    assert loaded.json("batches.error") is None
    assert psutil.Process(loaded.pid).children() == []
