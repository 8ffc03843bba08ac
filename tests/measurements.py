"""Measurements made by hand, for what shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from resmon.facts import HOST, Basis, Device
from resmon.results import Energy, EnergyComponent, GpuUse, HostUse, Measurement, Series
from resmon.units import GIB

STARTED = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\x1b]0;title\x07\u202e&\n\"'"


def gpu(index: int, name: str = "NVIDIA H200", **facts: object) -> GpuUse:
    device = Device(
        id=f"gpu:GPU-{index}",
        kind="gpu",
        label=f"GPU {index}",
        name=name,
        index=index,
        memory_total_bytes=int(140 * GIB),
    )
    known = {
        "utilization_mean": 0.77, "memory_own_peak_bytes": 41.2 * GIB, "power_mean_w": 495.0, "power_max_w": 541.0,
        "temperature_max_c": 63.0,
    }  # fmt: skip
    return GpuUse(device=device, **(known | facts))  # type: ignore[arg-type]


def component(device: str, energy_j: float, basis: Basis = "measured", spread: float = 0.07) -> EnergyComponent:
    measured = basis == "measured"
    return EnergyComponent(
        device=device,
        kind="gpu" if device.startswith("GPU") else "dram" if device == "DRAM" else "cpu",
        energy_j=energy_j,
        low_j=energy_j * (1 - spread),
        high_j=energy_j * (1 + spread),
        method="counter" if measured else "model",
        basis=basis,
        scope="board",
    )


def energy(*components: EnergyComponent, not_covered: tuple[str, ...] = ("PSU", "fans")) -> Energy:
    """The parts with intervals that add linearly: enough to be shown."""

    def ends(basis: Basis) -> tuple[float | None, float | None]:
        own = [c for c in components if c.basis == basis]
        return (sum(c.low_j for c in own), sum(c.high_j for c in own)) if own else (None, None)

    (measured_low, measured_high), (estimated_low, estimated_high) = ends("measured"), ends("estimated")
    return Energy(
        components=components,
        not_covered=not_covered,
        measured_low_j=measured_low,
        measured_high_j=measured_high,
        estimated_low_j=estimated_low,
        estimated_high_j=estimated_high,
    )


def series(
    gpus: int = 0,
    points: int = 60,
    duration_s: float = 60.0,
    columns: Mapping[str, tuple[float | None, ...]] | None = None,
) -> Series:
    """Flat lines for the host and for each GPU; ``columns`` replace them."""
    values: dict[str, tuple[float | None, ...]] = {
        f"{HOST}.cpu_utilization": (0.25,) * points,
        f"{HOST}.memory_tree_bytes": (2 * GIB,) * points,
        f"{HOST}.power_w": (40.0,) * points,
    }
    for i in range(gpus):
        values[f"gpu:GPU-{i}.utilization"] = (0.5 + i / 20,) * points
        values[f"gpu:GPU-{i}.power_w"] = (400.0,) * points
    values |= columns or {}
    return Series(at_s=tuple(duration_s * (i + 0.5) / points for i in range(points)), values=values)


def measurement(gpus: int = 0, **facts: object) -> Measurement:
    """A minute of work on a CPU that is modelled and on GPUs that are measured."""
    parts = [component(f"GPU {i}", 24e3) for i in range(gpus)] + [component("CPU", 2400.0, "estimated", 0.5)]
    device = Device(id=HOST, kind="host", label="CPU", name="EPYC", cores=32)
    host = HostUse(device=device, memory_limit_bytes=256 * GIB, power_mean_w=40.0, note="RAPL: needs root")
    known = {
        "name": "train digits", "started_at": STARTED, "duration_s": 60.0, "energy": energy(*parts),
        "cpu_utilization": 0.25, "peak_memory_bytes": 2 * GIB, "gpus": tuple(gpu(i) for i in range(gpus)), "host": host,
        "samples": 120, "interval_s": 0.5, "resmon_cpu_fraction": 0.0006, "series": series(gpus),
    }  # fmt: skip
    return Measurement(**(known | facts))  # type: ignore[arg-type]
