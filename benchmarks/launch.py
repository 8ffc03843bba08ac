"""From the start to the first line of a function that needs torch: ``resmon.launch`` against bare ``torchrun``."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.fresh import ROOT, call
from benchmarks.report import Row

RANKS = 2
FUNCTION = """
import time
def entered():
    import torch
    torch.ones(2)
    return time.time()
"""
SCRIPT = f"{FUNCTION}\nimport os, sys\nopen(sys.argv[1] + os.environ['RANK'], 'w').write(repr(entered()))\n"


def run(*, quick: bool) -> list[Row]:
    pairs = 5 if quick else 20
    launched: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": f"{folder}/cache", "RESMON_RECORD_DIR": folder}
        _torchrun(folder, env)  # compiles
        call(launches, env, pairs=1)
        for i in range(pairs):  # in turn, and who begins alternates: the machine's mood is the same for both
            for one in (0, 1) if i % 2 else (1, 0):
                if one:
                    launched += call(launches, env, pairs=1)
                else:
                    bare.append(_torchrun(folder, env))
    row = Row(
        name=f"start to the function of the last of {RANKS} ranks, torch imported",
        value=statistics.median(launched),
        unit="s",
        reference="bare torchrun --standalone",
        reference_value=statistics.median(bare),
        limit=1.25,
        bounds="ratio",
    )
    return [row]


def launches(pairs: int) -> list[float]:
    """In a process where resmon runs already: seconds from the call to the last rank's entry."""
    import resmon

    resmon.get_monitor()
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(FUNCTION, scope)  # noqa: S102 - a function as a notebook has it, sent by value
    _ = resmon.launch
    found = []
    for _ in range(pairs):
        began_s = time.time()
        done = resmon.launch(scope["entered"], ranks=RANKS, output=[])
        found.append(max(done.results) - began_s)
    return found


def _torchrun(folder: str, env: dict[str, str]) -> float:
    script = Path(folder) / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}", str(script)]
    began_s = time.time()
    subprocess.run([*command, f"{folder}/at-"], env=env, capture_output=True, check=True, timeout=300)
    return max(float(Path(f"{folder}/at-{rank}").read_text()) for rank in range(RANKS)) - began_s
