"""What ranks print, shown while they run: bounded, harmless, labelled. Their files keep all of it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from resmon.views import escape

POLL_BYTES = 256 * 2**10
"""The most that is shown of one rank at one look; what came before it in that time is skipped."""
SHOWN_CHARACTERS = 2**20
"""The most that is shown of a run while it runs; afterwards only the last lines, at its end."""
LINE_CHARACTERS = 1_000
LAST_LINES = 20


class Output:
    """Follows the files of some ranks and writes their new lines with ``write``.

    ``poll`` is called again and again by one thread. A line that ends in a carriage return, as a progress bar's does,
    or in nothing yet is shown in its place and written over by what follows.
    """

    def __init__(self, files: Mapping[int, Path], write: Callable[[str], object]) -> None:
        self._write = write
        self._files = {rank: _Followed(path) for rank, path in files.items()}
        self._passing = ""
        self._out: list[str] = []
        self._left = SHOWN_CHARACTERS
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._unshown = 0

    def poll(self, *, final: bool = False) -> None:
        """Show what is new. ``final``: nothing will follow, so that a line without an end is one."""
        passing = ""
        for rank, followed in self._files.items():
            skipped, lines, rest = followed.read(final=final)
            if skipped:
                self._line(f"[rank {rank}] … {skipped:,} bytes left out here; all of it is in {followed.path}")
            if self._left <= 0:  # only the last lines will be shown: the others need not be made harmless
                self._unshown += len(lines[:-LAST_LINES])
                lines = lines[-LAST_LINES:]
            for line in lines:
                self._line(f"[rank {rank}] {_shown(line)}")
            if rest and not passing:
                passing = f"[rank {rank}] {_shown(rest)}"
        if passing and passing != self._passing and self._left > 0:
            self._out.append(f"\r{passing.ljust(len(self._passing))}")
            self._passing = passing
        if final:
            self._finish()
        if self._out:
            out, self._out = "".join(self._out), []
            self._write(out)

    def close(self) -> None:
        """Close the files. Idempotent."""
        for followed in self._files.values():
            followed.close()

    def _line(self, line: str) -> None:
        if self._left <= 0:
            self._last.append(line)
            self._unshown += 1
            return
        self._left -= len(line) + 1
        over = "\r" if self._passing else ""
        self._out.append(f"{over}{line.ljust(len(self._passing))}\n")
        self._passing = ""
        if self._left <= 0:
            place = next(iter(self._files.values())).path.parent
            self._out.append(f"resmon: so much was printed that the rest goes to the files in {place} alone\n")

    def _finish(self) -> None:
        if self._passing:
            self._out.append("\n")
            self._passing = ""
        if self._last:
            self._out.append(f"resmon: … {self._unshown - len(self._last):,} lines later, the last:\n")
            self._out += [f"{line}\n" for line in self._last]
            self._last.clear()


def last_lines(path: Path, count: int = LAST_LINES) -> str:
    """The last lines of a file of output, harmless; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 16 * 2**10))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(_shown(line) for line in text.splitlines()[-count:])


def harmless(text: str, most: int = 32 * 2**10) -> str:
    """Lines of text from a rank as they may be shown; of a very long one the beginning and the end."""
    if len(text) > most:
        text = f"{text[: most // 2]}\n… {len(text) - most:,} characters left out …\n{text[-most // 2 :]}"
    return "\n".join(escape.output(line) for line in text.split("\n"))


def _shown(line: str) -> str:
    """A line as a terminal leaves it: of what carriage returns part, the last."""
    line = line.rstrip("\r").rpartition("\r")[2]
    if len(line) > LINE_CHARACTERS:
        line = f"{line[:LINE_CHARACTERS]}… (+{len(line) - LINE_CHARACTERS:,} characters)"
    return escape.output(line)


class _Followed:
    """One file that grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._offset = 0
        self._rest = b""
        self._before = b""

    def read(self, *, final: bool) -> tuple[int, list[str], str]:
        """New bytes skipped, whole lines, and what of the last line is worth showing before it ends."""
        if self._fd < 0:
            try:
                self._fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            except OSError:
                return 0, [], ""
        skipped = 0
        behind = os.fstat(self._fd).st_size - self._offset
        if behind > POLL_BYTES:
            skipped = behind - POLL_BYTES // 2 + len(self._rest)
            self._offset += behind - POLL_BYTES // 2
            self._rest = b""
        data = self._rest + self._read()
        if skipped:  # begin with a whole line, if there is one
            cut = data.find(b"\n") + 1
            skipped, data = skipped + cut, data[cut:]
        *lines, self._rest = data.split(b"\n")
        if final and self._rest:
            lines.append(self._rest)
            self._rest = b""
        if len(self._rest) > POLL_BYTES:
            skipped += len(self._rest) - LINE_CHARACTERS
            self._rest = self._rest[-LINE_CHARACTERS:]
        settled = b"\r" in self._rest or self._rest == self._before
        self._before = self._rest
        return skipped, [_text(line) for line in lines], _text(self._rest) if settled else ""

    def _read(self) -> bytes:
        os.lseek(self._fd, self._offset, os.SEEK_SET)
        data = os.read(self._fd, POLL_BYTES)
        self._offset += len(data)
        return data

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
