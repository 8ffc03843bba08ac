"""CPU-seconds per hour of the monitor beside a training loop, against a thread that only wakes and two of bare reads.

All four run at the same time beside the same loop, in one process, a quarter of a period apart; a ratio is the median
of those of short rounds. One thread of bare reads reads every file that a host sample knows of at every tick, the other
those that move slowly as seldom as resmon does.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from benchmarks.fresh import call
from benchmarks.report import Row
from resmon.monitor import Monitor
from resmon.sensors.host import HostSensor
from resmon.sensors.linux_files import KernelFiles

RATES_HZ = (1.0, 10.0)
LIMIT = 1.3
SLOW = ("loadavg", "dev", "diskstats", "temp")
"""resmon reads files whose names begin so at every fourth tick, at most every 2 s; the others at every tick."""
SETTLE_S = 5.0
"""The first seconds find the processes and read what is then read seldom."""


def run(*, quick: bool) -> list[Row]:
    rows = []
    for rate_hz in RATES_HZ:
        block_s = max(5.0, 20.0 / rate_hz)
        found = call(costs, interval_s=1 / rate_hz, block_s=block_s, rounds=4 if quick else 12)
        monitor = found["monitor"]
        name = f"monitor at {rate_hz:g} Hz beside training"
        references = (
            ("bare reads", "thread of bare reads", LIMIT),
            ("bare reads in turns", "thread of bare reads, slow files as seldom", None),
            ("wakes", "thread that only wakes", None),
        )
        # The reference is what the median of the ratios makes of it.
        rows += [
            Row(name=name, value=monitor, unit="CPU-s/h", reference=words, reference_value=monitor / found[reference],
                limit=limit, bounds="ratio")
            for reference, words, limit in references
        ]  # fmt: skip
    return rows


def costs(interval_s: float, block_s: float, rounds: int) -> dict[str, float]:
    """CPU-seconds per hour of the monitor, and what it is times those of the others: the medians of the rounds."""
    ways: dict[str, Callable[[float], AbstractContextManager[threading.Thread]]] = {
        "monitor": _monitor,
        "bare reads": _bare_reads,
        "bare reads in turns": _reads_in_turns,
        "wakes": _wakes,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    with _training(), ExitStack() as running:
        clocks = {}
        for name, way in ways.items():
            thread = running.enter_context(way(interval_s))
            clocks[name] = time.pthread_getcpuclockid(thread.ident or 0)
            time.sleep(interval_s * (1 / len(ways) + math.ceil(0.2 / interval_s)))
        time.sleep(SETTLE_S)
        for _ in range(rounds):
            start_s, cpu_s = time.monotonic(), {name: time.clock_gettime(clock) for name, clock in clocks.items()}
            time.sleep(block_s)
            span_s = time.monotonic() - start_s
            for name, clock in clocks.items():
                found[name].append(3600.0 * (time.clock_gettime(clock) - cpu_s[name]) / span_s)
    monitor = found.pop("monitor")
    ratios = {
        name: statistics.median(own / other for own, other in zip(monitor, values, strict=True))
        for name, values in found.items()
    }
    return {"monitor": statistics.median(monitor), **ratios}


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
    with _descriptors() as (files, descriptors):

        def tick() -> None:
            for descriptor, _ in descriptors:
                files.read(descriptor)

        with _looping(tick, interval_s) as thread:
            yield thread


@contextmanager
def _reads_in_turns(interval_s: float) -> Iterator[threading.Thread]:
    with _descriptors() as (files, descriptors):
        every = max(4, math.ceil(2.0 / interval_s - 0.01))
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 1
            for descriptor, slow in descriptors:
                if not slow or ticks % every == 0:
                    files.read(descriptor)

        with _looping(tick, interval_s) as thread:
            yield thread


@contextmanager
def _descriptors() -> Iterator[tuple[KernelFiles, list[tuple[int, bool]]]]:
    """The files that a host sample knows of, each with whether it is a slow one."""
    sensor = HostSensor()
    sensor.discover()
    paths = [Path(path) for path in sensor.paths()]
    sensor.close()
    files = KernelFiles()
    descriptors = [(files.open(str(path)), path.name.startswith(SLOW)) for path in paths]
    yield files, descriptors
    for descriptor, _ in descriptors:
        files.close(descriptor)


@contextmanager
def _wakes(interval_s: float) -> Iterator[threading.Thread]:
    with _looping(lambda: None, interval_s) as thread:
        yield thread
