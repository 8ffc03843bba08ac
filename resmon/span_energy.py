"""The energy of a span of the history, by source, and which joules these are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, Protocol

from resmon.clock import Clock
from resmon.energy import Reading, combine, span_component
from resmon.energy.intervals import between, component_of
from resmon.energy.mark import Mark
from resmon.energy.span import polled_sigma_j
from resmon.facts import Device, EnergySource, Limits
from resmon.history import History
from resmon.plan import meter_channels
from resmon.ranks import RankUse
from resmon.results import Claim, Energy, EnergyComponent, Factors
from resmon.sampler import Sampler


class Watched(Protocol):
    """What measuring a span needs of its monitor."""

    sampler: Sampler
    clock: Clock
    interval_s: float
    meter_id: str

    @property
    def factors(self) -> Factors: ...

    @property
    def limits(self) -> Limits | None: ...

    def host_device(self) -> Device | None: ...

    def gpu_devices(self) -> Sequence[Device]: ...

    def not_covered(self) -> Sequence[str]: ...

    def why_not_measured(self) -> str: ...

    def calibrated(self, source: EnergySource, component: EnergyComponent) -> EnergyComponent: ...

    def rank_uses(self, start_s: float, end_s: float) -> tuple[RankUse, ...]: ...


HARDLY_SEEN = 0.005
"""Of a span seen for a smaller share, joules that could also be 0 are no energy of the span."""

Marks = tuple[Mapping[str, Mark], Mapping[str, Mark]]
"""The totals of counters at the two ends of a span, by source."""


def span_energy(monitor: Watched, start_s: float, end_s: float, marks: Marks | None = None) -> Energy:
    """The energy of a span of the history, by source, with what is not covered."""
    parts, missing = [], [*monitor.not_covered(), *_machines_elsewhere(monitor.rank_uses(start_s, end_s))]
    for source in monitor.sampler.sources:
        at_ends = (None, None) if marks is None else (marks[0].get(source.id), marks[1].get(source.id))
        part = _component(monitor, source, (start_s, end_s), at_ends)
        if part is None:
            missing.append(f"{source.label} (no reading in this span)")
        else:
            gain_error = source.gain_error if part.basis == "measured" else 0.0
            parts.append(monitor.calibrated(source, replace(part, gain_error=gain_error)))
    return combine(parts, missing)


def _machines_elsewhere(uses: Sequence[RankUse]) -> list[str]:
    """The machines of ranks that this one cannot measure: by name, where they are few."""
    hosts = Counter(use.host or "another machine" for use in uses if use.elsewhere)
    if len(hosts) > 4:
        return [f"{len(hosts)} other machines ({hosts.total()} ranks)"]
    return [f"{host} ({count} rank{'s' * (count > 1)})" for host, count in hosts.items()]


def _component(
    monitor: Watched, source: EnergySource, span: tuple[float, float], marks: tuple[Mark | None, Mark | None]
) -> EnergyComponent | None:
    """The energy of one source; None where nothing of it was read in this span."""
    if marks[0] is not None and marks[1] is not None:
        return _marked_component(monitor, source, marks[0], marks[1])
    history, meter = monitor.sampler.history, monitor.sampler.meter(source.id)
    start = _marked_end(marks[0]) or _end(history, source, span[0], "after")
    end = _marked_end(marks[1]) or _end(history, source, span[1], "before")
    if meter is None or start is None or end is None or end.at_s < start.at_s:
        return None
    last = end.reading  # of two functions that agree but for the edges, the difference shall not be negative
    last = last if last.total_j >= start.reading.total_j else last._replace(total_j=start.reading.total_j)
    part = span_component(
        source,
        start.reading,
        last,
        duration_s=span[1] - span[0],
        seen_s=end.at_s - start.at_s,
        edge_s=max(start.edge_s, end.edge_s),
        power_high_w=meter.power_max_w,
        unread_j=_unread_j(monitor, source, span[0], span[1]),
    )
    if part.coverage < HARDLY_SEEN and part.low_j == 0:
        return None
    totals = start.reading.total_j, last.total_j
    return replace(part, claim=_claim(monitor, source, (start.at_s, end.at_s), totals, meter.origin_j))


def _unread_j(monitor: Watched, source: EnergySource, start_s: float, end_s: float) -> float:
    """What the integral of a polled power may have missed, by the reads in a span and those beside it."""
    if source.method != "integrated":
        return 0.0
    view = monitor.sampler.history.view(start_s - monitor.interval_s, end_s + monitor.interval_s)
    return polled_sigma_j(view.times, view.raw(source.channel)) if source.channel in view else 0.0


def _claim(
    monitor: Watched,
    source: EnergySource,
    span: tuple[float, float],
    totals: tuple[float, float],
    origin_j: float,
    *,
    bridged: bool = False,
) -> Claim:
    """Which joules lie between two totals: on the device's own counter, where it is known what that read at 0.

    bridged: these totals hold joules that stand for a gap, which the monitor's other totals leave out.
    """
    own = source.absolute and origin_j == origin_j
    meter = f"{monitor.meter_id}, gaps bridged" if bridged else monitor.meter_id
    return Claim(
        boot=monitor.clock.boot,
        source=source.id,
        meter="counter" if own else meter,
        start_s=span[0],
        end_s=span[1],
        start_j=totals[0] + (origin_j if own else 0.0),
        end_j=totals[1] + (origin_j if own else 0.0),
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
    whole = (start.resets, start.gap_s) == (end.resets, end.gap_s)
    origin_j = start.origin_j if whole else math.nan  # across a gap the counter does not say what was drawn
    totals = start.total_j, end.total_j
    claim = _claim(monitor, source, (start.at_s, end.at_s), totals, origin_j, bridged=end.gap_s > 0)
    return component_of(source, window, claim)


class _End(NamedTuple):
    """The totals at one end of a span: the instant they hold for, and how far the nearest sample is."""

    at_s: float
    reading: Reading
    edge_s: float


def _marked_end(mark: Mark | None) -> _End | None:
    """A mark as the end of a span whose other end has none, so that the neighbour of the span has the same total.

    Not after a gap, whose bridge the totals of the history do not hold.
    """
    if mark is None or mark.gap_s > 0:
        return None
    return _End(mark.at_s, Reading(mark.total_j, mark.total_j, mark.total_j, 0.0), 0.0)


def _end(history: History, source: EnergySource, at_s: float, beyond: Literal["after", "before"]) -> _End | None:
    """Totals interpolated at an instant, or of the nearest sample on the span's inner side."""
    channels = meter_channels(source)
    before, after = history.beside(channels[0], at_s)
    if before is not None and after is not None:
        edge_s = min(at_s - before.at_s, after.at_s - at_s)
    else:
        nearest = after if beyond == "after" else before
        if nearest is None:
            return None
        at_s, edge_s = nearest.at_s, 0.0
    values = [history.value(channel_id, at_s) or 0.0 for channel_id in channels]
    if source.basis == "estimated":
        return _End(at_s, Reading(values[0], values[1], values[2], 0.0), edge_s)
    total_j, gap_s = values
    return _End(at_s, Reading(total_j, total_j, total_j, gap_s), edge_s)
