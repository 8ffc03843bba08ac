"""Plotly figures of a measurement and of several side by side, for light and dark pages alike.

The grounds are transparent and every colour keeps 3:1 against white and against near-black. Names from
outside are escaped for plotly's own markup. Plotly is imported when a figure is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from resmon import units
from resmon.results import Measurement
from resmon.views import timeline
from resmon.views.content import MARKS, outcome
from resmon.views.escape import plotly as escaped
from resmon.views.timeline import Layer

COLOURS = {"gpu": "#2B86C5", "cpu": "#0F9B74", "memory": "#B5619A"}
_TEXT = "#808080"
_GRID = "rgba(128,128,128,.3)"
_NOTHING = "rgba(0,0,0,0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One measurement in a comparison. Energies are (value, low, high) in joules; memory is bytes."""

    name: str
    duration_s: float
    measured_j: units.Interval
    estimated_j: units.Interval
    peak_memory_bytes: float | None


def measurement_figure(m: Measurement) -> go.Figure:
    """The timeline of ``m`` as stacked strips over one time axis in seconds, to zoom and to read values from.

    The patterns are the summary's: solid is measured, hatched estimated. Without a series the figure says so.
    """
    strips = timeline.strips(m)
    figure = _neutral(go.Figure(), str(outcome(m)))
    if not strips:
        return figure.add_annotation(text="too short for a timeline", showarrow=False, x=0.5, y=0.5, xref="paper")
    figure = make_subplots(
        rows=len(strips),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.06,
        row_heights=[float(s.height) for s in strips],
    )
    for row, strip in enumerate(strips, start=1):
        for layer in strip.layers:
            _add_layer(figure, m, layer, row)
        figure.update_yaxes(title_text=strip.title, range=[0, strip.high], tickvals=list(strip.ticks), row=row, col=1)
    ticks = timeline.time_ticks(m.duration_s)
    written = [text for _, text in ticks]
    figure.update_xaxes(range=[0, m.duration_s], tickvals=[at for at, _ in ticks], ticktext=written)
    legends = {
        _legend(row): {"x": 1.01, "y": figure.get_subplot(row, 1).yaxis.domain[1], "yanchor": "top"}
        for row in range(1, len(strips) + 1)
    }
    figure.update_layout(hovermode="x unified", height=90 + 2 * sum(s.height for s in strips), **legends)
    return _neutral(figure, str(outcome(m)))


def comparison_figure(bars: Sequence[Bar]) -> go.Figure:
    """Duration, energy and peak memory of several measurements as bars; measured and estimated never share one."""
    names = [f"{i}. {escaped(bar.name)}" for i, bar in enumerate(bars, start=1)]
    titles = ("Duration, s", "Energy, J (95 % intervals)", "Peak memory, GiB")
    figure = make_subplots(rows=1, cols=3, shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.06)
    figure.add_bar(
        x=[bar.duration_s for bar in bars], y=names, orientation="h", marker_color=_TEXT, showlegend=False,
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
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(rangemode="tozero", nticks=5)
    figure.update_layout(barmode="group", height=150 + 52 * len(bars))
    return _neutral(figure, "")


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
        error_x={"type": "data", "array": above, "arrayminus": below, "color": _TEXT, "thickness": 1.5, "width": 5},
        customdata=[written(*interval) for interval in intervals],
        hovertemplate="%{customdata}<extra>" + known + "</extra>",
    )


def _add_layer(figure: go.Figure, m: Measurement, layer: Layer, row: int) -> None:
    at_s, colour = m.series.at_s, COLOURS[layer.resource]
    if layer.fill != "none":
        upper = layer.top if layer.fill == "band" else layer.values
        for run in timeline.runs(at_s, upper, layer.base, interval_s=m.interval_s):
            figure.add_trace(
                _surface([at_s[i] for i in run], [upper[i] for i in run], [layer.base[i] for i in run], layer),
                row=row,
                col=1,
            )
    x: list[float | None] = []
    y: list[float | None] = []
    for run in timeline.runs(at_s, layer.values, interval_s=m.interval_s):
        x += [*(at_s[i] for i in run), None]
        y += [*(layer.values[i] for i in run), None]
    figure.add_scatter(
        x=x, y=y, mode="lines", connectgaps=False, name=escaped(layer.label), hovertemplate="%{y:.4g}",
        line={"color": colour, "width": 1.5, "dash": "4px,2.5px" if layer.line == "dashed" else "solid"},
        legend=_legend(row), row=row, col=1,
    )  # fmt: skip


def _surface(x: list[float], upper: list[float | None], base: list[float | None], layer: Layer) -> go.Scatter:
    colour = COLOURS[layer.resource]
    hatched = layer.fill == "hatched"
    pattern = {"shape": "/", "fgcolor": colour, "bgcolor": _NOTHING, "fillmode": "replace", "size": 7, "solidity": 0.25}
    return go.Scatter(
        x=[*x, *reversed(x)],
        y=[*upper, *reversed(base)],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=colour if hatched else _faint(colour, 0.2 if layer.fill == "band" else 0.35),
        fillpattern=pattern if hatched else None,
        hoverinfo="skip",
        showlegend=False,
    )


def _legend(row: int) -> str:
    return "legend" if row == 1 else f"legend{row}"


def _faint(colour: str, strength: float) -> str:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{strength:g})"


def _neutral(figure: go.Figure, title: str) -> go.Figure:
    """Wear the page's theme: no ground, and a grey that is read on white and on near-black."""
    figure.update_layout(
        template="none",
        paper_bgcolor=_NOTHING,
        plot_bgcolor=_NOTHING,
        font={"color": _TEXT, "size": 12},
        margin={"l": 60, "r": 20, "t": 48 if title else 36, "b": 40},
        hoverlabel={"namelength": -1},
        title={"text": escaped(title), "font": {"size": 14}, "x": 0, "xref": "paper"} if title else None,
    )
    figure.update_xaxes(gridcolor=_GRID, zerolinecolor=_GRID, linecolor=_GRID)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_TEXT, linecolor=_GRID, automargin=True)
    return figure
