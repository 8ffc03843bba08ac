"""The benchmark of a real GPU, run over the scripted driver: what it finds is what the script says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.driver import NOT_SUPPORTED, Fault, Gpu, Script, Square, gpu_uuid, play

CODE = """
import contextlib, json, os
os.environ["XDG_CACHE_HOME"] = os.environ["FOLDER"]
from benchmarks.gpu import describe, measure
from benchmarks.report import Row, Text
kinds = []
@contextlib.contextmanager
def load(kind):
    kinds.append(kind)
    yield
found = measure(load, poll_s=1.5, windows=3)
rows = {row.name: [row.value, row.unit, row.reference_value] for row in found if isinstance(row, Row)}
print(json.dumps([kinds, describe(), rows, [line for text in found if isinstance(text, Text) for line in text.lines]]))
"""


def measured(tmp_path: Path, gpu: Gpu | None) -> Any:
    script = None if gpu is None else Script(gpus=(gpu,)).write(tmp_path / "gpus")
    return play(script, CODE, FOLDER=str(tmp_path))


def test_the_script_is_found_again(tmp_path: Path) -> None:
    gpu = Gpu(
        uuid=gpu_uuid(0),
        power_w=Square(290, 310, 0.13, 0.5),
        tau_s=0.05,
        jitter_s=0.004,
        energy_gain=1.1,
        power_update_s=0.02,
        power_window_s=0.02,
    )
    kinds, name, rows, lines = measured(tmp_path, gpu)
    assert kinds == ["idle", "steady load", "duty cycle"]
    assert name == "NVIDIA H200, driver 575.57.08"
    assert rows["energy counter, period τ, median"][0] == pytest.approx(50, rel=0.1)
    assert rows["energy counter, period τ, p99"][0] >= rows["energy counter, period τ, median"][0]
    assert rows["field 186 (instant), period τ, median"][0] >= 15
    for kind in kinds:
        counted_w, unit, drawn_w = rows[f"counter, {kind}"]
        assert (unit, counted_w / drawn_w) == ("W", pytest.approx(1.1, rel=0.03))
    assert any("nvmlDeviceGetSamples (total power) works: " in line and "20.0 ms apart" in line for line in lines)
    latencies = [value for name, (value, unit, _) in rows.items() if unit == "µs"]
    assert len(latencies) == 40
    assert min(latencies) > 0
    assert rows["window of 2000 ms, steady load, median error"][0] < 2
    assert {f"window of {ms} ms, steady load, interval holds" for ms in (10, 50, 100, 500, 2000)} <= set(rows)


def test_what_the_driver_refuses_is_said(tmp_path: Path) -> None:
    rules = (
        Fault("nvmlDeviceGetSamples", NOT_SUPPORTED),
        Fault("field:185", NOT_SUPPORTED),
        Fault("nvmlDeviceGetUtilizationRates", NOT_SUPPORTED),
    )
    _, _, rows, lines = measured(tmp_path, Gpu(uuid=gpu_uuid(0), power_w=300, rules=rules))
    said = "\n".join(lines)
    assert "nvmlDeviceGetSamples (total power): Not Supported" in said
    assert "nvmlDeviceGetUtilizationRates: Not Supported" in said
    assert "field 185 (average): moved 0 times" in said
    assert not any("185 (average)" in name for name in rows)


def test_without_a_gpu_it_says_why_and_measures_nothing(tmp_path: Path) -> None:
    _, name, rows, lines = measured(tmp_path, None)
    assert (name, rows) == ("", {})
    assert lines[0].startswith("No NVIDIA GPU was measured: nvml")
