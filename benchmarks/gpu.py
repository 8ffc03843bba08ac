"""A real NVIDIA GPU: how its counter and its power move, what the driver's calls take, how near windows come.

Reads the first GPU that this process sees, idle, under a steady load and on a duty cycle (25 % of 0.4 s), which a child
process makes with torch. It wants the GPU to itself. Where there is none it says so and measures nothing.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from benchmarks.fresh import ROOT, quantile
from benchmarks.report import Row, Text
from resmon.monitor import Monitor
from resmon.sensors.nvml import NvmlSensor

Kind = Literal["idle", "steady load", "duty cycle"]
KINDS: tuple[Kind, ...] = ("idle", "steady load", "duty cycle")
Load = Callable[[Kind], AbstractContextManager[object]]
TOTAL_ENERGY, AVERAGE, INSTANT = 83, 185, 186
LENGTHS_S = (0.01, 0.05, 0.1, 0.5, 2.0)
PAUSE_S = 0.0005
SETTLE_S = 2.0
READY_S = 120.0

WORK = """
import sys, time
import torch
a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
def work(seconds):
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        a @ a
        torch.cuda.synchronize()
work(1.0)
print("ready", flush=True)
while True:
    work(0.1)
    if sys.argv[1] == "duty cycle":
        time.sleep(0.3)
