"""Bytes of memory per sample without a GPU, and that nothing grows once the rings are full."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

from benchmarks.fresh import call
from benchmarks.report import Row
from resmon.clock import MonotonicClock
from resmon.history import History
from resmon.sampler import Sampler
from resmon.sensors import default_sensors

BYTES, BYTES_PER_CORE = 100, 4
DAY_S, INTERVAL_S = 24 * 3600, 0.5
SMALL_BYTES = 2**18
FILL_TICKS = 60_000
"""More than a history of ``SMALL_BYTES`` can hold, at its coarsest."""


def run(*, quick: bool) -> list[Row]:
    found = call(bytes_held, more=10_000 if quick else 100_000)
    cores = found["cores"]
    return [
        Row(name=f"a sample in memory, {cores} cores, no GPU", value=found["row"], unit="B",
            limit=BYTES + BYTES_PER_CORE * cores),
        Row(name="a day at 2 Hz, older samples coarser", value=found["day"] / 2**20, unit="MiB", limit=64.0),
        Row(name="the same, per sample that was taken", value=found["day"] / (DAY_S / INTERVAL_S), unit="B"),
        Row(name="growth of a full history", value=found["grown"], unit="B", limit=0.0),
        Row(name="growth of all of Python beside it", value=found["traced"] / 1024, unit="KiB"),
    ]  # fmt: skip


def bytes_held(more: int) -> dict[str, Any]:
    """Sizes with this machine's own sensors but without GPUs."""
    tracemalloc.start()
    found = default_sensors()
    history = History(SMALL_BYTES)
    clock = _Fast()
    sampler = Sampler((), history, clock, INTERVAL_S)
    for sensor in found.quick:
        sensor.discover()
        sampler.add(sensor)
    sampler.tick()
    schema = history.schema
    assert schema is not None
    cores = sum(channel.quantity.startswith("core_") for channel in schema.channels)
    for _ in range(FILL_TICKS):
        clock.at_s += INTERVAL_S
        sampler.tick()
    gc.collect()
    before, traced = history.nbytes, tracemalloc.get_traced_memory()[0]
    highest = before
    for _ in range(more):
        clock.at_s += INTERVAL_S
        sampler.tick()
        highest = max(highest, history.nbytes)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - traced
    for sensor in found.quick:
        sensor.close()
    return {
        "row": schema.row_bytes,
        "cores": cores,
        "day": _day(schema.channels),
        "grown": highest - before,
        "traced": grown,
    }


def _day(channels: Any) -> int:
    """Bytes that a history of these channels holds after a day."""
    history = History()
    history.set_channels(channels)
    values = [0.5] * len(channels)
    for i in range(int(DAY_S / INTERVAL_S)):
        history.append(i * INTERVAL_S, values)
    return history.nbytes


class _Fast(MonotonicClock):
    """A clock that is moved by hand, as fast as one likes."""

    at_s = 0.0

    def now(self) -> float:
        return self.at_s
