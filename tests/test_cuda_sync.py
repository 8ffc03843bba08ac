"""Windows wait for the GPU work handed out in them, and only where that creates and breaks nothing."""

from __future__ import annotations

import sys
import types

import pytest

from resmon import Monitor
from resmon.sensors.cuda_sync import synchronize
from resmon.testing import ManualClock, scripted_gpu


class ScriptedCuda:
    """The part of ``torch.cuda`` that is asked, of two GPUs of which the second has a context here."""

    def __init__(self) -> None:
        self.initialized = True
        self.capturing = False
        self.fails = False
        self.waited_for: list[int] = []

    def is_initialized(self) -> bool:
        return self.initialized

    def is_current_stream_capturing(self) -> bool:
        return self.capturing

    def device_count(self) -> int:
        return 2

    def synchronize(self, ordinal: int) -> None:
        if self.fails:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        self.waited_for.append(ordinal)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> ScriptedCuda:
    torch = types.ModuleType("torch")
    found = torch.cuda = ScriptedCuda()  # type: ignore[attr-defined]
    torch._C = types.SimpleNamespace(_cuda_hasPrimaryContext=lambda ordinal: ordinal == 1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    return found


def test_only_devices_with_a_context_are_waited_for(cuda: ScriptedCuda) -> None:
    assert synchronize()
    assert cuda.waited_for == [1]


@pytest.mark.parametrize("state", ["initialized", "capturing", "fails"])
def test_where_it_would_create_or_break_something_nothing_is_waited_for(cuda: ScriptedCuda, state: str) -> None:
    setattr(cuda, state, state != "initialized")
    assert not synchronize()
    assert cuda.waited_for == []


def test_a_window_waits_at_both_ends_unless_told_not_to(cuda: ScriptedCuda) -> None:
    clock = ManualClock()
    with Monitor(sensors=[scripted_gpu(energy_j=lambda s: 100 * s)], clock=clock) as monitor:
        with monitor.measure("work"):
            assert cuda.waited_for == [1]
            clock.advance(1)
        assert cuda.waited_for == [1, 1]
        with monitor.measure("step", synchronize=False):
            clock.advance(1)
        assert cuda.waited_for == [1, 1]


def test_an_error_of_the_work_neither_hides_nor_ends_the_measurement(cuda: ScriptedCuda) -> None:
    clock = ManualClock()
    with Monitor(sensors=[scripted_gpu(energy_j=lambda s: 100 * s)], clock=clock) as monitor:
        with monitor.measure("work") as window:
            clock.advance(2)
            cuda.fails = True
        assert window.measurement is not None
        assert window.measurement.duration_s == pytest.approx(2)


def test_without_torch_nothing_is_imported_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert not synchronize()
    assert "torch" not in sys.modules
