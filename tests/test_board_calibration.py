"""The gain of a board that somebody wrote down: read, refused, and applied to joules."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from resmon.calibration import BoardCalibration, apply_gain
from resmon.calibration_reading import MAX_BYTES, read_board_calibration
from resmon.errors import CalibrationError, ResmonError
from resmon.results import Claim, EnergyComponent

UUID = "GPU-1a2b3c00-0000-4000-8000-000000000000"
ROW: dict[str, Any] = {
    "uuid": UUID,
    "gain": 1.023,
    "gain_sigma": 0.008,
    "source": "wall meter",
    "date": "2026-10-01",
}  # fmt: skip


def wrote(folder: Path, content: object) -> Path:
    path = folder / "boards.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def boards(*rows: object) -> dict[str, object]:
    return {"resmon_calibration": 1, "boards": list(rows)}


def test_a_file_gives_its_boards_and_its_hash(tmp_path: Path) -> None:
    path = wrote(tmp_path, boards(ROW, {**ROW, "uuid": "GPU-other", "gain": 1}))
    found = read_board_calibration(path)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    board = found.board(UUID.upper())
    assert board is not None
    assert (board.uuid, board.gain, board.gain_sigma, str(board.date)) == (UUID, 1.023, 0.008, "2026-10-01")
    assert board.sha256 == found.sha256
    assert found.board("GPU-absent") is None
    assert found.board(None) is None
    with pytest.raises(AttributeError):
        found.boards[0].gain = 2.0  # type: ignore[misc]


def test_the_file_in_the_documentation_is_one(tmp_path: Path) -> None:
    page = Path(__file__).parent.parent / "docs/calibration.md"
    (example,) = re.findall(r"^```json\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(read_board_calibration(wrote(tmp_path, example.encode())).boards) == 1


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in ROW.items() if name != key}


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        (b"", "line 1, column 1", "not JSON"),
        (b'{"resmon_calibration": 1,\n"boards": [}', "line 2, column 12", "not JSON"),
        (b"\xff\xff", "", "not JSON"),
        (b"[" * 100_000, "", "nested too deeply"),
        (b'{"a":' * 100_000, "", "nested too deeply"),
        (b" " * (MAX_BYTES + 1), "", f"larger than {MAX_BYTES} bytes"),
        (b'{"resmon_calibration": 1, "boards": [' + b"9" * 5000 + b"]}", "boards[0]", "not inf"),
        (b'{"resmon_calibration": NaN, "boards": []}', "resmon_calibration", "not nan"),
        ([], "", "no calibration"),
        ({"boards": [ROW]}, "", "no calibration"),
        ({"resmon_calibration": 2, "boards": [ROW], "more": 1}, "resmon_calibration", "a newer resmon (version 2"),
        ({"resmon_calibration": True, "boards": [ROW]}, "resmon_calibration", "not True"),
        ({"resmon_calibration": 1}, "", "boards is missing"),
        ({"resmon_calibration": 1, "boards": [ROW], "board": []}, "", "'board' is not known"),
        (boards(), "boards", "a list of 1 to"),
        ({"resmon_calibration": 1, "boards": {"uuid": UUID}}, "boards", "a list of 1 to"),
        (boards(*[1] * 5000), "boards", "a list of 1 to 4096"),
        (boards(ROW, "x"), "boards[1]", "an object is wanted"),
        *((boards(without(key)), "boards[0]", f"{key} is missing") for key in ROW),
        (boards({**ROW, "gian": 1}), "boards[0]", "'gian' is not known"),
        (boards({**ROW, "gain": math.nan}), "boards[0].gain", "not nan"),
        (boards({**ROW, "gain_sigma": math.inf}), "boards[0].gain_sigma", "not inf"),
        (boards({**ROW, "gain_sigma": math.nan}), "boards[0].gain_sigma", "not nan"),
        (boards({**ROW, "gain": -1.02}), "boards[0].gain", "not -1.02"),
        (boards({**ROW, "gain": 0}), "boards[0].gain", "not 0.0"),
        (boards({**ROW, "gain": 102.3}), "boards[0].gain", "not 102.3"),
        (boards({**ROW, "gain": 10**400}), "boards[0].gain", "not inf"),
        (boards({**ROW, "gain": "1.02"}), "boards[0].gain", "a number is wanted"),
        (boards({**ROW, "gain": True}), "boards[0].gain", "a number is wanted"),
        (boards({**ROW, "gain_sigma": 0}), "boards[0].gain_sigma", "above 0"),
        (boards({**ROW, "gain_sigma": -0.01}), "boards[0].gain_sigma", "above 0"),
        (boards({**ROW, "gain_sigma": None}), "boards[0].gain_sigma", "a number is wanted"),
        (boards({**ROW, "source": " "}), "boards[0].source", "a line of 1 to 200"),
        (boards({**ROW, "source": "a\nb"}), "boards[0].source", "a line of 1 to 200"),
        (boards({**ROW, "source": "a" * 201}), "boards[0].source", "a line of 1 to 200"),
        (boards({**ROW, "date": "yesterday"}), "boards[0].date", "not 'yesterday'"),
        (boards({**ROW, "date": "20261001"}), "boards[0].date", "not '20261001'"),
        (boards({**ROW, "uuid": "0"}), "boards[0].uuid", "not '0'"),
        (boards({**ROW, "uuid": "GPU-0 1"}), "boards[0].uuid", "GPU-"),
        (boards(ROW, {**ROW, "uuid": UUID.replace("a", "A")}), "boards[1].uuid", "is there twice"),
        (b'{"resmon_calibration": 1, "boards": [], "boards": []}', "", "'boards' is there twice"),
    ],
)
def test_a_bad_file_is_refused_with_file_place_and_reason(
    tmp_path: Path, content: object, place: str, reason: str
) -> None:
    path = wrote(tmp_path, content)
    with pytest.raises(CalibrationError) as caught:
        read_board_calibration(path)
    if place.startswith("boards["):
        place = f"line 1, {place}"
    assert str(caught.value).startswith(f"{path}, {place}: " if place else f"{path}: ")
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))
    assert isinstance(caught.value, ResmonError)
    assert isinstance(caught.value, ValueError)


def test_the_line_of_a_bad_board_is_told(tmp_path: Path) -> None:
    rows = [{**ROW, "uuid": f"GPU-{i}", "source": 'the "boards" [of, the] shelf'} for i in range(4)]
    rows[2]["gain"] = -1
    text = json.dumps({"resmon_calibration": 1, "boards": rows}, indent=2)
    at = next(i for i, line in enumerate(text.splitlines(), 1) if "GPU-2" in line) - 1
    with pytest.raises(CalibrationError, match=rf"line {at}, boards\[2\]\.gain: "):
        read_board_calibration(wrote(tmp_path, text.encode()))


def test_every_depth_is_read_or_refused(tmp_path: Path) -> None:
    for depth in (10, 500, 900, 950, 980, 990):
        path = wrote(tmp_path, b'{"resmon_calibration": 1, "boards": ' + b"[" * depth + b"]" * depth + b"}")
        with pytest.raises(CalibrationError):
            read_board_calibration(path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "pipe"):
        with pytest.raises(CalibrationError, match=re.escape(f"{path}: ")):
            read_board_calibration(str(path))


# ------------------------------------------------------------- the joules


def board(tmp_path: Path, **changes: object) -> BoardCalibration:
    return read_board_calibration(wrote(tmp_path, boards({**ROW, **changes}))).boards[0]


def component(energy_j: float, half_j: float, **changes: Any) -> EnergyComponent:
    facts: dict[str, Any] = {
        "device": "GPU 0",
        "kind": "gpu",
        "energy_j": energy_j,
        "low_j": max(0.0, energy_j - half_j),
        "high_j": energy_j + half_j,
        "method": "counter",
        "basis": "measured",
        "scope": "board",
    }
    return EnergyComponent(**{**facts, **changes})


def test_the_gain_is_divided_out_and_its_part_of_the_interval_replaced(tmp_path: Path) -> None:
    claim = Claim(boot="b", source=f"nvml:{UUID}", meter="m", start_s=0, end_s=1, start_j=0, end_j=1000)
    before = component(1000, math.hypot(1.96 * 0.05 * 1000, 20), note="counter", claim=claim)
    calibrated = board(tmp_path)
    after = apply_gain(before, calibrated)
    half_j = math.hypot(1.96 * 0.008 / 1.023 * 1000, 20) / 1.023
    assert after.energy_j == pytest.approx(1000 / 1.023)
    assert (after.low_j, after.high_j) == pytest.approx((1000 / 1.023 - half_j, 1000 / 1.023 + half_j))
    assert after.note == (
        f"counter; divided by the board's own gain 1.023 ± 0.008 (wall meter, 2026-10-01; "
        f"calibration {calibrated.sha256[:12]})"
    )
    assert after.claim == claim
    assert (after.device, after.method, after.basis, after.scope) == ("GPU 0", "counter", "measured", "board")


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    draw = random.Random(7)
    held = 0
    for _ in range(4000):
        true_j, gain = 1000.0, draw.gauss(1.0, 0.05)
        sigma, random_j = 0.01, 8.0
        found = BoardCalibration(
            uuid=UUID,
            gain=draw.gauss(gain, sigma),
            gain_sigma=sigma,
            source="s",
            date=dt.date(2026, 10, 1),
            sha256="0" * 64,
        )
        read_j = gain * true_j + draw.gauss(0, random_j)
        after = apply_gain(component(read_j, 1.96 * math.hypot(0.05 * read_j, random_j)), found)
        held += after.low_j <= true_j <= after.high_j
    assert 0.94 <= held / 4000 <= 0.96


def test_a_gap_stays_in_the_interval(tmp_path: Path) -> None:
    """Of 1000 J 200 stand for a gap that could have been anything up to 500."""
    half_j = math.hypot(1.96 * 0.05 * 800, 10)
    before = component(1000, 0, low_j=800 - half_j, high_j=800 + half_j + 500, coverage=0.8)
    after = apply_gain(before, board(tmp_path, gain=1, gain_sigma=0.001))
    assert after.low_j <= 800 - 10
    assert after.high_j >= 1300
    assert before.low_j < after.low_j
    assert after.high_j < before.high_j


def test_only_what_was_counted_has_a_gain(tmp_path: Path) -> None:
    after = apply_gain(component(1000, 200, coverage=0.5), board(tmp_path, gain=1, gain_sigma=0.01))
    half_j = math.sqrt(200**2 - (1.96 * 0.05 * 500) ** 2 + (1.96 * 0.01 * 500) ** 2)
    assert (after.low_j, after.high_j) == pytest.approx((1000 - half_j, 1000 + half_j))


def test_no_bound_is_negative_or_beside_the_energy(tmp_path: Path) -> None:
    for half_j in (0.0, 1.0, 98.0, 3000.0):
        after = apply_gain(component(1000, half_j), board(tmp_path))
        assert 0.0 <= after.low_j <= after.energy_j <= after.high_j
    nothing = apply_gain(component(0.0, 5.0), board(tmp_path))
    assert (nothing.energy_j, nothing.low_j) == (0.0, 0.0)


def test_the_bounds_of_an_estimate_are_divided_alone(tmp_path: Path) -> None:
    after = apply_gain(component(5, 0, low_j=0, high_j=40, basis="estimated"), board(tmp_path, gain=1.25))
    assert (after.energy_j, after.low_j, after.high_j) == (4.0, 0.0, 32.0)


def test_a_model_has_no_gain(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="GPU 0 was modelled"):
        apply_gain(component(1, 1, method="model", basis="estimated"), board(tmp_path))
    with pytest.raises(ValueError, match="not nan"):
        apply_gain(component(1, 1), board(tmp_path), gain_error=math.nan)
