"""What the tests of a monitor with a real thread share."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resmon import process
from resmon.testing import ScriptedSensor, scripted_gpu


@contextmanager
def records_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Records go beside the test, and the process's own monitor, if it made one, ends with it."""
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path / "records"))
    yield
    own, process.own.monitor = process.own.monitor, None
    if own is not None:
        own.stop()


def eventually(what: Callable[[], object], timeout_s: float = 60.0) -> bool:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.01)
    return False


def run_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **env},
    )


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("resmon")]


class Hanging(ScriptedSensor):
    """A sensor whose driver does not return until it is let go."""

    def __init__(self) -> None:
        gpu = scripted_gpu(0)
        super().__init__(gpu.name, gpu.devices, gpu.values, gpu.channels, gpu.sources)
        self.let_go = threading.Event()
        self.hangs = threading.Event()
        self.armed = False

    def read(self, at_s: float) -> list[float]:
        if self.armed:
            self.hangs.set()
            self.let_go.wait(30.0)
        return super().read(at_s)
