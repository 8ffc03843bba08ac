"""What a benchmark found: rows, the table a person reads, and files that say on what machine it was."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from resmon.sensors.cpu_info import read_cpu_info

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One number, beside what it is compared with *in the same run*, and the most it may be.

    ``limit`` bounds the value, or the ratio to the reference where ``bounds`` says so.
    """

    name: str
    value: float
    unit: str
    reference: str = ""
    reference_value: float | None = None
    limit: float | None = None
    bounds: Literal["value", "ratio"] = "value"

    @property
    def ratio(self) -> float | None:
        """The value over its reference."""
        return self.value / self.reference_value if self.reference_value else None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        bounded = self.value if self.bounds == "value" else self.ratio
        return None if self.limit is None or bounded is None else bounded <= self.limit

    def cells(self) -> list[str]:
        """The row as text, in the order of ``HEAD``."""
        ratio, met = self.ratio, self.met
        target = ""
        if self.limit is not None:
            target = f"≤ {self.limit:g} {self.unit}" if self.bounds == "value" else f"≤ {self.limit:g}×"
        return [
            self.name,
            f"{_number(self.value)} {self.unit}",
            "" if self.reference_value is None else f"{_number(self.reference_value)} {self.unit}: {self.reference}",
            "" if ratio is None else f"{ratio:.2f}×",
            target,
            "" if met is None else "yes" if met else "NO",
        ]


@dataclass(frozen=True, slots=True)
class Text:
    """Lines of markdown that stand under the rows of a part."""

    lines: Sequence[str]


HEAD = ["what", "value", "reference in the same run", "ratio", "target", "met"]


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it was measured. No host names."""

    chip: str
    cpus: int
    system: str
    python: str
    date: str
    load_1min: float | None
    gpu: str = ""

    @classmethod
    def here(cls, gpu: str = "") -> Machine:
        """This machine, now; ``gpu`` names the GPU and its driver where one was measured."""
        try:
            system = platform.freedesktop_os_release()["PRETTY_NAME"]
        except (OSError, KeyError):
            system = f"{platform.system()} {platform.release()}"
        return cls(
            chip=read_cpu_info().model,
            cpus=os.cpu_count() or 1,
            system=system,
            python=f"{platform.python_implementation()} {platform.python_version()}",
            date=datetime.now(UTC).date().isoformat(),
            load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            gpu=gpu,
        )

    def __str__(self) -> str:
        gpu = f"{self.gpu}; " if self.gpu else ""
        where = f"{gpu}{self.chip}, {self.cpus} CPUs, {self.system}, {self.python}, {self.date}"
        return f"{where}, load at the start {self.load_1min}"


def table(rows: Sequence[Row]) -> str:
    """Columns of text."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def rows_of(part: Sequence[Row | Text]) -> list[Row]:
    """The numbers of a part."""
    return [row for row in part if isinstance(row, Row)]


def write(
    parts: Iterable[tuple[str, Sequence[Row | Text]]], machine: Machine, mode: str, chosen: Sequence[str] = ()
) -> list[Path]:
    """Write JSON and markdown into ``results/``; returns the paths.

    ``chosen``: the parts that were asked for, where it was not all of them; the files bear their names.
    """
    found = [(name, part) for name, part in parts if part]
    chip = machine.gpu or machine.chip
    words = f"{machine.date} {chip} py{platform.python_version()} {' '.join(chosen)}"
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    RESULTS.mkdir(exist_ok=True)
    data = {
        "machine": asdict(machine),
        "mode": mode,
        "parts": {
            name: [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in rows_of(part)] for name, part in found
        },
    }
    markdown = [f"# {mode.capitalize()} run", "", str(machine), ""]
    for name, part in found:
        markdown += [f"## {name}", "", "| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
        markdown += ["| " + " | ".join(row.cells()) + " |" for row in rows_of(part)] + [""]
        markdown += [line for text in part if isinstance(text, Text) for line in (*text.lines, "")]
    paths = [RESULTS / f"{slug}.json", RESULTS / f"{slug}.md"]
    paths[0].write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")
    paths[1].write_text("\n".join(markdown), "utf-8")
    return paths
