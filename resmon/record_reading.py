"""Reading a flight record, also one that a killed kernel left or that somebody else has touched."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resmon.errors import RecordError
from resmon.facts import Channel
from resmon.record import FRAME, HEADER_BYTES, KIND_EVENT, KIND_ROW, KIND_SCHEMA, MAGIC

MAX_PAYLOAD = 2**20
MAX_FILE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """What a record holds: facts and channels of the newest layout, its rows (oldest first) and its events."""

    facts: Mapping[str, Any]
    channels: tuple[Channel, ...]
    rows: tuple[tuple[float, ...], ...]
    events: tuple[Mapping[str, Any], ...]


def read_record(path: str | os.PathLike[str]) -> RecordedRun:
    """Read a flight record, also one that a killed kernel left.

    Raises RecordError naming the file and what is wrong with it: no record, cut short, or holding no sample.
    """
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RecordError(f"{name}: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise RecordError(f"{name}: larger than any flight record (64 MiB)")
    if not data.startswith(MAGIC):
        raise RecordError(f"{name}: not a resmon flight record (it does not begin with {MAGIC!r})")
    if len(data) < HEADER_BYTES:
        raise RecordError(f"{name}: cut short inside its header ({len(data)} bytes)")
    version, bank_bytes = struct.unpack_from("<II", data, len(MAGIC))
    if version != 1:
        raise RecordError(f"{name}: written by a newer resmon (record version {version}, this one reads 1)")
    banks = [list(_frames(data, HEADER_BYTES + i * bank_bytes, bank_bytes)) for i in (0, 1)]
    banks = sorted((b for b in banks if b), key=lambda frames: frames[0][2])
    collected = _Collected()
    for frames in banks:
        for kind, body, _ in frames:
            try:
                collected.take(kind, body)
            except (ValueError, TypeError, KeyError, struct.error) as error:
                raise RecordError(f"{name}: a frame that cannot be read: {error}") from None
    if not collected.rows:
        raise RecordError(f"{name}: holds no sample (truncated, or the kernel died before its first tick)")
    return RecordedRun(
        facts=collected.facts,
        channels=collected.channels,
        rows=tuple(collected.rows),
        events=tuple(collected.events),
    )


class _Collected:
    """What the frames read so far amount to."""

    def __init__(self) -> None:
        self.facts: Mapping[str, Any] = {}
        self.channels: tuple[Channel, ...] = ()
        self.rows: list[tuple[float, ...]] = []
        self.events: list[Mapping[str, Any]] = []

    def take(self, kind: int, body: bytes) -> None:
        if kind == KIND_SCHEMA:
            head = json.loads(body)
            found = tuple(Channel(**c) for c in head.pop("channels"))
            if found != self.channels:
                self.rows = [moved(row, self.channels, found) for row in self.rows]
            self.facts, self.channels = head, found
        elif kind == KIND_ROW:
            self.rows.append(struct.unpack(f"<{1 + len(self.channels)}d", body))
        elif kind == KIND_EVENT:
            self.events.append(json.loads(body))


def moved(row: tuple[float, ...], old: Sequence[Channel], new: Sequence[Channel]) -> tuple[float, ...]:
    """A row of an earlier layout in the columns of a later one."""
    place = {c.id: i for i, c in enumerate(old, 1)}
    return (row[0], *(row[place[c.id]] if c.id in place else float("nan") for c in new))


def _frames(data: bytes, offset: int, size: int) -> Iterator[tuple[int, bytes, int]]:
    end = min(len(data), offset + size)
    turn_of_bank: int | None = None
    while offset + FRAME.size <= end:
        length, checksum, kind, turn = FRAME.unpack_from(data, offset)
        offset += FRAME.size
        if length > MAX_PAYLOAD or offset + length > end or (turn_of_bank is not None and turn != turn_of_bank):
            return
        body = data[offset : offset + length]
        if turn == 0 or zlib.crc32(body, turn) != checksum:
            return
        turn_of_bank = turn
        offset += length
        yield kind, body, turn
