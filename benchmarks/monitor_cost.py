"""CPU-seconds per hour of the monitor beside a training loop, against a thread that only wakes and one of bare reads.

All three run at the same time beside the same loop, in one process, a third of a period apart. The thread of bare reads
reads every file that a host sample knows of at every tick; resmon reads those that move slowly in turns.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from benchmarks.fresh import call
from benchmarks.report import Row
from resmon.monitor import Monitor
from resmon.sensors.host import HostSensor
from resmon.sensors.linux_files import KernelFiles

RATES_HZ = (1.0, 10.0)
LIMIT = 1.3
SETTLE_S = 5.0
"""The first seconds find the processes and read what is then read seldom."""


def run(*, quick: bool) -> list[Row]:
    rows = []
    for rate_hz in RATES_HZ:
        block_s = max(5.0, 20.0 / rate_hz)
        found = call(costs, interval_s=1 / rate_hz, block_s=block_s, rounds=2 if quick else 6)
        monitor, bare, wakes = (found[name] for name in ("monitor", "bare reads", "wakes"))
        name = f"monitor at {rate_hz:g} Hz beside training"
        rows += [
            Row(name=name, value=monitor, unit="CPU-s/h", reference="thread of bare reads", reference_value=bare,
                limit=LIMIT, bounds="ratio"),
            Row(name=name, value=monitor, unit="CPU-s/h", reference="thread that only wakes", reference_value=wakes),
        ]  # fmt: skip
    return rows


def costs(interval_s: float, block_s: float, rounds: int) -> dict[str, float]:
    """CPU-seconds per hour of each thread: the median of the rounds."""
    ways: dict[str, Callable[[float], AbstractContextManager[threading.Thread]]] = {
        "monitor": _monitor,
        "bare reads": _bare_reads,
        "wakes": _wakes,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    with _training(), ExitStack() as running:
        clocks = {}
        for name, way in ways.items():
            thread = running.enter_context(way(interval_s))
            clocks[name] = time.pthread_getcpuclockid(thread.ident or 0)
            time.sleep(interval_s * (1 / 3 + math.ceil(0.2 / interval_s)))
        time.sleep(SETTLE_S)
        for _ in range(rounds):
            start_s, cpu_s = time.monotonic(), {name: time.clock_gettime(clock) for name, clock in clocks.items()}
            time.sleep(block_s)
            span_s = time.monotonic() - start_s
            for name, clock in clocks.items():
                found[name].append(3600.0 * (time.clock_gettime(clock) - cpu_s[name]) / span_s)
    return {name: statistics.median(values) for name, values in found.items()}


@contextmanager
def _training() -> Iterator[None]:
    """A small network that learns on one core, in a thread of its own."""
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    inputs, labels = torch.randn(64, 64), torch.randint(0, 10, (64,))
    ended = threading.Event()

    def train() -> None:
        while not ended.is_set():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    worker = threading.Thread(target=train)
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join()


@contextmanager
def _monitor(interval_s: float) -> Iterator[threading.Thread]:
    with Monitor(interval_s=interval_s):
        yield next(thread for thread in threading.enumerate() if thread.name == "resmon-sampler")


@contextmanager
def _looping(tick: Callable[[], None], interval_s: float) -> Iterator[threading.Thread]:
    ended = threading.Lock()
    ended.acquire()

    def loop() -> None:
        due_s = time.monotonic()
        while True:
            tick()
            due_s += interval_s
            if ended.acquire(timeout=max(0.0, due_s - time.monotonic())):
                return

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield thread
    finally:
        ended.release()
        thread.join()


@contextmanager
def _bare_reads(interval_s: float) -> Iterator[threading.Thread]:
    sensor = HostSensor()
    sensor.discover()
    paths = sensor.paths()
    sensor.close()
    files = KernelFiles()
    descriptors = [files.open(path) for path in paths]

    def tick() -> None:
        for descriptor in descriptors:
            files.read(descriptor)

    with _looping(tick, interval_s) as thread:
        yield thread
    for descriptor in descriptors:
        files.close(descriptor)


@contextmanager
def _wakes(interval_s: float) -> Iterator[threading.Thread]:
    with _looping(lambda: None, interval_s) as thread:
        yield thread
