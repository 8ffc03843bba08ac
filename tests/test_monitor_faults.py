"""The monitor with a real thread beside sensors that hang, fail, come late or are slow, and a disk that is full."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import resmon
from resmon.facts import SensorStatus
from resmon.monitor import Monitor
from resmon.testing import ScriptedSensor, scripted_gpu, scripted_host
from tests.monitors import Hanging, eventually, records_beside, threads


@pytest.fixture(autouse=True)
def _record_beside_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with records_beside(tmp_path, monkeypatch):
        yield


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


@pytest.mark.parametrize("reading", [math.inf, -math.inf, 1e308])
def test_a_reading_that_is_no_number_of_anything_is_unknown_and_traces_go_on(tmp_path: Path, reading: float) -> None:
    wild, path = [False], tmp_path / "run.ndjson"
    gpu = scripted_gpu(0, power_w=lambda _: reading if wild[0] else 100.0)
    with Monitor(0.02, sensors=[gpu]) as monitor:
        assert monitor.sampler.read_now(5.0)
        monitor.record_trace(path)
        wild[0] = True
        with monitor.measure() as window:
            assert eventually(lambda: "which no reading can be" in str([s.cause for s in monitor.sensors]))
        assert window.measurement is not None
        wild[0] = False
        assert eventually(lambda: monitor.sampler.read_now(1.0) and not monitor.sampler.failures)
        trace = monitor.end_trace()
        assert trace is not None
        assert not trace.notice
        rows = [line for line in path.read_text("utf-8").splitlines() if "100.0" in line]
        assert len(rows) >= 2
    with resmon.replay(path) as again:
        assert again.play().duration_s > 0


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


def test_a_full_disk_leaves_measuring_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path / "in the way"))
    with Monitor(0.05) as monitor:
        assert eventually(lambda: len(monitor.history()) >= 3)
        (status,) = [s for s in monitor.sensors if s.name == "record"]
        assert "flight record off" in status.cause


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
        assert time.monotonic() - asked_s < 5.0, "nobody waits for it"
        assert measurement is not None
        assert measurement.notes == ("no sample was taken in this span: gpu0 did not answer",)
        assert any(s.name == "gpu0" and "answer" in s.cause for s in monitor.sensors)
        sensor.armed = False
        sensor.let_go.set()
        assert eventually(lambda: all(s.ok for s in monitor.sensors))
