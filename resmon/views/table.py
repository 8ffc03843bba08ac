"""One small table, written as aligned text or as HTML that needs no style to be read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from resmon.views import escape

RULE = "1px solid rgba(128,128,128,.45)"
"""The only colour in the HTML: a grey that shows on light and dark grounds alike."""

_WHOLE = re.compile(r"\[[^][]*\]|[■▨□±] ")
"""What no line may end in: an interval, a mark before its word, the sign of an error."""

_TABLE = "color:inherit;font-size:13px;line-height:18px"  # a page without a doctype would not inherit them


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column's title and the side to which its cells are aligned; ``wrap`` lets long cells break in HTML.

    Text breaks anywhere; figures, which are those at the right, between a value and its interval.
    """

    title: str
    align: Literal["left", "right"] = "left"
    wrap: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """The text of a cell: ``strong`` comes first and is bold where that can be."""

    strong: str
    rest: str = ""

    def __str__(self) -> str:
        return f"{self.strong} {self.rest}".strip()


Row = Sequence[str | Cell]


def to_text(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Aligned plain text, two spaces between columns, a rule under the titles.

    Every cell passes :func:`resmon.views.escape.plain`.
    """
    table = [[escape.plain(c.title) for c in columns], *([escape.plain(cell) for cell in row] for row in rows)]
    widths = [max(_width(row[i]) for row in table) for i in range(len(columns))]
    lines = ["  ".join(_padded(*cell) for cell in zip(row, widths, columns, strict=True)).rstrip() for row in table]
    lines.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def to_html(columns: Sequence[Column], rows: Sequence[Row], *, caption: str = "") -> str:
    """An HTML table in a box of its own that scrolls sideways where it is too wide; the first cell heads its row.

    Colours are inherited. Every cell and the caption (for screen readers, and where styles are stripped the
    title) pass :func:`resmon.views.escape.markup`.
    """
    head = "".join(_html_cell("th", _html_text(c.title, c), c, "col", "font-weight:400;opacity:.75") for c in columns)
    body = "".join(
        f'<tr style="background:transparent;border-top:{RULE}">'
        + "".join(
            _html_cell("td" if i else "th", _html_text(cell, column), column, "" if i else "row", "font-weight:400")
            for i, (cell, column) in enumerate(zip(row, columns, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    label = f' aria-label="{escape.markup(caption)}"' if caption else ""
    return (
        f'<div {escape.NO_MATHEMATICS} style="overflow-x:auto;max-width:100%">'
        f'<table{label} style="border-collapse:collapse;border:none;margin:0;{_TABLE}">'
        f'<thead style="border:none"><tr style="background:transparent;border:none">{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _html_text(cell: str | Cell, column: Column) -> str:
    if not isinstance(cell, str):
        return f"<b>{escape.markup(cell.strong)}</b> {escape.markup(cell.rest)}".rstrip()
    text = escape.markup(cell)
    whole = column.wrap and column.align == "right"
    return _WHOLE.sub(lambda found: found[0].replace(" ", "\u00a0"), text) if whole else text


def _html_cell(tag: str, content: str, column: Column, scope: str, style: str) -> str:
    space = "normal" if column.wrap or scope == "col" else "nowrap"
    width = ";min-width:120px;overflow-wrap:anywhere" if column.wrap and column.align == "left" else ""
    scoped = f' scope="{scope}"' if scope else ""
    return (
        f'<{tag}{scoped} style="text-align:{column.align};white-space:{space}{width};padding:4px 14px 4px 0;'
        f'vertical-align:top;border:none;{style}">{content}</{tag}>'
    )


def _width(text: str) -> int:
    """Terminal columns: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _padded(text: str, width: int, column: Column) -> str:
    fill = " " * (width - _width(text))
    return fill + text if column.align == "right" else text + fill
