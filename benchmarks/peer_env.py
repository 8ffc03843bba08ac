"""Virtual environments of their own for the tools that resmon is compared with, under ``benchmarks/.peers``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / ".peers"
VERSIONS = {"zeus": "0.16.0", "codecarbon": "3.3.2"}
"""Names and versions on PyPI."""
NEVER = ("torch", "tensorflow", "jax")
"""Gigabytes that neither needs; an install that would bring one is refused."""
INSTALLED = "installed"
TIMEOUT_S = 900.0


class PeerMissing(Exception):  # noqa: N818 - says what is the case, and becomes a row
    """The tool cannot be had here; the message says why."""


def python_of(tool: str) -> Path:
    """The interpreter that has this tool, made on first use. Raises PeerMissing with the reason."""
    folder = PEERS / f"{tool}-{VERSIONS[tool]}"
    python = folder / "bin" / "python"
    if (folder / INSTALLED).exists():
        return python
    requirement = f"{tool}=={VERSIONS[tool]}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _run(sys.executable, "-m", "venv", folder)
        pip = (python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet")
        plan = json.loads(_run(*pip, "--dry-run", "--report", "-", requirement))
        heavy = {item["metadata"]["name"].lower() for item in plan["install"]} & set(NEVER)
        if heavy:
            raise PeerMissing(f"{requirement} would install {', '.join(sorted(heavy))}")
        _run(*pip, requirement)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise PeerMissing(f"{requirement} cannot be installed: {said.strip().splitlines()[-1][:200]}") from error
    (folder / INSTALLED).touch()
    return python


def _run(*command: str | Path) -> str:
    own = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PIP_CONSTRAINT"}}
    done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    return done.stdout
