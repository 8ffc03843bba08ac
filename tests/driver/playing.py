"""Building the scripted driver and letting a process meet it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SOURCE = HERE / "scripted_nvml.c"
FLAGS = (
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-shared",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wl,-soname,libnvidia-ml.so.1",
)

PREAMBLE = """
import ctypes, json, os, sys, time
os.environ["RESMON_NVML_SELF"] = str(os.getpid())
def calls(pattern="*", device=-1):
    import pynvml
    pynvml.nvmlLib.script_calls.restype = ctypes.c_ulonglong
    return pynvml.nvmlLib.script_calls(pattern.encode(), device)
def reset_calls():
    import pynvml
    pynvml.nvmlLib.script_reset_calls()
def set_clock(at_s):
    path = os.environ["RESMON_NVML_SCRIPT"]
    with open(path) as file:
        _, _, rest = file.read().partition("\\n")
    with open(path + ".new", "w") as file:
        file.write(f"epoch {time.monotonic() - at_s!r}\\n{rest}")
    os.replace(path + ".new", path)
"""


def build() -> Path:
    """Compile the library if its source changed; returns the directory that holds ``libnvidia-ml.so.1``."""
    key = hashlib.sha256(SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    folder = HERE / "build" / key
    library = folder / "libnvidia-ml.so.1"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f"{os.getpid()}.so"
        subprocess.run(["gcc", *FLAGS, "-o", fresh, SOURCE, "-lm", "-lpthread"], check=True)
        fresh.replace(library)
    return folder


def environment(script: Path, **more: str) -> dict[str, str]:
    """The environment of a process that shall see the scripted GPUs, without CUDA's own variables; ``more`` wins.

    What is learned of these boards is kept beside the script: nobody has seen them before.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CUDA_")}
    paths = [str(build()), *filter(None, [kept.get("LD_LIBRARY_PATH")])]
    cache = {"XDG_CACHE_HOME": str(script.parent / "cache")}
    return {**kept, **cache, "LD_LIBRARY_PATH": ":".join(paths), "RESMON_NVML_SCRIPT": str(script), **more}


def play(script: Path | None, code: str, *, timeout_s: float = 180.0, **more: str) -> Any:
    """Run ``code`` in a fresh Python that sees the scripted GPUs (None: a machine without a driver).

    The code has ``calls(pattern, device)`` and ``reset_calls()`` (driver calls so far; device -1: all devices), and
    ``set_clock(at_s)``, after which that many seconds have passed since the script's epoch: what comes at a time does
    not depend on how long the process took to start. It prints one JSON value as its last line, which is returned.
    """
    env = {**os.environ, **more} if script is None else environment(script, **more)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + code],
        env={**env, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
