"""What a measurement's timeline shows, apart from who draws it: strips of lines, areas and bands over one time axis.

A surface of power is energy, so power is stacked: solid where it was measured, hatched where it was estimated.
Where a value is unknown there is a gap, never a bridge; a sum with an unknown part is unknown.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from resmon import units
from resmon.facts import HOST, Basis, EnergyKind
from resmon.results import GpuUse, Measurement
from resmon.views.escape import plain, shortened

Values = tuple[float | None, ...]
Resource = Literal["gpu", "cpu", "memory"]

_BAND_FROM = 3  # GPUs: beyond a solid and a dashed line there is no third that is told apart at a glance


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One thing drawn in a strip: a line, and the surface between it and ``base`` where ``fill`` says how.

    ``"solid"`` is measured, ``"hatched"`` estimated, ``"band"`` the range from least to greatest (``base`` to
    ``top``, around ``values``).
    """

    label: str
    resource: Resource
    values: Values
    line: Literal["solid", "dashed"] = "solid"
    fill: Literal["none", "solid", "hatched", "band"] = "none"
    base: Values = ()
    top: Values = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Layers over one value axis from 0 to ``high``, with marks at ``ticks``."""

    title: str
    height: int
    high: float
    ticks: tuple[float, ...]
    layers: tuple[Layer, ...]


def strips(m: Measurement) -> list[Strip]:
    """Utilisation and power, and memory where there is no GPU; empty when fewer than two points are known."""
    found = [_utilization(m), _power(m)]
    if not m.gpus:
        found.append(_memory(m))
    return [strip for strip in found if strip is not None]


def runs(at_s: Sequence[float], *columns: Values, interval_s: float | None = None) -> Iterator[list[int]]:
    """The indices between gaps: where a column is unknown, or more than three periods passed without a point."""
    steps = [b - a for a, b in itertools.pairwise(at_s)]
    longest = 3.0 * max(interval_s or 0.0, statistics.median(steps) if steps else 0.0)
    run: list[int] = []
    for i in range(len(at_s)):
        if run and at_s[i] - at_s[run[-1]] > longest:
            yield run
            run = []
        if all(column[i] is not None for column in columns):
            run.append(i)
        elif run:
            yield run
            run = []
    if run:
        yield run


def time_ticks(duration_s: float, most: int = 6) -> list[tuple[float, str]]:
    """At most ``most`` + 1 round times from 0 to the duration, with what is written at each."""
    steps = [m * 10.0**e for e in range(-4, 0) for m in (1, 2, 5)]
    steps += [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400]
    step = next((s for s in steps if duration_s / s <= most), math.ceil(duration_s / most / 86400) * 86400)
    times = [i * step for i in range(int(duration_s / step * (1 + 1e-9)) + 1)]
    if step >= 1:
        return [(t, units.format_duration(t)) for t in times]
    if duration_s < 1:
        return [(t, f"{t * 1000:.3g} ms" if t else "0") for t in times]
    return [(t, f"{t:.3g} s" if t else "0") for t in times]


def describe(m: Measurement) -> str:
    """The timeline in words, for who cannot see it: each line's mean, least and greatest value."""
    said = []
    for strip in strips(m):
        lines = []
        for layer in strip.layers:
            own = _above_base(layer)
            lines.append(
                f"{layer.label} mean {_short(statistics.fmean(own))}, from {_short(min(own))} to {_short(max(own))}"
            )
        said.append(f"{strip.title}: {'; '.join(lines)}.")
    return " ".join([f"Timeline over {units.format_duration_words(m.duration_s)}.", *said])


def _above_base(layer: Layer) -> list[float]:
    if layer.fill == "band" or not layer.base:
        return [v for v in layer.values if v is not None]
    return [v - b for v, b in zip(layer.values, layer.base, strict=True) if v is not None and b is not None]


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _column(m: Measurement, device_id: str, quantity: str, scale: float = 1.0) -> Values | None:
    """A series in the unit of its axis; None unless two of its points are known."""
    values = m.series.values.get(f"{device_id}.{quantity}", ())
    found = tuple(v * scale if units.known(v) else None for v in values)
    return found if sum(v is not None for v in found) > 1 else None


