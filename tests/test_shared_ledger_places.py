"""Where the ledger between kernels lies: full disks, directories of others, networks, file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from resmon import SharedLedger, private_files, shared_ledger
from resmon.calibration import cache_directory
from resmon.errors import LedgerError, ResmonWarning
from tests.ledgers import start, total
from tests.test_ledger import component


@pytest.fixture
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path / "records"))
    return tmp_path / "records"


def test_without_a_path_kernels_of_one_user_meet(own_directory: Path) -> None:
    assert SharedLedger().add(component(0, 10)) == 100.0
    ledger = SharedLedger()
    assert ledger.add(component(0, 10)) == 0.0
    assert stat.S_IMODE(own_directory.stat().st_mode) == 0o700
    assert ledger.path is not None
    assert ledger.path.parent == own_directory


def test_files_of_earlier_boots_go_when_they_are_old(own_directory: Path) -> None:
    first = SharedLedger().path
    assert first is not None
    fresh, old = own_directory / "0123.ledger", own_directory / "4567.ledger.lock"
    fresh.touch()
    old.touch()
    os.utime(old, (0, 0))
    SharedLedger()
    assert {p.name for p in own_directory.iterdir()} == {first.name, f"{first.name}.lock", fresh.name}


def test_a_directory_that_cannot_be_used_leaves_the_ledger_in_memory(tmp_path: Path, own_directory: Path) -> None:
    own_directory.write_text("a file in its place")
    with pytest.warns(ResmonWarning, match="ledger in memory only"):
        ledger = SharedLedger()
    assert ledger.path is None
    assert ledger.add(component(0, 10)) == 100.0
    assert ledger.add(component(5, 20)) == pytest.approx(300.0)
    assert "File exists" in ledger.notice


READ_ONLY = """
import os, sys, warnings
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)  # root writes everywhere
from resmon import SharedLedger
from resmon.errors import LedgerError
try:
    SharedLedger(sys.argv[1] + "/ours")
except LedgerError as error:
    print(error)
os.environ["RESMON_RECORD_DIR"] = sys.argv[1] + "/records"
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    ledger = SharedLedger()
print(ledger.path, len(told), ledger.notice)
"""


def test_a_read_only_directory_is_refused_by_name_or_leaves_the_ledger_in_memory(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with start("import resmon.shared_ledger" + READ_ONLY, folder) as child:
            said = child.communicate(timeout=60)[0].splitlines()
        Path(folder).chmod(0o700)
    assert child.returncode == 0
    assert said == [
        f"{folder}/ours.lock: Permission denied",
        f"None 1 ledger in memory only, other kernels do not see it: {folder}/records: Permission denied",
    ]


def test_a_path_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"gone/ours\.lock: No such file"):
        SharedLedger(tmp_path / "gone" / "ours")
    (tmp_path / "link").symlink_to(tmp_path / "aim")
    with pytest.raises(LedgerError, match="link: "):
        SharedLedger(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LedgerError, match="pipe is not a plain file of yours"):
        SharedLedger(tmp_path / "pipe")


def no_locks(fd: int, operation: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_file_system_that_knows_no_locks(
    tmp_path: Path, own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = SharedLedger()
    own.add(component(0, 10))
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(LedgerError, match="ours: No locks available"):
        SharedLedger(tmp_path / "ours")
    with pytest.warns(ResmonWarning, match="No locks available"):
        assert own.add(component(5, 20)) == pytest.approx(300.0), "what was read before still counts"
    assert own.path is None


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_ledger, "network_filesystem", lambda path: "nfs4")
    with pytest.raises(LedgerError, match=r"network file system \(nfs4\)"):
        SharedLedger(tmp_path / "ours")
    monkeypatch.setattr(private_files, "network_filesystem", lambda path: "nfs4")
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path / "records"))
    with pytest.warns(ResmonWarning, match="set RESMON_RECORD_DIR to a local directory"):
        assert SharedLedger().path is None


def test_a_full_disk_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ours"
    ledger = SharedLedger(path)
    ledger.add(component(0, 10))
    short = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: short(fd, data[:20]))
        with pytest.raises(LedgerError, match="the disk is full"):
            ledger.add(component(10, 20))
    assert ledger.energy.total_j == 100.0
    assert ledger.add(component(10, 20)) == pytest.approx(300.0)
    assert total(path) == pytest.approx(400.0)


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="these name their places themselves")
@pytest.mark.parametrize("named", ["", "resmon-here"], ids=["empty", "relative"])
def test_an_xdg_variable_that_is_empty_or_relative_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESMON_RECORD_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, named)
    (tmp_path / "resmon-here").mkdir()
    assert private_files.record_directory() == tmp_path / "home/.local/state/resmon"
    assert cache_directory() == tmp_path / "home/.cache/resmon"
