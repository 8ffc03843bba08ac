"""The NVML sensor when things go wrong: no driver, no permission, GPUs that are lost, calls that hang, hidden pids."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.driver import (
    LOST,
    MISMATCH,
    NO_PERMISSION,
    TIMEOUT,
    Fault,
    Gpu,
    Hang,
    Script,
    Slice,
    gpu_uuid,
    gpus,
    play,
)
from tests.driver.reading import READING

NOT_LOADED, CABLE = 9, 8
SAY = READING + "show([said(), sensor.read(0.0), list(sensor.not_covered), sensor.generation])"


def test_no_driver_at_all() -> None:
    said, values, not_covered, generation = play(None, SAY)
    assert said == [
        (
            "nvml: absent (no NVIDIA driver on this machine) "
            "— with an NVIDIA GPU, install its driver until nvidia-smi works"
        )
    ]
    assert (values, not_covered, generation) == ([], [], 0)


@pytest.mark.parametrize(
    ("code", "cause", "remedy", "named"),
    [
        (MISMATCH, "different versions", "reboot", ["NVIDIA GPUs"]),
        (NO_PERMISSION, "refuses this user", "--gpus all", ["NVIDIA GPUs"]),
        (NOT_LOADED, "kernel driver is not loaded", "modprobe", []),
        (999, "Unknown Error", "nvidia-smi", ["NVIDIA GPUs"]),
    ],
)
def test_a_driver_that_does_not_start(tmp_path: Path, code: int, cause: str, remedy: str, named: list[str]) -> None:
    path = Script(gpus=gpus(1), rules=[Fault("nvmlInit*", code)]).write(tmp_path / "gpus")
    said, values, not_covered, _ = play(path, SAY)
    assert not_covered == named
    assert len(said) == 1
    assert said[0].startswith("nvml: unavailable")
    assert cause in said[0]
    assert remedy in said[0].partition("—")[2]
    assert values == []


def test_a_driver_without_a_gpu(tmp_path: Path) -> None:
    said, *_ = play(Script().write(tmp_path / "gpus"), SAY)
    assert "lists no GPU" in said[0]
    assert "--gpus all" in said[0]


@pytest.mark.parametrize(("value", "cause"), [("", "hides every GPU of 2"), ("-1", "hides every"), ("0,0", "twice")])
def test_gpus_that_are_hidden(tmp_path: Path, value: str, cause: str) -> None:
    said, *_ = play(Script(gpus=gpus(2)).write(tmp_path / "gpus"), SAY, CUDA_VISIBLE_DEVICES=value)
    assert said[0].startswith("nvml: unavailable")
    assert cause in said[0]


@pytest.mark.parametrize(
    ("code", "cause"), [(NO_PERMISSION, "refuses this user"), (CABLE, "power cable"), (LOST, "lost")]
)
def test_one_gpu_that_cannot_be_opened(tmp_path: Path, code: int, cause: str) -> None:
    closed = Gpu(uuid=gpu_uuid(1), rules=[Fault("nvmlDeviceGetHandleByIndex_v2", code)])
    said, values, _, _ = play(Script(gpus=(*gpus(1), closed)).write(tmp_path / "gpus"), SAY)
    assert said[0].startswith("nvml: available 1 of 1 GPUs")
    assert said[1].startswith("nvml index 1: lost")
    assert cause in said[1]
    assert len(values) == 12


@pytest.mark.parametrize(
    ("visible", "named"),
    [
        (None, ["GPU at NVML index 1"]),
        ("0,1", ["GPU at NVML index 1"]),
        ("0", []),
        (gpu_uuid(0), []),
        (gpu_uuid(1), ["GPU at NVML index 1"]),
        ("", []),
        ("-1", []),
    ],
)
def test_a_gpu_that_cannot_be_opened_is_named_as_not_covered_unless_it_is_hidden(
    tmp_path: Path, visible: str | None, named: list[str]
) -> None:
    closed = Gpu(uuid=gpu_uuid(1), rules=[Fault("nvmlDeviceGetHandleByIndex_v2", NO_PERMISSION)])
    path = Script(gpus=(*gpus(1), closed)).write(tmp_path / "gpus")
    hiding = "" if visible is None else f"os.environ['CUDA_VISIBLE_DEVICES'] = {visible!r}\n"
    _, _, not_covered, _ = play(path, "import os\n" + hiding + SAY)
    assert not_covered == named


@pytest.mark.parametrize("function", ["nvmlInit*", "nvmlDeviceGetCount*", "nvmlDeviceGetHandleByIndex_v2"])
def test_a_measurement_names_the_only_gpu_whose_driver_refuses_before_it_is_found(
    tmp_path: Path, function: str
) -> None:
    path = Script(gpus=gpus(1), rules=[Fault(function, NO_PERMISSION)]).write(tmp_path / "gpus")
    sensors = play(
        path,
        """
