"""What is said in plain text, on an output that may lack some of its characters."""

from __future__ import annotations

from collections.abc import Mapping

from IPython.display import display

_PLAINER = str.maketrans({"\u202f": " ", "\u00b7": "|", "\u2026": "...", "\u2014": "-", "\u2013": "-", "\u00b1": "+/-"})


def say(text: str) -> None:
    """Print; where the output's encoding lacks a character (a terminal that is not UTF-8), print what it has."""
    try:
        print(text)
    except UnicodeEncodeError as lacking:
        print(text.translate(_PLAINER).encode(lacking.encoding, "replace").decode(lacking.encoding))


def show(bundle: Mapping[str, str]) -> None:
    """Display a bundle; IPython prints its text on a terminal as it is."""
    try:
        display(bundle, raw=True)
    except UnicodeEncodeError:
        say(bundle["text/plain"])
