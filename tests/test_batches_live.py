"""Rows that a real thread makes of several ticks together: nobody who reads, stops, forks or is killed misses one."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from resmon.monitor import Monitor
from resmon.record_reading import read_record
from resmon.sensors.host import HostSensor
from resmon.ticks import HOLD_TICKS
from resmon.trace_reading import read_trace
from tests.monitors import Hanging, eventually, run_python

if sys.platform != "linux":
    pytest.skip("only direct reads of /proc are put off", allow_module_level=True)


def test_who_reads_sees_every_tick_and_nobody_else_makes_the_thread_work() -> None:
    with Monitor(0.05, sensors=[HostSensor()], record=True) as monitor:
        sampler = monitor.sampler
        assert eventually(lambda: len(sampler.intake) >= 3), "ticks are held back while nobody asks"
        for _ in range(20):
            ticks = sampler.ticks
            assert monitor.latest() is not None
            assert len(monitor.history()) >= ticks
            time.sleep(0.02)
        rows = sampler.history.rows
        assert sampler.history.wait(rows, 5.0), "a row comes to who waits for it"


def test_a_window_has_the_rows_up_to_its_end() -> None:
    with Monitor(0.05, sensors=[HostSensor()]) as monitor:
        assert eventually(lambda: len(monitor.sampler.intake) >= 2)
        with monitor.measure("work") as window:
            time.sleep(0.3)
        measurement = window.measurement
        assert measurement is not None
        assert measurement.samples >= 4


def test_readers_in_many_threads_and_the_sampler_agree() -> None:
    stop = threading.Event()
    wrong: list[tuple[int, int]] = []
    with Monitor(0.01, sensors=[HostSensor()]) as monitor:

        def read() -> None:
            while not stop.is_set():
                ticks = monitor.sampler.ticks
                rows = len(monitor.history())
                if rows < ticks:
                    wrong.append((rows, ticks))

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        time.sleep(1.0)
        stop.set()
        for reader in readers:
            reader.join(20.0)
        times = monitor.history().times
    assert wrong == []
    assert times == sorted(set(times))


def test_stop_makes_rows_of_all_and_writes_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path))
    monitor = Monitor(0.05, sensors=[HostSensor()], record=True).start()
    assert eventually(lambda: len(monitor.sampler.intake) >= 3)
    monitor.stop()
    (path,) = tmp_path.glob("*.resmon")
    times = monitor.history().times
    assert len(times) == monitor.sampler.ticks
    assert [row[0] for row in read_record(path).rows] == times


def test_a_trace_that_begins_amid_a_batch_has_its_layout_first(tmp_path: Path) -> None:
    with Monitor(0.05, sensors=[HostSensor()]) as monitor:
        assert eventually(lambda: len(monitor.sampler.intake) >= 3)
        monitor.record_trace(tmp_path / "t.ndjson")
        time.sleep(0.3)
        monitor.end_trace()
        rows = read_trace(tmp_path / "t.ndjson").rows
        times = monitor.history().times
        assert len(rows) >= 4
        first = times.index(rows[0][0])
        assert [row[0] for row in rows] == times[first : first + len(rows)], "none is missing"


def test_what_was_read_before_a_driver_hung_is_there() -> None:
    sensor = Hanging()
    with Monitor(0.05, sensors=[HostSensor(), sensor]) as monitor:
        assert eventually(lambda: len(monitor.sampler.intake) >= 3)
        sensor.armed = True
        assert sensor.hangs.wait(5.0)
        started_s = time.monotonic()
        assert len(monitor.history()) == monitor.sampler.ticks
        assert time.monotonic() - started_s < 5.0, "it does not wait for the driver"
        sensor.armed = False
        sensor.let_go.set()


KILLED = """
    import os, signal, sys, time
    import resmon
    monitor = resmon.Monitor(interval_s=0.2, record=True).start()
    time.sleep(5.5)
    if sys.argv[1:] == ["event"]:
        monitor.note({"cell": "start", "number": 7})
        with monitor.measure("the last cell"):
            time.sleep(0.3)
            print(time.monotonic(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    print(time.monotonic(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("event", [False, True], ids=["amid a batch", "after a cell began"])
def test_a_killed_kernels_record_lags_by_no_more_than_is_said(tmp_path: Path, event: bool) -> None:
    code = KILLED.replace("sys.argv[1:]", repr(["event"] if event else []))
    ended = run_python(code, RESMON_RECORD_DIR=str(tmp_path))
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    killed_s = float(ended.stdout)
    (path,) = tmp_path.glob("*.resmon")
    run = read_record(path)
    slack_s = 1.0  # a tick that came late on a busy machine
    assert killed_s - run.rows[-1][0] < (0.3 if event else HOLD_TICKS * 0.2) + slack_s
    assert len(run.rows) + run.rows[-1][-1] - run.rows[0][-1] >= (run.rows[-1][0] - run.rows[0][0]) / 0.2 - 2
    if event:
        assert any(e.get("cell") == "start" and e.get("number") == 7 for e in run.events)


def test_a_forked_child_has_what_was_read_before() -> None:
    ended = run_python("""
        import os, sys, time
        import resmon
        monitor = resmon.Monitor(interval_s=0.05, record=True).start()
        while len(monitor.sampler.intake) < 4:
            time.sleep(0.01)
        ticks = monitor.sampler.ticks
        pid = os.fork()
        if pid == 0:
            ok = len(monitor.history()) >= ticks and not monitor.running and monitor.latest() is not None
            os._exit(0 if ok else 1)
        _, status = os.waitpid(pid, 0)
        assert len(monitor.history()) >= ticks
        monitor.stop()
        sys.exit(os.waitstatus_to_exitcode(status))
    """)
    assert ended.returncode == 0, ended.stderr
