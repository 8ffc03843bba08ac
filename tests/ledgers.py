"""What the tests of the ledger between kernels share: processes that add to one, and what it then holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resmon import SharedLedger
from resmon.results import EnergyComponent

ROOT = Path(__file__).parent.parent


ADD = """
import json, sys
from resmon import SharedLedger
from resmon.results import EnergyComponent
ledger = SharedLedger(sys.argv[1])
for line in sys.stdin:
    print(ledger.add(EnergyComponent.from_dict(json.loads(line))), flush=True)
"""


def start(code: str, *words: object, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **more},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(components: list[EnergyComponent]) -> str:
    return "".join(json.dumps(asdict(c)) + "\n" for c in components)


def total(path: Path) -> float:
    return SharedLedger(path).energy.total_j or 0.0
