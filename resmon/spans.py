"""From a span of the history to a Measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from resmon.facts import HOST, Device
from resmon.history import History, HistoryView
from resmon.plan import CPU_S, MISSED
from resmon.results import Energy, GpuUse, HostUse, Measurement, Series
from resmon.sensors.throttle import HELD_BACK, reasons
from resmon.sharing import shared_scope, sharing
from resmon.span_energy import Marks, Watched, span_energy

SERIES_POINTS = 240
TREE_CPU = f"{HOST}.tree_cpu_time_s"


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
        energy=_with_sharing(monitor, view, span_energy(monitor, start_s, end_s, marks)),
        cpu_time_s=max(known) if known else None,
        cpu_utilization=_mean(view, start_s, f"{HOST}.cpu_utilization"),
        peak_memory_bytes=view.extreme(f"{HOST}.memory_tree_bytes"),
        gpus=tuple(
            _gpu_use(monitor, view, start_s, d) for d in monitor.gpu_devices() if f"{d.id}.memory_used_bytes" in view
        ),
        ranks=monitor.rank_uses(start_s, end_s),
        host=None if host is None else _host_use(monitor, view, start_s, host),
        items=work.items,
        items_unit=work.items_unit,
        samples=len(view),
        missed=round(missed or 0),
        interval_s=monitor.interval_s,
        resmon_cpu_fraction=None if resmon_s is None or duration_s < monitor.interval_s else resmon_s / duration_s,
        error=work.error,
        series=_series(monitor, view, start_s, end_s),
        notes=notes,
        factors=monitor.factors,
    )


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


def _with_sharing(monitor: Watched, view: HistoryView, energy: Energy) -> Energy:
    """The energy, with the components of GPUs that others use too marked in their scope."""
    how = {}
    for source in monitor.sampler.sources:
        others = f"{source.device_id}.other_processes"
        how[source.label] = sharing(view.extreme(others)) if others in view else ""
    parts = (replace(c, scope=shared_scope(c.scope, how.get(c.device, ""))) for c in energy.components)
    return replace(energy, components=tuple(parts))


def _own_share(monitor: Watched, view: HistoryView, start_s: float, device: Device) -> float | None:
    """This process tree's mean share of the memory in use; of a MIG slice, of the memory of its GPU."""
    own, used = f"{device.id}.memory_own_bytes", f"{device.id}.memory_used_bytes"
    if own not in view or used not in view:
        return None
    own_bytes, used_bytes = _mean(view, start_s, own), _mean(view, start_s, used)
    if own_bytes is None or used_bytes is None:
        return None
    share = min(1.0, own_bytes / used_bytes) if used_bytes > 0 else 0.0
    if device.parent_id is None:
        return share
    parent = next((d for d in monitor.gpu_devices() if d.id == device.parent_id), None)
    if parent is None or not parent.memory_total_bytes or not device.memory_total_bytes:
        return None
    # A slice is its owner's, also while nothing is in its memory; only among its own users does memory decide.
    others = view.extreme(f"{device.id}.other_processes")
    return device.memory_total_bytes / parent.memory_total_bytes * (share if others else 1.0)


def _gpu_use(monitor: Watched, view: HistoryView, start_s: float, device: Device) -> GpuUse:
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
        others_max=view.extreme(f"{device.id}.other_processes"),
        own_share=_own_share(monitor, view, start_s, device),
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
