"""The energy of a window of a counter, with its 95 % interval; sums over windows and over boards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resmon.energy.mark import Mark
from resmon.facts import EnergySource
from resmon.results import Claim, EnergyComponent

Z_95 = 1.96
SHORT_PERIODS = 2.0
"""A window of fewer periods of the counter is an estimate: its edges are as long as itself."""
WARN_PERIODS = 10.0
"""A window of fewer periods gets a word of warning."""
COMMON_SHARE = 0.5
"""Share of the variance that boards of one kind have in common: they share the maker's calibration and the shunts'
tolerance, and differ from board to board. Half is an assumption; published spreads do not separate the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterEnergy:
    """The energy of one window: ``energy_j`` within ``[low_j, high_j]`` at 95 %.

    The parts of the interval stay apart, so that windows can be summed: ``gain_j`` is the half-width from the
    sensor's gain, which all windows of a board have in common; ``random_j`` that from the edges and from part-time
    sampling; ``less_j`` and ``more_j`` how far off the board's power is, where it disagrees with its counter. ``gap_j``
    of the energy stands for ``gap_s`` seconds that the counter did not count, and could have been anything up to
    ``gap_most_j``. ``estimated`` says that the window is too short for the counter.
    """

    energy_j: float
    low_j: float
    high_j: float
    duration_s: float
    gain_j: float
    random_j: float
    less_j: float = 0.0
    more_j: float = 0.0
    gap_s: float = 0.0
    gap_j: float = 0.0
    gap_most_j: float = 0.0
    estimated: bool = False
    notes: tuple[str, ...] = ()

    @property
    def coverage(self) -> float:
        """The fraction of the window that the counter counted."""
        return 1.0 if self.duration_s <= 0 else min(1.0, max(0.0, 1.0 - self.gap_s / self.duration_s))


def between(
    start: Mark,
    end: Mark,
    *,
    gain_error: float,
    sampled_fraction: float = 1.0,
    power_limit_w: float | None = None,
) -> CounterEnergy:
    """The energy between two marks of one track: the difference of their totals, so that windows add up.

    The interval has, in quadrature: the gain (``gain_error`` at one sigma), the two edges, and, for a sensor that
    looks only ``sampled_fraction`` of the time, ``(1 - sampled_fraction)·sigma_P·T/sqrt(N)`` joules over the N updates
    of the counter in T seconds (25 ms of every 100 ms: 0.75); and, on the side on which it lies, what the integral of
    the board's power says where that is known to disagree with the counter. What was not counted is added linearly,
    between nothing and the limit.

    A window of less than two periods is an estimate in ``[0, limit·T]``, cut by the totals at the edges around its
    ends. Raises ValueError where the end is before the start.
    """
    duration_s = end.at_s - start.at_s
    if duration_s < 0:
        raise ValueError(f"a window ends after it starts: {end.at_s!r} s is before {start.at_s!r} s")
    energy_j = end.total_j - start.total_j
    gap_s = end.gap_s - start.gap_s
    gap_j = min(end.gap_j - start.gap_j, energy_j)
    gap_most_j = max(gap_j, gap_s * power_limit_w if power_limit_w else 2 * gap_j)
    counted_j = energy_j - gap_j
    edges_j = _edges_j(start, end)
    gain_j = Z_95 * gain_error * counted_j
    random_j = Z_95 * math.hypot(edges_j, _sampling_j(start, end, sampled_fraction))
    disagreement = start.disagreement if end.disagreement is None else end.disagreement
    power_j = counted_j if disagreement is None else counted_j / disagreement
    less_j, more_j = max(0.0, counted_j - power_j), max(0.0, power_j - counted_j)
    low_j = counted_j - math.hypot(gain_j, random_j, less_j)
    high_j = counted_j + math.hypot(gain_j, random_j, more_j) + gap_most_j
    period_s = max(start.period_s, end.period_s)
    short = duration_s < SHORT_PERIODS * period_s
    if short:
        low_j, high_j = _short(start, end, Z_95 * gain_error, Z_95 * edges_j, power_limit_w, high_j)
        low_j, high_j = low_j - less_j, high_j + more_j
    return CounterEnergy(
        energy_j=energy_j,
        low_j=max(0.0, min(low_j, energy_j)),
        high_j=max(high_j, energy_j),
        duration_s=duration_s,
        gain_j=gain_j,
        random_j=random_j,
        less_j=less_j,
        more_j=more_j,
        gap_s=gap_s,
        gap_j=gap_j,
        gap_most_j=gap_most_j,
        estimated=short,
        notes=_notes(start, end, gap_s, duration_s / period_s, disagreement),
    )


def _edges_j(start: Mark, end: Mark) -> float:
    """Standard deviation from the two ends.

    Both in one step that was not read: its power was another there than its mean, and nothing else matters.
    """
    apart_j = math.hypot(start.sigma_j, end.sigma_j)
    if (start.floor_j, start.ceiling_j) != (end.floor_j, end.ceiling_j) or end.strays_w != end.strays_w:
        return apart_j
    return min(apart_j, end.strays_w * (end.at_s - start.at_s))


def _sampling_j(start: Mark, end: Mark, sampled_fraction: float) -> float:
    if sampled_fraction >= 1.0:
        return 0.0
    duration_s = end.at_s - start.at_s
    variance_w2 = start.load.variance_w2(end.load)
    if not variance_w2 > 0 or duration_s <= 0:
        return 0.0
    updates = max(1.0, duration_s / end.period_s)
    return (1.0 - sampled_fraction) * math.sqrt(variance_w2) * duration_s / math.sqrt(updates)


