"""From a span of the history to a Measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, Protocol

from resmon.clock import Clock
from resmon.energy import Reading, combine, span_component
from resmon.energy.intervals import between, component_of
from resmon.energy.mark import Mark
from resmon.facts import HOST, Device, EnergySource, Limits
from resmon.history import History, HistoryView
from resmon.plan import CPU_S, MISSED, meter_channels
from resmon.results import Claim, Energy, EnergyComponent, GpuUse, HostUse, Measurement, Series
from resmon.sampler import Sampler
from resmon.sensors.throttle import HELD_BACK, reasons

SERIES_POINTS = 240
TREE_CPU = f"{HOST}.tree_cpu_time_s"


class Watched(Protocol):
    """What measuring a span needs of its monitor."""

    sampler: Sampler
    clock: Clock
    interval_s: float
    meter_id: str

    @property
    def limits(self) -> Limits | None: ...

    def host_device(self) -> Device | None: ...

    def gpu_devices(self) -> Sequence[Device]: ...

    def not_covered(self) -> Sequence[str]: ...

    def why_not_measured(self) -> str: ...


class Work(NamedTuple):
    """What was done in a span: what the samples cannot tell.

    ``process_cpu_s`` is the process's own CPU time, exact where the samples only see clock ticks.
    """

    name: str
    items: float | None = None
    items_unit: str = "items"
    error: str | None = None
    process_cpu_s: float | None = None
    notes: tuple[str, ...] = ()


Marks = tuple[Mapping[str, Mark], Mapping[str, Mark]]
"""The totals of counters at the two ends of a span, by source."""


def measure_span(monitor: Watched, start_s: float, end_s: float, work: Work, marks: Marks | None = None) -> Measurement:
    """The Measurement of a span of the history, in seconds of the monitor's clock.

    ``marks``: the counters' totals at its ends, where they were asked for at the time.
    """
    sampler = monitor.sampler
    history = sampler.history
    _, closing = history.around(CPU_S, end_s)
    view = history.view(start_s, end_s if closing is None else closing.at_s)
    duration_s = end_s - start_s
    cpu_s = (_difference(history, TREE_CPU, start_s, end_s), work.process_cpu_s)
    known = [s for s in cpu_s if s is not None]
    notes = work.notes
    missed = _difference(history, MISSED, start_s, end_s)
    resmon_s = _difference(history, CPU_S, start_s, end_s)
    host = monitor.host_device()
    if not len(view) and duration_s > 2 * monitor.interval_s:
        stalled = sampler.stalled
        who = "a sensor" if stalled is None else stalled[0]
        notes = (*notes, f"no sample was taken in this span: {who} did not answer")
    return Measurement(
        name=work.name,
        started_at=monitor.clock.wall(start_s),
        duration_s=duration_s,
        energy=span_energy(monitor, start_s, end_s, marks),
        cpu_time_s=max(known) if known else None,
        cpu_utilization=_mean(view, start_s, f"{HOST}.cpu_utilization"),
        peak_memory_bytes=view.extreme(f"{HOST}.memory_tree_bytes"),
        gpus=tuple(_gpu_use(view, start_s, d) for d in monitor.gpu_devices() if f"{d.id}.memory_used_bytes" in view),
        host=None if host is None else _host_use(monitor, view, start_s, host),
        items=work.items,
        items_unit=work.items_unit,
        samples=len(view),
        missed=round(missed or 0),
        interval_s=monitor.interval_s,
        resmon_cpu_fraction=None if resmon_s is None or duration_s <= 0 else resmon_s / duration_s,
        error=work.error,
        series=_series(monitor, view, start_s, end_s),
        notes=notes,
    )


def span_energy(monitor: Watched, start_s: float, end_s: float, marks: Marks | None = None) -> Energy:
    """The energy of a span of the history, by source, with what is not covered."""
    sampler = monitor.sampler
    parts, missing = [], list(monitor.not_covered())
    for source in sampler.sources:
        if marks is not None and source.id in marks[0] and source.id in marks[1]:
            parts.append(_marked_component(monitor, source, marks[0][source.id], marks[1][source.id]))
            continue
        meter = sampler.meter(source.id)
        start, end = _end(sampler.history, source, start_s, "after"), _end(sampler.history, source, end_s, "before")
        if meter is None or start is None or end is None or end.at_s < start.at_s:
            missing.append(f"{source.label} (no reading in this span)")
            continue
        part = span_component(
            source,
            start.reading,
            end.reading,
            duration_s=end_s - start_s,
            seen_s=end.at_s - start.at_s,
            edge_s=max(start.edge_s, end.edge_s),
            power_high_w=meter.power_max_w,
        )
        totals = start.reading.total_j, end.reading.total_j
        parts.append(replace(part, claim=_claim(monitor, source, (start.at_s, end.at_s), totals)))
    return combine(parts, missing)


def _claim(monitor: Watched, source: EnergySource, span: tuple[float, float], totals: tuple[float, float]) -> Claim:
    return Claim(
        boot=monitor.clock.boot,
        source=source.id,
        meter=monitor.meter_id,
        start_s=span[0],
        end_s=span[1],
        start_j=totals[0],
        end_j=totals[1],
    )


def _marked_component(monitor: Watched, source: EnergySource, start: Mark, end: Mark) -> EnergyComponent:
    """The energy of a counter between two of its marks, and which joules these are."""
    window = between(
        start,
        end,
        gain_error=source.gain_error,
        sampled_fraction=source.sampled_fraction,
        power_limit_w=source.power_limit_w,
    )
    claim = _claim(monitor, source, (start.at_s, end.at_s), (start.total_j, end.total_j))
    return component_of(source, window, claim)


class _End(NamedTuple):
    """The totals at one end of a span: the instant they hold for, and how far the nearest sample is."""

    at_s: float
    reading: Reading
    edge_s: float


def _end(history: History, source: EnergySource, at_s: float, beyond: Literal["after", "before"]) -> _End | None:
    """Totals interpolated at an instant, or of the nearest sample on the span's inner side."""
    channels = meter_channels(source)
    before, after = history.around(channels[0], at_s)
    if before is not None and after is not None:
        values = [history.value(channel_id, at_s) or 0.0 for channel_id in channels]
        edge_s = min(at_s - before.at_s, after.at_s - at_s)
    else:
        row = after if beyond == "after" else before
        if row is None:
            return None
        values, at_s, edge_s = [row.value(channel_id) for channel_id in channels], row.at_s, 0.0
    if source.basis == "estimated":
        return _End(at_s, Reading(values[0], values[1], values[2], 0.0), edge_s)
    total_j, gap_s = values
    return _End(at_s, Reading(total_j, total_j, total_j, gap_s), edge_s)


