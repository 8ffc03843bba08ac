"""The GPUs read by a helper process: the same readings, its own clock of questions and answers, and what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.driver import GIB, LOST, Fault, Gpu, Hang, Process, Script, Slice, gpu_uuid, gpus, play
from tests.driver.reading import REMOTE_READING

NOT_LOADED = 9
WAIT = """
def until(found, for_s=20.0):
    begun = time.monotonic()
    while not found():
        assert time.monotonic() < begun + for_s, said()
        time.sleep(0.02)
"""
READING = REMOTE_READING + WAIT


def test_it_reads_what_a_sensor_in_this_process_reads(tmp_path: Path) -> None:
    cut = Gpu(uuid=gpu_uuid(2), name="NVIDIA H200 显卡", slices=(Slice(uuid="MIG-11111111-0000"),))
    silent = Gpu(uuid=gpu_uuid(3), rules=[Fault("field:*", 3), Fault("nvmlDeviceGetPowerUsage", 3)])
    closed = Gpu(uuid=gpu_uuid(4), rules=[Fault("nvmlDeviceGetHandleByIndex_v2", 4)])
    busy = Gpu(uuid=gpu_uuid(1), power_w=512.5, utilization_percent=87, memory_used_bytes=60 * GIB, throttle=0x24)
    path = Script(gpus=(*gpus(1), busy, cut, silent, closed)).write(tmp_path / "gpus")
    local, remote = play(
        path,
        READING
        + """
from resmon.sensors.nvml import NvmlSensor as Local
def everything():
    rows = [row(at) for at in range(12)]
    for values in rows[-1].values():
        values.pop("energy_j", None)
    shape = [repr(sensor.devices), repr(sensor.channels), repr(sensor.sources)]
    said = [str(line).replace(f", read in process {getattr(sensor, 'pid', 0)}", "") for line in sensor.status]
    more = [list(sensor.not_covered), sensor.driver_version, dict(sensor.own_memory_known), sensor.generation]
    return [*shape, rows[-1], said, more]
remote = everything()
assert sensor.pid not in (0, os.getpid())
sensor.close()
sensor = Local()
sensor.discover()
show([everything(), remote])
""",
    )
    assert remote == local
    assert "512.5" in str(remote)


def test_the_helper_makes_at_most_four_calls_a_tick_and_gpu(tmp_path: Path) -> None:
    path = Script(gpus=gpus(8)).write(tmp_path / "gpus")
    per_tick = play(
        path,
        READING
        + f"""
def count():
    with open({str(tmp_path / "calls")!r}, "rb") as file:
        return int.from_bytes(file.read(), sys.byteorder)
before = count()
for at in range(24):
    sensor.ask(float(at))
    assert row(float(at))["GPU 7"]["power_w"] == 100
show((count() - before) / 24)
""",
        RESMON_NVML_CALLS=str(tmp_path / "calls"),
    )
    assert 1 <= per_tick / 8 <= 4


def test_without_the_library_no_process_is_started_and_pynvml_not_loaded() -> None:
    said, pid, children, loaded, values = play(
        None,
        READING
        + """
children = open(f"/proc/self/task/{os.getpid()}/children").read() if os.path.exists("/proc/self/task") else ""
show([said(), sensor.pid, children, "pynvml" in sys.modules, sensor.read(0.0)])
""",
    )
    assert said == [
        (
            "nvml: absent (no NVIDIA driver on this machine) "
            "— with an NVIDIA GPU, install its driver until nvidia-smi works"
        )
    ]
    assert (pid, children, loaded, values) == (0, "", False, [])


def test_the_kernels_process_never_calls_the_driver(tmp_path: Path) -> None:
    path = Script(gpus=gpus(2)).write(tmp_path / "gpus")
    code = """
row()
driver = ctypes.CDLL("libnvidia-ml.so.1")
driver.script_calls.restype = ctypes.c_ulonglong
show([driver.script_calls(b"*", i) for i in range(-1, 2)] + ["pynvml" in sys.modules])
"""
    assert play(path, READING + code) == [0, 0, 0, False]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("sys.executable = '/nowhere/python'", "could not be started"),
        ("sys.executable = '/bin/sh'", "no Python interpreter"),
        ("sys.frozen = True", "no Python interpreter"),
        ("sys.executable = os.path.join(FOLDER, 'python')", "ended at once, with exit code 7"),
    ],
)
def test_where_no_helper_can_be_started_the_gpus_are_read_here(tmp_path: Path, broken: str, why: str) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "python").chmod(0o700)
    path = Script(gpus=gpus(1, power_w=321)).write(tmp_path / "gpus")
    said, watts, apart, polled = play(
        path,
        f"import sys, os\nFOLDER = {str(tmp_path)!r}\n{broken}\n"
        + READING
        + """
