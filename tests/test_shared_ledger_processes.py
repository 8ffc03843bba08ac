"""The ledger between kernels: real processes that add at once, wait, fork, and are killed in the middle."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from resmon import SharedLedger, shared_ledger
from resmon.errors import LedgerError
from tests.driver import Script, Steps, environment, gpus
from tests.ledgers import ADD, ROOT, lines, start, total
from tests.test_ledger import component, joules_at, union


def test_many_processes_that_add_at_once_sum_to_the_union(tmp_path: Path) -> None:
    path, draw = tmp_path / "many", random.Random(5)
    starts = [[draw.randrange(0, 400) for _ in range(60)] for _ in range(6)]
    windows = [[(s, s + draw.randrange(1, 30)) for s in own] for own in starts]
    writers = [start(ADD, path) for _ in windows]
    told = 0.0
    for writer, own in zip(writers, windows, strict=True):
        assert writer.stdin is not None
        writer.stdin.write(lines([component(*w) for w in own]))
        writer.stdin.close()
    for writer in writers:
        with writer:
            assert writer.stdout is not None
            told += sum(float(line) for line in writer.stdout)
        assert writer.returncode == 0
    truth = union([w for own in windows for w in own])
    assert told == pytest.approx(truth)
    assert total(path) == pytest.approx(truth)
    assert SharedLedger(path).notice == ""


KILLED_IN_ADD = """
import os, signal, sys
from resmon import SharedLedger, shared_ledger
sys.path.insert(0, sys.argv[3])
from tests.test_ledger import component
ledger = SharedLedger(sys.argv[1])
ledger.add(component(0, 10))
def die(fd, line, at):
    os.lseek(fd, at, os.SEEK_SET)
    os.write(fd, line[: int(len(line) * float(sys.argv[2]))])
    os.kill(os.getpid(), signal.SIGKILL)
shared_ledger._write = die
ledger.add(component(10, 20))
"""


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.999])
def test_one_who_is_killed_in_the_middle_of_adding_added_nothing(tmp_path: Path, share: float) -> None:
    path = tmp_path / "ours"
    other = SharedLedger(path)
    with start(KILLED_IN_ADD, path, share, ROOT) as killed:
        killed.communicate(timeout=200)
    assert killed.returncode == -signal.SIGKILL
    assert other.energy.total_j == 100.0
    assert other.add(component(5, 20)) == pytest.approx(300.0), "the lock of the dead is free, his half line is gone"
    assert total(path) == pytest.approx(400.0)
    assert SharedLedger(path).notice == ""


def test_writers_that_are_killed_at_any_moment_leave_a_whole_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    for round_ in range(6):
        own = [component(i, i + 1) for i in range(round_ * 40, 4000)]
        with start(ADD, path) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.write(lines(own[:300]))
            writer.stdin.flush()
            for _ in range(20 + round_):
                writer.stdout.readline()
            writer.kill()
        ledger = SharedLedger(path)
        assert ledger.notice == ""
        ends = [c.claim.end_s for c in ledger.entries if c.claim]
        assert ledger.energy.total_j == pytest.approx(union([(0, int(max(ends)))]))


def test_one_who_is_killed_while_the_file_is_made_smaller_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    ledger = SharedLedger(path, max_bytes=4096)
    (tmp_path / "ours.new").write_text("half of a fi")
    for i in range(100):
        ledger.add(component(2 * i, 2 * i + 1))
    assert path.stat().st_size < 3 * 4096
    assert not (tmp_path / "ours.new").exists()
    assert total(path) == pytest.approx(sum(joules_at(2 * i + 1) - joules_at(2 * i) for i in range(100)))


def test_a_forked_child_adds_for_itself(tmp_path: Path) -> None:
    ledger = SharedLedger(tmp_path / "ours")
    ledger.add(component(0, 10))
    ledger._lock.acquire()  # as if another thread were adding while this one forks
    pid = os.fork()
    if pid == 0:
        os._exit(0 if ledger.add(component(5, 20)) > 0 else 1)
    _, status = os.waitpid(pid, 0)
    ledger._lock.release()
    assert status == 0
    assert ledger.energy.total_j == pytest.approx(400.0)


HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1] + ".lock", os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def test_a_lock_that_is_held_too_long_is_told_and_one_of_the_dead_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ours"
    ledger = SharedLedger(path)
    monkeypatch.setattr(shared_ledger, "LOCK_WAIT_S", 0.2)
    with start(HOLD, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LedgerError, match=r"another process has held the lock for 0\.2 s"):
            ledger.add(component(0, 10))
        assert ledger.energy.total_j is None, "reading waits for nobody"
        holder.kill()
        holder.wait()
        assert ledger.add(component(0, 10)) == 100.0


MEASURE = """
import json, sys, time
import resmon
with resmon.Monitor(0.2) as monitor:
    while not any(s.id.startswith("nvml:") for s in monitor.sampler.sources):
        time.sleep(0.01)
    time.sleep(1.0)
    print("ready", flush=True)
    wait_s, length_s = map(float, sys.stdin.readline().split())
    time.sleep(max(0.0, wait_s - time.monotonic()))
    with monitor.measure("work") as window:
        time.sleep(length_s)
    gpu = next(c for c in window.measurement.energy.components if c.kind == "gpu")
    counted = resmon.SharedLedger(sys.argv[1]).add(gpu)
    print(json.dumps([window.opened_s, window.closed_s, gpu.energy_j, counted, gpu.claim.meter]))
"""


def test_two_kernels_on_one_gpu_add_no_joule_twice(tmp_path: Path) -> None:
    """Their windows overlap, and in the overlap the power is seven times what it is outside."""
    script = Script(gpus=gpus(1, power_w=100))
    where = script.write(tmp_path / "gpus")
    path = tmp_path / "ours"
    env = environment(where)
    kernels = [start(MEASURE, path, **env) for _ in range(2)]
    found = []
    for kernel in kernels:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "ready\n"
    after_s = script.now_s() + 1.0
    board = gpus(1, power_w=Steps(((0, 100), (after_s + 1, 700), (after_s + 3, 100))))[0]
    Script(gpus=[board], epoch_s=script.epoch_s).write(where)  # the same until then
    begin_s = script.epoch_s + after_s
    for kernel, wait_s in zip(kernels, (begin_s, begin_s + 1.0), strict=True):
        assert kernel.stdin is not None
        kernel.stdin.write(f"{wait_s} 3.0\n")
        kernel.stdin.flush()
    for kernel in kernels:
        with kernel:
            assert kernel.stdout is not None
            found.append(json.loads(kernel.stdout.readline()))
        assert kernel.returncode == 0
    assert {meter for *_, meter in found} == {"counter"}, "both name joules of the board's own counter"
    opened, closed = min(f[0] for f in found), max(f[1] for f in found)
    truth_j = board.energy_j(opened - script.epoch_s, closed - script.epoch_s)
    ledger = SharedLedger(path)
    assert ledger.energy.total_j == pytest.approx(sum(f[3] for f in found))
    assert ledger.energy.total_j == pytest.approx(truth_j, rel=0.03)
    assert sum(f[2] for f in found) > 1.3 * truth_j, "their plain sum is far too much"
