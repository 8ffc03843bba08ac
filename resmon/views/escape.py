"""Text from outside - device names, cell text, error messages - made harmless, once for each place it goes to.

Everything that resmon did not write itself passes one of these functions on its way to a person.
"""

from __future__ import annotations

import html
import re
import unicodedata

NO_MATHEMATICS = 'class="mathjax_ignore tex2jax_ignore"'
"""An attribute for what surrounds :func:`markup`: notebooks read the ``$`` of any HTML output as mathematics.

The second word is for MathJax 2, in exported pages.
"""

_ESCAPE_SEQUENCE = re.compile(
    r"""
    (?: \x1b\[ | \x9b ) [0-?]* [ -/]* [@-~]       # CSI: colours, cursor, clearing
    | \x1b [\]PX^_] .*? (?: \x07 | \x1b\\ | $ )   # OSC, DCS and other strings: titles, links, the clipboard
    | \x1b [ -/]* [0-~]                           # every other sequence
    """,
    re.VERBOSE | re.DOTALL,
)


def plain(text: object) -> str:
    """One line that no terminal obeys: no escape sequences, control, format or bidirectional characters.

    Line ends and tabs become a space; a lone surrogate becomes U+FFFD, so that the result can be encoded.
    """
    return _kept(str(text)).strip()


def output(line: str) -> str:
    """One line of a program's output as :func:`plain` makes it, its indentation kept: a tab becomes four spaces."""
    return _kept(line.replace("\t", "    ")).rstrip()


def _kept(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    kept = []
    for character in _ESCAPE_SEQUENCE.sub("", text):
        category = unicodedata.category(character)
        if character.isspace() and character != "\u202f":
            kept.append(" ")
        elif category == "Cs":
            kept.append("\ufffd")
        elif category not in ("Cc", "Cf", "Co"):
            kept.append(character)
    return "".join(kept)


def shortened(text: object, length: int = 60) -> str:
    """:func:`plain` cut to ``length`` characters, ending in ``…`` where something was cut."""
    line = plain(text)
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def markup(text: object) -> str:
    """:func:`plain` as the content or a quoted attribute of HTML."""
    return html.escape(plain(text), quote=True)


def plotly(text: object) -> str:
    """:func:`plain` for plotly, whose labels read ``<b>`` and ``<a href>`` as markup and ``$…$`` as mathematics.

    The three characters become entities: plotly decodes them after it has looked for both.
    """
    return plain(text).replace("&", "&amp;").replace("<", "&lt;").replace("$", "&#36;")
