"""What the scripted driver plays: written as a text file, which may be replaced while it runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.driver.profiles import Profile, profile

GIB = 1 << 30
NOT_SUPPORTED, NO_PERMISSION, TIMEOUT, LOST, MISMATCH, UNKNOWN = 3, 4, 10, 15, 18, 999
"""Return codes of NVML."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``function`` answers ``code`` from ``from_s`` until ``to_s``.

    ``function`` is a C name; a final ``*`` matches every ending; ``field:186`` is one field value. With code 15 (lost)
    the device stays lost until the library was initialised again after ``to_s``, as the real one does.
    """

    function: str
    code: int
    from_s: float = 0.0
    to_s: float | None = None

    def line(self) -> str:
        return f"fault {self.function} {self.code} {self.from_s!r} {'inf' if self.to_s is None else repr(self.to_s)}"


@dataclass(frozen=True, slots=True)
class Hang:
    """``function`` takes ``seconds`` from ``from_s`` until ``to_s``; a file ``SCRIPT.release`` ends all that hang."""

    function: str
    seconds: float
    from_s: float = 0.0
    to_s: float | None = None

    def line(self) -> str:
        to = "inf" if self.to_s is None else repr(self.to_s)
        return f"hang {self.function} {self.seconds!r} {self.from_s!r} {to}"


@dataclass(frozen=True, slots=True)
class Process:
    """A process on a GPU. ``memory_bytes=None`` is not told.

    ``pid="self"`` is the process that ``RESMON_NVML_SELF`` names, or else the one that loaded the driver.
    """

    pid: int | Literal["self"]
    memory_bytes: int | None
    kind: Literal["compute", "graphics"] = "compute"

    def line(self) -> str:
        return f"process {self.pid} {'hidden' if self.memory_bytes is None else self.memory_bytes} {self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A MIG slice."""

    uuid: str
    name: str = "NVIDIA H200 MIG 1g.18gb"
    gpu_instance: int = 1
    compute_instance: int = 0
    memory_total_bytes: int = 16 * GIB
    memory_used_bytes: Profile | float = 0
    processes: Sequence[Process] = ()
    rules: Sequence[Fault | Hang] = ()

    def lines(self) -> list[str]:
        return [
            f"slice {self.uuid}",
            f"name {self.name}",
            f"instance {self.gpu_instance} {self.compute_instance}",
            f"memory_total {self.memory_total_bytes}",
            f"memory_used {profile(self.memory_used_bytes).line()}",
            *(item.line() for item in (*self.processes, *self.rules)),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU. Its energy counter is the exact integral of ``power_w``, shown anew every ``tau_s``.

    The edges of the counter move by up to half of ``jitter_s`` to either side. ``energy_gain`` and ``power_gain`` are
    what its sensors multiply the truth with. Instant power is taken every ``power_update_s`` (0: always fresh) as the
    mean of the ``power_window_s`` before (0: the value itself). The counter starts at ``offset_j``, wraps at ``wrap_j``
    and begins again at ``reload_s``; from the first to the second of ``stuck_s`` it keeps its value. ``module_power_w``
    makes it one half of a module that has a CPU too.
    """

    uuid: str
    name: str = "NVIDIA H200"
    capability: tuple[int, int] = (9, 0)
    memory_total_bytes: int = 139 * GIB
    memory_used_bytes: Profile | float = 0
    memory_reserved_bytes: int = GIB // 2
    utilization_percent: Profile | float = 0
    temperature_c: Profile | float = 40
    clock_mhz: Profile | float = 1980
    throttle: Profile | float = 0
    power_w: Profile | float = 100
    module_power_w: Profile | float | None = None
    energy_scope: Literal["gpu", "module"] = "gpu"
    limit_w: float = 700.0
    tau_s: float = 0.1
    jitter_s: float = 0.0
    offset_j: float = 0.0
    wrap_j: float = 0.0
    reload_s: float | None = None
    stuck_s: tuple[float, float] | None = None
    energy_gain: float = 1.0
    power_gain: float = 1.0
    power_update_s: float = 0.0
    power_window_s: float = 0.0
    processes: Sequence[Process] = ()
    rules: Sequence[Fault | Hang] = ()
    mig: bool = False
    slices: Sequence[Slice] = ()

    def energy_j(self, from_s: float, to_s: float) -> float:
        """The joules it truly took between two instants."""
        return profile(self.power_w).integral(to_s) - profile(self.power_w).integral(from_s)

    def lines(self) -> list[str]:
        lines = [
            f"gpu {self.uuid}",
            f"name {self.name}",
            f"mig {int(self.mig or bool(self.slices))}",
            f"capability {self.capability[0]} {self.capability[1]}",
            f"memory_total {self.memory_total_bytes}",
            f"memory_reserved {self.memory_reserved_bytes}",
            f"memory_used {profile(self.memory_used_bytes).line()}",
            f"utilization {profile(self.utilization_percent).line()}",
            f"temperature {profile(self.temperature_c).line()}",
            f"clock {profile(self.clock_mhz).line()}",
            f"throttle {profile(self.throttle).line()}",
            f"power {profile(self.power_w).line()}",
            f"energy_scope {self.energy_scope}",
            f"reload_s {'inf' if self.reload_s is None else repr(self.reload_s)}",
        ]
        numbers = ("limit_w", "tau_s", "jitter_s", "offset_j", "wrap_j", "energy_gain", "power_gain")
        lines += [f"{key} {getattr(self, key)!r}" for key in (*numbers, "power_update_s", "power_window_s")]
        if self.stuck_s is not None:
            lines.append(f"stuck {self.stuck_s[0]!r} {self.stuck_s[1]!r}")
        if self.module_power_w is not None:
            lines.append(f"module_power {profile(self.module_power_w).line()}")
        lines += [item.line() for item in (*self.processes, *self.rules)]
        return lines + [line for part in self.slices for line in part.lines()]


def gpu_uuid(number: int) -> str:
    """A well-formed UUID for the scripted GPU of that number; no two share their first eight digits."""
    return f"GPU-{0x1A2B3C00 + number:08x}-0000-4000-8000-{number:012x}"


def gpus(count: int, **changes: object) -> tuple[Gpu, ...]:
    """Return ``count`` GPUs that differ in their UUIDs alone."""
    return tuple(Gpu(uuid=gpu_uuid(i), **changes) for i in range(count))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A machine: its GPUs and faults of the driver as a whole. ``epoch_s`` is time 0 on ``CLOCK_MONOTONIC``."""

    gpus: Sequence[Gpu] = ()
    driver: str = "575.57.08"
    rules: Sequence[Fault | Hang] = ()
    epoch_s: float = field(default_factory=time.monotonic)

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return time.monotonic() - self.epoch_s

    def write(self, path: Path) -> Path:
        """Put the script in place at once, so that no reader sees half of it; returns ``path``."""
        lines = [f"epoch {self.epoch_s!r}", f"driver {self.driver}", *(rule.line() for rule in self.rules)]
        lines += [line for gpu in self.gpus for line in gpu.lines()]
        fresh = path.with_name(path.name + ".new")
        fresh.write_text("\n".join(lines) + "\n")
        fresh.replace(path)
        return path
