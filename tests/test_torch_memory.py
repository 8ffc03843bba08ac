"""The allocator sensor beside a real PyTorch: it waits for the user, and never initialises CUDA for them."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from resmon.sensors.torch_memory import TorchMemorySensor, initialized_torch
from tests.driver import GIB, Script, gpu_uuid, gpus, play


def test_without_torch_there_is_nothing_and_nothing_is_imported() -> None:
    state, cause, values, imported = play(
        None,
        """
from resmon.sensors.torch_memory import TorchMemorySensor
s = TorchMemorySensor(None)
s.discover()
values = list(s.read(0.0))
print(json.dumps([s.status[0].state, s.status[0].cause, values, "torch" in sys.modules]))
""",
    )
    assert (state, cause, values, imported) == ("absent", "PyTorch is not imported", [], False)


def test_beside_a_real_torch_cuda_stays_uninitialised() -> None:
    before, after, initialized, generation = play(
        None,
        """
from resmon.sensors.torch_memory import TorchMemorySensor
s = TorchMemorySensor(None)
s.discover()
s.read(0.0)
before = s.status[0].cause
import torch
torch.ones(3).sum()
s.read(1.0)
print(json.dumps([before, s.status[0].cause, torch.cuda.is_initialized(), s.generation]))
""",
    )
    assert before == "PyTorch is not imported"
    assert after in ("this PyTorch is built without CUDA", "PyTorch has not used CUDA")
    assert initialized is False
    assert generation == 0


def test_a_torch_that_is_still_being_imported_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    assert initialized_torch() is None
    assert list(TorchMemorySensor(None).read(0.0)) == []


def test_nvml_beside_torch_leaves_cuda_uninitialised(tmp_path: Any) -> None:
    path = Script(gpus=gpus(1)).write(tmp_path / "gpus")
    channels, initialized = play(
        path,
        """
import torch
from resmon.sensors.nvml import NvmlSensor
s = NvmlSensor()
s.discover()
s.read(0.0)
print(json.dumps([len(s.channels), torch.cuda.is_initialized()]))
""",
    )
    assert channels == 12
    assert initialized is False


class ScriptedCuda:
    """The part of ``torch.cuda`` that the sensor asks, for GPUs that are not here; CUDA's order is not NVML's."""

    def __init__(self, uuids: list[str]) -> None:
        self.uuids = uuids
        self.initialized = False
        self.peak = 3 * GIB

    def is_initialized(self) -> bool:
        return self.initialized

    def device_count(self) -> int:
        assert self.initialized
        return len(self.uuids)

    def get_device_properties(self, ordinal: int) -> types.SimpleNamespace:
        assert self.initialized
        return types.SimpleNamespace(uuid=self.uuids[ordinal][4:], name="NVIDIA H200", total_memory=139 * GIB)

    def memory_stats_as_nested_dict(self, ordinal: int) -> dict[str, Any]:
        assert self.initialized
        return {
            "allocated_bytes": {"all": {"current": (ordinal + 1) * GIB, "peak": self.peak}},
            "reserved_bytes": {"all": {"current": (ordinal + 2) * GIB}},
        }


def test_the_allocator_appears_when_cuda_is_initialised(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = ScriptedCuda([gpu_uuid(1), gpu_uuid(0)])
    torch = types.ModuleType("torch")
    torch.cuda = cuda  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    sensor = TorchMemorySensor(None)
    sensor.discover()
    assert list(sensor.read(0.0)) == []
    assert sensor.generation == 0
    cuda.initialized = True
    assert list(sensor.read(1.0)) == [], "the tick in which it appears has the old shape"
    assert sensor.generation == 1
    values = dict(zip([c.id for c in sensor.channels], sensor.read(2.0), strict=True))
    first = f"gpu:{gpu_uuid(1)}"
    assert values[f"{first}.allocator_allocated_bytes"] == GIB
    assert values[f"{first}.allocator_reserved_bytes"] == 2 * GIB
    assert values[f"{first}.allocator_peak_bytes"] == 3 * GIB
    assert [d.id for d in sensor.devices] == [first, f"gpu:{gpu_uuid(0)}"]
    assert sensor.status[0].state == "available"
    cuda.initialized = False  # as it looks in a forked child
    assert all(value != value for value in sensor.read(3.0))
    sensor.close()
    assert list(sensor.channels) == []
