"""Traces: exact, open to anyone, and refused with file, line and reason where they cannot be believed."""

from __future__ import annotations

import gzip
import json
import resource
import signal
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import resmon
from resmon import trace_reading
from resmon.errors import MonitorError, RecordError, ResmonWarning
from resmon.monitor import Monitor
from resmon.testing import ManualClock, scripted_gpu, scripted_host
from resmon.trace_reading import read_trace


def traced(path: Path) -> tuple[resmon.Measurement, Monitor]:
    """A run of some seconds written to ``path``, and what was measured in it."""
    clock = ManualClock(start_s=7.25)
    gpu = scripted_gpu(0, energy_j=lambda t: 250.0 * t + (t % 1) / 3, power_w=lambda t: 200 + 10 * (t % 3) / 7)
    with Monitor(0.5, sensors=[scripted_host(power_w=lambda t: 10 + t % 4), gpu], clock=clock) as monitor:
        monitor.record_trace(path, note="a test")
        monitor.note({"cell": "start", "id": 1, "number": 3})
        with monitor.measure("In [3]") as window:
            clock.advance(6.0)
        monitor.note({"cell": "end", "id": 1, "error": None})
        clock.advance(1.0)
        assert window.measurement is not None
        return window.measurement, monitor


@pytest.mark.parametrize("name", ["run.ndjson", "run.ndjson.gz"])
def test_a_total_is_recomputed_to_the_last_digit(tmp_path: Path, name: str) -> None:
    original, monitor = traced(tmp_path / name)
    replayed = resmon.replay(tmp_path / name)
    replayed.play()
    (cell,) = replayed.cells
    for found, expected in zip(cell.energy.components, original.energy.components, strict=True):
        assert (found.energy_j, found.low_j, found.high_j) == (expected.energy_j, expected.low_j, expected.high_j)
    times = monitor.history().times
    assert replayed.history().times == times[-len(replayed.history()) :]


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    traced(tmp_path / "a.ndjson.gz")
    traced(tmp_path / "b.ndjson.gz")
    assert (tmp_path / "a.ndjson.gz").read_bytes() == (tmp_path / "b.ndjson.gz").read_bytes()


def test_a_trace_is_json_lines_without_code(tmp_path: Path) -> None:
    traced(tmp_path / "run.ndjson")
    lines = [json.loads(line) for line in (tmp_path / "run.ndjson").read_text().splitlines()]
    assert lines[0]["resmon_trace"] == 1
    assert lines[0]["note"] == "a test"
    assert {type(line) for line in lines} == {dict, list}
    told = {key for line in lines if "event" in line for key in line["event"]}
    assert told <= {"cell", "id", "number", "at_s", "error", "instant"}


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.ndjson").write_text("precious")
    with Monitor(0.5, sensors=[scripted_host()], clock=ManualClock()) as monitor:
        with pytest.raises(FileExistsError):
            monitor.record_trace(tmp_path / "mine.ndjson")
        monitor.record_trace(tmp_path / "other.ndjson")
        with pytest.raises(MonitorError, match=r"other\.ndjson; end it first"):
            monitor.record_trace(tmp_path / "third.ndjson")
    assert (tmp_path / "mine.ndjson").read_text() == "precious"


Change = Callable[[list[Any]], None]


def changed(path: Path, change: Change) -> Path:
    traced(path)
    lines: list[Any] = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def rows_of(lines: list[Any]) -> list[int]:
    return [i for i, line in enumerate(lines) if isinstance(line, list)]


def _missing_column(lines: list[Any]) -> None:
    lines[rows_of(lines)[2]].pop()


def _nan(lines: list[Any]) -> None:
    lines[rows_of(lines)[2]] = "[NaN]"


def _back(lines: list[Any]) -> None:
    lines[rows_of(lines)[5]][0] = 0.0


def _negative(lines: list[Any]) -> None:
    power = 1 + [c["quantity"] for c in lines[0]["channels"]].index("power_w")
    lines[rows_of(lines)[1]][power] = -5.0


def _text(lines: list[Any]) -> None:
    lines[rows_of(lines)[1]][2] = "high"


def _deep(lines: list[Any]) -> None:
    lines[rows_of(lines)[1]] = "[" * 100_000 + "]" * 100_000


def _newer(lines: list[Any]) -> None:
    lines[0]["resmon_trace"] = 2


def _newer_shape(lines: list[Any]) -> None:
    lines[0] = {"resmon_trace": 7, "columns": []}


