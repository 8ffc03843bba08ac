"""Real kernels over the scripted driver: what a cell's summary says of GPUs that work, hang, vanish and appear."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.driver import LOST, Fault, Hang, Script, Square, environment, gpu_uuid, gpus
from tests.driver.script import Gpu
from tests.helpers_of_gpus import gone, hanging, served_by
from tests.kernels import ends_by_itself, kernel

WAIT_FOR_GPUS = """import resmon, time
until = time.monotonic() + 60
while len(resmon.get_monitor().gpu_devices()) < {count} and time.monotonic() < until:
    time.sleep(0.05)
time.sleep(1.2)"""
UNTIL = """def until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
"""


def test_two_gpus_are_measured(tmp_path: Path) -> None:
    power = Square(100, 500, period_s=0.4)
    script = Script(gpus=gpus(2, power_w=power, utilization_percent=75.0, memory_used_bytes=3 << 30))
    with kernel(environment(script.write(tmp_path / "gpus"))) as running:
        running.run("%load_ext resmon")
        running.run(WAIT_FOR_GPUS.format(count=2))
        asked = script.now_s()
        ran = running.run("%%resmon -o m\nbegan = time.monotonic(); time.sleep(2.5); ended = time.monotonic()")
        answered = script.now_s()
        began, ended = running.json("(began, ended)")
        energy = running.json("[c.energy_j for c in m.energy.components if c.kind == 'gpu']")
        low, high = running.json("(m.energy.measured_low_j, m.energy.measured_high_j)")
        doctor = running.run("%resmon doctor").text
        status = running.run("%resmon status").text
    # The window of the cell lies between its body and what the test waited for.
    least, most = (
        script.gpus[0].energy_j(*span) for span in ((began - script.epoch_s, ended - script.epoch_s), (asked, answered))
    )
    assert all(0.85 * least <= joules <= 1.15 * most for joules in energy), (least, energy, most)
    assert low <= 2 * most
    assert high >= 2 * least
    assert "■ measured, GPU counters" in ran.text
    assert re.search(r"GPU 1 H200 .*■ measured .*75", ran.text)
    assert "nvml" in doctor
    assert "measured" in status


def test_a_driver_call_that_hangs_delays_neither_a_cell_nor_the_samples_of_the_host(tmp_path: Path) -> None:
    path = hanging(tmp_path / "gpus")
    with kernel(environment(path)) as running:
        running.run("%load_ext resmon")
        running.run(WAIT_FOR_GPUS.format(count=1))
        path.with_name("gpus.hang").replace(path)
        running.run("time.sleep(2.2)")
        running.run(UNTIL + "until(lambda: resmon.get_monitor().latest().gpus[0].power_w is None)")
        ticks = running.json("resmon.get_monitor().sampler.ticks")
        running.run("%%resmon -o m\nbegan = time.monotonic(); time.sleep(1.2); took_s = time.monotonic() - began")
        for n in range(10):
            running.run(f"n = {n}")
        doctor = running.run("%resmon doctor").text
        assert running.json("took_s") < 60
        assert re.search(r"nvml .*has not answered for \d+ s", doctor, re.DOTALL), doctor
        assert running.json("resmon.get_monitor().sampler.ticks") > ticks + 2
        assert running.json("m.samples") >= 2
        assert running.json("resmon.get_monitor().latest().host.cpu_utilization") is not None
        assert running.json("resmon.get_monitor().latest().gpus[0].power_w") is None
        path.with_name("gpus.release").touch()  # all of this while the driver hung
        running.run("until(lambda: resmon.get_monitor().latest().gpus[0].power_w is not None)")
        running.run("%%resmon -o after\ntime.sleep(1.2)")
        assert running.json("after.samples") >= 2
        assert "has not answered" not in running.run("%resmon doctor").text
        assert "GPU 0" in " ".join(running.json("list(m.energy.not_covered)")), "seen for no part of that cell"


def test_shutdown_does_not_wait_for_a_driver_that_hangs(tmp_path: Path) -> None:
    path = hanging(tmp_path / "gpus")
    with kernel(environment(path)) as running:
        running.run("%load_ext resmon")
        running.run(WAIT_FOR_GPUS.format(count=1))
        path.with_name("gpus.hang").replace(path)
        running.run("time.sleep(0.8)")
        assert ends_by_itself(running)


def test_a_gpu_that_is_lost_is_named(tmp_path: Path) -> None:
    script = Script(gpus=gpus(2))
    path = script.write(tmp_path / "gpus")
    with kernel(environment(path)) as running:
        running.run("%load_ext resmon")
        running.run(WAIT_FOR_GPUS.format(count=2))
        lost = Gpu(uuid=gpu_uuid(1), rules=(Fault("*", LOST),))
        after_it = Script(gpus=(script.gpus[0], lost), epoch_s=script.epoch_s).write(tmp_path / "lost")
        loses = f"time.sleep(1.5); os.replace({str(after_it)!r}, {str(path)!r}); time.sleep(1.5)"
        ran = running.run(f"%%resmon -o m\nimport os; {loses}")
        assert re.search(r"GPU 1 H200: .*seen \d+.% of the time", ran.text), ran.text
        assert not re.search(r"GPU 0 H200: .*of the time", ran.text)
        coverage = running.json("{c.device: c.coverage for c in m.energy.components}")
        assert coverage["GPU 1"] < 0.9 < coverage["GPU 0"]
        assert "lost" in running.run("%resmon doctor").text
        after = running.run("%%resmon -o n\ntime.sleep(1.2)").text
        assert "GPU 1" in " ".join(running.json("list(n.energy.not_covered)")), after


def test_a_gpu_that_appears_after_the_cell_began_is_measured_from_then_on(tmp_path: Path) -> None:
    script = Script(gpus=gpus(1, power_w=200.0), rules=(Hang("nvmlInit*", 300.0),))
    with kernel(environment(script.write(tmp_path / "gpus"))) as running:
        assert "GPU: looking…" in running.run("%load_ext resmon").text
        running.run("import resmon, time\n" + UNTIL)
        ran = running.run(
            "%%resmon -o m\nat_first = len(resmon.get_monitor().gpu_devices())\ntime.sleep(1.0)\n"
            f"open({str(tmp_path / 'gpus.release')!r}, 'w').close()\n"
            "until(lambda: resmon.get_monitor().gpu_devices())\ntime.sleep(2.5)"
        )
        assert running.json("at_first") == 0
        assert re.search(r"GPU 0 H200: .*seen \d+.% of the time", ran.text), ran.text
        (energy_j, coverage, duration_s) = running.json(
            "next((c.energy_j, c.coverage, m.duration_s) for c in m.energy.components if c.kind == 'gpu')"
        )
    assert 0.1 < coverage < 1 - 0.9 / duration_s
    assert energy_j == pytest.approx(200 * coverage * duration_s, rel=0.2)


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


# -- the process that reads the GPUs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hangs", [False, True])
def test_a_killed_kernel_leaves_no_helper(tmp_path: Path, hangs: bool) -> None:
    path = hanging(tmp_path / "gpus")
    with kernel(environment(path)) as running_kernel:
        running_kernel.run("%load_ext resmon")
        running_kernel.run(
            "import resmon, time\nuntil = time.monotonic() + 60\n"
            "while not resmon.get_monitor().gpu_devices(): assert time.monotonic() < until; time.sleep(0.05)"
        )
        if hangs:
            path.with_name("gpus.hang").replace(path)
            running_kernel.run("time.sleep(1.2)")
        (helper,) = served_by(running_kernel.pid)
        assert running_kernel.json("[p.pid for p in __import__('psutil').Process().children()]") == []
        os.kill(running_kernel.pid, signal.SIGKILL)
        assert gone(helper)


def test_reloading_and_unloading_leave_one_helper_and_none(tmp_path: Path) -> None:
    wait = """
until = time.monotonic() + 60
while not resmon.get_monitor().gpu_devices():
    assert time.monotonic() < until
    time.sleep(0.05)
"""
    with kernel(environment(Script(gpus=gpus(2)).write(tmp_path / "gpus"))) as running_kernel:
        running_kernel.run("%load_ext resmon")
        running_kernel.run("import resmon, time" + wait)
        first = served_by(running_kernel.pid)
        running_kernel.run("%reload_ext resmon")
        running_kernel.run("time.sleep(0.2)" + wait)
        assert all(gone(pid) for pid in first)
        (second,) = served_by(running_kernel.pid)
        assert "read in process" in running_kernel.run("%resmon doctor").text
        running_kernel.run("%unload_ext resmon")
        assert gone(second)
