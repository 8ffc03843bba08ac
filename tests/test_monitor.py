"""The monitor's life with a real thread: start, stop, fork, one or two of them, how often it samples."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resmon
from resmon.clock import MonotonicClock
from resmon.errors import ResmonWarning
from resmon.monitor import Monitor
from resmon.sensors.host import HostSensor
from resmon.sensors.rated import RatedSensor
from resmon.testing import ManualClock, scripted_gpu, scripted_host
from tests.monitors import eventually, records_beside, run_python, threads


@pytest.fixture(autouse=True)
def _record_beside_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with records_beside(tmp_path, monkeypatch):
        yield


def test_this_machine_is_sampled() -> None:
    with Monitor(0.05) as monitor:
        assert eventually(lambda: len(monitor.history()) >= 5)
        sample = monitor.latest()
        assert sample is not None
        assert sample.host.memory_limit_bytes
        assert sample.host.memory_tree_bytes
        assert 0 < sample.host.memory_tree_bytes < sample.host.memory_limit_bytes
        assert sample.host.cpu_utilization is None or 0 <= sample.host.cpu_utilization <= 1
        times = monitor.history().times
        assert times == sorted(times)
    assert threads() == []


def test_what_was_sampled_stays_after_stop_and_it_starts_again() -> None:
    monitor = Monitor(0.05).start()
    assert eventually(lambda: len(monitor.history()) >= 3)
    monitor.stop()
    monitor.stop()
    rows = len(monitor.history())
    assert rows >= 3
    assert monitor.latest() is not None
    assert [s.name for s in monitor.sensors if s.name == "host"] == ["host"]
    monitor.start()
    assert eventually(lambda: len(monitor.history()) > rows + 2)
    monitor.stop()


@pytest.mark.parametrize("wrong", [0, -1, 0.001, 61, float("nan"), float("inf")])
def test_an_interval_that_cannot_be_kept_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"between 0\.01 and 60 seconds, not "):
        Monitor(wrong)


@pytest.mark.parametrize("wrong", ["fast", None, True])
def test_an_interval_is_a_number(wrong: object) -> None:
    with pytest.raises(TypeError, match="must be a number of seconds"):
        Monitor(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [np.int64(1), np.float32(1), np.float64(1)])
def test_an_interval_may_be_a_number_of_numpys(given: float) -> None:
    assert Monitor(given).interval_s == 1.0


def test_a_second_monitor_warns_and_both_measure() -> None:
    with Monitor(0.05, sensors=[scripted_host()]) as first:
        with pytest.warns(ResmonWarning, match="get_monitor"):
            second = Monitor(0.05, sensors=[scripted_host()]).start()
        assert eventually(lambda: len(first.history()) > 2 and len(second.history()) > 2)
        second.stop()


def test_get_monitor_gives_one_running_monitor() -> None:
    assert resmon.get_monitor() is resmon.get_monitor()
    assert resmon.get_monitor().running
    with resmon.measure("work", items=3) as window:
        time.sleep(0.05)
    assert window.measurement is not None
    assert window.measurement.duration_s >= 0.05
    assert window.measurement.cpu_time_s is not None


def test_windows_in_many_threads() -> None:
    found = []
    with Monitor(0.05, sensors=[scripted_host()]) as monitor:

        def work(number: int) -> None:
            with monitor.measure(f"thread {number}") as window:
                time.sleep(0.1)
            found.append(window.measurement)

        workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(20.0)
    assert sorted(m.name for m in found if m) == [f"thread {i}" for i in range(8)]


def test_a_forked_child_holds_nothing_and_may_measure_anew() -> None:
    ended = run_python("""
        import os, sys, threading, time
        import resmon
        monitor = resmon.get_monitor()
        time.sleep(0.3)
        pid = os.fork()
        if pid == 0:
            names = [t.name for t in threading.enumerate() if t.name.startswith("resmon")]
            here = "/proc/self/fd"
            files = [os.readlink(f"{here}/{fd}") for fd in os.listdir(here) if os.path.exists(f"{here}/{fd}")]
            left = [f for f in files if f.endswith(".resmon") or f.startswith("/proc/") and not f.endswith("/fd")]
            ok = not names and not left and not monitor.running
            with resmon.measure("in the child") as window:
                time.sleep(0.2)
            ok = ok and window.measurement.duration_s > 0.15 and resmon.get_monitor() is not monitor
            resmon.get_monitor().stop()
            os._exit(0 if ok else 1)
        _, status = os.waitpid(pid, 0)
        rows = monitor.sampler.ticks
        time.sleep(1.2)
        assert monitor.sampler.ticks > rows, "the parent goes on"
        sys.exit(os.waitstatus_to_exitcode(status))
    """)
    assert ended.returncode == 0, ended.stderr


def test_a_process_ends_promptly_and_quietly_with_a_running_monitor() -> None:
    ended = run_python("import resmon; resmon.get_monitor(); import time; time.sleep(0.2)")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_wall_clock_is_right_after_the_machine_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, wall_s = MonotonicClock(), time.time
    before = clock.wall(0.0)
    assert clock.wall(0.0) == before
    monkeypatch.setattr(time, "time", lambda: wall_s() + 3600.0)  # the monotonic clock stands still meanwhile
    assert clock.wall(clock.now()).timestamp() == pytest.approx(wall_s() + 3600.0, abs=60.0)


def test_the_history_of_the_last_seconds() -> None:
    clock = ManualClock()
    with Monitor(0.5, sensors=[scripted_host()], clock=clock) as monitor:
        clock.advance(60.0)
        assert len(monitor.history(10)) == 21
        assert len(monitor.history(np.int64(10))) == 21  # type: ignore[arg-type]  # its arithmetic may give one
        with pytest.raises(ValueError, match="seconds must be positive, not 0"):
            monitor.history(0)
        with pytest.raises(TypeError, match="seconds must be a number, not '5'"):
            monitor.history("5")  # type: ignore[arg-type]  # what a user may well write


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sensors": "host"}, "not 'host'"),
        ({"sensors": [None]}, r"not \[None\]"),
        ({"sensors": 5}, "a list of sensors .*, not 5"),
        ({"clock": 5}, "a clock such as resmon.testing.ManualClock\\(\\), not 5"),
    ],
)
def test_what_is_no_sensor_and_no_clock_is_refused_where_it_is_given(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(TypeError, match=named):
        Monitor(**wrong)


def test_idle_samples_less_often_and_work_brings_the_rate_back() -> None:
    clock = ManualClock()
    with Monitor(0.5, sensors=[scripted_host()], clock=clock) as monitor:
        monitor.set_idle(idle=True)
        clock.advance(20.0)
        idle = len(monitor.history())
        monitor.set_idle(idle=False)
        clock.advance(20.0)
        assert len(monitor.history()) - idle >= 3 * idle


def test_importing_starts_nothing() -> None:
    ended = run_python("""
        import sys, threading
        import resmon
        assert threading.active_count() == 1
        heavy = {"torch", "numpy", "pandas", "plotly", "ipywidgets", "anywidget", "pynvml", "IPython", "PIL"}
        heavy &= set(sys.modules)
        assert not heavy, heavy
    """)
    assert ended.returncode == 0, ended.stderr


def test_no_warning_is_raised_by_a_plain_run() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Monitor(0.05, sensors=[HostSensor(), scripted_gpu(0)]) as monitor:
            assert eventually(lambda: len(monitor.history()) >= 2)


def test_a_span_right_after_the_start_has_the_estimate_of_the_cpu() -> None:
    """The model speaks of the time between two readings: whoever asks before the second waits for it."""
    missing = ["not tried"]
    for _ in range(3):  # a machine with much else to do may not give the thread its turn within the second
        host = HostSensor()
        with Monitor(2.0, sensors=[host, RatedSensor(host)]) as monitor:
            assert eventually(monitor.latest)
            with monitor.measure("quick") as window:
                pass
            assert window.measurement is not None
            missing = [name for name in window.measurement.energy.not_covered if "no reading" in name]
        if not missing:
            break
    assert missing == []
