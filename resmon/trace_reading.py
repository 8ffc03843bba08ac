"""Reading a trace that may come from anywhere: within bounded memory, and refused with file, line and reason."""

from __future__ import annotations

import gzip
import json
import math
import os
import reprlib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from resmon.errors import RecordError
from resmon.facts import Channel
from resmon.origins import Origin
from resmon.record_reading import RecordedRun, moved
from resmon.trace import VERSION
from resmon.trace_checks import check_event, check_facts, check_read, check_time, is_finite, made

MAX_LINE_BYTES = 2**20
MAX_BYTES = 512 * 2**20
MAX_VALUES = 20_000_000
"""Rows times columns: about 24 hours at 10 Hz with 20 columns. In memory one takes about 32 bytes."""
MAX_LAYOUTS = 10_000
ROW_VALUES, EVENT_VALUES, FACT_VALUES = 3, 16, 5
"""What the container of a row, that of a flat event, and each fact of an event take, in values."""

_NEVER_NEGATIVE = ("W", "J", "B", "Hz", "B/s", "s", "1")


class _Reader:
    """Takes the lines of one file; ``fail`` names the file and the line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 0
        self.cut = ""
        self.head: Mapping[str, Any] | None = None
        self.origins: dict[str, Origin] = {}
        self.channels: tuple[Channel, ...] = ()
        self.events: list[Mapping[str, Any]] = []
        self._layouts: list[tuple[tuple[Channel, ...], list[tuple[float, ...]]]] = []
        self._polls: list[dict[str, Any]] = []
        self._newest_s = float("-inf")
        self._rows = 0
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
            self._take_value(json.loads(line, parse_constant=self._constant), len(line))
        except RecursionError:
            self.fail("nested too deeply")
        except RecordError:
            raise
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            if line.endswith(b"\n"):
                self.fail(f"not JSON: {error}")
            self.number -= 1
            self.end_early()
        except ValueError as error:
            self.fail(str(error))

    def end_early(self) -> None:
        """The file ends in the middle: its writer was killed, or the disk was full. Whole lines are what they were."""
        if self.head is None:
            self.number += 1
            self.fail("cut short within its header")
        self.cut = f"cut short after line {self.number}: what came later is missing"

    def _take_value(self, value: object, size: int) -> None:
        if isinstance(value, list):
            self._row(value)
        elif isinstance(value, dict) and not value.keys().isdisjoint(("channels", "resmon_trace")):
            self._layout(value, size)
        elif isinstance(value, dict) and "event" in value:
            self._event(check_event(value["event"]), size)
        elif isinstance(value, dict) and "poll" in value:
            source, read = value["poll"], value.get("read", [])
            check_read(source, read)
            event = {"poll": source, "read": read, "at_s": max(read[1], self._newest_s)}
            self._polls.append(event)
            self._event(event, size)
        else:
            self.fail("neither a header, nor a row, nor an event")

    def _constant(self, word: str) -> NoReturn:
        self.fail(f"{word} is no value; what is unknown is null")

    def _holds(self, values: int) -> None:
        """Count what is kept, in values, so that a file of any shape takes bounded memory."""
        self._values += values
        if self._values > MAX_VALUES:
            self.fail(f"more than {MAX_VALUES} values and events; cut the trace into shorter ones")

    def _layout(self, head: Mapping[str, Any], size: int) -> None:
        version = head.get("resmon_trace")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            self.fail("a header without the version (resmon_trace)")
        if version > VERSION:
            self.fail(f"written by a newer resmon (trace version {version}, this one reads {VERSION})")
        if not isinstance(head.get("note", ""), str) or not isinstance(head.get("synthetic", False), bool):
            self.fail("a note that is no text, or a synthetic that is neither true nor false")
        self._holds(size)
        if not isinstance(head.get("channels"), list):
            self.fail("a header without the list of channels")
        channels = tuple(made(Channel, c, f"channels[{i}]") for i, c in enumerate(head["channels"]))
        self._check_channels(channels)
        try:
            found = check_facts(head["facts"], channels)
        except KeyError as error:
            self.fail(f"the header lacks {error}")
        except ValueError as error:
            self.fail(f"the header has a fact that cannot be read: {error}")
        for source_id, origin in found.items():
            # Where a source stood when it was first told of: what came later follows from the lines between.
            self.origins.setdefault(source_id, origin)
        if channels != self.channels or not self._layouts:
            if len(self._layouts) == MAX_LAYOUTS:
                self.fail(f"more than {MAX_LAYOUTS} layouts")
            # All rows get the columns of the last layout: no more of them than could have been written in it.
            self._values = max(self._values, self._rows * (ROW_VALUES + 1 + len(channels)))
            self._holds(0)
            self._layouts.append((channels, []))
        self.head, self.channels = head, channels

    def _check_channels(self, channels: tuple[Channel, ...]) -> None:
        if len({c.id for c in channels}) != len(channels):
            self.fail("two channels of one name")

    def _row(self, row: list[Any]) -> None:
        if self.head is None:
            self.fail("a row before the header")
        if len(row) != 1 + len(self.channels):
            self.fail(f"{len(row)} values where there are 1 + {len(self.channels)} columns")
        self._rows += 1
        self._holds(ROW_VALUES + len(row))
        at_s = row[0]
        check_time(at_s)
        if at_s < self._newest_s:
            self.fail(f"time goes back, from {self._newest_s!r} to {at_s!r}")
        self._newest_s = at_s
        # Polls stand where they were taken, between two rows, also where they were made by somebody else before.
        for poll in self._polls:
            poll["at_s"] = min(poll["at_s"], math.nextafter(at_s, -math.inf))
        self._polls.clear()
        for value, channel in zip(row[1:], self.channels, strict=True):
            self._check_value(value, channel)
        self._layouts[-1][1].append(tuple(float("nan") if v is None else float(v) for v in row))

    def _check_value(self, value: object, channel: Channel) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(f"{channel.id} is {reprlib.repr(value)}, not a number")
        if not is_finite(value):
            self.fail(f"{channel.id} is a number too large for a float")
        if value < 0 and channel.unit in _NEVER_NEGATIVE:
            self.fail(f"{channel.id} is negative: {reprlib.repr(value)} {channel.unit}")

    def _event(self, event: Mapping[str, Any], size: int) -> None:
        self._holds(EVENT_VALUES + FACT_VALUES * len(event) + size // 16)
        self.events.append(event)

    def rows(self) -> tuple[tuple[float, ...], ...]:
        """All rows, in the columns of the last layout."""
        found: list[tuple[float, ...]] = []
        for channels, rows in self._layouts:
            found += rows if channels == self.channels else (moved(row, channels, self.channels) for row in rows)
            rows.clear()
        return tuple(found)


def _in_order(events: list[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """By time: events are written with the next sample, polls at once."""
    return tuple(sorted(events, key=lambda event: float(event["at_s"])))


def read_trace(path: str | os.PathLike[str]) -> RecordedRun:
    """Read a trace written by :class:`resmon.trace.TraceWriter` or by hand.

    One that ends in the middle of a line, or of what is compressed, is read up to there: ``facts["cut"]`` says so.
    Raises RecordError with the file, the line and the reason; never takes more than some hundred megabytes.
    """
    reader = _Reader(os.fspath(path))
    try:
        for line in _lines(Path(path), reader):
            reader.take(line)
    except EOFError:
        reader.end_early()
    except (zlib.error, gzip.BadGzipFile) as error:
        reader.fail(f"damaged after this line: {error}")
    except OSError as error:
        raise RecordError(f"{reader.name}: {error.strerror or error}") from error
    if reader.head is None:
        raise RecordError(f"{reader.name}: not a trace (it has no header)")
    rows = reader.rows()
    if not rows:
        raise RecordError(f"{reader.name}: holds no sample{reader.cut and f'; {reader.cut}'}")
    facts = {
        **reader.head["facts"],
        "synthetic": bool(reader.head.get("synthetic")),
        "note": reader.head.get("note", ""),
        "cut": reader.cut,
        "origins": reader.origins,
    }
    return RecordedRun(facts=facts, channels=reader.channels, rows=rows, events=_in_order(reader.events))


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
