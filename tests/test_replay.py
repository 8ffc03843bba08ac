"""A recorded run gives the same numbers when it is played again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import resmon
from resmon.errors import RecordError
from resmon.monitor import Monitor
from resmon.testing import ManualClock, scripted_gpu, scripted_host


def recorded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, resmon.Measurement, Monitor]:
    """A run of ten seconds with a cell in it: its record, the measurement of the cell, and its monitor."""
    monkeypatch.setenv("RESMON_RECORD_DIR", str(directory))
    clock = ManualClock(start_s=50.0)
    gpu = scripted_gpu(0, energy_j=lambda t: 250.0 * t + (t % 1), power_w=lambda t: 200 + 10 * (t % 3))
    monitor = Monitor(0.5, sensors=[scripted_host(power_w=lambda t: 10 + t % 4), gpu], clock=clock, record=True)
    with monitor:
        clock.advance(2.0)
        monitor.note({"cell": "start", "id": 1, "number": 7})
        with monitor.measure("In [7]") as window:
            clock.advance(5.0)
        monitor.note({"cell": "end", "id": 1, "error": None})
        monitor.set_idle(idle=True)
        clock.advance(6.0)
        assert window.measurement is not None
    (path,) = directory.glob("*.resmon")
    return path, window.measurement, monitor


def test_a_replayed_cell_has_the_numbers_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, original, monitor = recorded(tmp_path, monkeypatch)
    replayed = resmon.replay(path)
    replayed.play()
    (cell,) = replayed.cells
    assert cell.name == "In [7]"
    assert cell.duration_s == original.duration_s
    assert [c.energy_j for c in cell.energy.components] == [c.energy_j for c in original.energy.components]
    assert [(c.low_j, c.high_j) for c in cell.energy.components] == [
        (c.low_j, c.high_j) for c in original.energy.components
    ]
    assert cell.gpus == original.gpus
    assert cell.peak_memory_bytes == original.peak_memory_bytes
    assert cell.series == original.series
    assert replayed.history().times == monitor.history().times
    assert replayed.history().raw("energy.nvml:" + str(original.gpus[0].device.uuid)) == monitor.history().raw(
        "energy.nvml:" + str(original.gpus[0].device.uuid)
    )


def test_playing_twice_gives_the_same_to_the_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _, _ = recorded(tmp_path, monkeypatch)
    texts = []
    for _ in range(2):
        replayed = resmon.replay(path)
        with replayed.measure("the first four seconds") as window:
            replayed.advance(4.0)
        texts.append((str(window.measurement), str(replayed.play()), str(replayed.latest())))
    assert texts[0] == texts[1]


def test_a_window_that_is_read_before_the_next_row_comes_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, _ = recorded(tmp_path, monkeypatch)

    def parts(*, read_at_once: bool) -> tuple[list[resmon.Measurement], float, resmon.Measurement]:
        """Three windows whose ends lie between rows, the instant after each, and the whole record."""
        replayed = resmon.replay(path)
        replayed.advance(2.2)
        began_s, windows = replayed.clock.now(), []
        for _ in range(3):
            with replayed.measure("between rows") as window:
                replayed.advance(0.7)
            windows.append(window)
            if read_at_once:
                assert window.measurement is not None
        ended_s, whole = replayed.clock.now(), replayed.play()
        return [w.measurement for w in windows if w.measurement is not None], ended_s - began_s, whole

    at_once, later = parts(read_at_once=True), parts(read_at_once=False)
    assert at_once[1] == pytest.approx(2.1), "the clock stays where it was"
    for m in at_once[0]:
        assert [c.coverage for c in m.energy.components] == [1.0] * len(m.energy.components), str(m)
        assert "of the time" not in str(m)
    assert [m.to_dict() for m in at_once[0]] == [m.to_dict() for m in later[0]]
    assert at_once[2].to_dict() == later[2].to_dict()


def test_a_record_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _, _ = recorded(tmp_path, monkeypatch)
    assert resmon.replay(path.stem).duration_s == resmon.replay(path).duration_s > 11
    with pytest.raises(RecordError, match=rf"nothing: no such file; .*{path.name}"):
        resmon.replay("nothing")


def test_a_cell_that_never_ended_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path))
    clock = ManualClock()
    with Monitor(0.5, sensors=[scripted_host()], clock=clock, record=True) as monitor:
        clock.advance(1.0)
        monitor.note({"cell": "start", "id": 3, "number": 4})
        clock.advance(3.0)
    (path,) = tmp_path.glob("*.resmon")
    replayed = resmon.replay(path)
    replayed.play()
    (cell,) = replayed.cells
    assert (cell.name, cell.error) == ("In [4]", "the record ends before the cell did")


def test_the_record_of_the_real_machine_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path))
    with Monitor(0.05, record=True) as monitor:
        time.sleep(0.5)
    (path,) = tmp_path.glob("*.resmon")
    replayed = resmon.replay(path)
    whole = replayed.play()
    assert whole.samples >= 5
    assert replayed.latest().host.memory_tree_bytes == monitor.latest().host.memory_tree_bytes  # type: ignore[union-attr]
    assert replayed.limits == monitor.limits
    assert all(status.ok for status in replayed.sensors)


def test_a_record_is_played_forward_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _, _ = recorded(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="played forward"):
        resmon.replay(path).advance(-1.0)
