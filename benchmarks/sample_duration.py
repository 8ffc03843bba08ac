"""How long a sample takes beside a pure-Python loop: the host alone, and with eight scripted GPUs.

A sample lasts from the first read to the row in the history. The flight record is written after it, and lets other
threads run meanwhile. The scripted driver (``tests/driver``) answers at once, so the time is that of the calls: each
gives up the interpreter lock and has to queue for it again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.fresh import call, quantile
from benchmarks.report import Row
from resmon.monitor import Monitor
from resmon.sensors import Sensor
from resmon.sensors.host import HostSensor
from resmon.sensors.nvml import NvmlSensor
from resmon.sensors.rated import RatedSensor

GPUS = 8
CALLS_PER_GPU = 4.0


def run(*, quick: bool) -> list[Row]:
    seconds = 20.0 if quick else 90.0
    rows = _rows("host", call(durations, gpus=0, seconds=seconds), limit_ms=1.0)
    if shutil.which("gcc") is None:
        return rows  # the scripted driver is compiled
    from tests.driver import Script, environment, gpus

    with tempfile.TemporaryDirectory() as folder:
        script = Script(gpus=gpus(GPUS, utilization_percent=80)).write(Path(folder) / "gpus")
        found = call(durations, environment(script), gpus=GPUS, seconds=seconds)
    calls = Row(name="driver calls per GPU and tick", value=found["calls"], unit="calls", limit=CALLS_PER_GPU)
    return [*rows, *_rows(f"host and {GPUS} GPUs", found, limit_ms=25.0), calls]


def _rows(what: str, found: dict[str, Any], limit_ms: float) -> list[Row]:
    samples, ticks, bare = (found[name] for name in ("samples_ms", "ticks_ms", "bare_ms"))
    name, bare_words = f"sample of {what} beside a Python loop", "one read that gives up the lock"
    return [
        Row(name=f"{name}, p50", value=quantile(samples, 0.5), unit="ms", reference=bare_words,
            reference_value=quantile(bare, 0.5)),
        Row(name=f"{name}, p99", value=quantile(samples, 0.99), unit="ms", reference=bare_words,
            reference_value=quantile(bare, 0.99), limit=limit_ms),
        Row(name=f"{name}, with the flight record, p99", value=quantile(ticks, 0.99), unit="ms"),
    ]  # fmt: skip


def durations(gpus: int, seconds: float) -> dict[str, Any]:
    """Durations in ms of samples, of whole ticks, and of a bare ``pread`` with the lock given up, at 20 Hz."""
    host = HostSensor()
    sensors: list[Sensor] = [host, RatedSensor(host)]
    if gpus:
        sensors.append(NvmlSensor())
    monitor = Monitor(interval_s=0.05, sensors=sensors, record=True)
    sampler = monitor.sampler
    tick, append = sampler.tick, sampler.history.append
    samples: list[float] = []
    ticks: list[float] = []
    started_s = 0.0

    def timed_append(at_s: float, values: list[float]) -> None:
        append(at_s, values)
        samples.append((time.perf_counter() - started_s) * 1e3)

    def timed_tick() -> float:
        nonlocal started_s
        started_s = time.perf_counter()
        at_s = tick()
        ticks.append((time.perf_counter() - started_s) * 1e3)
        return at_s

    sampler.history.append = timed_append  # type: ignore[method-assign, assignment]
    sampler.tick = timed_tick  # type: ignore[method-assign]
    with monitor:
        time.sleep(1.0)
        if gpus and len(monitor.gpu_devices()) != gpus:
            raise RuntimeError(f"{len(monitor.gpu_devices())} scripted GPUs were found, not {gpus}")
        before = _driver_calls() if gpus else 0
        ticks_before = sampler.ticks
        samples.clear()
        ticks.clear()
        _spin(seconds)
        count = sampler.ticks - ticks_before
        calls = (_driver_calls() - before) / count / gpus if gpus else 0.0
    return {"samples_ms": samples, "ticks_ms": ticks, "bare_ms": _bare(seconds / 4), "calls": calls}


def _spin(seconds: float) -> None:
    """Pure Python that never gives up the lock by itself."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        sum(range(1000))


def _bare(seconds: float) -> list[float]:
    found: list[float] = []
    ended = threading.Event()
    descriptor = os.open("/proc/stat", os.O_RDONLY)

    def read() -> None:
        while not ended.wait(0.05):
            started_s = time.perf_counter()
            os.pread(descriptor, 65536, 0)
            found.append((time.perf_counter() - started_s) * 1e3)

    thread = threading.Thread(target=read)
    thread.start()
    _spin(seconds)
    ended.set()
    thread.join()
    os.close(descriptor)
    return found


def _driver_calls() -> int:
    import ctypes

    import pynvml

    pynvml.nvmlLib.script_calls.restype = ctypes.c_ulonglong
    return int(pynvml.nvmlLib.script_calls(b"*", -1))
