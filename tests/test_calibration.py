"""How a board's counter moves, kept between sessions."""

from __future__ import annotations

import json
import math
import os
import stat
import threading
from pathlib import Path

import pytest

from resmon.calibration import KEEP_BOARDS, CalibrationStore, cache_directory
from resmon.energy.edges import Calibration

UUID, DRIVER = "GPU-1a2b3c00-0000-4000-8000-000000000000", "580.65.06"
LEARNT = Calibration(period_s=0.1003, period_p99_s=0.1121, steps=64, power_ratio=0.9871, power_error=0.25)


def stored(store: CalibrationStore) -> Path:
    (path,) = store.directory.iterdir()
    return path


def test_what_was_saved_is_loaded_for_this_board_and_driver_alone(tmp_path: Path) -> None:
    CalibrationStore(tmp_path / "deep/cache").save(UUID, DRIVER, LEARNT)
    store = CalibrationStore(tmp_path / "deep/cache")
    assert store.load(UUID, DRIVER) == LEARNT
    assert store.load(UUID, "580.65.07") is None
    assert store.load("GPU-other", DRIVER) is None
    assert store.notice == ""
    newer = Calibration(period_s=0.02, period_p99_s=0.03, steps=100)
    store.save(UUID, DRIVER, newer)
    assert store.load(UUID, DRIVER) == newer


def test_a_prior_is_not_kept(tmp_path: Path) -> None:
    store = CalibrationStore(tmp_path)
    store.save(UUID, DRIVER, Calibration())
    assert list(tmp_path.iterdir()) == []
    assert store.load(UUID, DRIVER) is None


def test_the_store_is_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    store = CalibrationStore(tmp_path)
    store.save(UUID, DRIVER, LEARNT)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert stat.S_IMODE(stored(store).stat().st_mode) == 0o600
    assert UUID not in stored(store).name


def test_the_store_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    store = CalibrationStore(tmp_path)
    (tmp_path / "counter-torn-1-ab.new").write_text("{")
    os.utime(tmp_path / "counter-torn-1-ab.new", (0, 0))
    (tmp_path / "mine.txt").write_text("not the store's")
    for number in range(KEEP_BOARDS + 5):
        store.save(f"GPU-{number}", DRIVER, LEARNT)
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == KEEP_BOARDS + 1
    assert "mine.txt" in names
    assert "counter-torn-1-ab.new" not in names
    assert store.load(f"GPU-{KEEP_BOARDS + 4}", DRIVER) == LEARNT


GOOD = {"resmon_counter": 1, "uuid": UUID, "driver": DRIVER, "period_s": 0.1, "period_p99_s": 0.12, "steps": 64}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "\xff\xfe",
        "[" * 4000,
        json.dumps({**GOOD, "period_s": math.nan}),
        json.dumps({**GOOD, "period_s": -0.1}),
        json.dumps({**GOOD, "period_s": "0.1"}),
        json.dumps({**GOOD, "period_s": None}),
        json.dumps({**GOOD, "steps": 6.4}),
        json.dumps({**GOOD, "steps": 0}),
        json.dumps({**GOOD, "resmon_counter": 2}),
        json.dumps({**GOOD, "uuid": "GPU-other"}),
        json.dumps({**GOOD, "colour": 1}),
        json.dumps({key: value for key, value in GOOD.items() if key != "steps"}),
        json.dumps({**GOOD, "padding": " " * 5000}),
    ],
)
def test_a_damaged_file_is_ignored_with_a_notice_and_replaced(tmp_path: Path, content: str) -> None:
    store = CalibrationStore(tmp_path)
    store.save(UUID, DRIVER, LEARNT)
    path = stored(store)
    path.write_bytes(content.encode("latin-1"))
    assert store.load(UUID, DRIVER) is None
    assert str(path) in store.notice
    store.save(UUID, DRIVER, LEARNT)
    assert store.load(UUID, DRIVER) == LEARNT


def test_the_hand_written_content_of_these_tests_is_good_but_for_its_faults(tmp_path: Path) -> None:
    store = CalibrationStore(tmp_path)
    store.save(UUID, DRIVER, LEARNT)
    stored(store).write_text(json.dumps(GOOD))
    assert store.load(UUID, DRIVER) == Calibration(period_s=0.1, period_p99_s=0.12, steps=64)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_followed(tmp_path: Path, kind: str) -> None:
    store = CalibrationStore(tmp_path / "cache")
    store.save(UUID, DRIVER, LEARNT)
    path = stored(store)
    kept = path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(kept)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert store.load(UUID, DRIVER) is None
    assert store.notice
    store.notice = ""
    store.save(UUID, DRIVER, LEARNT)
    if kind == "folder":
        assert "was not kept" in store.notice
        assert stored(store) == path, "nothing half-written stays"
    else:
        assert store.load(UUID, DRIVER) == LEARNT
        assert kept.exists()


def test_a_place_that_cannot_be_written_is_a_notice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file/below", Path("/proc/resmon")):
        store = CalibrationStore(directory)
        store.save(UUID, DRIVER, LEARNT)
        assert "was not kept" in store.notice
        assert store.load(UUID, DRIVER) is None


def test_writers_at_once_never_show_half_a_file(tmp_path: Path) -> None:
    store = CalibrationStore(tmp_path)
    store.save(UUID, DRIVER, LEARNT)
    stop = threading.Event()

    def write() -> None:
        other = CalibrationStore(tmp_path)
        while not stop.is_set():
            other.save(UUID, DRIVER, LEARNT)
        notices.append(other.notice)

    notices: list[str] = []
    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    seen = [store.load(UUID, DRIVER) for _ in range(200)]
    stop.set()
    for writer in writers:
        writer.join()
    assert seen == [LEARNT] * 200
    assert notices == ["", ""]
    assert len(list(tmp_path.iterdir())) == 1


def test_the_cache_is_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_directory() == CalibrationStore().directory == tmp_path / "resmon"
