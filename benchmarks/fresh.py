"""Runs a function of a benchmark in a fresh Python, where nothing is loaded and nothing else runs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 900.0

_CALL = """
import importlib, json, sys
module, name, arguments = sys.argv[1:]
print(json.dumps(getattr(importlib.import_module(module), name)(**json.loads(arguments))))
"""


def call(function: Callable[..., Any], env: Mapping[str, str] | None = None, **arguments: Any) -> Any:
    """``function(**arguments)`` in a fresh process; arguments and answer are JSON."""
    done = subprocess.run(
        [sys.executable, "-c", _CALL, function.__module__, function.__qualname__, json.dumps(arguments)],
        cwd=ROOT,
        env=None if env is None else dict(env),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{function.__qualname__} failed in its process:\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least the fraction ``q`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]