def _short(
    start: Mark, end: Mark, gain: float, slack_j: float, power_limit_w: float | None, otherwise_j: float
) -> tuple[float, float]:
    """The bounds of an estimate. ``slack_j`` is for edges that may have been on the other side of an end."""
    low_j = max(0.0, (end.floor_j - start.ceiling_j - slack_j) * (1 - gain))
    most = [(end.ceiling_j - start.floor_j + slack_j) * (1 + gain)]
    if power_limit_w:
        most.append(power_limit_w * (end.at_s - start.at_s))
    high_j = min(most)
    return low_j, high_j if math.isfinite(high_j) else otherwise_j


def _notes(start: Mark, end: Mark, gap_s: float, periods: float, disagreement: float | None) -> tuple[str, ...]:
    notes = []
    if periods < SHORT_PERIODS:
        notes.append("shorter than two periods of the counter")
    elif periods < WARN_PERIODS:
        notes.append(f"only {periods:.0f} periods of the counter long")
    if end.resets > start.resets:
        notes.append("the counter went back or leapt (driver reload?)")
    elif start.unread or end.unread:
        notes.append(f"the counter could not be read at its {'end' if end.unread else 'start'}")
    elif gap_s > 0:
        notes.append("the counter stood still while power was drawn")
    if disagreement is not None:
        notes.append(f"the counter counts {disagreement:.2f} times what the power of this board adds up to")
    return tuple(notes)


def component_of(source: EnergySource, window: CounterEnergy, claim: Claim | None = None) -> EnergyComponent:
    """The window as a component of an :class:`~resmon.results.Energy`."""
    return EnergyComponent(
        device=source.label,
        kind=source.kind,
        energy_j=window.energy_j,
        low_j=window.low_j,
        high_j=window.high_j,
        method=source.method,
        basis="estimated" if window.estimated else source.basis,
        scope=source.scope,
        coverage=window.coverage,
        note="; ".join(filter(None, [source.note, *window.notes])),
        claim=claim,
    )


def sum_windows(windows: Sequence[CounterEnergy]) -> CounterEnergy:
    """The energy of several windows of one board together.

    Their gain is one and the same, so its part of the interval adds linearly, as does what their power says; the edges
    are different ones and add in quadrature; what was not counted adds linearly. Bounds of estimates add linearly.
    Raises ValueError without any.
    """
    if not windows:
        raise ValueError("there is no window to sum")
    exact = [w for w in windows if not w.estimated]
    rough = [w for w in windows if w.estimated]
    gain_j = sum(w.gain_j for w in exact)
    random_j = math.hypot(*(w.random_j for w in exact)) if exact else 0.0
    counted_j = sum(w.energy_j - w.gap_j for w in exact)
    below_j = math.hypot(gain_j, random_j, sum(w.less_j for w in exact))
    above_j = math.hypot(gain_j, random_j, sum(w.more_j for w in exact))
    return CounterEnergy(
        energy_j=sum(w.energy_j for w in windows),
        low_j=max(0.0, counted_j - below_j) + sum(w.low_j for w in rough),
        high_j=counted_j + above_j + sum(w.gap_most_j for w in exact) + sum(w.high_j for w in rough),
        duration_s=sum(w.duration_s for w in windows),
        gain_j=gain_j + sum(w.gain_j for w in rough),
        random_j=math.hypot(*(w.random_j for w in windows)),
        less_j=sum(w.less_j for w in windows),
        more_j=sum(w.more_j for w in windows),
        gap_s=sum(w.gap_s for w in windows),
        gap_j=sum(w.gap_j for w in windows),
        gap_most_j=sum(w.gap_most_j for w in windows),
        estimated=not exact,
        notes=tuple(dict.fromkeys(note for w in windows for note in w.notes)),
    )


def total_bounds(components: Iterable[EnergyComponent], common_share: float = COMMON_SHARE) -> tuple[float, float]:
    """The 95 % interval of the sum of components.

    Components of one device share its gain: they add linearly. Devices measured in the same way have
    ``common_share`` of their variance in common: ``U² = (1 - c)·sum(u²) + c·(sum u)²``. Different kinds of
    sensors (a GPU's, a CPU's) err independently: in quadrature. Bounds of estimates are no random errors: linearly.

    Raises ValueError for a share outside 0-1.
    """
    if not 0.0 <= common_share <= 1.0:
        raise ValueError(f"common_share is a fraction between 0 and 1, not {common_share!r}")
    total_j = below_j = above_j = 0.0
    groups: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for part in components:
        total_j += part.energy_j
        down_j, up_j = part.energy_j - part.low_j, part.high_j - part.energy_j
        if part.basis == "estimated":
            below_j += down_j
            above_j += up_j
            continue
        devices = groups.setdefault((part.kind, part.method), {})
        so_far = devices.get(part.device, (0.0, 0.0))
        devices[part.device] = so_far[0] + down_j, so_far[1] + up_j
    sides = [_quadrature([[u[side] for u in d.values()] for d in groups.values()], common_share) for side in (0, 1)]
    return max(0.0, total_j - below_j - sides[0]), total_j + above_j + sides[1]


def _quadrature(groups: Sequence[Sequence[float]], common_share: float) -> float:
    squares = 0.0
    for widths in groups:
        squares += (1 - common_share) * sum(u * u for u in widths) + common_share * sum(widths) ** 2
    return math.sqrt(squares)
