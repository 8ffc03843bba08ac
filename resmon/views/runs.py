"""A distributed run as a table: a row for each rank."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resmon import units
from resmon.results import Measurement
from resmon.views import escape
from resmon.views.reports import Report
from resmon.views.table import Column, Row, to_text
from resmon.views.text import measurement_line

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 60  # as many characters as a cell of the table shows


def run_report(
    name: str, results: Sequence[Any], outcomes: Sequence[str], measurement: Measurement | None, directory: Path
) -> Report:
    """How each rank of a run ended, what it returned (shortened) and, where samples arrived, its peak memory."""
    columns = [Column(title="Rank", align="right"), Column(title="Ended"), Column(title="Returned")]
    uses = () if measurement is None else measurement.ranks
    peaks = {use.rank: use.memory_peak_bytes for use in uses}
    if peaks:
        columns.append(Column(title="Peak memory", align="right"))
    rows: list[Row] = []
    for rank, (result, outcome) in enumerate(zip(results, outcomes, strict=True)):
        returned = escape.shortened(_SHORT.repr(result)) if outcome == "done" else ""
        row = [str(rank), escape.shortened(outcome, 80), returned]
        rows.append([*row, units.format_gib(peaks.get(rank))] if peaks else row)
    head = escape.shortened(name) if measurement is None else measurement_line(measurement)
    text = f"{head}\n{to_text(columns, rows)}\noutput of the ranks: {escape.plain(directory)}"
    return Report(escape.shortened(name), columns, rows, text=text)
