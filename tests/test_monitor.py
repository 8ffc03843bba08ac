"""The monitor's life with a real thread: start, stop, fork, hang, fail, recover."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import resmon
from resmon import process
from resmon.errors import ResmonWarning
from resmon.facts import SensorStatus
from resmon.monitor import Monitor
from resmon.sensors.host import HostSensor
from resmon.testing import ManualClock, ScriptedSensor, scripted_gpu, scripted_host


@pytest.fixture(autouse=True)
def _record_beside_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path / "records"))
    yield
    own, process.own.monitor = process.own.monitor, None
    if own is not None:
        own.stop()


def eventually(what: Callable[[], object], timeout_s: float = 10.0) -> bool:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.01)
    return False


def run_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **env},
    )


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("resmon")]


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


class Hanging(ScriptedSensor):
    """A sensor whose driver does not return until it is let go."""

    def __init__(self) -> None:
        gpu = scripted_gpu(0)
        super().__init__(gpu.name, gpu.devices, gpu.values, gpu.channels, gpu.sources)
        self.let_go = threading.Event()
        self.hangs = threading.Event()
        self.armed = False

    def read(self, at_s: float) -> list[float]:
        if self.armed:
            self.hangs.set()
            self.let_go.wait(30.0)
        return super().read(at_s)


def test_a_driver_that_hangs_does_not_hang_the_work() -> None:
    sensor = Hanging()
    with Monitor(0.05, sensors=[scripted_host(), sensor]) as monitor:
        assert eventually(lambda: len(monitor.history()) >= 3)
        sensor.armed = True
        assert sensor.hangs.wait(5.0)
        started_s = time.monotonic()
        with monitor.measure("beside a hanging driver") as window:
            time.sleep(0.2)
        assert time.monotonic() - started_s < 5.0
        assert window.closed_s is not None
        sensor.armed = False
        sensor.let_go.set()
        assert eventually(lambda: (monitor.sampler.history.newest_s or 0.0) > (window.closed_s or 0.0))
        measurement = window.measurement
        assert measurement is not None
        assert measurement.missed >= 1
        assert measurement.energy.total_j is not None


def test_stopping_beside_a_hanging_driver_returns_and_the_thread_ends_with_it() -> None:
    sensor = Hanging()
    monitor = Monitor(0.05, sensors=[scripted_host(), sensor]).start()
    sensor.armed = True
    assert sensor.hangs.wait(5.0)
    monitor.stop()
    assert threads() == ["resmon-sampler"]
    sensor.let_go.set()
    assert eventually(lambda: threads() == [])


def test_a_sensor_that_raises_is_a_status_and_the_others_go_on() -> None:
    def broken(_: float) -> float:
        raise RuntimeError("wire unplugged")

    gpu = scripted_gpu(0, power_w=broken)
    with Monitor(0.03, sensors=[scripted_host(), gpu]) as monitor:
        assert eventually(lambda: len(monitor.history()) >= 4)
        (status,) = [s for s in monitor.sensors if s.name == "gpu0"]
        assert (status.state, status.cause) == ("lost", "RuntimeError: wire unplugged")
        assert monitor.latest().host.power_w == 20.0  # type: ignore[union-attr]
        gpu.values[f"{gpu.devices[0].id}.power_w"] = 123.0
        assert eventually(lambda: all(s.ok for s in monitor.sensors))
        assert eventually(lambda: monitor.latest().gpus[0].power_w == 123.0)  # type: ignore[union-attr]


def test_a_sensor_that_gives_too_few_values_is_lost_and_shifts_nobodys_column() -> None:
    gpu = scripted_gpu(0)
    gpu.read = lambda at_s: [1.0]  # type: ignore[method-assign]
    with Monitor(0.03, sensors=[gpu, scripted_host(utilization=0.25)]) as monitor:
        assert eventually(lambda: len(monitor.history()) >= 3)
        assert monitor.latest().host.cpu_utilization == 0.25  # type: ignore[union-attr]
        assert any("1 values for" in s.cause for s in monitor.sensors)


class Late(ScriptedSensor):
    """A sensor that takes its time to be found."""

    def __init__(self) -> None:
        gpu = scripted_gpu(0)
        super().__init__(gpu.name, gpu.devices, gpu.values, gpu.channels, gpu.sources)
        self.found = threading.Event()

    def discover(self) -> None:
        self.found.wait(30.0)


def test_slow_discovery_delays_nobody_and_the_device_appears() -> None:
    late = Late()
    monitor = Monitor(0.05, sensors=[scripted_host()])
    monitor._all.slow = (late,)
    with monitor:
        assert eventually(lambda: len(monitor.history()) >= 3)
        assert SensorStatus(name="gpu0", state="looking", detail="looking…") in monitor.sensors
        assert monitor.gpu_devices() == ()
        with monitor.measure("began before the GPU was found") as window:
            late.found.set()
            assert eventually(lambda: monitor.latest() and monitor.latest().gpus)  # type: ignore[union-attr]
            time.sleep(0.3)
        measurement = window.measurement
        assert measurement is not None
        (part,) = [c for c in measurement.energy.components if c.device == "GPU 0"]
        assert 0.3 < part.coverage < 1.0
        assert measurement.gpus[0].power_mean_w == pytest.approx(300.0)


def test_stop_ends_the_looking_too() -> None:
    late = Late()
    monitor = Monitor(0.05, sensors=[scripted_host()])
    monitor._all.slow = (late,)
    monitor.start()
    threading.Timer(0.2, late.found.set).start()
    monitor.stop()
    assert eventually(lambda: threads() == [])
    assert late.closed


def test_missed_ticks_are_counted_and_not_made_up() -> None:
    def slow_read(_: float) -> float:
        time.sleep(0.12)
        return 0.5

    slow = scripted_host(utilization=slow_read)
    with Monitor(0.02, sensors=[slow]) as monitor:
        assert eventually(lambda: len(monitor.history()) >= 6)
    missed = monitor.sampler.missed
    rows = len(monitor.history())
    assert missed >= 3 * rows
    times = monitor.history().times
    assert min(b - a for a, b in pairwise(times)) > 0.05


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


def test_a_full_disk_leaves_measuring_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path / "in the way"))
    with Monitor(0.05) as monitor:
        assert eventually(lambda: len(monitor.history()) >= 3)
        (status,) = [s for s in monitor.sensors if s.name == "record"]
        assert "flight record off" in status.cause


def test_the_history_of_the_last_seconds() -> None:
    clock = ManualClock()
    with Monitor(0.5, sensors=[scripted_host()], clock=clock) as monitor:
        clock.advance(60.0)
        assert len(monitor.history(10)) == 21
        with pytest.raises(ValueError, match="seconds must be positive, not 0"):
            monitor.history(0)


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


def test_starting_again_beside_a_hanging_driver_leaves_one_thread() -> None:
    sensor = Hanging()
    monitor = Monitor(0.05, sensors=[scripted_host(), sensor]).start()
    sensor.armed = True
    assert sensor.hangs.wait(5.0)
    monitor.stop()
    monitor.start()
    sensor.armed = False
    sensor.let_go.set()
    assert eventually(lambda: threads() == ["resmon-sampler"])
    rows = len(monitor.history())
    assert eventually(lambda: len(monitor.history()) > rows + 2)
    times = monitor.history().times
    assert times == sorted(times)
    monitor.stop()
    assert threads() == []


def test_a_sensor_that_does_not_answer_is_named() -> None:
    sensor = Hanging()
    with Monitor(0.05, sensors=[scripted_host(), sensor]) as monitor:
        assert eventually(lambda: len(monitor.history()) >= 3)
        sensor.armed = True
        assert sensor.hangs.wait(5.0)
        with monitor.measure("unseen") as window:
            time.sleep(0.5)
        asked_s = time.monotonic()
        measurement = window.measurement
        assert time.monotonic() - asked_s < 0.5
        assert measurement is not None
        assert measurement.notes == ("no sample was taken in this span: gpu0 did not answer",)
        assert any(s.name == "gpu0" and "answer" in s.cause for s in monitor.sensors)
        sensor.armed = False
        sensor.let_go.set()
        assert eventually(lambda: all(s.ok for s in monitor.sensors))
