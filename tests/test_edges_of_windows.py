"""Windows over the real pynvml and a driver whose counter moves in steps: between the edges, not at the readings."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from tests.driver import Gpu, Script, Square, gpu_uuid, play

PLAYED = """
import json, random, time
from resmon.monitor import Monitor
from resmon.sensors.nvml import NvmlSensor
random.seed(1)
with Monitor(0.5, sensors=[NvmlSensor()]) as monitor:
    time.sleep(1.5)
    found = []
    for _ in range(12):
        with monitor.measure() as window:
            time.sleep(0.3 + random.random() * 0.2)
        (part,) = window.measurement.energy.components
        claimed = part.claim is not None
        found.append([window.opened_s, window.closed_s, part.energy_j, part.low_j, part.high_j, claimed, part.note])
        time.sleep(random.random() * 0.1)
    ticks = monitor.sampler.ticks
print(json.dumps([found, ticks]))
"""


def test_a_window_is_measured_between_the_edges_of_the_counter(tmp_path: Path) -> None:
    gpu = Gpu(uuid=gpu_uuid(0), power_w=Square(100, 700, 0.4, 0.25), tau_s=0.1, jitter_s=0.005)
    script = Script(gpus=(gpu,))
    found, ticks = _played(script, tmp_path)
    errors, staircase = [], []
    for opened_s, closed_s, energy_j, low_j, high_j, claimed, note in found:
        start_s, end_s = opened_s - script.epoch_s, closed_s - script.epoch_s
        true_j = gpu.energy_j(start_s, end_s)
        errors.append(abs(energy_j - true_j) / true_j)
        # What a difference of two reads would give: the counter as it stood at the last step before each end.
        steps = [gpu.energy_j(0.0, 0.1 * int(t / 0.1)) for t in (start_s, end_s)]
        staircase.append(abs(steps[1] - steps[0] - true_j) / true_j)
        assert low_j <= true_j <= high_j
        assert claimed
        assert "adds up" not in note
    assert statistics.median(errors) < statistics.median(staircase) / 2
    assert ticks < 200, "the counter is polled alone, not with whole samples"


def test_a_counter_that_counts_more_than_its_power_adds_up_to_is_told_of_and_less_certain(tmp_path: Path) -> None:
    gpu = Gpu(uuid=gpu_uuid(0), power_w=400, tau_s=0.05, jitter_s=0.002, power_gain=0.57)
    found, _ = _played(Script(gpus=(gpu,)), tmp_path)
    *_, energy_j, low_j, high_j, _, note = found[-1]
    assert "the counter counts 1.75 times what the power of this board adds up to" in note
    assert low_j <= 0.57 * energy_j < energy_j < high_j < 1.2 * energy_j


def test_the_parts_of_a_span_sum_to_the_whole_over_a_counter_in_steps(tmp_path: Path) -> None:
    gpu = Gpu(uuid=gpu_uuid(0), power_w=Square(100, 700, 0.3, 0.5), tau_s=0.02)
    code = """
import json, time
from resmon.energy import Ledger
from resmon.monitor import Monitor
from resmon.sensors.nvml import NvmlSensor
with Monitor(0.5, sensors=[NvmlSensor()]) as monitor:
    time.sleep(1.0)
    with monitor.measure() as whole:
        parts = []
        for _ in range(4):
            with monitor.measure() as part:
                time.sleep(0.15)
            parts.append(part)
    ledger = Ledger([whole.measurement])
    new = [ledger.add(part.measurement) for part in parts]
    print(json.dumps([whole.measurement.energy.total_j, ledger.energy.total_j, new]))
"""
    whole_j, counted_j, new = play(Script(gpus=(gpu,)).write(tmp_path / "gpus"), code)
    assert new == [pytest.approx(0.0, abs=1e-9)] * 4, "nested windows add nothing"
    assert counted_j == pytest.approx(whole_j)


def _played(script: Script, tmp_path: Path) -> Any:
    return play(script.write(tmp_path / "gpus"), PLAYED)
