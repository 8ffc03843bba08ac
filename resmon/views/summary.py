"""The frozen summary: what stays in the notebook when a measured cell is over.

Text and HTML that live in trusted and untrusted notebooks, exports and sites that host code: tables, ``style``
attributes and one picture, no script, nothing from elsewhere. The picture is a PNG: sites that host code and
untrusted notebooks drop inline SVG, and the former SVG images too. No colour is set but a grey for
rules, so that the summary wears the theme it is read in; with every style stripped it still reads in order.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from resmon.ranks import RankUse
from resmon.results import Measurement
from resmon.views import content, picture, rank_table, table, text, timeline
from resmon.views.escape import NO_MATHEMATICS, markup

_BOX = "font-variant-numeric:tabular-nums lining-nums;font-size:13px;line-height:18px;max-width:940px;padding:2px 0"
_HEADLINE = "display:inline-block;vertical-align:bottom;margin:0 30px 10px 0"
_FIGURE = "font-size:23px;line-height:32px;font-weight:600"
_LISTED = "font-size:14px;line-height:20px"
_MUTED = "opacity:.8"


def mimebundle(m: Measurement, title: str | None = None, number: int | None = None) -> dict[str, str]:
    """The summary as ``text/plain`` and ``text/html``; ``title`` stands for the name, ``number`` is the cell's."""
    return {"text/plain": text.measurement_text(m, title, number), "text/html": _html(m, title, number)}


def _html(m: Measurement, title: str | None, number: int | None) -> str:
    end = content.outcome(m, title, number)
    first = f"{end.sign} <b>{markup(end.label)}</b>, {markup(end.ended)} <b>{markup(end.duration)}</b>"
    rest = "".join(f"{joint}{markup(said)}" for joint, said in end.rest)
    parts = [
        f'<div style="margin:0 0 8px;overflow-wrap:anywhere">{first}{rest}</div>',
        f"<div>{''.join(_headline(h) for h in content.headlines(m))}</div>",
        _devices(m),
        *(_ranks(uses) for uses in rank_table.runs_of(m.ranks)),
        _picture(m),
        *(f'<div style="margin:4px 0 0">{markup(remark)}</div>' for remark in content.remarks(m)),
        f'<div style="margin:8px 0 0;{_MUTED}">{markup(content.footer(m))}</div>',
    ]
    return f'<div {NO_MATHEMATICS} style="{_BOX}">{"".join(parts)}</div>'


def _headline(headline: content.Headline) -> str:
    known = f"{headline.mark} <b>{headline.known}</b>" if headline.known else ""
    caption = ", ".join(part for part in (known, markup(headline.about)) if part)
    size = _LISTED if headline.known == "not covered" else _FIGURE
    return f'<div style="{_HEADLINE}"><div style="{size}">{markup(headline.figure)}</div><div>{caption}</div></div>'


def _devices(m: Measurement) -> str:
    columns, rows, notes = content.devices(m)
    below = "".join(
        f'<div style="margin:4px 0 0;overflow-wrap:anywhere"><b>{markup(device)}</b>: {markup(note)}</div>'
        for device, note in notes
    )
    return table.to_html(columns, rows, caption="Energy and use by device") + below


def _ranks(uses: Sequence[RankUse]) -> str:
    said = f'<div style="margin:12px 0 4px;overflow-wrap:anywhere">{markup(rank_table.sentence(uses))}</div>'
    return said + table.to_html(*rank_table.rank_table(uses), caption="Ranks")


def _picture(m: Measurement) -> str:
    drawn = picture.timeline_png(m)
    if drawn is None:
        return ""
    source = base64.b64encode(drawn).decode("ascii")
    return (
        '<div style="overflow-x:auto;max-width:100%;margin:12px 0 0">'
        f'<img src="data:image/png;base64,{source}" width="{picture.WIDTH}" alt="{markup(timeline.describe(m))}" '
        f'style="display:block;width:100%;min-width:440px;max-width:{picture.WIDTH}px;height:auto;margin:0"></div>'
    )
