"""The ledger between kernels: what counts, and what a file is that was damaged or made smaller."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resmon
from resmon import SharedLedger, shared_ledger
from resmon.energy import Ledger, combine
from resmon.errors import LedgerError
from tests.ledgers import total
from tests.test_ledger import component, joules_at, spans, union


def test_what_one_counted_the_other_finds(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    first, second = SharedLedger(path), SharedLedger(path)
    assert first.add(combine([component(0, 10)], ["PSU"])) == 100.0
    assert second.add(component(2, 8)) == 0.0
    assert second.add(component(5, 12)) == pytest.approx(44.0)
    assert first.energy.total_j == pytest.approx(144.0)
    assert first.energy.not_covered == ("PSU",)
    assert [c.claim for c in first.entries] == [c.claim for c in second.entries]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@settings(max_examples=30, deadline=None)
@given(windows=st.lists(st.tuples(st.integers(0, 2), spans), max_size=12))
def test_any_windows_of_any_kernels_sum_to_their_union(windows: list[tuple[int, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ours")
        ledgers = [SharedLedger(path) for _ in range(3)]
        told = sum(ledgers[who].add(component(*span)) for who, span in windows)
        assert told == pytest.approx(union([span for _, span in windows]))
        assert (ledgers[0].energy.total_j or 0.0) == pytest.approx(told)
        assert ledgers[0].entries == SharedLedger(path).entries


def test_a_file_made_smaller_is_found_by_the_others_and_never_adds_twice(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    one, other = (SharedLedger(path, max_bytes=4096) for _ in range(2))
    windows = [(3 * i, 3 * i + 2) for i in range(60)]
    for i, window in enumerate(windows):
        (one, other)[i % 2].add(component(*window))
    assert one.entries == other.entries == SharedLedger(path).entries
    assert len(one.entries) < 20
    assert one.energy.total_j == pytest.approx(union(windows))
    assert all(other.add(component(*window)) == 0.0 for window in windows)


def test_windows_that_meet_are_joined_without_loss() -> None:
    ledger = Ledger(component(i, i + 1) for i in range(50))
    ledger.join(10)
    (entry,) = ledger.entries
    assert entry.energy_j == pytest.approx(joules_at(50))
    assert ledger.add(component(10, 60)) == pytest.approx(joules_at(60) - joules_at(50))


def damage(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\x00\n",
        b"\n",
        b'00000000 {"entries": []}\n',
        shared_ledger._line({"entries": [{"device": "GPU 0"}], "not_covered": []}),
        shared_ledger._line({"entries": 5, "not_covered": []}),
        shared_ledger._line({}),
    ],
)
def test_a_damaged_entry_is_left_out_and_told(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "ours"
    ledger = SharedLedger(path)
    ledger.add(component(0, 10))
    ledger.add(component(10, 20))
    damage(path, lambda found: [found[0], line, found[2]])
    again = SharedLedger(path)
    assert again.energy.total_j == 300.0
    assert again.notice == f"1 damaged entries in {path} were left out"
    assert again.add(component(0, 20)) == pytest.approx(100.0)


def test_a_flipped_bit_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    SharedLedger(path).add(component(0, 10))
    damage(path, lambda found: [found[0], found[1].replace(b'"energy_j":100', b'"energy_j":900')])
    assert total(path) == 0.0


def test_what_is_no_ledger_is_refused_and_stays(tmp_path: Path) -> None:
    for text in ("# my notes", "# my notes\nmore\n", "resmon-ledger one\n"):
        path = tmp_path / "notes"
        path.write_text(text)
        with pytest.raises(LedgerError, match=r"notes is no ledger.*move it away"):
            SharedLedger(path)
        assert path.read_text() == text


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    path.write_text("resmon-ledger 7 0123456789abcdef\n")
    with pytest.raises(LedgerError, match=r"newer resmon \(version 7, this reads 1\)"):
        SharedLedger(path)


def test_what_cannot_be_counted_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    ledger = SharedLedger(tmp_path / "ours")
    with pytest.raises(ValueError, match="has no claim"):
        ledger.add(combine([component(0, 1), replace(component(0, 1), device="X", claim=None)]))
    with pytest.raises(TypeError, match="not int"):
        ledger.add(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_bytes must be at least"):
        SharedLedger(tmp_path / "small", max_bytes=10)
    assert ledger.entries == ()


def test_the_door_knows_it() -> None:
    assert resmon.SharedLedger is shared_ledger.SharedLedger
