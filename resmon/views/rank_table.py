"""What the ranks of a run did, as a table: a row each, or how they are spread and the three that stand out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from resmon import units
from resmon.rankboard import STEPS, STRAGGLES
from resmon.ranks import RankUse
from resmon.views.escape import plain, shortened
from resmon.views.reports import Report
from resmon.views.table import Cell, Column, Row

LISTED = 16
"""More ranks than this are told by their distribution."""
WORST = 3
WARNING = "⚠"

_Value = Callable[[RankUse], float | None]


def runs_of(uses: Sequence[RankUse]) -> list[tuple[RankUse, ...]]:
    """The ranks of each run of a measurement, whose ranks stand one run after the other."""
    runs: list[list[RankUse]] = []
    for use in uses:
        if not runs or use.rank <= runs[-1][-1].rank:
            runs.append([])
        runs[-1].append(use)
    return [tuple(run) for run in runs]


def ranks_report(uses: Sequence[RankUse]) -> Report:
    """The ranks of one run, as a table that shows itself in text and in HTML."""
    return Report("Ranks", *rank_table(uses), empty="no rank was heard of")


def rank_table(uses: Sequence[RankUse]) -> tuple[list[Column], list[Row]]:
    """A row for each rank of one run.

    Of more than 16: the least, median and greatest of each number, and the three ranks that stand out. The share of a
    step is three numbers. Columns in which nothing is known of any rank are left out, and the outcome "done".
    """
    if not uses:
        return [], []
    slow = {use.rank for use in (straggler(uses),) if use is not None}
    shown = uses if len(uses) <= LISTED else worst(uses)
    names = {use.rank: Cell(f"{use.rank} {WARNING}" if use.rank in slow else str(use.rank)) for use in shown}
    rows: list[list[str | Cell]] = []
    if len(uses) > LISTED:
        for word, of in (("least", min), ("median", statistics.median), ("greatest", max)):
            rows.append([Cell(word), "", *(write(_of_known(uses, value, of)) for _, value, write in _numbers()), ""])
    for use in shown:
        ended = "" if use.outcome == "done" else shortened(use.outcome, 80)
        rows.append([names[use.rank], _place(use), *(write(value(use)) for _, value, write in _numbers()), ended])
    columns = [
        Column(title="Rank"),
        Column(title="Node · GPU" if any(use.device.startswith("GPU") for use in uses) else "Node"),
        *(Column(title=title, align="right") for title, _, _ in _numbers()),
        Column(title="Outcome", wrap=True),
    ]
    kept = [i for i in range(len(columns)) if i == 0 or any(str(row[i]) not in ("", units.UNKNOWN) for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


def sentence(uses: Sequence[RankUse]) -> str:
    """How many ranks there were, how they ended, and who held the others up."""
    ended = [use for use in uses if use.outcome and use.outcome != "done"]
    done = sum(use.outcome == "done" for use in uses)
    hosts = len({use.host for use in uses if use.host})
    parts = [f"{len(uses)} ranks" if len(uses) != 1 else "1 rank", f" on {hosts} nodes" if hosts > 1 else ""]
    if done == len(uses):
        parts.append(", all done" if len(uses) > 1 else ", done")
    elif ended:
        named = ", ".join(f"rank {use.rank} {shortened(use.outcome, 80)}" for use in ended[:WORST])
        more = f" and {len(ended) - WORST} more" if len(ended) > WORST else ""
        parts.append(f", {done} done, {named}{more}")
    if not any(use.samples for use in uses):
        parts.append("; no samples arrived: the run was too short, or the notebook cannot be reached")
    slow = straggler(uses)
    if slow is not None and slow.compute_fraction is not None:
        factor = slow.compute_fraction / (_median_compute(uses) or 1.0)
        waits = [use.wait_fraction for use in uses if use is not slow and use.wait_fraction is not None]
        waited = f"; the other{'s' if len(uses) > 2 else ''} waited "
        parts.append(
            f". {WARNING} Rank {slow.rank} computed {factor:.2f} times as much of a step as the median"
            + (f"{waited}{units.format_percent(statistics.median(waits))} of it" if waits else "")
        )
    return "".join(parts)


def straggler(uses: Sequence[RankUse]) -> RankUse | None:
    """The rank whose share of computing is 1.2 times the median or more; the greatest of several."""
    median = _median_compute(uses)
    known = [use for use in uses if use.compute_fraction is not None and (use.steps or 0) >= STEPS]
    if median is None or median <= 0 or len(known) < 2:
        return None
    slowest = max(known, key=lambda use: use.compute_fraction or 0.0)
    return slowest if (slowest.compute_fraction or 0.0) >= STRAGGLES * median else None


def worst(uses: Sequence[RankUse]) -> list[RankUse]:
    """Three ranks in their order: who ended badly or was never heard of, then who computed the greatest share."""

    def score(use: RankUse) -> tuple[int, float]:
        badly = 2 if use.outcome and use.outcome != "done" else 1 if not use.samples else 0
        return badly, use.compute_fraction or 0.0

    return sorted(sorted(uses, key=score, reverse=True)[:WORST], key=lambda use: use.rank)


def _median_compute(uses: Sequence[RankUse]) -> float | None:
    known = [use.compute_fraction for use in uses if use.compute_fraction is not None]
    return statistics.median_low(known) if known else None


def _numbers() -> tuple[tuple[str, _Value, Callable[[float | None], str]], ...]:
    """The columns of numbers: title, value, how it is written."""
    return (
        ("Steps", lambda use: use.steps, units.format_count),
        ("step/s", lambda use: use.steps_per_s, _rate),
        ("items/s", lambda use: use.items_per_s, _rate),
        ("Mean util", lambda use: use.utilization_mean, units.format_percent),
        ("Peak memory", lambda use: use.memory_peak_bytes, units.format_gib),
        ("Peak GPU allocated", lambda use: use.allocator_peak_bytes, units.format_gib),
        ("Peak GPU reserved", lambda use: use.allocator_reserved_peak_bytes, units.format_gib),
        ("Mean W", lambda use: use.power_mean_w, _watts),
        ("Compute", lambda use: use.compute_fraction, units.format_percent),
        ("Comm", lambda use: use.communication_fraction, units.format_percent),
        ("Wait", lambda use: use.wait_fraction, units.format_percent),
    )


def _of_known(uses: Sequence[RankUse], value: _Value, of: Callable[[list[float]], float]) -> float | None:
    known = [found for use in uses if (found := value(use)) is not None]
    return of(known) if known else None


def _place(use: RankUse) -> str:
    device = "" if use.device == "CPU" else plain(use.device).removeprefix("GPU ")
    return " · ".join(part for part in (shortened(use.host, 40), shortened(device, 24)) if part) or units.UNKNOWN


def _rate(value_per_s: float | None) -> str:
    return units.format_items_per_s(value_per_s, "").removesuffix(" /s")


def _watts(value_w: float | None) -> str:
    return units.UNKNOWN if value_w is None else units.format_power_w(value_w).removesuffix(f"{units.THIN}W")
