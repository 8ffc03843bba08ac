"""How runs that a real kernel launched end: interrupts, kills, hangs and silent deaths, and nothing left of any."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.kernels import Kernel
from tests.launches import GONE_S, RUN_S, assert_nothing_is_left, below, launching, left, run, wait_for_output
from tests.ranks import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel for all tests."""
    with launching(tmp_path_factory.mktemp("records")) as started:
        yield started


def test_an_interrupt_ends_every_rank_and_the_next_launch_works(running: Kernel) -> None:
    code = """def forever():
    import subprocess
    subprocess.Popen(["sleep", "1000"])
    print("begun", flush=True)
    try:
        while True: time.sleep(0.1)
    finally:
        print("cleaned up", flush=True)
resmon.launch(forever, ranks=2, output="all")
"""
    before = left(running)
    request = running.send(code)
    wait_for_output(running, "begun", times=2)
    processes = below(running.pid)
    assert len(processes) >= 5
    running.manager.interrupt_kernel()
    ran = running.result(request, RUN_S)
    assert ran.reply["ename"] == "KeyboardInterrupt"
    assert "cleaned up" in ran.text
    assert psutil.wait_procs(processes, timeout=GONE_S)[1] == []
    assert_nothing_is_left(running, before)
    run(running, "again = resmon.launch(lambda: int(os.environ['RANK']) ** 2, ranks=3)")
    assert running.json("again.results") == [0, 1, 4]


def test_an_interrupt_while_ranks_still_start_ends_them(running: Kernel) -> None:
    request = running.send("resmon.launch(lambda: time.sleep(100), ranks=2)")
    until(lambda: below(running.pid), RUN_S)
    time.sleep(0.3)
    running.manager.interrupt_kernel()
    assert running.result(request, RUN_S).reply["ename"] == "KeyboardInterrupt"
    assert below(running.pid) == []


def test_ranks_that_heed_no_signal_are_killed(running: Kernel) -> None:
    code = """def deaf():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print("deaf", flush=True)
    while True: time.sleep(1)
resmon.launch(deaf, ranks=1)
"""
    request = running.send(code)
    wait_for_output(running, "deaf")
    running.manager.interrupt_kernel()
    assert running.result(request, RUN_S).reply["ename"] == "KeyboardInterrupt"
    assert below(running.pid) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing ends a rank that holds the GIL")
def test_a_killed_kernel_leaves_no_rank_even_one_that_holds_the_gil(tmp_path: Path) -> None:
    code = """import ctypes, os, resmon
def stuck():
    if os.environ["RANK"] == "1":
        os.system("sleep 1000 &")
    print("stuck", flush=True)
    ctypes.PyDLL(None).sleep(1000)
resmon.launch(stuck, ranks=2, output="all")
"""
    with launching(tmp_path) as doomed:
        doomed.send(code)
        wait_for_output(doomed, "stuck", times=2)
        processes = below(doomed.pid)
        assert any("sleep" in p.name() for p in processes)
        os.kill(doomed.pid, signal.SIGKILL)
        assert psutil.wait_procs(processes, timeout=GONE_S)[1] == []


def test_a_killed_launcher_takes_its_ranks_along(running: Kernel) -> None:
    code = """def wait():
    print("waiting", flush=True)
    time.sleep(1000)
resmon.launch(wait, ranks=2)
"""
    request = running.send(code)
    wait_for_output(running, "waiting")
    (launcher,) = psutil.Process(running.pid).children()
    processes = below(running.pid)
    launcher.kill()
    ran = running.result(request, RUN_S)
    assert "LaunchError: wait: the launcher ended with SIGKILL" in ran.text
    assert psutil.wait_procs(processes, timeout=GONE_S)[1] == []


def test_a_killed_rank_is_named_with_its_memory(running: Kernel) -> None:
    code = """def die():
    import torch, torch.distributed as dist
    dist.init_process_group("gloo")
    held = bytearray(os.urandom(2**20)) * 200
    dist.barrier()
    if dist.get_rank() == 0:
        time.sleep(3)
        os.kill(os.getpid(), signal.SIGKILL)
    dist.all_reduce(torch.ones(1))
resmon.launch(die, ranks=2)
"""
    text = run(running, code, fails=True)
    assert "LaunchError: die: rank 0 of 2 was killed by SIGKILL; its memory was " in text
    assert float(text.rpartition("its memory was ")[2].split()[0]) > 0.19


def test_a_rank_out_of_memory_says_so(running: Kernel) -> None:
    code = """def grow():
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    bytearray(2**33)
resmon.launch(grow, ranks=1)
"""
    text = run(running, code, fails=True)
    assert "failed: MemoryError; its memory was" in text
    assert "bytearray(2**33)" in text


def test_a_rank_that_leaves_without_a_word_is_an_error(running: Kernel) -> None:
    text = run(running, "resmon.launch(lambda: os._exit(0), ranks=1)", fails=True)
    assert "rank 0 of 1 failed: it ended without returning" in text
    text = run(running, "resmon.launch(lambda: print('last words') or os._exit(7), ranks=1, output=[])", fails=True)
    assert "rank 0 of 1 failed: exit status 7" in text
    assert "last words" in text


def test_a_timeout_names_the_ranks_that_did_not_arrive(running: Kernel) -> None:
    code = """def hang():
    import torch, torch.distributed as dist
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    if rank == 1:
        time.sleep(1000)  # never arrives
    if rank == 2:
        os.kill(os.getpid(), signal.SIGSTOP)
    dist.all_reduce(torch.ones(1))
resmon.launch(hang, ranks=3, timeout_s=30)
"""
    text = run(running, code, fails=True)
    assert "LaunchTimeoutError: hang did not end within 30 s" in text
    missing = next(line for line in text.splitlines() if "Did not arrive" in line)
    assert "rank 1 was at line 6 of hang: time.sleep(1000)" in missing
    assert "rank 2 was stopped by a signal" in missing
    waiting = next(line for line in text.splitlines() if "Waited for them" in line)
    assert "rank 0 waited in all_reduce at line 9 of hang: dist.all_reduce(torch.ones(1))" in waiting
    assert running.json("issubclass(resmon.errors.LaunchTimeoutError, TimeoutError)")


def test_a_timeout_says_that_threads_hold_returned_ranks_up(running: Kernel) -> None:
    code = """def leaves_a_thread():
    import threading
    threading.Thread(target=time.sleep, args=(1000,)).start()
resmon.launch(leaves_a_thread, ranks=2, timeout_s=8)
"""
    text = run(running, code, fails=True)
    assert "Rank 0 had returned; rank 1 had returned." in text
    assert "join those that the function starts, or make them daemons" in text
