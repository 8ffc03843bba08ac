"""The plotly figure of measurements side by side. Names from outside are escaped for plotly's own markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from resmon import units
from resmon.views.content import MARKS
from resmon.views.escape import plotly as escaped
from resmon.views.figure import COLOURS, NOTHING, TEXT, neutral

WHOLE = {"offset": -0.4, "width": 0.8}
"""Where a bar lies that has its place on the axis for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One measurement in a comparison.

    Energies are (value, low, high) in joules; memory is bytes; ``share`` is compute, communication and wait, fractions
    of a step; ``utilization`` that of GPUs and of the CPU.
    """

    name: str
    duration_s: float
    measured_j: units.Interval
    estimated_j: units.Interval
    peak_memory_bytes: float | None
    ranks: int | None = None
    speedup: float | None = None
    items_per_s: float | None = None
    items_unit: str = "items"
    share: tuple[float | None, float | None, float | None] = (None, None, None)
    utilization: tuple[float | None, float | None] = (None, None)


def comparison_figure(bars: Sequence[Bar]) -> go.Figure:
    """Duration, energy and peak memory of several measurements as bars; measured and estimated never share one.

    Where ranks are among them a second row has training speed, how a step was spent, and utilisation.
    """
    ranked = any(bar.ranks is not None for bar in bars)
    names = [f"{i}. {escaped(bar.name)}" for i, bar in enumerate(bars, start=1)]
    titles = ["Duration, s", "Energy, J (95 % intervals)", "Peak memory, GiB"]
    if ranked:
        titles += [_speed_title(bars), "Share of a step, %", "Utilisation, %"]
    figure = make_subplots(
        rows=1 + ranked,
        cols=3,
        shared_yaxes=True,
        subplot_titles=titles,
        horizontal_spacing=0.06,
        vertical_spacing=0.3 / (1 + len(bars) / 3),
    )
    figure.add_bar(
        x=[bar.duration_s for bar in bars], y=names, orientation="h", marker_color=TEXT, showlegend=False,
        hovertemplate="%{x:.4g} s<extra></extra>", row=1, col=1,
    )  # fmt: skip
    for known, intervals, resource, shape in (
        ("measured", [bar.measured_j for bar in bars], "gpu", ""),
        ("estimated", [bar.estimated_j for bar in bars], "cpu", "/"),
    ):
        if any(value is not None for value, _, _ in intervals):
            figure.add_trace(_energy_bars(known, names, intervals, COLOURS[resource], shape), row=1, col=2)
    memory = [None if bar.peak_memory_bytes is None else bar.peak_memory_bytes / units.GIB for bar in bars]
    figure.add_bar(
        x=memory, y=names, orientation="h", marker_color=COLOURS["memory"], showlegend=False,
        hovertemplate="%{x:.3g} GiB<extra></extra>", row=1, col=3,
    )  # fmt: skip
    if ranked:
        _add_ranks(figure, bars, names)
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(rangemode="tozero", nticks=5)
    figure.update_layout(barmode="group", height=_height(bars))
    return neutral(figure, "")


def _speed_title(bars: Sequence[Bar]) -> str:
    units_ = {bar.items_unit for bar in bars if bar.items_per_s is not None}
    return f"Training speed, {escaped(units_.pop())}/s" if len(units_) == 1 else "Speed-up"


def _add_ranks(figure: go.Figure, bars: Sequence[Bar], names: list[str]) -> None:
    """Training speed, the share of a step as bars one after the other, and utilisation."""
    counted = _speed_title(bars) != "Speed-up"
    figure.add_bar(
        x=[bar.items_per_s if counted else bar.speedup for bar in bars], y=names, orientation="h", marker_color=TEXT,
        showlegend=False, customdata=[_times(bar) for bar in bars],
        hovertemplate="%{x:.4g}%{customdata}<extra></extra>", **WHOLE, row=2, col=1,
    )  # fmt: skip
    base = [0.0] * len(bars)
    on_gpu = any(bar.utilization[0] is not None for bar in bars)
    colours = (COLOURS["gpu" if on_gpu else "cpu"], COLOURS["io"], NOTHING)
    for i, (word, colour) in enumerate(zip(("compute", "communication", "wait"), colours, strict=True)):
        shares = [None if (part := bar.share[i]) is None else 100.0 * part for bar in bars]
        figure.add_bar(
            x=shares, y=names, base=list(base), orientation="h", name=word, legend="legend2", **WHOLE,
            marker={"color": colour, "line": {"color": TEXT, "width": 1 if colour == NOTHING else 0}},
            hovertemplate="%{customdata} %<extra>" + word + "</extra>",
            customdata=["–" if share is None else f"{share:.0f}" for share in shares], row=2, col=2,
        )  # fmt: skip
        base = [before + (share or 0.0) for before, share in zip(base, shares, strict=True)]
    used = [(word, [bar.utilization[i] for bar in bars]) for i, word in enumerate(("GPU", "CPU"))]
    used = [(word, values) for word, values in used if any(value is not None for value in values)]
    for i, (word, values) in enumerate(used):
        figure.add_bar(
            x=[None if value is None else 100.0 * value for value in values], y=names, orientation="h", name=word,
            legend="legend3", marker_color=COLOURS[word.lower()], hovertemplate="%{x:.0f} %<extra>" + word + "</extra>",
            offset=-0.4 + 0.8 * i / len(used), width=0.8 / len(used), row=2, col=3,
        )  # fmt: skip
    below = 0.42 - 80 / _height(bars)  # three lines of the legend above it
    figure.update_layout(legend2={"x": 1.01, "y": 0.42}, legend3={"x": 1.01, "y": below})


def _height(bars: Sequence[Bar]) -> int:
    """Pixels of the whole figure."""
    rows = 2 if any(bar.ranks is not None for bar in bars) else 1
    return rows * (150 + 52 * len(bars))


def _times(bar: Bar) -> str:
    return "" if bar.speedup is None else f", {bar.speedup:.2f}×"


def _energy_bars(known: str, names: list[str], intervals: Sequence[units.Interval], colour: str, shape: str) -> go.Bar:
    above = [h - v if units.known(v) and units.known(h) else None for v, _, h in intervals]
    below = [v - low if units.known(v) and units.known(low) else None for v, low, _ in intervals]
    written = units.format_measured if known == "measured" else units.format_estimated
    return go.Bar(
        name=f"{MARKS[known]} {known}",
        x=[value for value, _, _ in intervals],
        y=names,
        orientation="h",
        marker={"color": colour, "pattern": {"shape": shape, "fillmode": "replace", "size": 6, "solidity": 0.3}},
        error_x={"type": "data", "array": above, "arrayminus": below, "color": TEXT, "thickness": 1.5, "width": 5},
        customdata=[written(*interval) for interval in intervals],
        hovertemplate="%{customdata}<extra>" + known + "</extra>",
    )