def _difference(history: History, channel_id: str, start_s: float, end_s: float) -> float | None:
    start, end = history.value(channel_id, start_s), history.value(channel_id, end_s)
    return None if start is None or end is None else max(0.0, end - start)


def _mean(view: HistoryView, start_s: float, channel_id: str) -> float | None:
    """Mean over time: each value stands for the stretch since the row before it, or since the start."""
    weight = total = 0.0
    previous_s = start_s
    for at_s, value in zip(view.times, view.raw(channel_id), strict=True):
        if value == value:
            weight += at_s - previous_s
            total += (at_s - previous_s) * value
        previous_s = at_s
    return total / weight if weight > 0 else None


def _host_use(monitor: Watched, view: HistoryView, start_s: float, device: Device) -> HostUse:
    limits = monitor.limits
    return HostUse(
        device=device,
        cpu_limit_cores=limits.cpu_cores if limits else device.cores,
        memory_limit_bytes=limits.memory_bytes if limits else device.memory_total_bytes,
        limit_source=limits.memory_source if limits else "machine",
        memory_used_peak_bytes=view.extreme(f"{HOST}.memory_used_bytes"),
        power_mean_w=_mean(view, start_s, f"{HOST}.power_w"),
        power_max_w=view.extreme(f"{HOST}.power_w"),
        temperature_max_c=view.extreme(f"{HOST}.temperature_c"),
        note=monitor.why_not_measured(),
    )


def _gpu_use(view: HistoryView, start_s: float, device: Device) -> GpuUse:
    held = [int(v) for v in view.raw(f"{device.id}.throttle") if v == v]
    slowed = [mask for mask in held if mask & HELD_BACK]
    together = 0
    for mask in slowed:
        together |= mask
    return GpuUse(
        device=device,
        utilization_mean=_mean(view, start_s, f"{device.id}.utilization"),
        utilization_max=view.extreme(f"{device.id}.utilization"),
        memory_peak_bytes=view.extreme(f"{device.id}.memory_used_bytes"),
        memory_own_peak_bytes=view.extreme(f"{device.id}.memory_own_bytes"),
        power_mean_w=_mean(view, start_s, f"{device.id}.power_w"),
        power_max_w=view.extreme(f"{device.id}.power_w"),
        temperature_max_c=view.extreme(f"{device.id}.temperature_c"),
        throttled_fraction=len(slowed) / len(held) if held else None,
        throttle_reason=", ".join(reasons(together)),
    )


_SHAPE = ("utilization", "power_w", "memory_used_bytes")


def _series(monitor: Watched, view: HistoryView, start_s: float, end_s: float) -> Series:
    """At most ``SERIES_POINTS`` points: the mean of the samples that fall into each."""
    times = view.times
    chosen = [f"{HOST}.cpu_utilization", f"{HOST}.memory_tree_bytes", f"{HOST}.power_w"]
    chosen += [f"{d.id}.{quantity}" for d in monitor.gpu_devices() for quantity in _SHAPE]
    keep = [i for i, t in enumerate(times) if t >= start_s]
    if not keep:
        return Series()
    step = -(-len(keep) // SERIES_POINTS)
    groups = [keep[i : i + step] for i in range(0, len(keep), step)]
    at_s = tuple(min(max(0.0, times[g[-1]] - start_s), end_s - start_s) for g in groups)
    values = {}
    for channel_id in chosen:
        if channel_id in view:
            raw = view.raw(channel_id)
            values[channel_id] = tuple(_plain_mean([raw[i] for i in g]) for g in groups)
    return Series(at_s=at_s, values=values)


def _plain_mean(values: Sequence[float]) -> float | None:
    known = [v for v in values if v == v]
    return sum(known) / len(known) if known else None
