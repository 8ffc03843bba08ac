"""Facts about ranks, the processes of one distributed run: what one tells of itself, and what it did over a span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RankState = Literal["expected", "running", "done", "failed", "lost"]
"""``expected``: has not been heard of. ``lost``: was heard of, and has been silent for too long, or died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankSample:
    """What one rank tells of itself at one instant; ``at_s`` is on the monotonic clock of who receives it.

    ``steps``, ``items``, ``stepping_s``, ``collective_s`` and ``cpu_time_s`` only grow: a span is the difference of two
    samples. ``stepping_s`` is the time that the steps took; ``collective_s`` the part of it in which the rank did
    nothing but communicate or wait in collective operations. ``memory_bytes`` is the rank's process tree, shared pages
    counted once. ``device_id`` names the GPU that the rank works on (:attr:`resmon.facts.Device.id`), None for a rank
    on CPU. ``elsewhere``: its machine is another than the one that watches. ``throttle`` is the driver's bit mask of
    what holds the clocks of its GPU back. What follows only grows: ``cpu_wait_s`` is how long its main thread was ready
    to run and no core was free, ``memory_wait_s`` how long some process of its cgroup, or of its machine, waited for
    memory, ``allocator_retries`` how often torch had to give all that it held unused on the GPU back before an
    allocation went through.
    """

    rank: int
    at_s: float
    host: str = ""
    device: str = ""
    device_id: str | None = None
    pid: int | None = None
    steps: int | None = None
    items: float | None = None
    stepping_s: float | None = None
    collective_s: float | None = None
    cpu_time_s: float | None = None
    memory_bytes: float | None = None
    allocator_allocated_bytes: float | None = None
    allocator_reserved_bytes: float | None = None
    allocator_peak_bytes: float | None = None
    utilization: float | None = None
    power_w: float | None = None
    throttle: float | None = None
    cpu_wait_s: float | None = None
    memory_wait_s: float | None = None
    allocator_retries: float | None = None
    monitor_cpu_s: float | None = None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRow:
    """What a rank does now: means over its last 20 steps.

    ``compute_s``, ``communication_s`` and ``wait_s`` are seconds of one step and sum to it. ``wait_s`` is the time in
    collective operations beyond that of the rank that spent least in them: the others were not there yet.
    ``age_s`` is how long ago the rank was last heard of; ``utilization`` that of its GPU, or the CPU time of the rank
    per second of one core. ``memory_bytes`` is the rank's process tree, the two of the allocator what torch holds
    for it on its GPU.
    """

    rank: int
    host: str = ""
    device: str = ""
    device_id: str | None = None
    state: RankState = "expected"
    outcome: str = ""
    age_s: float | None = None
    steps: int | None = None
    steps_per_s: float | None = None
    items_per_s: float | None = None
    utilization: float | None = None
    memory_bytes: float | None = None
    allocator_allocated_bytes: float | None = None
    allocator_reserved_bytes: float | None = None
    power_w: float | None = None
    step_s: float | None = None
    compute_s: float | None = None
    communication_s: float | None = None
    wait_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Straggler:
    """A rank that the others wait for: its compute time per step, against the median of all ranks."""

    rank: int
    compute_s: float
    median_compute_s: float
    since_s: float
    cause: str = ""

    @property
    def factor(self) -> float:
        """How many times the median it takes."""
        return self.compute_s / self.median_compute_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RankUse:
    """What one rank did over a span. The three fractions are shares of the time that its steps took.

    ``outcome`` is ``"done"``, or what ended it: ``"failed: ValueError: …"``, ``"killed by SIGKILL"``.
    ``memory_peak_bytes`` is the largest memory of its process tree that a sample saw, ``allocator_reserved_peak_bytes``
    the most that torch held on its GPU at a sample; ``allocator_peak_bytes`` is torch's own peak of what was allocated.
    ``power_mean_w`` is that of its whole GPU.
    ``elsewhere``: it ran on another machine than the one that watched, whose joules are not measured here.
    """

    rank: int
    host: str = ""
    device: str = ""
    outcome: str = ""
    steps: int | None = None
    items: float | None = None
    steps_per_s: float | None = None
    items_per_s: float | None = None
    utilization_mean: float | None = None
    memory_peak_bytes: float | None = None
    allocator_peak_bytes: float | None = None
    allocator_reserved_peak_bytes: float | None = None
    power_mean_w: float | None = None
    cpu_time_s: float | None = None
    compute_fraction: float | None = None
    communication_fraction: float | None = None
    wait_fraction: float | None = None
    samples: int = 0
    elsewhere: bool = False
