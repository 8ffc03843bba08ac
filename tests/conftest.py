"""Fixtures of the whole suite: every test must end with nothing of resmon left over."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.leftovers import hooks_of, left_since, traces

_home = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep what tests and their kernels write about themselves out of the user's folders."""
    config.stash[_home] = folder = tempfile.TemporaryDirectory(prefix="resmon-tests-", ignore_cleanup_errors=True)
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "RESMON_RECORD_DIR"):
        os.environ[name] = str(Path(folder.name) / name.lower())


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_home].cleanup()


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = traces()
    yield
    left = left_since(before)
    assert not left, "this test left behind: " + "; ".join(left)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Give a real IPython shell, as ``get_ipython()`` finds it; unloads resmon at the end if the test did not."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    assert shell.extension_manager is not None
    try:
        yield shell
        if "resmon" in shell.extension_manager.loaded:
            shell.extension_manager.unload_extension("resmon")
        left = hooks_of(shell)
    finally:
        shell.restore_sys_module_state()
        InteractiveShell.clear_instance()
    assert not left, "the extension left behind: " + "; ".join(left)
