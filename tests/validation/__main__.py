"""``python -m tests.validation``: how near the reported energy is to the true one, load by load and fault by fault."""

from __future__ import annotations

import argparse
import datetime as dt
import platform
import sys
import tempfile
from pathlib import Path

from tests.validation.columns import COLUMNS
from tests.validation.faults import faults
from tests.validation.report import as_json, fault_table, inserted, markdown, summary_tables
from tests.validation.table import lines

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "validation.md"
DATA = ROOT / "benchmarks" / "results" / "validation.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.validation", description=__doc__)
    parser.add_argument("--windows", type=int, default=200, help="windows for each row (200)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (1)")
    parser.add_argument("--column", action="append", choices=[c.key for c in COLUMNS], help="only this; repeatable")
    parser.add_argument("--no-faults", action="store_true", help="leave out what is played in real time")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)} and {DATA.name}")
    chosen = parser.parse_args()
    if chosen.write and (chosen.column or chosen.no_faults):
        parser.error("--write writes whole tables: leave out --column and --no-faults")
    columns = {}
    for column in COLUMNS:
        if chosen.column is None or column.key in chosen.column:
            columns[column.key] = rows = column.rows(chosen.windows, chosen.seed)
            say(["", column.title, *lines(rows), *summary_tables({column.key: rows})[3:]])
    played = []
    if not chosen.no_faults:
        with tempfile.TemporaryDirectory() as folder:
            played = faults(Path(folder))
        say(["", "faults", *fault_table(played)])
    if chosen.write:
        facts = {
            "windows per row": chosen.windows,
            "seed": chosen.seed,
            "Python": platform.python_version(),
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
        }
        PAGE.write_text(inserted(PAGE.read_text("utf-8"), markdown(columns, played, facts)), "utf-8")
        DATA.write_text(as_json(columns, played, facts), "utf-8")


def say(text: list[str]) -> None:
    sys.stdout.write("\n".join([*text, ""]))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
