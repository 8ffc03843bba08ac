"""What opening and closing a window takes of the caller's time: idle, beside a busy thread, while a driver call hangs.

Wall-clock time around ``open()`` and ``close()`` of one window after the other. The scripted driver (``tests/driver``)
plays two GPUs; the hanging call returns after a minute, which is longer than the run.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.fresh import call, quantile
from benchmarks.report import Row
from resmon.monitor import Monitor

LIMIT_MS = 1.0
HANGS_FROM_S = 6.0


def run(*, quick: bool) -> list[Row]:
    count = 200 if quick else 1000
    found = {
        "no GPU": call(durations, gpus=0, count=count),
        "no GPU, beside Python": call(durations, gpus=0, count=count, busy=True),
    }
    if shutil.which("gcc") is not None:  # the scripted driver is compiled
        from tests.driver import Hang, Script, environment, gpus

        with tempfile.TemporaryDirectory() as folder:
            plain = Script(gpus=gpus(2)).write(Path(folder) / "plain")
            found["2 GPUs"] = call(durations, environment(plain), gpus=2, count=count)
            script = Script(gpus=gpus(2), rules=(Hang("nvmlDeviceGet*", 60.0, from_s=HANGS_FROM_S),))
            env = environment(script.write(Path(folder) / "hung"))
            found["2 GPUs, a driver call hangs"] = call(durations, env, gpus=2, count=count, wait_s=HANGS_FROM_S + 2)
    return [
        Row(name=f"{what} a window, {how}, {share}", value=quantile(times[what], q), unit="ms",
            limit=LIMIT_MS if q == 0.99 else None)
        for how, times in found.items() for what in ("opening", "closing") for share, q in (("p50", 0.5), ("p99", 0.99))
    ]  # fmt: skip


def durations(gpus: int, count: int, *, busy: bool = False, wait_s: float = 0.0) -> dict[str, list[float]]:
    """Milliseconds of each opening and closing. ``wait_s``: from the start of the monitor to the first window."""
    ended = threading.Event()

    def spin() -> None:
        while not ended.is_set():
            sum(range(1000))

    found: dict[str, list[float]] = {"opening": [], "closing": []}
    with Monitor() as monitor:
        until_s = time.monotonic() + 20.0
        while len(monitor.gpu_devices()) < gpus and time.monotonic() < until_s:
            time.sleep(0.05)
        if len(monitor.gpu_devices()) != gpus:
            raise RuntimeError(f"{len(monitor.gpu_devices())} scripted GPUs were found, not {gpus}")
        time.sleep(max(1.0, wait_s))
        worker = threading.Thread(target=spin)
        if busy:
            worker.start()
        for _ in range(count):
            window = monitor.measure("w")
            began_s = time.perf_counter()
            window.open()
            opened_s = time.perf_counter()
            time.sleep(0.002)
            ends_s = time.perf_counter()
            window.close()
            closed_s = time.perf_counter()
            found["opening"].append((opened_s - began_s) * 1e3)
            found["closing"].append((closed_s - ends_s) * 1e3)
            time.sleep(0.01)
        ended.set()
        if busy:
            worker.join()
    return found