def _no_channels(lines: list[Any]) -> None:
    del lines[0]["channels"]


def _no_version(lines: list[Any]) -> None:
    del lines[0]["resmon_trace"]


def _no_devices(lines: list[Any]) -> None:
    del lines[0]["facts"]["devices"]


def _unknown_fact(lines: list[Any]) -> None:
    lines[0]["facts"]["devices"][0]["colour"] = "green"


def _no_fraction(name: str, value: float) -> Change:
    def change(lines: list[Any]) -> None:
        lines[0]["facts"]["sources"][0][name] = value

    return change


def _row_first(lines: list[Any]) -> None:
    lines.insert(0, lines.pop(rows_of(lines)[0]))


def _huge(lines: list[Any]) -> None:
    lines[rows_of(lines)[1]][2] = 10**400


def _no_rows(lines: list[Any]) -> None:
    del lines[1:]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_missing_column, r"run\.ndjson, line \d+: \d+ values where there are 1 \+ \d+ columns"),
        (_nan, r"line \d+: NaN is no value"),
        (_back, r"line \d+: time goes back, from .* to 0\.0"),
        (_negative, r"line \d+: host\.power_w is negative: -5\.0 W"),
        (_text, r"line \d+: .* is 'high', not a number"),
        (_deep, r"line \d+: nested too deeply"),
        (_newer, "line 1: written by a newer resmon"),
        (_newer_shape, r"line 1: written by a newer resmon \(trace version 7, this one reads 1\)"),
        (_no_channels, "line 1: a header without the list of channels"),
        (_no_version, "line 1: a header without the version"),
        (_no_devices, "line 1: the header lacks 'devices'"),
        (_unknown_fact, "line 1: the header has a fact that cannot be read.*colour"),
        (_no_fraction("gain_error", 50), "line 1: .*the gain_error of .* is a fraction up to 1, not 50"),
        (_no_fraction("sampled_fraction", 5.0), "the sampled_fraction of .* is a fraction up to 1, not 5.0"),
        (_no_fraction("sampled_fraction", 0), "the sampled_fraction of .* is a fraction up to 1, not 0"),
        (_row_first, "line 1: a row before the header"),
        (_huge, r"line \d+: host\.\w+ is a number too large"),
        (_no_rows, "holds no sample"),
    ],
)
def test_a_trace_that_was_edited_by_hand_is_refused_with_its_line(tmp_path: Path, change: Change, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        resmon.replay(changed(tmp_path / "run.ndjson", change))


def plain(data: bytes, name: str) -> bytes:
    return zlib.decompressobj(31).decompress(data) if name.endswith(".gz") else data


@pytest.mark.parametrize("name", ["run.ndjson", "run.ndjson.gz"])
@pytest.mark.parametrize("part", [0.75, 0.85, 0.97])
def test_a_cut_trace_is_read_up_to_the_cut_and_says_where(tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    traced(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    text = plain(path.read_bytes(), name)
    lines = [line for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
    rows = sum(line.startswith(b"[") for line in lines)
    says = rf"cut short after line {len(lines)}: what came later is missing"
    with pytest.warns(ResmonWarning, match=rf"{name}: {says}"):
        replayed = resmon.replay(path)
    assert says in repr(replayed)
    assert (replayed.sensors[0].state, replayed.sensors[0].cause) == ("degraded", says)
    played = replayed.play()
    assert played.samples == rows
    assert says in played.notes
    assert json.loads(lines[-1])


def test_a_trace_that_lacks_its_last_newline_alone_is_whole(tmp_path: Path) -> None:
    traced(tmp_path / "run.ndjson")
    samples = resmon.replay(tmp_path / "run.ndjson").play().samples
    (tmp_path / "run.ndjson").write_bytes((tmp_path / "run.ndjson").read_bytes()[:-1])
    assert resmon.replay(tmp_path / "run.ndjson").play().samples == samples


@pytest.mark.parametrize("name", ["run.ndjson", "run.ndjson.gz"])
def test_a_trace_that_is_cut_within_its_header_is_none(tmp_path: Path, name: str) -> None:
    traced(tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:40])
    with pytest.raises(RecordError, match=f"{name}, line 1: cut short within its header"):
        resmon.replay(tmp_path / name)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.ndjson.gz"
    traced(path)
    whole = path.read_bytes()
    for at in (len(whole) // 2, len(whole) - 6):  # in the middle, and in the checksum at the end
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with pytest.raises(RecordError, match=r"run\.ndjson\.gz, line \d+: "):
            resmon.replay(path)


def test_more_text_than_any_trace_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are mostly blanks hold few values."""
    path = tmp_path / "run.ndjson"
    traced(path)
    size = path.stat().st_size
    monkeypatch.setattr(trace_reading, "MAX_BYTES", size)
    assert read_trace(path).rows
    path.write_bytes(path.read_bytes().replace(b"]\n", b" ]\n"))
    with pytest.raises(RecordError, match=rf"run\.ndjson, line \d+: more than {size} bytes of text"):
        read_trace(path)


@pytest.mark.parametrize("kind", ["one endless line", "a billion rows"])
def test_a_bomb_is_refused_within_bounded_memory(tmp_path: Path, kind: str) -> None:
    traced(tmp_path / "run.ndjson")
    lines = (tmp_path / "run.ndjson").read_bytes().splitlines(keepends=True)
    row = next(line for line in lines[1:] if line.startswith(b"["))
    piece = b" " * 2**20 if kind == "one endless line" else row * (2**20 // len(row))
    with gzip.open(tmp_path / "bomb.ndjson.gz", "wb", compresslevel=1) as file:
        file.write(lines[0])
        for _ in range(700):
            file.write(piece)
    code = """
        import resource, sys
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
        from resmon.errors import RecordError
        from resmon.trace_reading import read_trace
        import resmon.trace_reading
        resmon.trace_reading.MAX_VALUES = 200_000
        try:
            read_trace(sys.argv[1])
        except RecordError as error:
            print(error)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "bomb.ndjson.gz")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "longer than any line" in ended.stdout or "more than" in ended.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1_000_000


def test_a_full_disk_ends_the_trace_and_nothing_else(tmp_path: Path) -> None:
    clock = ManualClock()
    with Monitor(0.5, sensors=[scripted_host()], clock=clock) as monitor:
        monitor.record_trace(tmp_path / "run.ndjson")
        assert monitor._trace is not None
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            kept, monitor._trace._file = monitor._trace._file, full
            clock.advance(60.0)
            assert "No space left" in monitor._trace.notice
        if kept is not None:
            kept.close()
        rows = len(monitor.history())
        clock.advance(5.0)
        assert len(monitor.history()) == rows + 10


def test_what_was_written_before_the_disk_was_full_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "run.ndjson"
    clock = ManualClock()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Monitor(0.5, sensors=[scripted_host()], clock=clock) as monitor:
        monitor.record_trace(path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_001, hard))  # in the middle of a line
        try:
            clock.advance(600.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, old)
        (status,) = [s for s in monitor.sensors if s.name == "trace"]
        assert "File too large" in status.cause
        assert "%resmon record off" in status.remedy
        trace = monitor.end_trace()
        assert trace is not None
        assert f"its first {trace.rows} rows can be replayed" in trace.notice
        assert not [s for s in monitor.sensors if s.name == "trace"]
    assert 0 < path.stat().st_size <= 10_001
    assert resmon.replay(path).play().samples == trace.rows > 0


def test_what_was_compressed_before_the_disk_was_full_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "run.ndjson.gz"
    clock = ManualClock()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Monitor(0.5, sensors=[scripted_host(utilization=lambda t: (t * 0.37) % 1)], clock=clock) as monitor:
        monitor.record_trace(path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_001, hard))
        try:
            clock.advance(1200.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, old)
        trace = monitor.end_trace()
        assert trace is not None
        assert "what reached the disk can be replayed" in trace.notice
    assert path.stat().st_size == 10_001
    with pytest.warns(ResmonWarning, match="cut short after line"):
        samples = resmon.replay(path).play().samples
    assert 20 < samples <= trace.rows


def test_the_trace_of_a_killed_process_can_be_replayed(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from resmon.monitor import Monitor
        from resmon.testing import ManualClock, scripted_host
        clock = ManualClock()
        monitor = Monitor(0.5, sensors=[scripted_host()], clock=clock).start()
        monitor.record_trace(sys.argv[1])
        clock.advance(100.0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / "run.ndjson.gz"
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    with pytest.warns(ResmonWarning, match="cut short after line"):
        assert 100 < resmon.replay(path).play().samples <= 201


def test_rows_and_facts_of_a_trace_can_be_read_alone(tmp_path: Path) -> None:
    traced(tmp_path / "run.ndjson")
    run = read_trace(tmp_path / "run.ndjson")
    assert run.facts["note"] == "a test"
    assert run.facts["synthetic"] is False
    assert len(run.rows) >= 14
