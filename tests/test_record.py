"""The flight record: bounded, readable after a kill, off with a notice where it cannot be written."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from resmon.errors import RecordError
from resmon.facts import Channel
from resmon.record import FILE_BYTES, KEEP_FILES, FlightRecord
from resmon.record_reading import read_record

CHANNELS = [Channel(device_id="host", quantity="load", unit="1")]
FACTS = {"interval_s": 0.5, "wall_at_0": "2026-01-01T00:00:00+00:00"}


def written(directory: Path, rows: int, max_bytes: int = FILE_BYTES) -> Path:
    record = FlightRecord(directory, max_bytes)
    record.start(FACTS, CHANNELS)
    for i in range(rows):
        record.add_rows([(i / 2, [float(i)])])
    record.close()
    assert record.path is not None
    return record.path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    run = read_record(written(tmp_path, 100))
    assert run.rows == tuple((i / 2, float(i)) for i in range(100))
    assert run.channels == tuple(CHANNELS)
    assert run.facts["interval_s"] == 0.5


def test_the_file_is_private_and_never_grows(tmp_path: Path) -> None:
    path = written(tmp_path / "records", 5_000, 2**16)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.stat().st_size == 2**16


def test_when_it_is_full_the_newest_rows_stay(tmp_path: Path) -> None:
    rows = read_record(written(tmp_path, 20_000, 2**16)).rows
    assert rows[-1] == (9_999.5, 19_999.0)
    numbers = [int(row[1]) for row in rows]
    assert numbers == list(range(numbers[0], 20_000))
    assert 700 < len(rows) < 3_000


def test_only_the_newest_few_records_are_kept(tmp_path: Path) -> None:
    for _ in range(KEEP_FILES + 4):
        newest = written(tmp_path, 3)
    assert len(list(tmp_path.glob("*.resmon"))) == KEEP_FILES
    assert newest.exists()


def test_records_of_kernels_that_live_are_kept_beyond_that(tmp_path: Path) -> None:
    alive = [FlightRecord(tmp_path) for _ in range(KEEP_FILES + 2)]
    paths = [record.path for record in alive]
    assert all(path is not None and path.exists() for path in paths)
    for record in alive:
        record.close()
    written(tmp_path, 3)
    assert len(list(tmp_path.glob("*.resmon"))) == KEEP_FILES


def test_a_killed_process_leaves_a_readable_record(tmp_path: Path) -> None:
    code = """
        import os, signal, sys, time
        from pathlib import Path
        from resmon.facts import Channel
        from resmon.record import FlightRecord
        record = FlightRecord(Path(sys.argv[1]))
        record.start({"wall_at_0": "2026-01-01T00:00:00+00:00"}, [Channel(device_id="host", quantity="load", unit="1")])
        for i in range(1000):
            record.add_rows([(float(i), [float(i)])])
        record.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    (path,) = tmp_path.glob("*.resmon")
    assert read_record(path).rows[-1] == (999.0, 999.0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_turns_the_record_off_with_a_notice(tmp_path: Path) -> None:
    record = FlightRecord(tmp_path)
    record.start(FACTS, CHANNELS)
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, record._fd)
    os.close(full)
    record.add_rows([(0.0, [1.0])])
    record.flush()
    assert record.path is None
    assert "No space left" in record.notice
    record.add_rows([(1.0, [1.0])])
    record.event({"cell": "start"})
    record.close()


def test_a_small_disk_is_refused_before_it_is_filled(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits of file sizes are a thing of Unix")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        record = FlightRecord(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert record.path is None
    assert "flight record off" in record.notice
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_turns_it_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    record = FlightRecord(tmp_path / "file" / "records")
    assert record.path is None
    assert f"flight record off: {tmp_path / 'file' / 'records'}: Not a directory" in record.notice


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions of Unix")
def test_a_directory_that_was_there_keeps_its_permissions(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    record = FlightRecord(shared)
    record.close()
    assert record.path is not None
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
    assert stat.S_IMODE(record.path.stat().st_mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions of Unix")
def test_a_directory_that_everybody_writes_is_not_used_and_not_changed(tmp_path: Path) -> None:
    like_tmp = tmp_path / "like_tmp"
    like_tmp.mkdir()
    like_tmp.chmod(0o1777)
    record = FlightRecord(like_tmp)
    assert record.path is None
    assert f"{like_tmp} can be written by everybody; set RESMON_RECORD_DIR" in record.notice
    assert stat.S_IMODE(like_tmp.stat().st_mode) == 0o1777
    assert list(like_tmp.iterdir()) == []


def test_somebody_elses_directory_is_not_used(tmp_path: Path) -> None:
    link = tmp_path / "link"
    (tmp_path / "target").mkdir()
    link.symlink_to(tmp_path / "target")
    record = FlightRecord(link)
    assert record.path is None
    assert "RESMON_RECORD_DIR" in record.notice
    assert list((tmp_path / "target").iterdir()) == []


def test_a_file_that_is_no_record_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(RecordError, match=r"notes\.txt: not a resmon flight record"):
        read_record(path)
    with pytest.raises(RecordError, match="No such file"):
        read_record(tmp_path / "missing")


def test_a_cut_record_gives_what_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path, 1_000, 2**16)
    whole = path.read_bytes()
    path.write_bytes(whole[: 2**15 + 4_000])
    rows = read_record(path).rows
    assert 0 < len(rows) < 1_000
    path.write_bytes(whole[:200])
    with pytest.raises(RecordError, match="holds no sample"):
        read_record(path)
    path.write_bytes(whole[:12])
    with pytest.raises(RecordError, match="cut short"):
        read_record(path)


def test_a_damaged_frame_ends_the_bank_and_is_not_believed(tmp_path: Path) -> None:
    path = written(tmp_path, 100)
    data = bytearray(path.read_bytes())
    place = data.index(b"\0\0\0\0\0\0I@")  # the double 50.0
    data[place + 3] ^= 0xFF
    path.write_bytes(data)
    rows = read_record(path).rows
    assert rows == tuple((i / 2, float(i)) for i in range(len(rows)))
    assert 0 < len(rows) <= 100


def test_a_record_of_a_newer_version_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    data = bytearray(path.read_bytes())
    data[8] = 9
    path.write_bytes(data)
    with pytest.raises(RecordError, match="newer resmon"):
        read_record(path)


def test_the_writer_does_not_follow_a_file_that_was_replaced(tmp_path: Path) -> None:
    record = FlightRecord(tmp_path)
    record.start(FACTS, CHANNELS)
    assert record.path is not None
    record.path.unlink()
    record.path.write_text("somebody else's")
    record.add_rows([(0.0, [1.0])])
    record.close()
    assert record.path.read_text() == "somebody else's"


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def replaced(path: Path) -> None:
    path.unlink()
    path.write_text("somebody else's")


@pytest.mark.parametrize(("harm", "said"), [(emptied, "truncated"), (replaced, "replaced"), (Path.unlink, "removed")])
def test_a_record_that_somebody_else_harms_turns_itself_off_and_says_so(
    tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    record = FlightRecord(tmp_path)
    record.start(FACTS, CHANNELS)
    record.add_rows([(0.0, [1.0])])
    record.flush()
    path = record.path
    assert path is not None
    assert record.notice == ""
    harm(path)
    record.look()
    assert f"{path.name} was {said}" in record.notice
    assert "measuring goes on in memory" in record.notice
    assert "%resmon start" in record.remedy
    record.add_rows([(1.0, [1.0])])
    record.flush()
    assert record.path is None
    record.close()
