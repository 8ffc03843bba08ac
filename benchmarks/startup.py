"""CPU time of ``import resmon``, of ``%load_ext resmon`` in a running kernel, and of the monitor's start."""

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

LOADING = """
import sys, time
before_s = time.process_time()
get_ipython().run_line_magic("load_ext", "resmon")
after_s = time.process_time()
import resmon
time.sleep(1.0)
monitor = resmon.get_monitor()
print(1e3 * (after_s - before_s), 1e3 * (time.process_time() - before_s), 1e3 * monitor.sampler.cpu_s)
"""


def run(*, quick: bool) -> list[Row]:
    rounds = 15 if quick else 60
    with tempfile.TemporaryDirectory() as folder:
        # As a user has it: modules are compiled once, whatever this shell says about writing bytecode.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPYCACHEPREFIX": folder, "PYTHONPATH": str(ROOT)}
        bare_ms, import_ms = _imports(rounds, env)
        starts = [call(start_ms, env) for _ in range(1 + rounds // 3)][1:]
        loads = [_load_ext(env) for _ in range(1 + (3 if quick else 12))][1:]
    return [
        Row(name="import resmon, over bare Python", value=import_ms - bare_ms, unit="ms CPU", reference="bare Python",
            reference_value=bare_ms, limit=30.0),
        Row(name="%load_ext resmon in a running kernel", value=statistics.median(x[0] for x in loads), unit="ms CPU",
            limit=80.0),
        Row(name="the same and the second after it (discovery, first samples)",
            value=statistics.median(x[1] for x in loads), unit="ms CPU"),
        Row(name="start of the monitor", value=statistics.median(x["start"] for x in starts), unit="ms CPU",
            limit=20.0),
        Row(name="first use in a fresh process, with its imports", value=statistics.median(x["first"] for x in starts),
            unit="ms CPU"),
    ]  # fmt: skip


def _imports(rounds: int, env: dict[str, str]) -> tuple[float, float]:
    """CPU time in ms of a bare Python and of one that imports resmon, in turn: the medians."""
    found: dict[str, list[float]] = {"pass": [], "import resmon": []}
    for _ in range(rounds + 1):
        for program, values in found.items():
            values.append(_cpu_ms([sys.executable, "-c", program], env))
    bare_ms, import_ms = (statistics.median(values[1:]) for values in found.values())
    return bare_ms, import_ms


def _cpu_ms(command: list[str], env: dict[str, str]) -> float:
    pid = os.posix_spawn(command[0], command, env)
    used = os.wait4(pid, 0)[2]
    return 1e3 * (used.ru_utime + used.ru_stime)


def start_ms() -> dict[str, float]:
    """CPU time in ms of the whole process: of the first use, imports included, and of a start when all is loaded."""
    import resmon

    with tempfile.TemporaryDirectory() as folder:
        os.environ["RESMON_RECORD_DIR"] = folder
        before_s = time.process_time()
        monitor = resmon.get_monitor()
        first_ms = 1e3 * (time.process_time() - before_s)
        time.sleep(1.0)
        monitor.stop()
        before_s = time.process_time()
        with resmon.Monitor():
            again_ms = 1e3 * (time.process_time() - before_s)
    return {"first": first_ms, "start": again_ms}


def _load_ext(env: dict[str, str]) -> tuple[float, float]:
    """In a fresh kernel: CPU time in ms of the process over the magic, and until a second after it."""
    from jupyter_client.manager import KernelManager

    with tempfile.TemporaryDirectory() as folder:
        manager = KernelManager()
        own = {"IPYTHONDIR": folder, "RESMON_RECORD_DIR": str(Path(folder) / "records")}
        manager.start_kernel(env={**env, **own}, stderr=subprocess.DEVNULL)
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            said: list[str] = []
            failed: list[Any] = []

            def hear(message: dict[str, Any]) -> None:
                if message["msg_type"] == "stream":
                    said.append(message["content"]["text"])
                elif message["msg_type"] == "error":
                    failed.append(message["content"]["evalue"])

            client.execute_interactive("1 + 1", timeout=60, output_hook=lambda _: None)
            client.execute_interactive(LOADING, timeout=60, output_hook=hear)
            if failed:
                raise RuntimeError(f"loading the extension failed: {failed}")
            words = "".join(said).split("\n")[-2].split()
            return float(words[0]), float(words[1])
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
