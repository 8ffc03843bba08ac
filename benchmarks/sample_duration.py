"""How long a sample takes beside a pure-Python loop: the host alone, and with eight scripted GPUs.

A sample lasts from the first question (to the process that reads the GPUs) to the row in the history, or to the end of
a tick that holds its row back. The flight record is written after it, and lets other threads run meanwhile. The
scripted driver (``tests/driver``) answers at once, so the time is that of getting at the answer: whatever gives up the
interpreter lock has to queue for it again. Beside it the same GPUs read in this very process, where every driver call
does.
"""

from __future__ import annotations

import os
import shutil
import sys
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
from resmon.sensors.nvml_remote import RemoteNvmlSensor
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
        env = environment(script, RESMON_NVML_CALLS=str(Path(folder) / "calls"))
        found = call(durations, env, gpus=GPUS, seconds=seconds)
        here = call(durations, env, gpus=GPUS, seconds=seconds / 2, apart=False)
    more = [
        Row(name="driver calls per GPU and tick", value=found["calls"], unit="calls", limit=CALLS_PER_GPU),
        Row(name="samples without the values of the GPUs", value=100 * found["unread"], unit="%", limit=1.0),
        Row(name=f"CPU time of the helper process, {GPUS} GPUs", value=found["helper_ms"], unit="ms per sample"),
    ]
    what = f"host and {GPUS} GPUs"
    return [*rows, *_rows(what, found, limit_ms=25.0), *more, *_rows(f"{what}, no helper process", here)]


def _rows(what: str, found: dict[str, Any], limit_ms: float | None = None) -> list[Row]:
    samples, ticks, bare = (found[name] for name in ("samples_ms", "ticks_ms", "bare_ms"))
    name, bare_words = f"sample of {what} beside a Python loop", "one read that gives up the lock"
    return [
        Row(name=f"{name}, p50", value=quantile(samples, 0.5), unit="ms", reference=bare_words,
            reference_value=quantile(bare, 0.5)),
        Row(name=f"{name}, p99", value=quantile(samples, 0.99), unit="ms", reference=bare_words,
            reference_value=quantile(bare, 0.99), limit=limit_ms),
        Row(name=f"{name}, with the flight record, p99", value=quantile(ticks, 0.99), unit="ms"),
    ]  # fmt: skip


def durations(gpus: int, seconds: float, *, apart: bool = True) -> dict[str, Any]:
    """Durations in ms of samples, of whole ticks, and of a bare ``pread`` with the lock given up, at 20 Hz.

    apart: read the GPUs in a helper process, as a monitor does by itself.
    """
    host = HostSensor()
    sensors: list[Sensor] = [host, RatedSensor(host)]
    remote = RemoteNvmlSensor()
    if gpus:
        sensors.append(remote if apart else NvmlSensor())
    monitor = Monitor(interval_s=0.05, sensors=sensors, record=True)
    sampler = monitor.sampler
    tick, append = sampler.tick, sampler.history.append
    samples: list[float] = []
    ticks: list[float] = []
    appended_s = 0.0

    def timed_append(at_s: float, values: list[float]) -> None:
        nonlocal appended_s
        append(at_s, values)
        appended_s = time.perf_counter()

    def timed_tick() -> float:
        started_s = time.perf_counter()
        at_s = tick()
        ended_s = time.perf_counter()
        ticks.append((ended_s - started_s) * 1e3)
        # Rows that others asked for between two ticks are older than this one; those of a batch end together.
        samples.append(((appended_s if appended_s > started_s else ended_s) - started_s) * 1e3)
        return at_s

    sampler.history.append = timed_append  # type: ignore[method-assign, assignment]
    sampler.tick = timed_tick  # type: ignore[method-assign]
    with monitor:
        time.sleep(1.0)
        if gpus and len(monitor.gpu_devices()) != gpus:
            raise RuntimeError(f"{len(monitor.gpu_devices())} scripted GPUs were found, not {gpus}")
        if gpus and apart and not remote.pid:
            raise RuntimeError(f"no helper process was started: {remote.status[0]}")
        before, helper_s = _driver_calls(), remote.cpu_s
        ticks_before = sampler.ticks
        samples.clear()
        ticks.clear()
        _spin(seconds)
        found = {"samples_ms": samples.copy(), "ticks_ms": ticks.copy()}  # what comes after is beside no loop
        count = sampler.ticks - ticks_before
        calls = (_driver_calls() - before) / count / gpus if gpus else 0.0
        helper_ms = 1e3 * (remote.cpu_s - helper_s) / count
        unread = _unread(monitor, seconds) if gpus else 0.0
    return {
        **found,
        "bare_ms": _bare(seconds / 4),
        "calls": calls,
        "helper_ms": helper_ms,
        "unread": unread,
    }


def _unread(monitor: Monitor, seconds: float) -> float:
    """The share of the samples of the last ``seconds`` in which the helper did not answer in time."""
    found = monitor.history(seconds).raw(f"{monitor.gpu_devices()[0].id}.utilization")
    return sum(value != value for value in found) / len(found)


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
    """The calls on GPUs of all processes, as the scripted driver counts them."""
    path = Path(os.environ.get("RESMON_NVML_CALLS", "/nowhere"))
    return int.from_bytes(path.read_bytes(), sys.byteorder) if path.exists() else 0
