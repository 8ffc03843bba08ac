"""The comparison with other tools, as far as it goes without them: resmon's own run, the tables, what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import peer_env, peers
from tests.driver import Square


def test_the_true_joules_stand_beside_what_a_tool_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "LENGTHS_S", (0.3,))
    peers._stub(tmp_path)
    pythons = {"resmon": Path(sys.executable)}
    asked = peers.Asked("25/75", Square(100, 700, 0.05, 0.25), 0.023)
    found = {str(asked): peers._device(asked, tmp_path, pythons, repeats=2)}
    windows = found["25/75, τ 23 ms"]["resmon"]
    assert [window["drawn"] for window in windows] == [False, True, False, True]
    for window in windows:
        assert window["end_s"] - window["start_s"] == pytest.approx(0.3, abs=0.15)
        assert window["true_j"] == pytest.approx(250 * (window["end_s"] - window["start_s"]), rel=0.15)
        assert window["gpu_j"] == pytest.approx(window["true_j"], rel=0.3)
        assert window["low_j"] <= window["gpu_j"] <= window["high_j"] <= window["all_high_j"]
    rows = peers._rows(found, pythons)
    assert [row.name for row in rows] == [
        "resmon, windows of about 0.3 s, median error",
        "resmon, windows of about 0.3 s, p95 error",
        "resmon, windows of exactly 0.3 s, median error",
        "resmon, windows of exactly 0.3 s, p95 error",
        "true joules outside of resmon's interval",
    ]
    head, _, line = peers._table(found, pythons)
    assert head.count("|") == line.count("|")
    assert "| 25/75, τ 23 ms | about 0.3 s |" in line


def test_a_tool_that_cannot_be_installed_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_env, "PEERS", tmp_path)
    monkeypatch.setattr(peer_env, "VERSIONS", {"zeus": "0.0.0.dev0"})
    monkeypatch.setattr(peers, "VERSIONS", {"zeus": "0.0.0.dev0"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    pythons, missing = peers._pythons()
    assert list(pythons) == ["resmon"]
    assert missing["zeus"].startswith("zeus==0.0.0.dev0 cannot be installed: ERROR")


def test_every_scripted_device_is_a_board_of_its_own() -> None:
    asked = peers.devices()
    assert len({device.number for device in asked}) == len({str(device) for device in asked}) == len(asked)