from resmon.monitor import Monitor
from resmon.sensors.nvml import NvmlSensor
from resmon.sensors.nvml_remote import RemoteNvmlSensor
not_covered = []
for sensor in (NvmlSensor(), RemoteNvmlSensor()):
    with Monitor(0.05, sensors=[sensor]) as monitor:
        until = time.monotonic() + 30
        while sensor.status[0].state == "looking":
            assert time.monotonic() < until
            time.sleep(0.01)
        with monitor.measure("refused") as window:
            time.sleep(0.2)
    not_covered.append(list(window.measurement.energy.not_covered))
print(json.dumps(not_covered))
""",
    )
    name = "GPU at NVML index 0" if "Handle" in function else "NVIDIA GPUs"
    assert sensors == [[name, "PSU", "fans"]] * 2


def test_a_driver_that_comes_later(tmp_path: Path) -> None:
    script = Script(gpus=gpus(1), rules=[Fault("nvmlInit*", NOT_LOADED, to_s=1000.0)])
    answers = play(
        script.write(tmp_path / "gpus"),
        READING
        + """
answers = [[said()[0][:17], sensor.generation, len(sensor.read(0.0))]]
set_clock(1500.0)
for at in (9.0, 10.5, 11.0):
    answers.append([len(sensor.read(at)), sensor.generation])
answers.append(said())
show(answers)
""",
    )
    assert answers == [
        ["nvml: unavailable", 0, 0],
        [0, 0],
        [0, 1],
        [12, 1],
        ["nvml: available 1 of 1 GPUs, driver 575.57.08"],
    ]


def test_a_gpu_that_is_lost_and_comes_back(tmp_path: Path) -> None:
    away = Gpu(uuid=gpu_uuid(1), power_w=200, rules=[Fault("*", LOST, 1000.0, 2000.0)])
    script = Script(gpus=(Gpu(uuid=gpu_uuid(0), power_w=100), away))
    before, lost, still, back, calls = play(
        script.write(tmp_path / "gpus"),
        READING
        + """
def look(at):
    r = row(at)
    blank = set(r["GPU 1"].values()) == {None}
    return [r["GPU 0"]["power_w"], r["GPU 1"]["power_w"], blank, said(), sensor.generation]
before = look(0.0)
set_clock(1500.0)
lost = look(1.0)
look(5.0)
reset_calls()
still = look(11.5)  # the retry finds it still away
before_back = calls("nvmlDeviceGetFieldValues", 1)
set_clock(2500.0)
look(12.0)
look(22.0)
back = look(22.5)
show([before, lost, still, back, before_back])
""",
    )
    assert before[:3] == [100, 200, False]
    assert lost[:3] == [100, None, True]
    assert lost[3][0].startswith("nvml: degraded 1 of 2 GPUs")
    assert lost[3][1].startswith("nvml GPU 1: lost (the GPU is lost")
    assert "every 10 s" in lost[3][1]
    assert still[:3] == [100, None, True]
    assert back[:3] == [100, 200, False]
    assert back[3] == ["nvml: available 2 of 2 GPUs, driver 575.57.08"]
    assert {before[4], lost[4], still[4], back[4]} == {1}, "the shape never changed"
    assert calls == 0, "a GPU that is lost is not asked"


def test_a_mig_slice_that_is_destroyed_goes_away(tmp_path: Path) -> None:
    one, two = Slice(uuid="MIG-11111111-0000"), Slice(uuid="MIG-22222222-0000", gpu_instance=2)
    script = Script(gpus=(Gpu(uuid=gpu_uuid(0), slices=(one, two)),))
    path = script.write(tmp_path / "gpus")
    Script(gpus=(Gpu(uuid=gpu_uuid(0), slices=(one,)),), epoch_s=script.epoch_s).write(tmp_path / "later")
    answers = play(
        path,
        READING
        + f"""
