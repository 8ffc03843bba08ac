"""The panel by itself, without a notebook: its layout at every width, its keys, its words, names that are markup."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = Path(__file__).parents[2] / "widgets" / "harness" / "check.py"


@pytest.mark.usefixtures("browser")  # skipped, or failed, where there is none
def test_the_panel_stands_by_itself() -> None:
    checked = subprocess.run(
        [sys.executable, str(CHECKS), "--untimed"], check=False, capture_output=True, text=True, timeout=900
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("ok  ") >= 20
