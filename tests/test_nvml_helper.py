"""The life of the process that reads the GPUs: whom it ends with, who must not keep it, and what follows its death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.driver import Hang, Script, gpus, play
from tests.driver.playing import PREAMBLE, ROOT, environment
from tests.driver.reading import REMOTE_READING
from tests.helpers_of_gpus import gone, hanging, served_by

UNTIL = """
def until(found, for_s=40.0):
    begun = time.monotonic()
    while not found():
        assert time.monotonic() < begun + for_s
        time.sleep(0.02)
"""
MONITOR = (
    UNTIL
    + """
import signal, threading
from resmon.monitor import Monitor
from resmon.sensors import Sensors
from resmon.sensors.nvml_remote import RemoteNvmlSensor
sensor = RemoteNvmlSensor(retry_s=0.3)
monitor = Monitor(0.05, sensors=[])
monitor._all = Sensors(slow=(sensor,))
said = lambda: [str(line) for line in monitor.sensors]
def power():
    sample = monitor.latest()
    return None if sample is None or not sample.gpus else sample.gpus[0].power_w
"""
)
WAITING = (
    MONITOR
    + """
monitor.start()
until(lambda: monitor.gpu_devices())
"""
)


@contextmanager
def running(script: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that plays the code; it is killed at the end."""
    words = [sys.executable, "-c", PREAMBLE + code]
    env = {**environment(script), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, env=env, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


HUNG = """
os.replace(os.environ["RESMON_NVML_SCRIPT"] + ".hang", os.environ["RESMON_NVML_SCRIPT"])
until(lambda: any("has not answered" in line for line in said()))
"""
FORKED_BEHIND_PYTHONS_BACK = """
holds = ctypes.PyDLL(None).fork()
if holds == 0:
    os.close(1)
    time.sleep(600)
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ("killed", "idle"),
        ("killed", "in a call that hangs"),
        ("killed", "with its socket open in another process"),
        ("exit", "idle"),
        ("exit", "in a call that hangs"),
        ("exec", "idle"),
        ("exec", "in a call that hangs"),
    ],
)
def test_it_ends_with_the_process_that_it_serves(tmp_path: Path, end: str, state: str) -> None:
    more = {"idle": "", "in a call that hangs": HUNG}.get(state, FORKED_BEHIND_PYTHONS_BACK)
    code = WAITING + "holds = 0\n" + more + "print(sensor.pid, holds, flush=True)\ninput()\n"
    if end == "exec":
        code += "os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    with running(hanging(tmp_path / "gpus"), code) as process:
        helper, holds = map(int, line_of(process).split())
        assert served_by(process.pid) == [helper]
        if end == "killed":
            os.kill(process.pid, signal.SIGKILL)
        else:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        try:
            assert gone(helper)
        finally:
            if holds:
                os.kill(holds, signal.SIGKILL)


def test_stop_lets_it_go_and_start_has_another(tmp_path: Path) -> None:
    code = (
        WAITING
        + """
from tests.leftovers import readers
mine = lambda: [pid for pid, served in readers().items() if served == os.getpid()]
seen = [sensor.pid]
for _ in range(2):
    monitor.stop()
    until(lambda: not mine())
    assert said() == ["nvml: unavailable (closed)"], said()
    monitor.start()
    until(lambda: power() == 100)
    seen.append(sensor.pid)
    assert mine() == [sensor.pid]
monitor.stop()
until(lambda: not mine())
try:
    os.wait()
except ChildProcessError:  # no child that a program which waits for its own could meet
    print(json.dumps(len(set(seen))))
"""
    )
    assert play(Script(gpus=gpus(1)).write(tmp_path / "gpus"), code) == 3


def test_stop_does_not_wait_for_a_call_that_hangs(tmp_path: Path) -> None:
    code = (
        WAITING
        + HUNG
        + """
pid, ticks, began = sensor.pid, monitor.sampler.ticks, time.monotonic()
until(lambda: monitor.sampler.ticks > ticks + 5)
with monitor.measure() as window:
    pass
monitor.stop()
until(lambda: not os.path.exists(f"/proc/{pid}/exe"))
print(json.dumps(time.monotonic() - began))
"""
    )
    assert play(hanging(tmp_path / "gpus"), code) < 150


def test_stop_ends_a_look_that_hangs(tmp_path: Path) -> None:
    code = (
        MONITOR
        + """
monitor.start()
until(lambda: sensor.pid)
pid = sensor.pid
assert said() == ["nvml: looking looking…"], said()
monitor.stop()
until(lambda: not os.path.exists(f"/proc/{pid}/exe"))
left = [thread.name for thread in threading.enumerate() if thread.name.startswith("resmon")]
print(json.dumps([left, said()]))
"""
    )
    script = Script(gpus=gpus(1), rules=(Hang("nvmlInit*", 600.0),)).write(tmp_path / "gpus")
    assert play(script, code) == [[], ["nvml: unavailable (closed)"]]


def test_a_helper_that_is_killed_is_named_and_started_again(tmp_path: Path) -> None:
    code = (
        WAITING
        + """
until(lambda: power() == 100)
(source,) = monitor.sampler.sources
total = lambda: monitor.history().last(f"energy.{source.id}")
time.sleep(0.3)
before, generation, first, cpu_s, missed = total(), sensor.generation, sensor.pid, sensor.cpu_s, monitor.sampler.missed
with monitor.measure("over its death") as window:
    time.sleep(0.3)
    os.kill(first, signal.SIGKILL)
    until(lambda: power() is None)
    lost = said()
    until(lambda: power() == 100)
    time.sleep(0.5)
part = window.measurement.energy.components[0]
truth = 100 * window.measurement.duration_s
print(json.dumps([lost, first, sensor.pid, sensor.generation - generation, total() > before, sensor.cpu_s > cpu_s,
                  said(), [part.energy_j / truth, part.low_j <= truth <= part.high_j, part.coverage],
                  str(window.measurement)]))
monitor.stop()
"""
    )
    lost, first, second, shapes, goes_on, cpu, said, part, text = play(
        Script(gpus=gpus(1)).write(tmp_path / "gpus"), code
    )
    assert lost == [
        f"nvml: lost (process {first}, which reads the GPUs, ended unexpectedly) — it is started again every 0.3 s"
    ]
    assert second not in (0, first)
    assert (shapes, goes_on, cpu) == (0, True, True)
    assert said[0].startswith("nvml: available")
    assert 0.8 < part[0] < 1.2, text
    assert part[1], text


def test_a_forked_child_does_not_keep_it_and_may_have_its_own(tmp_path: Path) -> None:
    code = (
        WAITING
        + """
until(lambda: power() == 100)
def inode():
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return {os.readlink(link) for link in links if os.path.lexists(link)}
reader, writer = os.pipe()
mine = {name for name in inode() if name.startswith("socket:")}
pid = os.fork()
if pid == 0:
    kept = mine & inode()
    blank = all(v != v for v in sensor.read(time.monotonic()))
    sensor.watch([s.id for s in sensor.sources], 0.1, 0.001)
    parents = sensor.pid
    monitor.start()
    until(lambda: power() == 100)
    own = sensor.pid
    os.write(writer, json.dumps([sorted(kept), blank, parents, own]).encode())
    time.sleep(100)
helper = sensor.pid
os.close(writer)
kept, blank, parents, own = json.loads(os.read(reader, 1000))
samples = monitor.sampler.ticks
until(lambda: monitor.sampler.ticks > samples + 4 and power() == 100)
assert sensor.pid == helper
monitor.stop()
until(lambda: not os.path.exists(f"/proc/{helper}/exe"))  # while the child lives
alive = os.path.exists(f"/proc/{own}/exe")
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
until(lambda: not os.path.exists(f"/proc/{own}/exe"))
print(json.dumps([kept, blank, parents, own != helper, alive]))
"""
    )
    answer = play(Script(gpus=gpus(1)).write(tmp_path / "gpus"), code)
    assert answer == [[], True, 0, True, True]


def test_neither_interrupts_nor_a_process_group_reach_it(tmp_path: Path) -> None:
    code = (
        WAITING
        + """
pid = sensor.pid
assert os.getsid(pid) != os.getsid(0)
os.kill(pid, signal.SIGINT)
time.sleep(0.3)
with open(f"/proc/{pid}/comm") as file:
    name = file.read().strip()
nice = os.getpriority(os.PRIO_PROCESS, pid) - os.getpriority(os.PRIO_PROCESS, 0)
policy = os.sched_getscheduler(pid) == os.sched_getscheduler(0)
print(json.dumps([sensor.pid == pid, os.readlink(f"/proc/{pid}/cwd"), name, nice, policy]))
monitor.stop()
"""
    )
    path = Script(gpus=gpus(1)).write(tmp_path / "gpus")
    assert play(path, "import os\nos.nice(3)\n" + code) == [True, "/", "resmon-nvml", 0, True]


def test_it_loads_neither_torch_nor_ipython_nor_what_lies_in_the_folder(tmp_path: Path) -> None:
    """A ``json.py`` beside a notebook is not what the helper imports."""
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    (tmp_path / "torch.py").write_text("raise SystemExit(3)")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
os.chdir({str(tmp_path)!r})
""" + REMOTE_READING.replace(
        "def show",
        """
with open(f"/proc/{sensor.pid}/maps") as file:
    mapped = file.read()
def show""",
    )
    code += """
heavy = [word for word in ("torch", "IPython", "numpy", "psutil", "libcuda") if word in mapped]
show([row()["GPU 0"]["power_w"], heavy])
"""
    assert play(Script(gpus=gpus(1)).write(tmp_path / "gpus"), code) == [100, []]