sensor.ask(1.0)
watts = row(1.0)["GPU 0"]["power_w"]
sensor.watch([sensor.sources[0].id], 1.0, 0.001)
show([said(), watts, sensor.apart, [len(sensor.poll_counters(w)) for w in ((), [sensor.sources[0].id])]])
""",
    )
    assert "read in this process" in said[0]
    assert why in said[0]
    assert (watts, apart, polled) == (321, False, [0, 1])


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetMemoryInfo*",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetGraphicsRunningProcesses_v3",
        "nvmlDeviceGetTemperature*",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetCurrentClocks*",
    ],
)
def test_a_call_that_hangs_holds_the_helper_alone(tmp_path: Path, function: str) -> None:
    """Until it returns, values are unknown, and a question is not asked twice."""
    script = Script(gpus=gpus(2))
    path = script.write(tmp_path / "gpus")
    stuck = Gpu(uuid=gpu_uuid(1), rules=[Hang(function, 2.5, 0.0, script.now_s() + 4.0)])
    Script(gpus=(gpus(1)[0], stuck), epoch_s=script.epoch_s).write(tmp_path / "hang")
    took, blank, said, back = play(
        path,
        READING
        + f"""
os.replace({str(tmp_path / "hang")!r}, {str(path)!r})
def look(at):
    began = time.monotonic()
    sensor.ask(at)
    values = row(at)["GPU 0"]
    return time.monotonic() - began, set(values.values()) == {{None}}
took = blank = 0
at = 0.0
while not blank and at < 12:
    at += 1
    longest, blank = look(at)
time.sleep(1.1)
more = [look(at + n) for n in range(1, 21)]
lines = said()
until(lambda: not look(time.monotonic())[1])
show([max(longest, *(seconds for seconds, _ in more)), [b for _, b in more], lines, said()])
""",
    )
    assert took < 2.0, "a tick never waits for the call"
    assert blank == [True] * 20
    assert said[0].startswith("nvml: lost (has not answered for 1 s)")
    assert back[0].startswith("nvml: available 2 of 2 GPUs, driver 575.57.08, read in process")


def test_a_driver_that_hangs_while_it_starts_is_looked_for_and_then_said_not_to_answer(tmp_path: Path) -> None:
    path = Script(gpus=gpus(1), rules=(Hang("nvmlInit*", 7.0),)).write(tmp_path / "gpus")
    first, values, later, generation = play(
        path,
        """
import threading
from resmon.sensors.nvml_remote import RemoteNvmlSensor
sensor = RemoteNvmlSensor()
said = lambda: [str(line) for line in sensor.status]
looking = threading.Thread(target=sensor.discover)
looking.start()
time.sleep(1.0)
first = said()
looking.join()
time.sleep(0.3)
"""
        + WAIT
        + """
values, later, unseen = sensor.read(1.0), said(), list(sensor.not_covered)
until(lambda: sensor.ask(time.monotonic()) or sensor.channels)
print(json.dumps([first, values, [*later, unseen, list(sensor.not_covered)], sensor.generation]))
""",
    )
    assert first == ["nvml: looking"]
    assert values == []
    assert later[0].startswith("nvml: lost (has not answered for 5 s)")
    assert later[1:] == [["NVIDIA GPUs"], []], "named while it does not answer"
    assert generation == 1


def test_a_shape_that_changes_is_taken_in_with_a_question(tmp_path: Path) -> None:
    one, two = Slice(uuid="MIG-11111111-0000"), Slice(uuid="MIG-22222222-0000", gpu_instance=2)
    script = Script(gpus=(Gpu(uuid=gpu_uuid(0), slices=(one, two)), *gpus(2)[1:]))
    path = script.write(tmp_path / "gpus")
    later = Script(gpus=(Gpu(uuid=gpu_uuid(0), slices=(one,)), *gpus(2)[1:]), epoch_s=script.epoch_s)
    later.write(tmp_path / "later")
    answers = play(
        path,
        READING
        + f"""
def look(at):
    sensor.ask(at)
    values = row(at)
    return [list(values), len(sensor.channels), sensor.generation]
answers = [look(0.0)]
os.environ["CUDA_VISIBLE_DEVICES"] = "1"
answers += [look(1.0), look(2.0)]
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
look(3.0)
answers += [look(4.0)]
del os.environ["CUDA_VISIBLE_DEVICES"]
look(5.0)
os.replace({str(tmp_path / "later")!r}, {str(path)!r})
look(6.0), look(6.5), look(17.0)
answers += [look(17.5)]
show(answers)
""",
    )
    every = ["MIG parent 0", "GPU 0", "GPU 1", "GPU 2"]
    assert answers[0] == [every, 26, 1]
    assert answers[1][2] == 2, "what changed is told before the question"
    assert answers[2] == [["GPU 0"], 12, 2]
    assert answers[3][:2] == [[], 0]
    assert answers[4][0] == ["MIG parent 0", "GPU 0", "GPU 1"]


def test_cudas_own_order_is_followed_once_torch_knows_it(tmp_path: Path) -> None:
    slow, fast = Gpu(uuid=gpu_uuid(0), name="NVIDIA T4"), Gpu(uuid=gpu_uuid(1), name="NVIDIA H200")
    path = Script(gpus=(slow, fast)).write(tmp_path / "gpus")
    before, after, asked = play(
        path,
        READING
        + f"""
