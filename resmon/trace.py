"""Traces: every raw reading with its time, as text that anyone can read, write and check.

NDJSON, gzip-compressed where the name ends in ``.gz``; ``docs/trace.md`` is the format. A trace holds readings and
facts about sensors, and no code: neither the cells' nor anything that is executed when it is read.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from resmon.energy.edges import CounterRead
from resmon.facts import Channel

VERSION = 1
FLUSH_ROWS = 20
"""A killed process loses at most so many rows of a trace, and those that are not made yet."""


class TraceWriter:
    """Writes a trace while a monitor runs; ``notice`` says why it stopped where it cannot go on.

    One writer thread. Raises OSError where the file cannot be made; later failures turn it off with a notice.
    An existing file is never overwritten: FileExistsError.
    """

    def __init__(self, path: Path, *, note: str = "", synthetic: bool = False) -> None:
        self.path = path
        self.notice = ""
        self.rows = 0
        self._unflushed = 0
        self._note = note
        self._synthetic = synthetic
        raw = path.open("xb")
        packed = gzip.GzipFile("", mode="wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
        self._file: IO[str] | None = io.TextIOWrapper(packed, encoding="utf-8", newline="\n")
        self._raw = raw

    def start(self, facts: Mapping[str, Any], channels: Sequence[Channel]) -> None:
        """Begin a layout: the channels of the rows that follow. The first one is the trace's header."""
        head: dict[str, Any] = {"resmon_trace": VERSION}
        if self._note:
            head["note"] = self._note
        if self._synthetic:
            head["synthetic"] = True
        self._line({**head, "facts": facts, "channels": [asdict(c) for c in channels]})

    def add_rows(self, rows: Sequence[tuple[float, Sequence[float]]]) -> None:
        """Samples; unknown values are null. Floats are written so that they read back the same."""
        for at_s, values in rows:
            self._line([at_s, *(None if v != v else v for v in values)])
            if self._file is None:  # what is in the file was counted when it was turned off
                return
            self.rows += 1
            self._unflushed += 1

    def event(self, event: Mapping[str, Any]) -> None:
        """A JSON-ready fact that is no sample."""
        self._line({"event": event})

    def poll(self, source_id: str, read: CounterRead) -> None:
        """One read of a counter between samples: instants before and after it, joules and watts, null for unknown."""
        self._line({"poll": source_id, "read": [None if v != v else v for v in read]})

    def _line(self, value: object) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(value, allow_nan=False, separators=(",", ":")) + "\n")
        except OSError as error:
            self._turn_off(error)

    def flush(self) -> None:
        """Hand over what was written, some rows together: a compressed file grows with every time."""
        if self._unflushed < FLUSH_ROWS:
            return
        self._unflushed = 0
        try:
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            self._turn_off(error)

    def _turn_off(self, error: OSError) -> None:
        self.close()
        self.notice = f"trace off: {self.path}: {error.strerror or error}"
        if self.path.suffix == ".gz":
            self.notice += "; what reached the disk can be replayed"
            return
        with suppress(OSError):
            self.rows = _keep_whole_lines(self.path)
            self.notice += f"; its first {self.rows} rows can be replayed"

    def close(self) -> None:
        """Finish the file. Idempotent."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError as error:
            self.notice = self.notice or f"the end of the trace is missing: {error.strerror or error}"
        finally:
            with suppress(OSError):  # it tries once more to write what is left, and closes all the same
                self._raw.close()


def _keep_whole_lines(path: Path) -> int:
    """Cut a line off that was not written to its end; how many rows are left. Raises OSError."""
    rows = whole = 0
    with path.open("r+b") as file:
        for line in file:
            if line.endswith(b"\n"):
                whole += len(line)
                rows += line.startswith(b"[")
        file.truncate(whole)
    return rows
