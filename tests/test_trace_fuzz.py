"""Traces and calibrations that somebody has changed: they load, or are refused with the documented error."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import resmon
from resmon.calibration import BoardCalibration, CalibrationStore
from resmon.calibration_reading import read_board_calibration
from resmon.energy.edges import Calibration, CounterRead
from resmon.errors import CalibrationError, RecordError, ResmonWarning
from resmon.monitor import Monitor
from resmon.testing import ManualClock, scripted_gpu, scripted_host

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A short trace with all that can stand in one."""
    path = tmp_path_factory.mktemp("trace") / "run.ndjson"
    clock = ManualClock(start_s=7.25)
    gpu = scripted_gpu(0, energy_j=lambda t: 250.0 * t, power_w=lambda t: 200 + t % 3)
    with Monitor(0.5, sensors=[scripted_host(), gpu], clock=clock) as monitor:
        clock.advance(1.0)
        monitor.record_trace(path, note="a test")
        monitor.note({"cell": "start", "id": 1, "number": 3})
        with monitor.measure("In [3]"):
            clock.advance(1.0)
        monitor.note({"cell": "end", "id": 1, "error": None})
        assert monitor._trace is not None
        monitor._trace.poll(gpu.sources[0].id, CounterRead(9.25, 9.2501, 2312.5, 201.0))
        monitor.set_idle(idle=True)
        clock.advance(2.0)
    return path.read_bytes()


def loads_or_is_refused(path: Path) -> None:
    with contextlib.suppress(RecordError), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResmonWarning)  # cut short
        replayed = resmon.replay(path)
        try:
            whole = replayed.play()
            json.dumps([whole.to_dict(), *(cell.to_dict() for cell in replayed.cells)])
            repr(replayed)
            for part in whole.energy.components:
                assert 0 <= part.low_j <= part.energy_j <= part.high_j
        finally:
            replayed.stop()
        return
    with pytest.raises(RecordError) as refused:
        resmon.replay(path)
    assert str(refused.value).startswith((f"{path}, line ", f"{path}: "))
    assert len(str(refused.value)) < 600 + len(str(path))


@FUZZ
@given(data=st.data())
def test_changed_bytes(good: bytes, data: st.DataObject, tmp_path: Path) -> None:
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["change", "cut", "drop", "double"])):
            case "change":
                raw[at] = data.draw(
                    st.one_of(st.sampled_from(list(b'0123456789-.eE,[]{}":ntf\n')), st.integers(0, 255))
                )
            case "cut":
                del raw[at:]
            case "drop":
                del raw[at : at + data.draw(st.integers(1, 40))]
            case "double":
                raw[at:at] = raw[at : at + data.draw(st.integers(1, 400))]
        if not raw:
            break
    path = tmp_path / "run.ndjson"
    path.write_bytes(raw)
    loads_or_is_refused(path)


@FUZZ
@given(data=st.data())
def test_changed_bytes_of_an_archive(good: bytes, data: st.DataObject, tmp_path: Path) -> None:
    raw = bytearray(gzip.compress(good, mtime=0))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "run.ndjson.gz"
    path.write_bytes(raw[: data.draw(st.integers(1, len(raw)))])
    loads_or_is_refused(path)


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 0.5, 1e-320, 1e300, -1e300, 1e999, 10**40, 10**400, 2**63, 1e10, 1e11]),
    st.sampled_from(["", "x", "host", "counter", "model", "2026-01-01", "9999-12-31T23:59:59+00:00", "🔥" * 2000]),
    st.just([]),
    st.just({}),
    st.just([[]]),
    st.just({"a": {"b": [1]}}),
    st.integers(),
    st.floats(),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*at, key))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_fact_may_be_anything(good: bytes, data: st.DataObject, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in good.splitlines()]
    at = data.draw(st.sampled_from([p for p in places(lines[0], (0,)) if len(p) > 1] + list(places(lines))[1:]))
    inside: Any = lines
    for key in at[:-1]:
        inside = inside[key]
    match data.draw(st.sampled_from(["odd", "gone", "other"])):
        case "odd":
            inside[at[-1]] = data.draw(ODD)
        case "gone":
            del inside[at[-1]]
        case "other" if isinstance(inside, dict):
            inside["other"] = inside.pop(at[-1])
        case _:
            inside.append(data.draw(ODD))
    path = tmp_path / "run.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    loads_or_is_refused(path)


BOARD = {
    "resmon_calibration": 1,
    "boards": [
        {"uuid": "GPU-1a2b", "gain": 1.02, "gain_sigma": 0.01, "source": "wall meter", "date": "2026-10-01"},
    ],
}


@FUZZ
@given(data=st.data())
def test_a_calibration_may_be_anything(data: st.DataObject, tmp_path: Path) -> None:
    value = json.loads(json.dumps(BOARD))
    at = data.draw(st.sampled_from([p for p in places(value) if p]))
    inside = value
    for key in at[:-1]:
        inside = inside[key]
    inside[at[-1]] = data.draw(ODD)
    raw = bytearray(json.dumps(value).encode())
    if data.draw(st.booleans()):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "boards.json"
    path.write_bytes(raw)
    boards: Sequence[BoardCalibration] = ()
    with contextlib.suppress(CalibrationError):
        boards = read_board_calibration(path).boards
    assert all(0.5 <= board.gain <= 2.0 and 0 < board.gain_sigma < board.gain for board in boards)


