"""A board's imported gain reaches every live result, over the scripted driver: window, session, ledger, doctor."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import resmon
from resmon.calibration_reading import read_board_calibration
from resmon.errors import CalibrationError
from resmon.testing import ManualClock, scripted_gpu, scripted_host
from tests.driver import Script, environment, gpu_uuid, gpus, play
from tests.kernels import kernel
from tests.test_kernel_gpus import WAIT_FOR_GPUS

ROW = {"gain": 1.1, "gain_sigma": 0.011, "source": "wall meter", "date": "2026-10-01"}


def wrote(path: Path, *uuids: str) -> Path:
    rows = [{**ROW, "uuid": uuid} for uuid in uuids]
    path.write_text(json.dumps({"resmon_calibration": 1, "boards": rows}))
    return path


MEASURE = """
import resmon
with resmon.Monitor(0.2{argument}) as monitor:
    while sum(s.id.startswith("nvml:") for s in monitor.sampler.sources) < 2:
        time.sleep(0.01)
    time.sleep(1.0)
    with monitor.measure("work") as window:
        time.sleep(2.0)
    m, session = window.measurement, monitor.session_energy()
    parts = [c for c in m.energy.components if c.kind == "gpu"]
    print(json.dumps({{
        "seconds": m.duration_s,
        "energy": [c.energy_j for c in parts],
        "half": [(c.high_j - c.low_j) / 2 / c.energy_j for c in parts],
        "notes": [c.note for c in parts],
        "session": [c.note for c in session.components if c.kind == "gpu"],
        "counted": [resmon.energy.Ledger([c]).energy.total_j for c in parts],
        "status": [str(s) for s in monitor.sensors if s.name == "calibration"],
    }}))
"""


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_the_gain_of_a_board_is_divided_out_of_what_it_measured(tmp_path: Path, by: str) -> None:
    where = Script(gpus=gpus(2, power_w=300, energy_gain=1.1, power_gain=1.1)).write(tmp_path / "gpus")
    path = wrote(tmp_path / "boards.json", gpu_uuid(0))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    if by == "argument":
        found = play(where, MEASURE.format(argument=f", calibration={str(path)!r}"))
    else:
        found = play(where, MEASURE.format(argument=""), RESMON_CALIBRATION=str(path))
    true_j = 300 * found["seconds"]
    assert found["energy"] == pytest.approx([true_j, 1.1 * true_j], rel=0.03)
    assert found["half"][0] < 0.5 * found["half"][1]
    note = f"divided by the board's own gain 1.1 ± 0.011 (wall meter, 2026-10-01; calibration {digest})"
    for notes in (found["notes"], found["session"]):
        assert note in notes[0]
        assert "calibration" not in notes[1]
    assert found["counted"] == pytest.approx(found["energy"]), "a ledger counts joules as they were corrected"
    assert found["status"] == [f"calibration: available gain of 1 board from {path} ({digest})"]


def test_a_broken_file_is_refused_where_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "boards.json"
    path.write_text('{"resmon_calibration": 1}')
    with pytest.raises(CalibrationError, match=r"boards\.json: boards is missing"):
        resmon.Monitor(calibration=path)
    with pytest.raises(CalibrationError, match="absent: No such file"):
        resmon.Monitor(calibration=tmp_path / "absent")


def test_a_broken_file_of_the_environment_harms_no_cell_and_is_told(tmp_path: Path) -> None:
    where = Script(gpus=gpus(1, power_w=300)).write(tmp_path / "gpus")
    path = tmp_path / "boards.json"
    path.write_text("{")
    with kernel(environment(where, RESMON_CALIBRATION=str(path))) as running:
        running.run("%load_ext resmon")
        running.run(WAIT_FOR_GPUS.format(count=1))
        running.run("%%resmon -o m\ntime.sleep(1.5)")
        energy = running.json("[(c.energy_j, c.note) for c in m.energy.components if c.kind == 'gpu']")
        doctor = running.run("%resmon doctor").text
    assert energy[0][0] == pytest.approx(450, rel=0.1)
    assert "divided" not in energy[0][1]
    assert "calibration  unavailable" in doctor
    assert f"why: {path}, line 1, column 2: not JSON" in doctor
    assert "mend: mend the file, or unset RESMON_CALIBRATION" in doctor


def test_the_environment_speaks_of_the_machine_s_own_sensors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESMON_CALIBRATION", str(tmp_path / "absent"))
    with resmon.Monitor(sensors=[scripted_host()], clock=ManualClock()) as monitor:
        assert [s.name for s in monitor.sensors] == ["host"]


def test_windows_nested_and_whole_agree_and_say_so_in_the_summary(tmp_path: Path) -> None:
    gpu, clock = scripted_gpu(energy_j=lambda t: 110 * t), ManualClock()
    uuid = gpu.devices[0].uuid
    assert uuid is not None
    path = wrote(tmp_path / "boards.json", uuid)
    with resmon.Monitor(sensors=[scripted_host(), gpu], clock=clock, calibration=path) as monitor:
        clock.advance(1)
        with monitor.measure("whole") as whole:
            with monitor.measure("part") as part:
                clock.advance(10)
            clock.advance(10)
        session = monitor.session_energy()
    assert whole.measurement is not None
    assert part.measurement is not None
    assert whole.measurement.energy.measured_j == pytest.approx(2000)
    assert part.measurement.energy.measured_j == pytest.approx(1000)
    assert session.measured_j == pytest.approx(2100)
    assert whole.measurement.energy.estimated_j == pytest.approx(400), "the model has no board"
    assert read_board_calibration(path).sha256[:12] in whole.measurement._repr_mimebundle_()["text/html"]
    again = resmon.Measurement.from_dict(json.loads(json.dumps(whole.measurement.to_dict())))
    assert again == whole.measurement


def test_what_was_measured_with_a_gain_is_recomputed_with_the_same_file(tmp_path: Path) -> None:
    gpu, clock, trace = scripted_gpu(energy_j=lambda t: 110 * t), ManualClock(), tmp_path / "run.ndjson"
    path = wrote(tmp_path / "boards.json", gpu.devices[0].uuid or "")
    with resmon.Monitor(sensors=[gpu], clock=clock, calibration=path) as monitor:
        monitor.record_trace(trace)
        clock.advance(1)
        start_s = clock.now()
        with monitor.measure("work") as window:
            clock.advance(10)
        clock.advance(1)
    assert window.measurement is not None
    (live,) = window.measurement.energy.components
    for given, gain in ((path, 1.1), (None, 1.0)):
        replayed = resmon.replay(trace, calibration=given)
        replayed.advance(start_s)
        with replayed.measure("work") as again:
            replayed.advance(10)
        assert again.measurement is not None
        (component,) = again.measurement.energy.components
        assert component.energy_j == pytest.approx(live.energy_j * 1.1 / gain)
        assert (component.note == live.note) is (given is not None)
    with pytest.raises(CalibrationError):
        resmon.replay(trace, calibration=tmp_path / "absent.json")
