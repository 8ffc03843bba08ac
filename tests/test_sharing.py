"""A GPU that others use too is marked, and whose joules they were is an estimate whose parts sum to the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resmon.sharing import MAYBE_SHARED, mark, shared_scope, sharing
from tests.driver import GIB, Process, Script, Slice, gpus, play

MEASURE = """
import resmon
from resmon.views.wire import Layout
with resmon.Monitor(0.1) as monitor:
    while not any(s.id.startswith("nvml:") for s in monitor.sampler.sources):
        time.sleep(0.01)
    time.sleep(1.2)
    with monitor.measure("work") as window:
        time.sleep(1.0)
    m = window.measurement
    again = resmon.Measurement.from_dict(json.loads(json.dumps(m.to_dict())))
    assert again == m and again.attribution() == m.attribution()
    print(json.dumps({
        "gpus": [[g.device.label, g.shared, g.own_share] for g in m.gpus],
        "parts": [[c.device, c.energy_j, c.scope, c.basis] for c in m.energy.components if c.kind == "gpu"],
        "whose": [[c.device, c.energy_j, c.low_j, c.high_j, c.basis, c.note] for c in m.attribution()],
        "text": m._repr_mimebundle_()["text/plain"],
        "line": str(m),
        "caption": Layout(monitor, 0).schema("session", subshells=True)["measured_caption"],
    }))
"""


def measured(tmp_path: Path, **changes: Any) -> Any:
    return play(Script(gpus=gpus(1, power_w=200, **changes)).write(tmp_path / "gpus"), MEASURE)


def test_a_gpu_that_others_use_is_marked_and_its_joules_are_shared_out(tmp_path: Path) -> None:
    others = [Process(1, 5 * GIB), Process(2, 1 * GIB, "graphics")]
    found = measured(tmp_path, processes=[Process("self", 2 * GIB), *others], memory_used_bytes=8 * GIB)
    assert found["gpus"] == [["GPU 0", True, pytest.approx(0.25)]]
    ((device, energy_j, scope, basis),) = found["parts"]
    assert (device, scope, basis) == ("GPU 0", "board, shared with 2 other processes", "measured")
    assert energy_j == pytest.approx(200, rel=0.1), "the headline is the whole device"
    (ours, rest) = found["whose"]
    assert ours[:2] == ["GPU 0, this process tree", pytest.approx(energy_j / 4)]
    assert rest[:2] == ["GPU 0, others", pytest.approx(energy_j * 3 / 4)]
    assert ours[1] + rest[1] == pytest.approx(energy_j, rel=1e-12)
    for _, part_j, low_j, high_j, part_basis, note in (ours, rest):
        assert low_j == 0.0 < part_j < energy_j < high_j
        assert part_basis == "estimated"
        assert note in ("25% of a shared device, by memory", "75% of a shared device, by memory")
    assert "■ measured, GPU counters, shared" in found["text"]
    assert "shared with 2 other processes" in found["text"]
    assert "GPU 0 shared" in found["line"]
    assert found["caption"] == "shared: GPU counter"


def test_a_gpu_of_ours_alone_is_not(tmp_path: Path) -> None:
    found = measured(tmp_path, processes=[Process("self", 2 * GIB)], memory_used_bytes=2 * GIB)
    assert found["gpus"] == [["GPU 0", False, 1.0]]
    assert [part[2] for part in found["parts"]] == ["board"]
    assert found["whose"] == []
    assert "shared" not in found["text"] + found["line"] + found["caption"]


def test_where_pids_are_hidden_it_may_be_shared_and_nothing_is_shared_out(tmp_path: Path) -> None:
    """A container shows no pid of ours: with a CUDA context of our own that is certain wherever the test runs."""
    torch = """
import types
torch = types.ModuleType("torch")
torch.cuda = types.SimpleNamespace(is_initialized=lambda: True, synchronize=lambda *a: None, device_count=lambda: 0)
sys.modules["torch"] = torch
"""
    path = Script(gpus=gpus(1, power_w=200, processes=[Process(1, GIB)])).write(tmp_path / "gpus")
    found = play(path, torch + MEASURE)
    assert found["gpus"] == [["GPU 0", None, None]]
    assert [part[2] for part in found["parts"]] == [f"board, {MAYBE_SHARED}"]
    assert found["whose"] == []
    assert "■ measured, GPU counters, may be shared" in found["text"]
    assert found["caption"] == "may be shared: GPU counter"


def test_a_gpu_that_is_cut_into_slices_is_shared_in_proportion_to_them(tmp_path: Path) -> None:
    ours = Slice(uuid="MIG-11111111-0000", memory_total_bytes=32 * GIB, processes=[Process("self", GIB)])
    theirs = Slice(uuid="MIG-22222222-0000", gpu_instance=2, memory_total_bytes=64 * GIB)
    board = gpus(1, power_w=200, memory_total_bytes=128 * GIB, slices=[ours, theirs])
    path = Script(gpus=board).write(tmp_path / "gpus")
    found = play(path, MEASURE, CUDA_VISIBLE_DEVICES=ours.uuid)
    ((device, energy_j, scope, _),) = found["parts"]
    assert (device, scope) == ("MIG parent 0", "board, shared by all its MIG slices")
    assert [(part[0], part[1]) for part in found["whose"]] == [
        ("MIG parent 0, this process tree", pytest.approx(energy_j / 4)),
        ("MIG parent 0, others", pytest.approx(energy_j * 3 / 4)),
    ]
    assert "shared by all its MIG slices" in found["text"]
    assert found["caption"] == "shared: GPU counter"


def test_the_words() -> None:
    assert sharing(0.0) == ""
    assert sharing(1.0) == "shared with 1 other process"
    assert sharing(None) == sharing(float("nan")) == MAYBE_SHARED
    assert shared_scope("board", "") == "board"
    assert shared_scope("board, shared by all its MIG slices", MAYBE_SHARED) == "board, shared by all its MIG slices"
    assert mark(["board", f"board, {MAYBE_SHARED}"]) == "may be shared"
    assert mark([f"board, {MAYBE_SHARED}", "board, shared with 1 other process"]) == "shared"
    assert mark(["board"]) == ""