import types
before = [[d.label, d.name] for d in sensor.devices], said()
asked = []
def properties(i):
    asked.append(i)
    return types.SimpleNamespace(uuid=[{gpu_uuid(1)!r}, {gpu_uuid(0)!r}][i].removeprefix("GPU-"))
torch = types.ModuleType("torch")
torch.cuda = types.SimpleNamespace(
    is_initialized=lambda: True, device_count=lambda: 2, get_device_properties=properties
)
sys.modules["torch"] = torch
for at in range(1, 5):
    row(float(at))
show([before, [[[d.label, d.name] for d in sensor.devices], said()], len(asked)])
""",
    )
    assert before[0] == [["GPU 0", "NVIDIA T4"], ["GPU 1", "NVIDIA H200"]]
    assert "orders them by speed" in before[1][0]
    assert after[0] == [["GPU 0", "NVIDIA H200"], ["GPU 1", "NVIDIA T4"]]
    assert "speed" not in after[1][0]
    assert asked <= 4


def test_memory_is_own_by_the_pids_of_the_watched_process(tmp_path: Path) -> None:
    mine = tuple(Process(4000 + n, n * GIB) for n in (1, 2, 4))
    path = Script(gpus=gpus(1, processes=mine)).write(tmp_path / "gpus")
    owns = play(
        path,
        READING
        + """
from resmon.sensors.nvml_remote import RemoteNvmlSensor
sensor.close()
pids = {4001}
sensor = RemoteNvmlSensor(own_pids=lambda: frozenset(pids))
sensor.discover()
def own():
    for at in range(8):  # the list has its turn
        value = row(time.monotonic())["GPU 0"]["memory_own_bytes"]
    return value
owns = [own()]
pids.update((4002, 4004))
owns.append(own())
show(owns)
""",
    )
    assert owns == [GIB, 7 * GIB]


def test_a_lost_gpu_and_a_driver_that_comes_later(tmp_path: Path) -> None:
    well = Script(gpus=gpus(2, power_w=200))
    well.write(tmp_path / "well")
    away = Gpu(uuid=gpu_uuid(1), rules=[Fault("*", LOST)])
    Script(gpus=(well.gpus[0], away), epoch_s=well.epoch_s).write(tmp_path / "lost")
    path = Script(gpus=well.gpus, rules=[Fault("nvmlInit*", NOT_LOADED)], epoch_s=well.epoch_s).write(tmp_path / "gpus")
    answers = play(
        path,
        READING
        + f"""
def now(name, *times):
    os.replace(os.path.join({str(tmp_path)!r}, name), {str(path)!r})
    for at in times:
        values = row(at)
    return [values["GPU 1"]["power_w"], said(), sensor.generation]
import shutil
shutil.copy({str(tmp_path / "well")!r}, {str(tmp_path / "again")!r})
answers = [said(), sensor.read(0.0)]
answers.append(now("well", 11.0, 12.0))
answers.append(now("lost", 13.0, 14.0))
answers.append(now("again", 25.0, 26.0))
show(answers)
""",
    )
    assert answers[0][0].startswith("nvml: unavailable")
    assert answers[1] == []
    assert answers[2][0] == 200
    assert answers[3][0] is None
    assert answers[3][1][1].startswith("nvml GPU 1: lost")
    assert answers[4][0] == 200
    assert answers[4][2] == 1


def test_its_cpu_time_counts_as_resmons(tmp_path: Path) -> None:
    code = """
from resmon.monitor import Monitor
from resmon.sensors.nvml_remote import RemoteNvmlSensor
sensor = RemoteNvmlSensor()
with Monitor(0.05, sensors=[sensor]) as monitor:
    time.sleep(0.6)
    sampler = monitor.sampler
    with open(f"/proc/{sensor.pid}/stat") as file:
        used = file.read().rpartition(")")[2].split()[11:13]
    found = sensor.cpu_s, sampler.overhead_s - sampler.cpu_s - sampler.views_cpu_s, monitor.latest().resmon_cpu_s
print(json.dumps([*found, sum(map(int, used)) / os.sysconf("SC_CLK_TCK")]))
"""
    told, counted, shown, kernels = play(Script(gpus=gpus(1)).write(tmp_path / "gpus"), code)
    assert told == pytest.approx(kernels, abs=0.05)
    assert told > 0.01, "its start is in it"
    assert counted >= told - 1e-9, "the difference of sums is not exact"
    assert shown >= 0.9 * told