labels = lambda: [d.label for d in sensor.devices]
answers = [labels()]
os.replace({str(tmp_path / "later")!r}, {str(path)!r})
row(0.0)
row(0.5)
answers.append([line[:16] for line in said()])
sensor.read(11.0)
answers.append(labels())
row(11.5)
answers.append([line[:16] for line in said()])
show(answers)
""",
    )
    assert answers[0] == ["MIG parent 0", "GPU 0", "GPU 1"]
    assert answers[1][:2] == ["nvml: degraded 1", "nvml GPU 1: lost"]
    assert answers[2] == ["MIG parent 0", "GPU 0"]
    assert answers[3] == ["nvml: available "]


def test_a_refusal_that_passes_is_a_gap_and_a_line(tmp_path: Path) -> None:
    script = Script(gpus=gpus(1))
    path = script.write(tmp_path / "gpus")
    flaky = Script(gpus=gpus(1, rules=[Fault("nvmlDeviceGetMemoryInfo*", TIMEOUT)]), epoch_s=script.epoch_s)
    flaky.write(tmp_path / "flaky")
    script.write(tmp_path / "again")
    answers = play(
        path,
        READING
        + f"""
answers = []
for name in ("", "flaky", "again"):
    if name:
        os.replace(os.path.join({str(tmp_path)!r}, name), {str(path)!r})
    answers.append([row()["GPU 0"]["memory_used_bytes"], said()[1:]])
show(answers)
""",
    )
    assert answers[0] == [0, []]
    assert answers[1][0] is None
    assert answers[1][1][0].startswith("nvml GPU 0: degraded (memory: the NVIDIA driver did not answer in time)")
    assert answers[2] == [0, []]


def test_a_call_that_hangs_blocks_its_own_thread_alone(tmp_path: Path) -> None:
    script = Script(gpus=gpus(2))
    path = script.write(tmp_path / "gpus")
    hang = Script(
        gpus=(gpus(1)[0], Gpu(uuid=gpu_uuid(1), rules=[Hang("nvmlDeviceGetUtilizationRates", 3.0)])),
        epoch_s=script.epoch_s,
    )
    hang.write(tmp_path / "hang")
    waited, worked, answer = play(
        path,
        READING
        + f"""
import threading
os.replace({str(tmp_path / "hang")!r}, {str(path)!r})
answer = []
thread = threading.Thread(target=lambda: answer.append(row()["GPU 1"]["utilization"]))
start = time.monotonic()
thread.start()
worked = 0
while thread.is_alive():
    said(), sensor.not_covered, sensor.own_memory_known
    time.sleep(0.01)
    worked += 1
thread.join()
show([time.monotonic() - start, worked, answer])
""",
    )
    assert waited >= 3.0
    assert worked > 30, "the other thread went on, and the status could be read"
    assert answer == [0.0]


def test_what_is_forbidden_is_not_tried_again_and_again(tmp_path: Path) -> None:
    closed = Gpu(uuid=gpu_uuid(1), rules=[Fault("nvmlDeviceGetHandleByIndex_v2", NO_PERMISSION)])
    path = Script(gpus=(*gpus(1), closed)).write(tmp_path / "gpus")
    code = READING + "reset_calls()\nfor at in range(0, 100, 5): row(float(at))\nshow(calls('nvmlDeviceGetUUID'))"
    assert play(path, code) == 0


def test_a_whole_driver_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    rules = [Fault("nvmlInit*", NOT_LOADED, 1000.0, 2000.0)]
    script = Script(gpus=gpus(2, power_w=50, rules=[Fault("*", LOST, 1000.0, 2000.0)]), rules=rules)
    answers = play(
        script.write(tmp_path / "gpus"),
        READING
        + """
def look(at):
    return [row(at)["GPU 1"]["power_w"], said()[0][:40], sensor.generation]
answers = [look(0.0)]
set_clock(1500.0)
answers += [look(1.0), look(2.0), look(12.5)]
set_clock(2500.0)
answers += [look(23.0)]
show(answers)
""",
    )
    assert answers == [
        [50, "nvml: available 2 of 2 GPUs, driver 575.", 1],
        [None, "nvml: lost 0 of 2 GPUs, driver 575.57.08", 1],
        [None, "nvml: lost 0 of 2 GPUs, driver 575.57.08", 1],
        [None, "nvml: lost (the NVIDIA library is here, ", 1],
        [50, "nvml: available 2 of 2 GPUs, driver 575.", 1],
    ]


@pytest.mark.parametrize("retry_s", [0, -1.0, float("nan")])
def test_a_retry_time_must_be_positive(retry_s: float) -> None:
    from resmon.sensors.nvml import NvmlSensor

    with pytest.raises(ValueError, match="retry_s must be more than 0 seconds"):
        NvmlSensor(retry_s=retry_s)
