"""Every program of this project that takes options tells of them when asked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import PARTS

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for folder in ("resmon", "benchmarks", "scripts", "tests")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if re.search(r"= argparse\.ArgumentParser\(", file.read_text("utf-8"))
]


def help_of(program: str) -> str:
    asked = [sys.executable, "-m", program, "--help"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_tells_of_its_options(program: str) -> None:
    assert "--help" in help_of(program)


def test_the_help_of_the_benchmarks_names_every_part_and_what_it_measures() -> None:
    lines = [line.split(maxsplit=1) for line in help_of("benchmarks").splitlines()]
    for name, what in PARTS.items():
        assert [name, what] in lines
