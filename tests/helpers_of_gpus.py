"""The processes that read GPUs for others, as tests find them, and a driver that hangs when a test says so."""

from __future__ import annotations

import time
from pathlib import Path

from tests.driver import Gpu, Hang, Script, gpu_uuid, gpus
from tests.leftovers import readers

GONE_S = 40.0
"""A helper that has not gone by then waits for what will not come: a driver that hangs for longer, another process."""


def served_by(pid: int) -> list[int]:
    return [reader for reader, served in readers().items() if served == pid]


def gone(pid: int, within_s: float = GONE_S) -> bool:
    until_s = time.monotonic() + within_s
    while pid in readers():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.02)
    return True


def hanging(path: Path, function: str = "nvmlDeviceGetUtilizationRates") -> Path:
    """A script whose driver hangs once ``HUNG`` was played."""
    script = Script(gpus=gpus(1))
    stuck = Script(gpus=(Gpu(uuid=gpu_uuid(0), rules=[Hang(function, 600.0)]),), epoch_s=script.epoch_s)
    stuck.write(path.with_name(path.name + ".hang"))
    return script.write(path)
