"""From the totals at the two ends of a span to an energy with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from resmon.energy.intervals import SHORT_PERIODS, total_bounds
from resmon.energy.meter import Reading
from resmon.facts import EnergySource
from resmon.results import Energy, EnergyComponent

COUNTER_PERIOD_S = 0.1
"""Assumed period of an energy counter until a device is calibrated: the longest published for these sensors."""

Z_95 = 1.96


def span_component(
    source: EnergySource,
    start: Reading,
    end: Reading,
    *,
    duration_s: float,
    seen_s: float,
    edge_s: float = 0.0,
    power_high_w: float | None = None,
    unread_j: float = 0.0,
) -> EnergyComponent:
    """The energy of one source between two totals, with a 95 % interval.

    The interval of a measured source has three parts: the sensor's gain error (relative, ``source.gain_error`` at one
    sigma); the two edges, at which up to one counter period, or half of the time that polled power is a mean of, plus
    ``edge_s`` seconds of power can lie on the wrong side (rectangular, hence divided by sqrt 3); and the unseen
    seconds, anywhere between nothing and ``power_high_w``. An estimated source carries the bounds of its model. A span
    of less than two such means is an estimate, of no more than the device can draw.

    duration_s: length of the span. seen_s: how much of it lies between two readings. edge_s: uncertainty of the
    instants at which the ends were read. unread_j: standard deviation of what polled power missed between its reads.
    """
    energy_j = end.total_j - start.total_j
    gap_s = min(duration_s, max(0.0, duration_s - seen_s) + (end.gap_s - start.gap_s))
    highest_w = source.power_limit_w or power_high_w or (energy_j / seen_s if seen_s > 0 else 0.0)
    unseen_j = gap_s * highest_w
    mean_s = (source.period_s or 0.0) if source.method == "integrated" else 0.0
    short = duration_s < SHORT_PERIODS * mean_s
    if source.basis == "measured":
        late_s = COUNTER_PERIOD_S if source.method == "counter" else mean_s / 2
        edges_j = math.sqrt(2) * highest_w * (late_s + edge_s) / math.sqrt(3)
        spread_j = Z_95 * math.hypot(source.gain_error * energy_j, edges_j, unread_j)
        low_j, high_j = energy_j - spread_j, energy_j + spread_j + unseen_j
        if short and source.power_limit_w:
            high_j = min(high_j, source.power_limit_w * duration_s)
    else:
        low_j = end.low_j - start.low_j
        high_j = end.high_j - start.high_j + unseen_j
    coverage = 1.0 if duration_s <= 0 else max(0.0, 1.0 - gap_s / duration_s)
    note = source.note
    if coverage < 0.995:
        note = f"{note}; " if note else ""
        note += f"seen {coverage:.0%} of the time"
    return EnergyComponent(
        device=source.label,
        kind=source.kind,
        energy_j=energy_j,
        low_j=max(0.0, min(low_j, energy_j)),
        high_j=max(high_j, energy_j),
        method=source.method,
        basis="estimated" if short else source.basis,
        scope=source.scope,
        coverage=coverage,
        note=note,
    )


def polled_sigma_j(times_s: Sequence[float], power_w: Sequence[float]) -> float:
    """Standard deviation of the integral of a power that was read at these instants; NaN was not read.

    A power that differs between two reads changed at an instant that nobody saw: anywhere between them, hence for each
    pair the difference times the time between, over sqrt 12.
    """
    reads = [(t, w) for t, w in zip(times_s, power_w, strict=True) if w == w]
    return math.sqrt(sum(((b_w - a_w) * (b - a)) ** 2 for (a, a_w), (b, b_w) in pairwise(reads)) / 12)


def combine(components: Iterable[EnergyComponent], not_covered: Sequence[str] = ()) -> Energy:
    """An :class:`~resmon.results.Energy` of these components, with the bounds of :func:`total_bounds`."""
    parts = tuple(components)

    def bounds(basis: str | None) -> tuple[float | None, float | None]:
        chosen = [c for c in parts if basis is None or c.basis == basis]
        if not chosen:
            return None, None
        return total_bounds(chosen)

    low_j, high_j = bounds(None)
    measured_low_j, measured_high_j = bounds("measured")
    estimated_low_j, estimated_high_j = bounds("estimated")
    return Energy(
        components=parts,
        not_covered=tuple(not_covered),
        low_j=low_j,
        high_j=high_j,
        measured_low_j=measured_low_j,
        measured_high_j=measured_high_j,
        estimated_low_j=estimated_low_j,
        estimated_high_j=estimated_high_j,
    )
