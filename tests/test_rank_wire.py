"""What ranks and the notebook say, and the file with their keys: whatever arrives is checked, field by field."""

from __future__ import annotations

import json
import math
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resmon.clock import MonotonicClock
from resmon.distributed import connection, messages
from resmon.distributed.messages import Ack, Bye, DeviceReading, Hello, MessageError, Pace, Refused, Sample
from resmon.errors import ConnectionFileError
from tests.ranks import listening

HELLO = Hello(rank=1, sent_s=5.0, boot="b", pid=77, host="node", device="GPU 0", device_id="gpu:x", world_size=4)
BOOT = MonotonicClock().boot


@pytest.mark.parametrize(
    "words",
    [
        HELLO,
        Ack(sent_s=1.5, at_s=2.5, boot="b", reads=True, interval_s=0.5),
        Refused(reason="no"),
        Pace(live=False),
        DeviceReading(device_id="gpu:x", utilization=0.5, power_w=300.0),
        Bye(outcome="failed: ValueError: ü"),
    ],
)
def test_what_is_said_is_what_is_heard(words: messages.Words) -> None:
    assert messages.decode(messages.encode(words)) == words


def test_a_sample_comes_through_with_what_is_unknown() -> None:
    frame = messages.encode_samples(Sample(at_s=7.25, steps=3, memory_bytes=1e9, collective_s=0.0))
    (sample,) = messages.decode_samples(frame, HELLO)
    assert (sample.rank, sample.pid, sample.host, sample.device_id) == (1, 77, "node", "gpu:x")
    assert (sample.at_s, sample.steps, sample.memory_bytes, sample.collective_s) == (7.25, 3, 1e9, 0.0)
    assert sample.items is None
    assert sample.allocator_peak_bytes is None


def test_samples_that_were_held_come_through_in_their_order() -> None:
    many = [Sample(at_s=0.25 * n, steps=n) for n in range(messages.MOST_SAMPLES)]
    frame = messages.encode_samples(*many)
    assert len(frame) <= messages.MAX_BYTES < len(frame) + len(messages.encode_samples(Sample(0.0)))
    assert [(s.at_s, s.steps) for s in messages.decode_samples(frame, HELLO)] == [(s.at_s, s.steps) for s in many]
    for cut in (2, len(frame) - 1):
        with pytest.raises(MessageError, match="samples are 112 bytes each"):
            messages.decode_samples(frame[:cut], HELLO)


@given(st.binary(max_size=300))
def test_garbage_is_refused(content: bytes) -> None:
    for frame in (content, b"H\x01" + content, b"H\x01{" + content + b"}"):
        with pytest.raises(MessageError):  # a message has fields that it must have, by name and kind
            messages.decode(frame)
    for frame in (content, b"S\x01" + content):
        with suppress(MessageError):
            for sample in messages.decode_samples(frame, HELLO):
                assert (sample.rank, math.isfinite(sample.at_s)) == (1, True), "numbers in range are a sample"
    if len(content) % 112:
        with pytest.raises(MessageError, match="samples are 112 bytes each"):
            messages.decode_samples(b"S\x01" + content, HELLO)


@pytest.mark.parametrize("value", [math.inf, -math.inf, -1.0, 1e300])
@pytest.mark.parametrize("name", Sample._fields)
def test_a_sample_out_of_range_is_refused(name: str, value: float) -> None:
    frame = bytearray(messages.encode_samples(Sample(at_s=1.0)))
    struct.pack_into("<d", frame, 2 + 8 * Sample._fields.index(name), value)
    with pytest.raises(MessageError, match="out of range"):
        messages.decode_samples(bytes(frame), HELLO)


def test_a_sample_without_time_is_refused() -> None:
    with pytest.raises(MessageError, match="no time"):
        messages.decode_samples(messages.encode_samples(Sample(at_s=math.nan)), HELLO)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rank": -1}, "rank is out of range"),
        ({"rank": 10**300}, "rank is out of range"),
        ({"rank": True}, "may not be bool"),
        ({"rank": "0"}, "may not be str"),
        ({"rank": None}, "rank is missing"),
        ({"rank": 1.5}, "may not be float"),
        ({"host": "a" * 201}, "too long"),
        ({"host": "\x1b[31m"}, "not printable"),
        ({"host": 3}, "may not be int"),
        ({"sent_s": -1.0}, "out of range"),
        ({"extra": 1}, "no field 'extra'"),
        ({"boot": ["x"]}, "may not be list"),
    ],
)
def test_a_hello_that_is_wrong_is_refused(change: dict[str, object], problem: str) -> None:
    body = json.loads(messages.encode(HELLO)[2:]) | change
    with pytest.raises(MessageError, match=problem):
        messages.decode(b"H\x01" + json.dumps(body).encode())


def test_not_a_number_in_json_is_refused() -> None:
    with pytest.raises(MessageError, match="out of range"):
        messages.decode(b'H\x01{"rank": 0, "boot": "b", "pid": 1, "sent_s": NaN}')


def test_another_version_is_refused() -> None:
    with pytest.raises(MessageError, match="version 9"):
        messages.decode(b"H\x09{}")


# -- the connection file ---------------------------------------------------------------------------------------------


def test_the_connection_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with listening() as receiver:
        path = receiver.connection_file
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        known = connection.read(path)
        assert known.client_secret not in repr(known)
    assert not path.exists()
    with pytest.raises(ConnectionFileError, match="cannot be read"):
        connection.read(path)


def test_a_file_that_others_can_read_is_not_trusted(tmp_path: Path) -> None:
    with listening(path=tmp_path / "c.json") as receiver:
        receiver.connection_file.chmod(0o644)
        with pytest.raises(ConnectionFileError, match="not a private file"):
            connection.read(receiver.connection_file)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"version": 2}', '{"version": 1, "endpoints": ["ipc:///tmp/x"]}', "[" * 20_000, "x" * 20_000],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConnectionFileError, match="no connection file"):
        connection.read(path)


def test_what_a_killed_kernel_left_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path))
    stale = tmp_path / f"connection-{2**22 + 5}-abc.json"
    stale.write_text("{}")
    with listening():
        assert not stale.exists()
