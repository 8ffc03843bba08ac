"""The plotly figure of a measurement, for light and dark pages alike.

The grounds are transparent and every colour keeps 3:1 against white and against near-black. Names from
outside are escaped for plotly's own markup. Plotly is imported when a figure is made.
"""

from __future__ import annotations

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from resmon.results import Measurement
from resmon.views import timeline
from resmon.views.content import outcome
from resmon.views.escape import plotly as escaped
from resmon.views.timeline import Layer

COLOURS = {"gpu": "#2B86C5", "cpu": "#0F9B74", "memory": "#B5619A", "io": "#A87D00"}
TEXT = "#808080"
GRID = "rgba(128,128,128,.3)"
NOTHING = "rgba(0,0,0,0)"


def measurement_figure(m: Measurement) -> go.Figure:
    """The timeline of ``m`` as stacked strips over one time axis in seconds, to zoom and to read values from.

    The patterns are the summary's: solid is measured, hatched estimated. Without a series the figure says so.
    """
    strips = timeline.strips(m)
    figure = neutral(go.Figure(), str(outcome(m)))
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
    return neutral(figure, str(outcome(m)))


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
    pattern = {"shape": "/", "fgcolor": colour, "bgcolor": NOTHING, "fillmode": "replace", "size": 7, "solidity": 0.25}
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


def neutral(figure: go.Figure, title: str) -> go.Figure:
    """Wear the page's theme: no ground, and a grey that is read on white and on near-black."""
    figure.update_layout(
        template="none",
        paper_bgcolor=NOTHING,
        plot_bgcolor=NOTHING,
        font={"color": TEXT, "size": 12},
        margin={"l": 60, "r": 20, "t": 48 if title else 36, "b": 40},
        hoverlabel={"namelength": -1},
        title={"text": escaped(title), "font": {"size": 14}, "x": 0, "xref": "paper"} if title else None,
    )
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=TEXT, linecolor=GRID, automargin=True)
    return figure
