"""The browser of the browser tests is the one that was named, or one that starts, or plainly missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts import browser


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a machine that has nothing but what is put into this folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("RESMON_BROWSER", raising=False)
    monkeypatch.setattr(browser, "PLACES", ())
    return tmp_path


def _program(path: Path, exit_code: int) -> str:
    path.write_text(f"#!{sys.executable}\nraise SystemExit({exit_code})\n")
    path.chmod(0o755)
    return str(path)


def test_the_named_one_is_taken(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(bare / "chromium", 0)
    mine = _program(bare / "mine", 0)
    monkeypatch.setenv("RESMON_BROWSER", mine)
    assert browser.find() == mine


def test_a_wrong_name_is_said(bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _program(bare / "chromium", 0)
    monkeypatch.setenv("RESMON_BROWSER", "nope")
    assert browser.main() == 1
    assert "RESMON_BROWSER=nope is no program on this machine" in capsys.readouterr().err


def test_one_that_does_not_start_is_passed_over(bare: Path) -> None:
    _program(bare / "chromium-browser", 1)
    works = _program(bare / "google-chrome", 0)
    assert browser.find() == works


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_none_fails_in_ci_alone(
    ci: str, code: int, bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(browser, "_installers", lambda: iter([[str(bare / "no-installer")]]))
    assert browser.main() == code
    assert browser.MISSING in capsys.readouterr().err
