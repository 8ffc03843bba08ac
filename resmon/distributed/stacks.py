"""Where a rank's main thread is, read from what ``faulthandler`` wrote of it."""

from __future__ import annotations

import linecache
import re
from dataclasses import dataclass
from pathlib import Path

from resmon.views import escape

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')
_LIBRARIES = ("/torch/", "/site-packages/", "/dist-packages/", "/resmon/distributed/")
_COLLECTIVE = "/torch/distributed/"
_BACKWARD = "/torch/autograd/graph.py"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stack."""

    file: str
    line: int
    name: str

    def __str__(self) -> str:
        source = linecache.getline(self.file, self.line).strip()
        place = f"line {self.line} of {self.name}"
        if "ipykernel_" not in self.file and not self.file.startswith("<"):
            place += f" in {Path(self.file).name}"
        return escape.plain(f"{place}: {escape.shortened(source, 80)}" if source else place)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rank is: the innermost frame of the user's own code, and the collective operation it waits in, if any."""

    frame: Frame | None
    waits_in: str = ""


def read_place(path: Path) -> Place | None:
    """Read the last dump in a file of stacks; None where there is none."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return None
    frames = _frames(text)
    if not frames:
        return None
    own = next((frame for frame in frames if not _is_library(frame.file)), frames[0])
    return Place(own, _waits_in(frames))


def _frames(text: str) -> list[Frame]:
    """The stack of the thread that was asked, innermost first."""
    frames: list[Frame] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("Current thread"):
            inside, frames = True, []
        elif not line.startswith("  "):
            inside = False
        elif inside and (found := _FRAME.match(line)):
            frames.append(Frame(found["file"], int(found["line"]), found["name"]))
    return frames


def _waits_in(frames: list[Frame]) -> str:
    """The outermost function of torch.distributed that was called; or ``backward``, where DDP all-reduces."""
    name = ""
    for frame in frames:
        if _COLLECTIVE in frame.file and frame.name not in ("wrapper", "decorate"):
            name = frame.name
        elif name and not _is_library(frame.file):
            break
    if name:
        return name
    return "backward" if any(frame.file.endswith(_BACKWARD) for frame in frames) else ""


def _is_library(file: str) -> bool:
    return any(part in file for part in _LIBRARIES) or "/lib/python3" in file
