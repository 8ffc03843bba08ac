"""Tables for people: what every cell cost, and what each sensor and the front end can do here."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resmon import units
from resmon.cells import Cell
from resmon.facts import SensorStatus
from resmon.results import Energy
from resmon.views import escape
from resmon.views.table import Column, Row, to_html, to_text


@dataclass(frozen=True, slots=True)
class Report:
    """A titled table that shows itself as text and as HTML."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    empty: str = ""
    text: str = ""
    """What is shown as text where the table would be too wide for it."""

    def __str__(self) -> str:
        if not self.rows:
            return self.empty
        return self.text or to_text(self.columns, self.rows)

    __repr__ = __str__

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        if not self.rows:
            return {"text/plain": self.empty}
        return {"text/plain": str(self), "text/html": to_html(self.columns, self.rows, caption=self.title)}


def joules(energy: Energy) -> str:
    """One cell of a table: the measured joules, or else the estimated ones, with the basis in words."""
    if energy.measured_j is not None:
        return f"{units.format_measured(energy.measured_j, energy.measured_low_j, energy.measured_high_j)} measured"
    if energy.estimated_j is not None:
        return (
            f"{units.format_estimated(energy.estimated_j, energy.estimated_low_j, energy.estimated_high_j)} estimated"
        )
    return units.UNKNOWN


def cells_report(cells: Sequence[Cell]) -> Report:
    """What every cell so far cost."""
    columns = [
        Column(title="Cell"),
        Column(title="First line", wrap=True),  # what is to the right of it stays in sight
        Column(title="Time", align="right"),
        Column(title="CPU time", align="right"),
        Column(title="Peak memory", align="right"),
        Column(title="Energy", align="right"),
        Column(title="Error"),
    ]
    rows: list[Row] = []
    for cell in cells:
        m = cell.measurement
        if m is None:
            rows.append([cell.label, cell.title, "running", units.UNKNOWN, units.UNKNOWN, units.UNKNOWN, ""])
            continue
        rows.append(
            [
                cell.label,
                cell.title,
                units.format_duration_words(m.duration_s),
                units.UNKNOWN if m.cpu_time_s is None else units.format_duration_words(m.cpu_time_s),
                units.format_gib(m.peak_memory_bytes),
                joules(m.energy),
                (cell.error or "").partition(":")[0],
            ]
        )
    return Report("Cells", columns, rows, "no cell was measured yet")


LIVE_WORDS = ("auto", "always", "never")
"""What ``RESMON_LIVE`` may say."""

_SIGNS = {"available": "✓", "degraded": "!", "looking": "…", "absent": "–", "unavailable": "–", "lost": "✗"}


def doctor_report(statuses: Sequence[SensorStatus]) -> Report:
    """Each sensor and the front end: available or why not, and what would mend it."""
    columns = [
        Column(title=""),
        Column(title="What"),
        Column(title="State", wrap=True),
        Column(title="Why", wrap=True),
        Column(title="What would mend it", wrap=True),
    ]
    rows: list[Row] = [
        [_SIGNS[s.state], s.name, f"{s.state}: {s.detail}" if s.detail else s.state, s.cause, s.remedy]
        for s in statuses
    ]
    return Report("resmon doctor", columns, rows, text="\n".join(_doctor_lines(statuses)))


def _doctor_lines(statuses: Sequence[SensorStatus]) -> Iterator[str]:
    width = max((len(s.name) for s in statuses), default=0)
    indent = " " * (width + 4)
    for s in statuses:
        yield escape.plain(f"{_SIGNS[s.state]} {s.name:<{width}}  {s.state}{': ' if s.detail else ''}{s.detail}")
        if s.cause:
            yield f"{indent}why: {escape.plain(s.cause)}"
        if s.remedy:
            yield f"{indent}mend: {escape.plain(s.remedy)}"


def front_end_statuses(*, in_kernel: bool, subshells: bool, panel_answered: bool) -> list[SensorStatus]:
    """What the live panel needs outside the sensors: the widget library, where the server runs too, and subshells."""
    if not in_kernel:
        return [
            SensorStatus(
                name="panel",
                state="unavailable",
                cause="no Jupyter kernel: a line of text stands in",
                remedy="use JupyterLab or Notebook",
            )
        ]
    if importlib.util.find_spec("anywidget") is None:
        return [
            SensorStatus(
                name="panel",
                state="unavailable",
                cause="this kernel has no anywidget: a line of text stands in",
                remedy="pip install anywidget, restart the kernel, reload the page",
            )
        ]
    found = [_server_status(panel_answered=panel_answered), *_live_statuses()]
    bundle = Path(__file__).parent.parent / "static" / "panel.js"
    if not bundle.exists():
        found.append(
            SensorStatus(
                name="bundle",
                state="unavailable",
                cause="the panel's JavaScript was not built",
                remedy="pip install resmon again, with node",
            )
        )
    if subshells:
        found.append(SensorStatus(name="clicks", state="available", detail="Stop is followed while a cell runs"))
    else:
        found.append(
            SensorStatus(
                name="clicks",
                state="degraded",
                cause="this ipykernel has no subshells: Stop is followed when the cell ends",
                remedy="pip install 'ipykernel>=7.1'",
            )
        )
    sidecar = importlib.util.find_spec("sidecar") is not None
    found.append(
        SensorStatus(name="sidecar", state="available", detail="%resmon side")
        if sidecar
        else SensorStatus(
            name="sidecar",
            state="unavailable",
            cause="not installed: %resmon side shows the panel in the cell",
            remedy="pip install sidecar",
        )
    )
    return found


def _live_statuses() -> list[SensorStatus]:
    """A line where ``RESMON_LIVE`` is none of its words."""
    chosen = os.environ.get("RESMON_LIVE", "auto")
    if chosen.lower() in LIVE_WORDS:
        return []
    cause = f"RESMON_LIVE is {chosen!r}, which means nothing: as if it were auto"
    return [SensorStatus(name="live", state="degraded", cause=cause, remedy=f"set it to {', '.join(LIVE_WORDS)}")]


def _server_status(*, panel_answered: bool) -> SensorStatus:
    if panel_answered:
        return SensorStatus(name="front end", state="available", detail="a panel has answered")
    prefix = _server_prefix()
    places = [Path(prefix or sys.prefix), Path.home() / ".local"]
    if any((place / "share/jupyter/labextensions/anywidget").exists() for place in places):
        return SensorStatus(name="front end", state="available", detail="anywidget is installed for the Jupyter server")
    if prefix is None:
        return SensorStatus(
            name="front end",
            state="degraded",
            cause="where the Jupyter server runs is not known from here; no panel has answered yet",
            remedy="if the panel stays empty: pip install anywidget where the server runs, then reload the page",
        )
    return SensorStatus(
        name="front end",
        state="unavailable",
        cause=f"anywidget's extension is not installed where the Jupyter server runs ({prefix})",
        remedy=f"{prefix}/bin/pip install anywidget, then reload the page",
    )


def _server_prefix() -> str | None:
    """The environment of the server that started this kernel, as far as the parent process tells."""
    parent = os.environ.get("JPY_PARENT_PID") or str(os.getppid())
    try:
        command = Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0")[0].decode()
    except OSError:
        return None
    return str(Path(command).parent.parent) if command.startswith("/") and "python" in command else None
