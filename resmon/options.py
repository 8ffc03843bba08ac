"""The words and options of ``%resmon`` and ``%%resmon``."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from IPython.core.error import UsageError

WORDS = {
    "": "the live panel, here",
    "side": "the live panel, docked at the side",
    "cells": "what every cell so far cost",
    "doctor": "each sensor and the front end: available or why not, and what would mend it",
    "auto": "on|off: a one-line summary under every cell longer than 2 s",
    "record": "FILE|off: write every raw reading to FILE (.ndjson or .ndjson.gz), for resmon.replay",
    "stop": "stop measuring",
    "start": "measure again",
    "status": "one line: what is running",
}
CELL_OPTIONS = {
    "-o": "VAR: put the Measurement into this variable",
    "--quiet": "show nothing; measure all the same",
    "--repeat": "N: run the cell N times and show each run beside the others",
}
_MAX_REPEAT = 10_000


@dataclass(frozen=True, slots=True)
class CellOptions:
    """What ``%%resmon [NAME] [-o VAR] [--quiet] [--repeat N]`` asks for."""

    name: str = ""
    variable: str | None = None
    quiet: bool = False
    repeat: int = 1


def usage(wrong: str) -> UsageError:
    """A usage error for ``%resmon`` that names what was wrong and lists what there is."""
    lines = [f"%resmon: {wrong}. There is:"]
    lines += [f"  %resmon {word:<8}{text}" for word, text in WORDS.items()]
    return UsageError("\n".join(lines))


def cell_usage(wrong: str) -> UsageError:
    """The same for ``%%resmon``."""
    lines = [f"%%resmon: {wrong}. Usage: %%resmon [NAME] [-o VAR] [--quiet] [--repeat N]"]
    lines += [f"  {option:<10}{text}" for option, text in CELL_OPTIONS.items()]
    return UsageError("\n".join(lines))


def parse_cell_options(line: str) -> CellOptions:
    """The options of a ``%%resmon`` line. Raises UsageError naming the word that is wrong."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise cell_usage(f"{error} in {line.strip()!r}") from None
    names: list[str] = []
    variable, quiet, repeat = None, False, 1
    while words:
        word = words.pop(0)
        option, given, value = word.partition("=")
        if option in ("-o", "--repeat"):
            if not given:
                if not words:
                    raise cell_usage(f"{option} needs a value")
                value = words.pop(0)
            if option == "-o":
                variable = _variable(value)
            else:
                repeat = _count(value)
        elif word == "--quiet":
            quiet = True
        elif word.startswith("-"):
            raise cell_usage(f"unknown option {word!r}")
        else:
            names.append(word)
    return CellOptions(name=" ".join(names), variable=variable, quiet=quiet, repeat=repeat)


def _variable(value: str) -> str:
    if not value.isidentifier():
        raise cell_usage(f"-o takes the name of a variable, not {value!r}")
    return value


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= _MAX_REPEAT:
        raise cell_usage(f"--repeat takes a whole number from 1 to {_MAX_REPEAT}, not {value!r}")
    return int(value)


_MAGIC_LINE = re.compile(r"%%resmon(?:[ \t](?P<line>.*))?$")


def magic_line(first_line: str) -> str | None:
    """What follows ``%%resmon`` on this line; None where the line is another one."""
    found = _MAGIC_LINE.match(first_line.rstrip("\r\n"))
    return None if found is None else (found["line"] or "")


def split_cell(raw: str) -> tuple[CellOptions | None, str]:
    """The options of a cell that begins with a valid ``%%resmon`` line, and its first line of code."""
    lines = [line for line in raw.splitlines() if line.strip()]
    if not lines:
        return None, ""
    line = magic_line(lines[0].lstrip())
    if line is None:
        return None, lines[0].strip()
    try:
        options = parse_cell_options(line)
    except UsageError:
        return None, lines[0].strip()
    return options, next((text.strip() for text in lines[1:]), "")


def strip_magic(lines: list[str]) -> list[str]:
    """An input transformer: take a valid ``%%resmon`` line off, so that the body is *the* cell.

    A blank line stands in for it, so that tracebacks name the lines that the user sees; except before another cell
    magic, which must come first. A line that is wrong stays, for the registered magic to refuse.
    """
    if not lines or magic_line(lines[0]) is None:
        return lines
    try:
        parse_cell_options(magic_line(lines[0]) or "")
    except UsageError:
        return lines
    body = lines[1:]
    return body if body and body[0].startswith("%%") else ["\n", *body]
