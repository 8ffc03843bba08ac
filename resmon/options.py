"""The words and options of ``%resmon`` and ``%%resmon``."""

from __future__ import annotations

import keyword
import os
import re
import shlex
from dataclasses import dataclass
from typing import Literal

from IPython.core.error import UsageError
from IPython.core.inputtransformer2 import classic_prompt, ipython_prompt

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
    "-o": "VAR: put the Measurement into this variable (with --ranks: the run)",
    "--quiet": "show nothing; measure all the same",
    "--repeat": "N: run the cell N times and show each run beside the others",
    "--ranks": "N: run the cell on N ranks, processes of their own",
    "--output": "first|all: with --ranks, whose output is shown",
}
_MAX_REPEAT = 10_000
_MAX_RANKS = 256
_USAGE = "%%resmon [NAME] [-o VAR] [--quiet] [--repeat N] [--ranks N [--output first|all]]"


@dataclass(frozen=True, slots=True)
class CellOptions:
    """What a ``%%resmon`` line asks for. ``ranks`` is 0 for a cell that runs in the kernel."""

    name: str = ""
    variable: str | None = None
    quiet: bool = False
    repeat: int = 1
    ranks: int = 0
    output: Literal["first", "all"] = "first"


def usage(wrong: str) -> UsageError:
    """A usage error for ``%resmon`` that names what was wrong and lists what there is."""
    lines = [f"%resmon: {wrong}. There is:"]
    lines += [f"  %resmon {word:<8}{text}" for word, text in WORDS.items()]
    return UsageError("\n".join(lines))


def cell_usage(wrong: str) -> UsageError:
    """The same for ``%%resmon``."""
    lines = [f"%%resmon: {wrong}. Usage: {_USAGE}"]
    lines += [f"  {option:<10}{text}" for option, text in CELL_OPTIONS.items()]
    return UsageError("\n".join(lines))


def parse_cell_options(line: str) -> CellOptions:
    """The options of a ``%%resmon`` line. Raises UsageError naming the word that is wrong."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise cell_usage(f"{error} in {line.strip()!r}") from None
    names: list[str] = []
    given_options: dict[str, str] = {}
    quiet = False
    while words:
        word = words.pop(0)
        option, given, value = word.partition("=")
        if option in ("-o", "--repeat", "--ranks", "--output"):
            if not given:
                if not words:
                    raise cell_usage(f"{option} needs a value")
                value = words.pop(0)
            given_options[option] = value
        elif word == "--quiet":
            quiet = True
        elif word.startswith("-"):
            raise cell_usage(f"unknown option {word!r}")
        else:
            names.append(word)
    if "--ranks" in given_options and "--repeat" in given_options:
        raise cell_usage("--repeat and --ranks do not go together; call resmon.launch in a loop")
    if "--output" in given_options and "--ranks" not in given_options:
        raise cell_usage("--output goes with --ranks")
    return CellOptions(
        name=" ".join(names),
        variable=_variable(given_options["-o"]) if "-o" in given_options else None,
        quiet=quiet,
        repeat=_count("--repeat", given_options.get("--repeat", "1"), _MAX_REPEAT),
        ranks=_count("--ranks", given_options["--ranks"], _MAX_RANKS) if "--ranks" in given_options else 0,
        output=_whose(given_options.get("--output", "first")),
    )


def file_name(text: str) -> str:
    """The file that the rest of a line names: quotes taken off, ``~`` expanded. Raises UsageError for open quotes."""
    try:
        words = shlex.split(text) if text[:1] in ("'", '"') else [text]
    except ValueError as error:
        raise usage(f"{error} in {text!r}") from None
    if len(words) > 1:
        raise usage(f"record takes one file name, not {text!r}")
    return os.path.expanduser("".join(words))  # noqa: PTH111 - it stays the text that the user gave


def _variable(value: str) -> str:
    if not value.isidentifier() or keyword.iskeyword(value):
        raise cell_usage(f"-o takes the name of a variable, not {value!r}")
    return value


def _count(option: str, value: str, most: int) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= most:
        raise cell_usage(f"{option} takes a whole number from 1 to {most}, not {value!r}")
    return int(value)


def _whose(value: str) -> Literal["first", "all"]:
    if value == "first":
        return "first"
    if value == "all":
        return "all"
    raise cell_usage(f"--output takes first or all, not {value!r}")


def completions(line: str) -> list[str]:
    """What may follow on a line up to the cursor; nothing where it does not begin with ``%resmon`` or ``%%resmon``.

    The per cent sign of the former may be left out, as IPython lets one.
    """
    words = line.split()
    if words and not line[-1:].isspace():
        words.pop()  # the one that is being written
    if words[:1] == ["%%resmon"]:
        return ["first", "all"] if words[-1:] == ["--output"] else list(CELL_OPTIONS)
    if words[:1] not in (["%resmon"], ["resmon"]):
        return []
    if len(words) == 1:
        return [word for word in WORDS if word]
    return {"auto": ["on", "off"], "record": ["off"]}.get(words[1], []) if len(words) == 2 else []


_MAGIC_LINE = re.compile(r"%%resmon(?:[ \t](?P<line>.*))?$")
_TIMING_LINE = re.compile(r"%%(time|timeit|prun)(\s|$)")


def magic_line(first_line: str) -> str | None:
    """What follows ``%%resmon`` on this line; None where the line is another one."""
    found = _MAGIC_LINE.match(first_line.rstrip("\r\n"))
    return None if found is None else (found["line"] or "")


def split_cell(raw: str) -> tuple[CellOptions | None, str]:
    """The options of a cell that begins with a valid ``%%resmon`` line, and its first line of code.

    It may stand below ``%%time``: such a magic transforms its body as IPython does a cell, so that the line is gone.
    """
    # Prompts that were copied along are gone before the magic is looked for.
    lines = [line for line in ipython_prompt(classic_prompt(raw.splitlines(keepends=True))) if line.strip()]
    if not lines:
        return None, ""
    at = next((i for i, text in enumerate(lines) if _TIMING_LINE.match(text.lstrip()) is None), 0)
    line = magic_line(lines[at].lstrip())
    if line is None:
        return None, lines[0].strip()
    try:
        options = parse_cell_options(line)
    except UsageError:
        return None, lines[0].strip()
    return options, next((text.strip() for text in lines[at + 1 :]), "")


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
