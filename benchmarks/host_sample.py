"""Hot CPU cost of one host sample, against bare reads of the very same files and psutil calls for the same numbers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from benchmarks.fresh import call
from benchmarks.report import Row
from resmon.sensors.host import HostSensor
from resmon.sensors.linux_files import KernelFiles

CHILDREN = 4
"""They wait: a child that ran since the last sample costs one read more, of its ``statm``."""
LIMIT_US = 30.0
STEP_S = 0.5  # of the sensor's own time: the default rate, with its slower turns in their true proportion
BATCH = 240  # two minutes of that time


def run(*, quick: bool) -> list[Row]:
    rows = []
    for children, label in ((0, "no children"), (CHILDREN, f"{CHILDREN} children")):
        cost_us = call(costs_us, children=children, batches=5 if quick else 25)
        name = f"host sample, hot, {label}"
        rows.append(
            Row(
                name=name,
                value=cost_us["typical"],
                unit="µs CPU",
                reference="bare reads of the same files",
                reference_value=cost_us["bare"],
                limit=LIMIT_US,
            )
        )
        for reference, words in (
            ("bare", "bare reads of the same files"),
            ("psutil", "psutil calls, this process alone"),
            ("psutil tree", "psutil calls, children looked for"),
        ):
            rows.append(
                Row(
                    name=f"{name}, its slower turns included",
                    value=cost_us["resmon"],
                    unit="µs CPU",
                    reference=words,
                    reference_value=cost_us[reference],
                )
            )
    return rows


def costs_us(children: int, batches: int) -> dict[str, float]:
    """CPU time of a sample in µs, each way in turn: the median of batches, and ``typical`` the median of samples."""
    sensor = HostSensor()
    sensor.discover()
    processes = [
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        for _ in range(children)
    ]
    try:
        time.sleep(1.0 if children else 0.0)
        files = KernelFiles()
        now_s = time.monotonic()
        sensor.read(now_s)  # finds the children: their files are in paths() from now on
        descriptors = [files.open(path) for path in sensor.paths()]

        def resmon() -> None:
            nonlocal now_s
            now_s += STEP_S
            sensor.read(now_s)

        def bare() -> None:
            for descriptor in descriptors:
                files.read(descriptor)

        ways = {
            "resmon": (resmon, BATCH),
            "bare": (bare, BATCH),
            "psutil": (_psutil_calls(tree=False), BATCH // 4),
            "psutil tree": (_psutil_calls(tree=True), BATCH // 16),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(batches + 1):  # the first warms up
            for name, (sample, count) in ways.items():
                found[name].append(_cpu_us(sample, count))
        found["typical"] = [0.0, *(_cpu_us(resmon, 1) for _ in range(BATCH * batches))]
        sensor.close()
        for descriptor in descriptors:
            files.close(descriptor)
        return {name: statistics.median(values[1:]) for name, values in found.items()}
    finally:
        for process in processes:
            process.communicate()


def _cpu_us(sample: Callable[[], None], count: int) -> float:
    before_s = time.thread_time()
    for _ in range(count):
        sample()
    return (time.thread_time() - before_s) / count * 1e6


def _psutil_calls(*, tree: bool) -> Callable[[], None]:
    own = psutil.Process()

    def sample() -> None:
        psutil.cpu_percent(percpu=True)
        psutil.virtual_memory()
        psutil.getloadavg()
        psutil.disk_io_counters()
        psutil.net_io_counters()
        for process in (own, *(own.children(recursive=True) if tree else ())):
            process.memory_info()
            process.cpu_times()

    return sample