@FUZZ
@example(key="period_p99_s", value=10**400)
@example(key="steps", value=10**40)
@given(key=st.sampled_from(["period_s", "period_p99_s", "steps", "power_ratio", "power_error", "uuid", "x"]), value=ODD)
def test_a_stored_calibration_may_be_anything(key: str, value: Any, tmp_path: Path) -> None:
    store = CalibrationStore(tmp_path / "boards")
    store.save("GPU-1", "575", Calibration(period_s=0.02, period_p99_s=0.022, steps=70, power_ratio=1.0))
    (path,) = (tmp_path / "boards").glob("counter-*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    found = store.load("GPU-1", "575")
    if found is None:
        assert store.notice
    else:
        assert found.known
        assert 0 < found.shortest_s < found.period_p99_s
        assert found.sigma_s >= 0


# ------------------------------------------------------------- within bounded memory

Pieces = Callable[[bytes, bytes], Iterator[tuple[bytes, int]]]
"""Text and how many times it is repeated, made of the header and a row of a good trace."""


def _zeros(head: bytes, row: bytes) -> Iterator[tuple[bytes, int]]:
    yield bytes(2**24), 640


def _newlines(head: bytes, row: bytes) -> Iterator[tuple[bytes, int]]:
    yield b"\n" * 2**24, 640


def _long_line(head: bytes, row: bytes) -> Iterator[tuple[bytes, int]]:
    yield head, 1
    yield b"[" + b"1," * (50 * 2**20) + b"1]\n", 1


def _rows(head: bytes, row: bytes) -> Iterator[tuple[bytes, int]]:
    yield head, 1
    yield row * (2**22 // len(row)), 200


def _short_rows(head: bytes, row: bytes) -> Iterator[tuple[bytes, int]]:
    """A billion."""
    yield json.dumps({"resmon_trace": 1, "channels": [], "facts": _bare(head)}).encode() + b"\n", 1
    yield b"[1]\n" * 2**20, 1000


def _events(head: bytes, row: bytes) -> Iterator[tuple[bytes, int]]:
    yield head, 1
    yield b'{"event":{"at_s":1}}\n' * 2**17, 200


def _events_of_many_facts(head: bytes, row: bytes) -> Iterator[tuple[bytes, int]]:
    """Short texts, each of which takes more in memory than in the file."""
    facts = "".join(f',"{letter}\u4e2d":"\u4e2d\u6587"' for letter in "abcdefghijk")
    yield head, 1
    yield f'{{"event":{{"at_s":1.5{facts}}}}}\n'.encode() * 2**15, 50


def _polls(head: bytes, row: bytes) -> Iterator[tuple[bytes, int]]:
    yield head, 1
    yield b'{"poll":"a","read":[1,1,1,1]}\n' * 2**17, 200


def _nested_events(head: bytes, row: bytes) -> Iterator[tuple[bytes, int]]:
    yield head, 1
    yield b'{"event":{"at_s":1,"a":[' + b"[]," * 300_000 + b"[]]}}\n", 500


def _layouts(head: bytes, row: bytes) -> Iterator[tuple[bytes, int]]:
    """Many rows of no column, and then a layout of thousands."""
    plain = {"resmon_trace": 1, "facts": _bare(head)}
    yield json.dumps({**plain, "channels": []}).encode() + b"\n", 1
    yield b"[1]\n" * 2**20, 1
    channels = [{"device_id": "d", "quantity": str(i), "unit": ""} for i in range(15_000)]
    yield json.dumps({**plain, "channels": channels}).encode() + b"\n", 1


def _bare(head: bytes) -> dict[str, Any]:
    return {"devices": [], "sources": [], "wall_at_0": json.loads(head)["facts"]["wall_at_0"]}


CHILD = """
    import resource, sys
    limit = int(sys.argv[2])
    import resmon
    from resmon.errors import RecordError
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        resmon.replay(sys.argv[1])
    except RecordError as error:
        print(str(error)[:300])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        (_zeros, "line 1: longer than any line"),
        (_newlines, "line 1: empty"),
        (_long_line, "line 2: longer than any line"),
        (_rows, "more than"),
        (_short_rows, "more than 20000000 values"),
        (_events, "more than"),
        (_events_of_many_facts, "more than"),
        (_polls, "more than"),
        (_nested_events, "line 2: 'a' of an event is"),
        (_layouts, "more than 20000000 values"),
    ],
)
def test_a_bomb_is_refused_within_a_gigabyte(good: bytes, pieces: Pieces, reason: str, tmp_path: Path) -> None:
    lines = good.splitlines(keepends=True)
    row = next(line for line in lines if line.startswith(b"["))
    path = tmp_path / "bomb.ndjson.gz"
    with path.open("wb") as file:
        for piece, times in pieces(lines[0], row):
            packed = gzip.compress(piece, 1, mtime=0)
            for _ in range(times):
                file.write(packed)
    assert path.stat().st_size < 64 * 2**20
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(path), str(2 * 2**30)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    said, peak_kib = ended.stdout.splitlines()
    assert re.search(reason, said), said
    assert int(peak_kib) < 2**20
    path.unlink()


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "absent", ""):
        with pytest.raises(RecordError, match="no such file"):
            resmon.replay(tmp_path / name)
