"""Reading a trace that may come from anywhere: within bounded memory, and refused with file, line and reason."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from resmon.errors import RecordError
from resmon.facts import Channel, Device, EnergySource, Limits
from resmon.record_reading import RecordedRun, moved
from resmon.trace import VERSION

MAX_LINE_BYTES = 2**20
MAX_BYTES = 512 * 2**20
MAX_VALUES = 20_000_000
"""Rows times columns: about 24 hours at 10 Hz with 20 columns."""

_NEVER_NEGATIVE = ("W", "J", "B", "Hz", "B/s", "s", "1")


class _Reader:
    """Takes the lines of one file; ``fail`` names the file and the line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 0
        self.head: Mapping[str, Any] | None = None
        self.channels: tuple[Channel, ...] = ()
        self.rows: list[tuple[float, ...]] = []
        self.events: list[Mapping[str, Any]] = []
        self._values = 0

    def fail(self, reason: str) -> NoReturn:
        raise RecordError(f"{self.name}, line {self.number}: {reason}")

    def take(self, line: bytes) -> None:
        self.number += 1
        if len(line) > MAX_LINE_BYTES:
            self.fail(f"longer than any line of a trace ({MAX_LINE_BYTES} bytes)")
        if not line.strip():
            self.fail("empty; a trace has one JSON value in each line")
        try:
            value = json.loads(line, parse_constant=self._constant)
        except RecursionError:
            self.fail("nested too deeply")
        except ValueError as error:
            self.fail(f"not JSON: {error}")
        if isinstance(value, list):
            self._row(value)
        elif isinstance(value, dict) and "channels" in value:
            self._layout(value)
        elif isinstance(value, dict) and "event" in value:
            self._event(value["event"])
        elif isinstance(value, dict) and "poll" in value:
            self._poll(value["poll"], value.get("read"))
        else:
            self.fail("neither a header, nor a row, nor an event")

    def _constant(self, word: str) -> NoReturn:
        self.fail(f"{word} is no value; what is unknown is null")

    def _layout(self, head: Mapping[str, Any]) -> None:
        version = head.get("resmon_trace")
        if not isinstance(version, int) or isinstance(version, bool):
            self.fail("a header without the version (resmon_trace)")
        if version > VERSION:
            self.fail(f"written by a newer resmon (trace version {version}, this one reads {VERSION})")
        try:
            channels = tuple(Channel(**c) for c in head["channels"])
            _check_facts(head["facts"])
        except KeyError as error:
            self.fail(f"the header lacks {error}")
        except (TypeError, ValueError, AttributeError) as error:
            self.fail(f"the header has a fact that cannot be read: {error}")
        self._check_channels(channels)
        if self.channels and channels != self.channels:
            self.rows = [moved(row, self.channels, channels) for row in self.rows]
        self.head, self.channels = head, channels

    def _check_channels(self, channels: tuple[Channel, ...]) -> None:
        if len({c.id for c in channels}) != len(channels):
            self.fail("two channels of one name")
        if any(c.code not in ("f", "d") or c.kind not in ("gauge", "counter") for c in channels):
            self.fail("a channel whose code is neither f nor d, or whose kind is neither gauge nor counter")

    def _row(self, row: list[Any]) -> None:
        if self.head is None:
            self.fail("a row before the header")
        if len(row) != 1 + len(self.channels):
            self.fail(f"{len(row)} values where there are 1 + {len(self.channels)} columns")
        self._values += len(row)
        if self._values > MAX_VALUES:
            self.fail(f"more than {MAX_VALUES} values; cut the trace into shorter ones")
        at_s = row[0]
        if isinstance(at_s, bool) or not isinstance(at_s, (int, float)):
            self.fail(f"the time is {at_s!r}")
        if self.rows and at_s < self.rows[-1][0]:
            self.fail(f"time goes back, from {self.rows[-1][0]!r} to {at_s!r}")
        for value, channel in zip(row[1:], self.channels, strict=True):
            self._check_value(value, channel)
        try:
            self.rows.append(tuple(float("nan") if v is None else float(v) for v in row))
        except OverflowError:
            self.fail("a number too large for a float")

    def _check_value(self, value: object, channel: Channel) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(f"{channel.id} is {value!r}, not a number")
        if value < 0 and channel.unit in _NEVER_NEGATIVE:
            self.fail(f"{channel.id} is negative: {value!r} {channel.unit}")

    def _poll(self, source: object, read: object) -> None:
        if not isinstance(source, str) or not isinstance(read, list) or len(read) != 4:
            self.fail("a poll that is not a source and four numbers")
        for value, word in zip(read, ("instant", "instant", "energy", "power"), strict=True):
            known = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not known and (value is not None or word == "instant"):
                self.fail(f"the {word} of a poll is {value!r}")
            if known and value < 0:
                self.fail(f"the {word} of a poll is negative: {value!r}")
        self._event({"poll": source, "read": read, "at_s": read[1]})

    def _event(self, event: object) -> None:
        if not isinstance(event, dict):
            self.fail("an event that is no object")
        self._values += 1
        if self._values > MAX_VALUES:
            self.fail(f"more than {MAX_VALUES} values and events")
        self.events.append(event)


def _in_order(events: list[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """By time: events are written with the next sample, polls at once."""
    return tuple(sorted(events, key=lambda event: float(event.get("at_s", 0.0))))


def _check_facts(facts: Mapping[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError for facts that a replay could not be made of."""
    for made, key in ((Device, "devices"), (EnergySource, "sources")):
        for fact in facts[key]:
            made(**fact)
    if facts.get("limits") is not None:
        Limits(**facts["limits"])
    datetime.fromisoformat(facts["wall_at_0"])


def read_trace(path: str | os.PathLike[str]) -> RecordedRun:
    """Read a trace written by :class:`resmon.trace.TraceWriter` or by hand.

    Raises RecordError with the file, the line and the reason; never takes more than some hundred megabytes.
    """
    reader = _Reader(os.fspath(path))
    try:
        for line in _lines(Path(path), reader):
            reader.take(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reader.fail(f"cut short or damaged after this line: {error}")
    except OSError as error:
        raise RecordError(f"{reader.name}: {error.strerror or error}") from error
    if reader.head is None:
        raise RecordError(f"{reader.name}: not a trace (it has no header)")
    if not reader.rows:
        raise RecordError(f"{reader.name}: holds no sample")
    facts = {
        **reader.head["facts"],
        "synthetic": bool(reader.head.get("synthetic")),
        "note": reader.head.get("note", ""),
    }
    return RecordedRun(facts=facts, channels=reader.channels, rows=tuple(reader.rows), events=_in_order(reader.events))


def _lines(path: Path, reader: _Reader) -> Iterator[bytes]:
    """The lines, decompressed piece by piece, so that neither a long line nor a bomb fills the memory."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        total = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            total += len(line)
            if total > MAX_BYTES:
                reader.fail(f"more than {MAX_BYTES} bytes of text; cut the trace into shorter ones")
            yield line
