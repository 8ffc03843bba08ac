"""Real kernels over the scripted driver: what a cell's summary says of GPUs that work, hang, vanish and appear."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.driver import LOST, Fault, Hang, Script, Square, environment, gpu_uuid, gpus
from tests.driver.script import Gpu
from tests.kernels import kernel

WAIT_FOR_GPUS = """import resmon, time
until = time.monotonic() + 20
while len(resmon.get_monitor().gpu_devices()) < {count} and time.monotonic() < until:
    time.sleep(0.05)
time.sleep(1.2)"""


def test_two_gpus_are_measured(tmp_path: Path) -> None:
    power = Square(100, 500, period_s=0.4)
    script = Script(gpus=gpus(2, power_w=power, utilization_percent=75.0, memory_used_bytes=3 << 30))
    with kernel(environment(script.write(tmp_path / "gpus"))) as running:
        running.run("%load_ext resmon")
        running.run(WAIT_FOR_GPUS.format(count=2))
        ran = running.run("%%resmon -o m\nbegan = time.monotonic(); time.sleep(2.5); ended = time.monotonic()")
        began, ended = running.json("(began, ended)")
        energy = running.json("[c.energy_j for c in m.energy.components if c.kind == 'gpu']")
        low, high = running.json("(m.energy.measured_low_j, m.energy.measured_high_j)")
        doctor = running.run("%resmon doctor").text
        status = running.run("%resmon status").text
    truth = script.gpus[0].energy_j(began - script.epoch_s, ended - script.epoch_s)
    assert energy == pytest.approx([truth, truth], rel=0.15)
    assert low <= 2 * truth <= high
    assert "■ measured, GPU counters" in ran.text
    assert re.search(r"GPU 1 H200 .*■ measured .*75", ran.text)
    assert "nvml" in doctor
    assert "measured" in status


def test_a_driver_call_that_hangs_does_not_delay_a_cell_and_samples_resume(tmp_path: Path) -> None:
    script = Script(gpus=gpus(1))
    path = script.write(tmp_path / "gpus")
    with kernel(environment(path)) as running:
        running.run("%load_ext resmon")
        running.run(WAIT_FOR_GPUS.format(count=1))
        hang = Hang("nvmlDeviceGetUtilizationRates", 10.0, from_s=script.now_s(), to_s=script.now_s() + 1.0)
        Script(gpus=(Gpu(uuid=gpu_uuid(0), rules=(hang,)),), epoch_s=script.epoch_s).write(path)
        hung_at = time.monotonic()
        running.run("time.sleep(0.8)")
        ticks = running.json("resmon.get_monitor().sampler.ticks")
        running.run("%%resmon -o m\nbegan = time.monotonic(); time.sleep(0.2); took_s = time.monotonic() - began")
        for n in range(10):
            running.run(f"n = {n}")
        assert running.json("took_s") < 2
        assert time.monotonic() - hung_at < 9  # all of this while the driver hangs
        assert running.json("resmon.get_monitor().sampler.ticks") == ticks
        running.run(f"until = {hung_at} + 40\nwhile resmon.get_monitor().sampler.ticks < {ticks + 3}:\n"
                    "    assert time.monotonic() < until\n    time.sleep(0.1)")  # fmt: skip
        assert time.monotonic() - hung_at > 9
        running.run("%%resmon -o after\ntime.sleep(1.2)")
        assert running.json("after.samples") >= 2
        assert running.json("m.missed + resmon.get_monitor().latest().missed") >= 5


def test_shutdown_does_not_wait_for_a_driver_that_hangs(tmp_path: Path) -> None:
    script = Script(gpus=gpus(1))
    path = script.write(tmp_path / "gpus")
    with kernel(environment(path)) as running:
        running.run("%load_ext resmon")
        running.run(WAIT_FOR_GPUS.format(count=1))
        hang = Hang("nvmlDeviceGetUtilizationRates", 30.0)
        Script(gpus=(Gpu(uuid=gpu_uuid(0), rules=(hang,)),), epoch_s=script.epoch_s).write(path)
        running.run("time.sleep(0.8)")
        began = time.monotonic()
        running.manager.shutdown_kernel(now=False)
        assert time.monotonic() - began < running.manager.shutdown_wait_time


def test_a_gpu_that_is_lost_is_named(tmp_path: Path) -> None:
    script = Script(gpus=gpus(2))
    path = script.write(tmp_path / "gpus")
    with kernel(environment(path)) as running:
        running.run("%load_ext resmon")
        running.run(WAIT_FOR_GPUS.format(count=2))
        lost = Gpu(uuid=gpu_uuid(1), rules=(Fault("*", LOST, from_s=script.now_s() + 1.0),))
        Script(gpus=(script.gpus[0], lost), epoch_s=script.epoch_s).write(path)
        ran = running.run("%%resmon -o m\ntime.sleep(3)")
        assert re.search(r"GPU 1 H200 .*seen \d+.% of the time", ran.text), ran.text
        assert not re.search(r"GPU 0 H200 .*of the time", ran.text)
        coverage = running.json("{c.device: c.coverage for c in m.energy.components}")
        assert coverage["GPU 1"] < 0.9 < coverage["GPU 0"]
        assert "lost" in running.run("%resmon doctor").text
        after = running.run("%%resmon -o n\ntime.sleep(1.2)").text
        assert "GPU 1" in " ".join(running.json("list(n.energy.not_covered)")), after


def test_a_gpu_that_appears_after_the_cell_began_is_measured_from_then_on(tmp_path: Path) -> None:
    script = Script(gpus=gpus(1, power_w=200.0), rules=(Hang("nvmlInit*", 1.5),))
    with kernel(environment(script.write(tmp_path / "gpus"))) as running:
        assert "GPU: looking…" in running.run("%load_ext resmon").text
        at_first = "import resmon, time; at_first = len(resmon.get_monitor().gpu_devices())"
        ran = running.run(f"%%resmon -o m\n{at_first}; time.sleep(4)")
        assert running.json("at_first") == 0
        assert re.search(r"GPU 0 H200 .*seen \d+.% of the time", ran.text), ran.text
        (energy_j, coverage) = running.json(
            "next((c.energy_j, c.coverage) for c in m.energy.components if c.kind == 'gpu')"
        )
    assert 200 < energy_j < 800
    assert 0.3 < coverage < 0.9


def test_a_hostile_gpu_name_is_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>\x1b[31m"
    script = Script(gpus=gpus(1, name=name))
    with kernel(environment(script.write(tmp_path / "gpus"))) as running:
        greeting = running.run("%load_ext resmon")
        running.run(WAIT_FOR_GPUS.format(count=1))
        ran = running.run("%%resmon\ntime.sleep(0.6)")
        doctor = running.run("%resmon doctor")
        status = running.run("%resmon start").text
    for data in [*ran.shown, *doctor.shown]:
        assert "<img src=x" not in data["text/html"]
        assert "\x1b[31m" not in data["text/plain"]
    assert "&lt;img src=x" in ran.shown[0]["text/html"]
    assert "\x1b[31m" not in "".join(stream["text"] for stream in greeting.of("stream")) + status