def _gpu_columns(m: Measurement, quantity: str, scale: float = 1.0) -> list[tuple[GpuUse, Values]]:
    columns = [(gpu, _column(m, gpu.device.id, quantity, scale)) for gpu in m.gpus]
    return [(gpu, values) for gpu, values in columns if values is not None]


def _utilization(m: Measurement) -> Strip | None:
    gpus = _gpu_columns(m, "utilization", 100.0)
    layers: list[Layer] = []
    if len(gpus) >= _BAND_FROM:
        points = list(zip(*(values for _, values in gpus), strict=True))
        layers.append(
            Layer(
                label=f"{len(gpus)} GPUs, mean",
                resource="gpu",
                values=tuple(_over(point, statistics.fmean) for point in points),
                fill="band",
                base=tuple(_over(point, min) for point in points),
                top=tuple(_over(point, max) for point in points),
            )
        )
    else:
        for i, (gpu, values) in enumerate(gpus):
            layers.append(Layer(label=_label(gpu), resource="gpu", values=values, line="dashed" if i else "solid"))
    cpu = _column(m, HOST, "cpu_utilization", 100.0)
    if cpu:
        zero = tuple(None if v is None else 0.0 for v in cpu)
        layers.append(
            Layer(label="CPU", resource="cpu", values=cpu)
            if layers
            else Layer(label="CPU", resource="cpu", values=cpu, fill="solid", base=zero)
        )
    if not layers:
        return None
    return Strip(title="Utilisation, %", height=70, high=100.0, ticks=(0, 50, 100), layers=tuple(layers))


def _power(m: Measurement) -> Strip | None:
    gpus = _gpu_columns(m, "power_w")
    layers: list[Layer] = []
    below: Values | None = None
    if gpus:
        total = tuple(_sum(point) for point in zip(*(values for _, values in gpus), strict=True))
        label = _label(gpus[0][0]) if len(m.gpus) == 1 else _count(len(gpus), len(m.gpus))
        layers.append(_area(label, "gpu", total, None, _basis(m, "gpu", "measured")))
        below = total
    cpu = _column(m, HOST, "power_w")
    if cpu:
        basis = _basis(m, "cpu", "estimated")
        top = cpu if below is None else tuple(_sum(point) for point in zip(cpu, below, strict=True))
        layers.append(_area("CPU" if below is None else "+ CPU", "cpu", top, below, basis))
    layers = [layer for layer in layers if any(v is not None for v in layer.values)]
    return _scaled("Power, W", 58, layers) if layers else None


def _memory(m: Measurement) -> Strip | None:
    own = _column(m, HOST, "memory_tree_bytes", 1.0 / units.GIB)
    if own is None:
        return None
    return _scaled("Memory, GiB", 44, [_area("yours", "memory", own, None, "measured")])


def _area(label: str, resource: Resource, values: Values, below: Values | None, basis: Basis) -> Layer:
    base = tuple(None if v is None else 0.0 for v in values) if below is None else below
    estimated = basis == "estimated"
    return Layer(
        label=f"{label} est." if estimated else label,
        resource=resource,
        values=values,
        fill="hatched" if estimated else "solid",
        base=base,
    )


def _scaled(title: str, height: int, layers: Sequence[Layer]) -> Strip:
    greatest = max(v for layer in layers for v in layer.values if v is not None)
    high = greatest * 1.1 or 1.0
    rough = high / 3.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough)
    ticks = tuple(i * step for i in range(int(high / step) + 1))
    return Strip(title=title, height=height, high=high, ticks=ticks, layers=tuple(layers))


def _basis(m: Measurement, kind: EnergyKind, otherwise: Basis) -> Basis:
    """The basis of a kind's joules is that of its watts; estimated as soon as one part is."""
    found = {c.basis for c in m.energy.components if c.kind == kind}
    return "estimated" if "estimated" in found else "measured" if found else otherwise


def _count(seen: int, there: int) -> str:
    return f"{there} GPUs" if seen == there else f"{seen} of {there} GPUs"


def _label(gpu: GpuUse) -> str:
    return shortened(plain(gpu.device.label), 14)


def _sum(point: Sequence[float | None]) -> float | None:
    return math.fsum(v for v in point if v is not None) if all(v is not None for v in point) else None


def _over(point: Sequence[float | None], summary: Callable[[Sequence[float]], float]) -> float | None:
    found = [v for v in point if v is not None]
    return summary(found) if found else None
