"""The GPU sensors on a real NVIDIA GPU. Everything here is skipped on a machine without one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resmon.sensors import Sensor
from resmon.sensors.nvml import NvmlSensor
from resmon.sensors.nvml_remote import RemoteNvmlSensor

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parent.parent


@pytest.fixture(params=[NvmlSensor, RemoteNvmlSensor])
def sensor(request: pytest.FixtureRequest) -> Iterator[Sensor]:
    sensor: Sensor = request.param()
    sensor.discover()
    if not sensor.devices:
        pytest.skip(str(sensor.status[0]))
    yield sensor
    sensor.close()


def _row(sensor: Sensor, at_s: float = 0.0) -> dict[str, float]:
    wanted = next(d.id for d in sensor.devices if d.index == 0)
    pairs = zip(sensor.channels, sensor.read(at_s), strict=True)
    return {channel.quantity: value for channel, value in pairs if channel.device_id == wanted}


def _alone(code: str) -> Any:
    """Run in a fresh process, so that this one never has a CUDA context; gives the JSON of its last line."""
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    if last == "no cuda":
        pytest.skip("this PyTorch cannot use CUDA here")
    return last


def test_every_quantity_of_the_first_gpu_is_plausible(sensor: Sensor) -> None:
    device = next(d for d in sensor.devices if d.index == 0)
    row = _row(sensor)
    if device.kind == "gpu":
        assert 0 <= row["utilization"] <= 1
        assert 5 < row["temperature_c"] < 110
        assert 1e8 <= row["sm_clock_hz"] < 5e9
    assert device.memory_total_bytes is not None
    assert 0 <= row["memory_used_bytes"] <= device.memory_total_bytes
    assert all(row[q] != row[q] or row[q] > 0 for q in ("power_w", "power_limit_w") if q in row)


def test_the_counter_runs_with_the_power(sensor: Sensor, record_property: Callable[[str, object], None]) -> None:
    if "energy_j" not in _row(sensor) or _row(sensor)["power_w"] != _row(sensor)["power_w"]:
        pytest.skip("no counter or no power")
    start = time.monotonic()
    before = _row(sensor)
    watts = []
    while time.monotonic() - start < 3.0:
        watts.append(_row(sensor)["power_w"])
        time.sleep(0.02)
    joules, seconds = _row(sensor)["energy_j"] - before["energy_j"], time.monotonic() - start
    mean_w = sum(watts) / len(watts)
    record_property("counter_w", joules / seconds)
    record_property("mean_of_instants_w", mean_w)
    assert joules / seconds == pytest.approx(mean_w, rel=0.4)


def test_the_counter_steps(sensor: Sensor, record_property: Callable[[str, object], None]) -> None:
    if "energy_j" not in _row(sensor):
        pytest.skip("no counter")
    steps, last, at = [], _row(sensor)["energy_j"], time.monotonic()
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        joules = _row(sensor)["energy_j"]
        if joules != last:
            now = time.monotonic()
            steps.append(now - at)
            last, at = joules, now
    assert len(steps) >= 2
    record_property("counter_step_s", sorted(steps)[len(steps) // 2])


READ_TORCH = """
import json, sys
from resmon.sensors.nvml import NvmlSensor
from resmon.sensors.torch_memory import TorchMemorySensor
nvml = NvmlSensor()
nvml.discover()
memory = TorchMemorySensor(nvml)
memory.discover()
nvml.read(0.0), memory.read(0.0)
assert "torch" not in sys.modules
import torch
nvml.read(1.0), memory.read(1.0)
assert not torch.cuda.is_initialized(), "reading initialised CUDA"
# Not is_available(): that asks the CUDA runtime, after which a forked child cannot use it.
if torch.version.cuda is None or torch.cuda.device_count() == 0:
    print(json.dumps("no cuda"))
    sys.exit()
nvml.read(1.5), memory.read(1.5)
assert not torch.cuda.is_initialized()
tensor = torch.empty(256 << 20, dtype=torch.uint8, device="cuda:0")
memory.read(2.0)
def first(sensor, at):
    device = next(d.id for d in nvml.devices if d.index == 0)
    for _ in range(8):
        values = sensor.read(at)
    return {c.quantity: v for c, v in zip(sensor.channels, values) if c.device_id == device}
"""


def test_the_allocator_is_read_and_its_peak_left_alone() -> None:
    row, generation, free, peak = _alone(
        READ_TORCH
        + """
row, generation = first(memory, 3.0), memory.generation
del tensor
free = first(memory, 4.0)
print(json.dumps([row, generation, free, torch.cuda.max_memory_allocated()]))
"""
    )
    size = 256 << 20
    assert generation == 1
    assert row["allocator_allocated_bytes"] >= size
    assert row["allocator_reserved_bytes"] >= row["allocator_allocated_bytes"]
    assert free["allocator_allocated_bytes"] <= row["allocator_allocated_bytes"] - size
    assert free["allocator_peak_bytes"] == peak >= size


def test_own_memory_is_ours_or_said_to_be_unknown() -> None:
    row, known, lines = _alone(
        READ_TORCH
        + """
row = first(nvml, 3.0)
own = row["memory_own_bytes"]
row["memory_own_bytes"] = None if own != own else own
known = nvml.own_memory_known[next(d.id for d in nvml.devices if d.index == 0)]
print(json.dumps([{"own": row["memory_own_bytes"]}, known, [str(line) for line in nvml.status]]))
"""
    )
    assert known == (row["own"] is not None)
    if known:
        assert row["own"] >= 256 << 20
    else:
        assert any(line.startswith("nvml processes") for line in lines)


def test_a_fork_after_reading_can_still_use_cuda() -> None:
    assert (
        _alone(
            READ_TORCH.partition("tensor =")[0]
            + """
import os
pid = os.fork()
if pid == 0:
    torch.ones(4, device="cuda:0").sum().item()
    os._exit(7)
print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
"""
        )
        == 7
    )