"""


@contextlib.contextmanager
def torch_load(kind: Kind) -> Iterator[None]:
    """Work for the GPU in a child process, so that this one has no CUDA context."""
    if kind == "idle":
        time.sleep(SETTLE_S)
        yield
        return
    with subprocess.Popen([sys.executable, "-c", WORK, kind], stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        try:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise RuntimeError("the load did not start: does this PyTorch see the GPU?")
            time.sleep(SETTLE_S)
            yield
        finally:
            child.kill()


class Poll(NamedTuple):
    """One look at the counter and the two power fields; NaN where the driver gives none."""

    at_s: float
    energy_j: float
    instant_w: float
    average_w: float


@dataclass(slots=True)
class Driver:
    """The raw calls for one GPU."""

    pynvml: Any
    handle: Any
    name: str
    version: str
    refused: dict[str, str] = field(default_factory=dict)

    def calls(self) -> dict[str, Callable[[], object]]:
        """Each call whose latency counts, by its name."""
        nvml, handle = self.pynvml, self.handle

        def fields(*ids: int) -> Callable[[], object]:
            return lambda: nvml.nvmlDeviceGetFieldValues(handle, [(i, 0) for i in ids])

        return {
            "nvmlDeviceGetTotalEnergyConsumption": lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle),
            "nvmlDeviceGetPowerUsage": lambda: nvml.nvmlDeviceGetPowerUsage(handle),
            "nvmlDeviceGetFieldValues (186)": fields(INSTANT),
            "nvmlDeviceGetFieldValues (185)": fields(AVERAGE),
            "nvmlDeviceGetFieldValues (83, 186)": fields(TOTAL_ENERGY, INSTANT),
            "nvmlDeviceGetSamples (total power)": lambda: nvml.nvmlDeviceGetSamples(handle, 0, 0),
            "nvmlDeviceGetUtilizationRates": lambda: nvml.nvmlDeviceGetUtilizationRates(handle),
            "nvmlDeviceGetMemoryInfo_v2": lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2),
            "nvmlDeviceGetTemperature": lambda: nvml.nvmlDeviceGetTemperature(handle, 0),
            "nvmlDeviceGetComputeRunningProcesses": lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle),
        }

    def poll(self) -> Poll:
        """The counter and both fields, at the middle of the two calls."""
        before_s = time.monotonic()
        energy_j = self._try("the counter", lambda: self.pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1e3)
        values = self.pynvml.nvmlDeviceGetFieldValues(self.handle, [(INSTANT, 0), (AVERAGE, 0)])
        watts = [v.value.uiVal / 1e3 if v.nvmlReturn == 0 else math.nan for v in values]
        return Poll((before_s + time.monotonic()) / 2, energy_j, *watts)

    def _try(self, what: str, call: Callable[[], float]) -> float:
        try:
            return call()
        except self.pynvml.NVMLError as error:
            self.refused[what] = str(error)
            return math.nan


@contextlib.contextmanager
def opened() -> Iterator[Driver | str]:
    """The first GPU as this process sees it, or why there is none."""
    sensor = NvmlSensor()
    sensor.discover()
    found = next((d for d in sensor.devices if d.kind == "gpu" and d.index == 0), None)
    said = "; ".join(map(str, sensor.status))
    sensor.close()
    if found is None:
        yield said
        return
    import pynvml

    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(found.uuid)
        yield Driver(pynvml, handle, found.name, str(pynvml.nvmlSystemGetDriverVersion()))
    finally:
        pynvml.nvmlShutdown()


def describe() -> str:
    """The GPU and its driver, for the head of the results; empty without one."""
    with opened() as driver:
        return "" if isinstance(driver, str) else f"{driver.name}, driver {driver.version}"


def run(*, quick: bool) -> list[Row | Text]:
    return measure(torch_load, poll_s=5.0 if quick else 30.0, windows=8 if quick else 40)


def measure(load: Load, *, poll_s: float, windows: int) -> list[Row | Text]:
    """All of it. ``poll_s``: seconds of polling under each kind of load; ``windows``: how many of each length."""
    with opened() as driver:
        if isinstance(driver, str):
            return [Text([f"No NVIDIA GPU was measured: {driver}"])]
        found: list[Row | Text] = [Text([f"{driver.name}, driver {driver.version}"])]
        for kind in KINDS:
            with load(kind):
                if kind != "duty cycle":
                    found += _latencies(driver, kind, count=200)
                polls = _polls(driver, poll_s)
                found += _counter_against_power(polls, kind)
                if kind == "duty cycle":
                    found += _periods(polls)
                    found += [_told_latency(driver), Text([_samples(driver)])]
                if kind == "steady load":
                    found += _windows(windows)
        found += [Text([f"{what}: {why}"]) for what, why in driver.refused.items()]
    return found


def _latencies(driver: Driver, kind: Kind, count: int) -> list[Row | Text]:
    found: list[Row | Text] = []
    for name, call in driver.calls().items():
        try:
            call()
        except driver.pynvml.NVMLError as error:
            found.append(Text([f"{name}: {error}"]))
            continue
        took_us = []
        for _ in range(count):
            started_s = time.perf_counter()
            call()
            took_us.append((time.perf_counter() - started_s) * 1e6)
            time.sleep(0.002)
        found.append(Row(name=f"{name}, {kind}, median", value=statistics.median(took_us), unit="µs"))
        found.append(Row(name=f"{name}, {kind}, p99", value=quantile(took_us, 0.99), unit="µs"))
    return found


def _polls(driver: Driver, seconds: float) -> list[Poll]:
    until_s = time.monotonic() + seconds
    polls = []
    while time.monotonic() < until_s:
        polls.append(driver.poll())
        time.sleep(PAUSE_S)
    return polls


def _changes(times_s: Sequence[float], values: Sequence[float]) -> list[float]:
    """When a value moved on: the middle between the reads around it."""
    return [
        (times_s[i - 1] + times_s[i]) / 2
        for i in range(1, len(values))
        if values[i] == values[i] and values[i] != values[i - 1]
    ]


def _periods(polls: Sequence[Poll]) -> list[Row | Text]:
    times_s = [poll.at_s for poll in polls]
    apart_ms = [1e3 * (b - a) for a, b in pairwise(times_s)]
    found: list[Row | Text] = [Row(name="between two polls, p99", value=quantile(apart_ms, 0.99), unit="ms")]
    columns = {
        "energy counter": [poll.energy_j for poll in polls],
        "field 186 (instant)": [poll.instant_w for poll in polls],
        "field 185 (average)": [poll.average_w for poll in polls],
    }
    for name, values in columns.items():
        changes = _changes(times_s, values)
        periods_ms = [1e3 * (b - a) for a, b in pairwise(changes)]
        if len(periods_ms) < 2:
            found.append(Text([f"{name}: moved {len(changes)} times in {times_s[-1] - times_s[0]:.1f} s"]))
            continue
        found.append(Row(name=f"{name}, period τ, median", value=statistics.median(periods_ms), unit="ms"))
        found.append(Row(name=f"{name}, period τ, p99", value=quantile(periods_ms, 0.99), unit="ms"))
    return found


def _counter_against_power(polls: Sequence[Poll], kind: Kind) -> list[Row | Text]:
    """Joules of the counter between its first and last change, beside the integral of field 186 over the same time."""
    moved = [i for i in range(1, len(polls)) if polls[i].energy_j != polls[i - 1].energy_j]
    if len(moved) < 2 or polls[moved[0]].instant_w != polls[moved[0]].instant_w:
        return [Text([f"counter against field 186, {kind}: one of the two was not seen"])]
    first, last = moved[0], moved[-1]
    counted_j = polls[last].energy_j - polls[first].energy_j
    drawn_j = sum(
        (b.at_s - a.at_s) * (a.instant_w + b.instant_w) / 2
        for a, b in zip(polls[first:last], polls[first + 1 : last + 1], strict=True)
    )
    seconds = polls[last].at_s - polls[first].at_s
    return [
        Row(name=f"counter, {kind}", value=counted_j / seconds, unit="W", reference="integral of field 186",
            reference_value=drawn_j / seconds),
    ]  # fmt: skip


def _told_latency(driver: Driver) -> Text:
    """What the driver itself says of how long it took to update the fields."""
    values = driver.pynvml.nvmlDeviceGetFieldValues(driver.handle, [(INSTANT, 0), (AVERAGE, 0)])
    told = ", ".join(f"{v.fieldId}: {v.latencyUsec} µs" for v in values if v.nvmlReturn == 0)
    return Text([f"latency that the driver tells of its fields: {told or 'none'}"])


def _samples(driver: Driver) -> str:
    try:
        _, samples = driver.pynvml.nvmlDeviceGetSamples(driver.handle, 0, 0)
    except driver.pynvml.NVMLError as error:
        return f"nvmlDeviceGetSamples (total power): {error}"
    times_s = [sample.timeStamp / 1e6 for sample in samples]
    if len(times_s) < 2:
        return f"nvmlDeviceGetSamples (total power): {len(times_s)} samples"
    apart_s = statistics.median(b - a for a, b in pairwise(times_s))
    return (
        f"nvmlDeviceGetSamples (total power) works: {len(times_s)} samples, {apart_s * 1e3:.1f} ms apart (median), "
        f"{times_s[-1] - times_s[0]:.1f} s in all"
    )


def _windows(count: int) -> list[Row | Text]:
    """Resmon's windows, each beside the mean power of one long window around them all."""
    found: list[Row | Text] = []
    with Monitor(sensors=[NvmlSensor()]) as monitor:
        time.sleep(SETTLE_S)
        label = monitor.gpu_devices()[0].label
        measured: dict[float, list[Any]] = {length_s: [] for length_s in LENGTHS_S}
        with monitor.measure("reference") as reference:
            for _ in range(count):
                for length_s, windows in measured.items():
                    with monitor.measure() as window:
                        time.sleep(length_s)
                    windows.append(window)
                    time.sleep(0.03)
        whole = _part(reference, label)
        if whole is None:
            return [Text(["windows: no energy was read"])]
        mean_w = whole.energy_j / reference.measurement.duration_s  # type: ignore[union-attr] # the monitor is running
        for length_s, windows in measured.items():
            parts = [(_part(w, label), mean_w * w.measurement.duration_s) for w in windows]
            known = [(part, true_j) for part, true_j in parts if part is not None]
            errors = [100 * abs(part.energy_j / true_j - 1) for part, true_j in known]
            held = sum(part.low_j <= true_j <= part.high_j for part, true_j in known)
            name = f"window of {1000 * length_s:g} ms, steady load"
            found.append(Row(name=f"{name}, median error", value=statistics.median(errors), unit="%"))
            found.append(Row(name=f"{name}, p95 error", value=quantile(errors, 0.95), unit="%"))
            found.append(Row(name=f"{name}, interval holds", value=100 * held / len(windows), unit="%"))
    return found


def _part(window: Any, label: str) -> Any:
    measurement = window.measurement
    return next((part for part in measurement.energy.components if part.device == label), None)
