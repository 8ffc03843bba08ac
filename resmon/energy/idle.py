"""What work took above an idle machine: a second number beside its energy, from a window in which nothing ran."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from resmon import units
from resmon.energy.intervals import Z_95, total_bounds
from resmon.facts import Basis
from resmon.results import EnergyComponent, Measurement

OLD_S = 3600.0
"""An idle window further from the work than this is noted: idle power follows temperature and clocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AboveIdle:
    """The joules of a span beyond what the same devices draw when idle, with 95 % bounds, by basis and by component.

    An energy below 0 is possible where work and idle cannot be told apart; then the interval has 0 in it, and
    ``notes`` say so. Never the headline: all of a device's joules were drawn for the work.
    """

    name: str
    idle_name: str
    duration_s: float
    idle_duration_s: float
    components: tuple[EnergyComponent, ...]
    measured_j: float | None = None
    measured_low_j: float | None = None
    measured_high_j: float | None = None
    estimated_j: float | None = None
    estimated_low_j: float | None = None
    estimated_high_j: float | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        energy = units.format_energy_parts(
            measured=(self.measured_j, self.measured_low_j, self.measured_high_j),
            estimated=(self.estimated_j, self.estimated_low_j, self.estimated_high_j),
        )
        idle = f"idle measured for {units.format_duration_words(self.idle_duration_s)}"
        return " | ".join([f"above idle: {energy}", idle, *self.notes])


def above_idle(work: Measurement, idle: Measurement) -> AboveIdle:
    """Subtract the energy that the same devices would have taken idle: ``E - E_idle / T_idle * T``, for each component.

    Both windows of a device have its gain in common, so that its part of the interval is that of the difference; the
    rest (edges, part-time sampling, gaps) is independent and adds in quadrature. Bounds of estimates are no random
    errors: the least minus the most, and the most minus the least.

    Raises ValueError where the idle window says nothing of this work: of no length, at the same time, of another boot
    or machine, without one of the devices, with another gain, or with clearly more power than the work.
    """
    if not idle.duration_s > 0:
        raise ValueError(f"the idle window {idle.name!r} has no length ({idle.duration_s!r} s)")
    if not work.energy.components:
        raise ValueError(f"{work.name!r} has no energy of which idle energy could be taken off")
    apart_s = _apart_s(work, idle)
    if apart_s < 0:
        raise ValueError(
            f"the idle window {idle.name!r} and {work.name!r} overlap in time: measure idle before or after"
        )
    components = tuple(_difference(part, _match(part, idle), work, idle) for part in work.energy.components)
    notes = []
    if apart_s > OLD_S:
        notes.append(f"idle measured {units.format_duration_words(apart_s)} away from the work")
    unclear = [c.device for c in components if c.low_j <= 0]
    if unclear:
        notes.append(f"not told apart from idle: {', '.join(unclear)}")
    measured, estimated = _total(components, "measured"), _total(components, "estimated")
    return AboveIdle(
        name=work.name,
        idle_name=idle.name,
        duration_s=work.duration_s,
        idle_duration_s=idle.duration_s,
        components=components,
        measured_j=measured[0],
        measured_low_j=measured[1],
        measured_high_j=measured[2],
        estimated_j=estimated[0],
        estimated_low_j=estimated[1],
        estimated_high_j=estimated[2],
        notes=tuple(notes),
    )


def _apart_s(work: Measurement, idle: Measurement) -> float:
    """Seconds between the end of the one and the start of the other; negative where they overlap."""
    first, second = sorted((work, idle), key=lambda m: m.started_at)
    return (second.started_at - first.started_at - timedelta(seconds=first.duration_s)) / timedelta(seconds=1)


def _match(part: EnergyComponent, idle: Measurement) -> EnergyComponent:
    """The energy of the same source in the idle window."""
    same = [c for c in idle.energy.components if (c.device, c.kind) == (part.device, part.kind)]
    if part.claim is not None:
        same = [c for c in same if c.claim is None or c.claim.source == part.claim.source]
    if not same:
        raise ValueError(
            f"the idle window {idle.name!r} has no energy of this {part.device}: measure idle with the same devices"
        )
    found = same[0]
    if part.claim is not None and found.claim is not None and part.claim.boot != found.claim.boot:
        raise ValueError(f"the idle window {idle.name!r} is of another boot or machine: measure idle again")
    measured = part.basis == found.basis == "measured"
    if measured and not math.isclose(part.gain_error, found.gain_error):
        raise ValueError(
            f"{part.device} was calibrated in one of {idle.name!r} and the work alone: measure idle again with the same"
        )
    return found


def _difference(part: EnergyComponent, found: EnergyComponent, work: Measurement, idle: Measurement) -> EnergyComponent:
    work_s, idle_s = _seconds(part, work), _seconds(found, idle)
    if not idle_s > 0:
        raise ValueError(f"the idle window {idle.name!r} saw {part.device} for no time at all")
    times = work_s / idle_s
    energy_j = part.energy_j - times * found.energy_j
    if part.basis == found.basis == "measured":
        basis: Basis = "measured"
        gains_j = [Z_95 * c.gain_error * c.energy_j * c.coverage for c in (part, found)]
        gain_j = gains_j[0] - times * gains_j[1]
        down_j, up_j = _rest(part, gains_j[0])
        idle_down_j, idle_up_j = (times * rest_j for rest_j in _rest(found, gains_j[1]))
        low_j = energy_j - math.hypot(gain_j, down_j, idle_up_j)
        high_j = energy_j + math.hypot(gain_j, up_j, idle_down_j)
    else:
        basis = "estimated"
        low_j = part.low_j - times * found.high_j
        high_j = part.high_j - times * found.low_j
    if high_j < 0:
        raise ValueError(
            f"{part.device} drew more in the idle window {idle.name!r} ({found.energy_j / idle_s:.3g} W) than in "
            f"{work.name!r} ({part.energy_j / work_s:.3g} W): it was not idle"
        )
    notes = [part.note, "" if found.coverage >= 0.995 else f"idle seen {found.coverage:.0%} of the time"]
    return replace(
        part,
        energy_j=energy_j,
        low_j=low_j,
        high_j=high_j,
        basis=basis,
        scope=f"{part.scope}, above idle",
        note="; ".join(filter(None, notes)),
        claim=None,
    )


def _seconds(part: EnergyComponent, m: Measurement) -> float:
    """How long the component's energy stands for: a window's ends may lie between two samples."""
    return m.duration_s if part.claim is None else part.claim.end_s - part.claim.start_s


def _rest(part: EnergyComponent, gain_j: float) -> tuple[float, float]:
    """The two half-widths without the gain's part."""
    down_j, up_j = part.energy_j - part.low_j, part.high_j - part.energy_j
    return math.sqrt(max(0.0, down_j**2 - gain_j**2)), math.sqrt(max(0.0, up_j**2 - gain_j**2))


def _total(components: Sequence[EnergyComponent], basis: Basis) -> tuple[float | None, float | None, float | None]:
    """Sum and bounds of the components of one basis, by the rules for any components."""
    chosen = [c for c in components if c.basis == basis]
    if not chosen:
        return None, None, None
    # The rules know no energy below 0, and depend on the widths alone: they are asked about these.
    widths = [replace(c, energy_j=c.energy_j - c.low_j, low_j=0.0, high_j=c.high_j - c.low_j) for c in chosen]
    centre_j, energy_j = sum(w.energy_j for w in widths), sum(c.energy_j for c in chosen)
    low_j, high_j = total_bounds(widths)
    return energy_j, energy_j - (centre_j - low_j), energy_j + (high_j - centre_j)
