"""Which joules are already counted: nested windows, cells, ranks and kernels tag the same joules and never add them.

A claim is a stretch of one energy source's running total. The ledger keeps, for each source of one boot of one
machine, the union of what was claimed: adding a claim again, or one inside another, adds nothing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from resmon.energy.span import combine
from resmon.results import Claim, Energy, EnergyComponent, Measurement


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of a claim that is counted: instants and running totals at its ends, and the component it came from."""

    start_s: float
    end_s: float
    start_j: float
    end_j: float
    meter: str
    component: EnergyComponent


class Ledger:
    """Sums energies so that no joule is counted twice. Not thread-safe; pure.

    Claims on one meter (one counter, or one monitor's running total) are cut at exact totals. Where two monitors
    integrated the power of the same device, the first claim on a stretch of time counts and the later one gives only
    what lies outside it, in proportion to time. Components without a claim (made by hand, or read from an old file)
    cannot be compared with others: they are refused.
    """

    def __init__(self, items: Iterable[Measurement | Energy | EnergyComponent] = ()) -> None:
        self._counted: dict[tuple[str, str], list[_Stretch]] = {}
        self._not_covered: dict[str, None] = {}
        for item in items:
            self.add(item)

    def add(self, item: Measurement | Energy | EnergyComponent) -> float:
        """Count what is new in it; returns those joules (0.0 when all was counted before).

        Raises ValueError for a component without a claim, TypeError for anything else.
        """
        if isinstance(item, Measurement):
            return self.add(item.energy)
        if isinstance(item, Energy):
            self._not_covered.update(dict.fromkeys(item.not_covered))
            return sum(self.add(component) for component in item.components)
        if not isinstance(item, EnergyComponent):
            raise TypeError(f"a ledger takes measurements, energies and their components, not {type(item).__name__}")
        if item.claim is None:
            raise ValueError(
                f"the energy of {item.device} does not say which joules it is made of (it has no claim), "
                "so it cannot be told whether they were counted before"
            )
        return self._add(item, item.claim)

    def _add(self, component: EnergyComponent, claim: Claim) -> float:
        counted = self._counted.setdefault((claim.boot, claim.source), [])
        new = [s for s in _outside(claim, component, counted) if s.end_s > s.start_s or s.end_j > s.start_j]
        for stretch in new:
            insort(counted, stretch, key=attrgetter("start_s"))
        return sum(stretch.end_j - stretch.start_j for stretch in new)

    @property
    def energy(self) -> Energy:
        """All that was counted, each joule once: one component per source, bounds in proportion to what counted."""
        return combine(
            [_merged(stretches) for stretches in self._counted.values() if stretches], list(self._not_covered)
        )

    def counted(self, component: EnergyComponent) -> bool:
        """Whether every joule of the component was counted before."""
        if component.claim is None:
            return False
        known = self._counted.get((component.claim.boot, component.claim.source), [])
        return not any(s.end_j > s.start_j for s in _outside(component.claim, component, known))


def _outside(claim: Claim, component: EnergyComponent, counted: Sequence[_Stretch]) -> list[_Stretch]:
    """The parts of a claim that no counted stretch covers, oldest first."""
    found: list[_Stretch] = []
    at_s, at_j = claim.start_s, claim.start_j

    def total_at(instant_s: float) -> float:
        if claim.end_s <= claim.start_s:
            return claim.start_j
        share = (instant_s - claim.start_s) / (claim.end_s - claim.start_s)
        return claim.start_j + (claim.end_j - claim.start_j) * share

    for known in counted:
        if known.end_s <= at_s or known.start_s >= claim.end_s:
            continue
        exact = known.meter == claim.meter
        until_j = known.start_j if exact else total_at(known.start_s)
        if known.start_s > at_s:
            found.append(_Stretch(at_s, known.start_s, at_j, max(at_j, until_j), claim.meter, component))
        at_s = known.end_s
        at_j = max(at_j, known.end_j if exact else total_at(known.end_s))
        if at_s >= claim.end_s:
            return found
    found.append(_Stretch(at_s, claim.end_s, at_j, max(at_j, claim.end_j), claim.meter, component))
    return found


def _merged(stretches: Sequence[_Stretch]) -> EnergyComponent:
    energy_j = low_j = high_j = 0.0
    for stretch in stretches:
        part_j = stretch.end_j - stretch.start_j
        whole = stretch.component
        energy_j += part_j
        # The bounds of a part: the same relative error as the whole's; of a whole that is 0, what its time allows.
        share = part_j / whole.energy_j if whole.energy_j > 0 else 1.0
        low_j += whole.low_j * share
        high_j += whole.high_j * share
    newest = stretches[-1].component
    return replace(newest, energy_j=energy_j, low_j=min(low_j, energy_j), high_j=max(high_j, energy_j), claim=None)


def attribute(component: EnergyComponent, weights: Sequence[float]) -> tuple[EnergyComponent, ...]:
    """Split a shared device's energy among its users in proportion to ``weights``; the parts sum to the device.

    An estimate, whatever the device's own basis: nobody's joules can be measured apart on one board. ``weights`` are
    for example shares of busy time or of memory. Raises ValueError for weights that are negative or all zero.
    """
    total = sum(weights)
    if not weights or not 0 < total < float("inf") or any(not w >= 0 for w in weights):
        raise ValueError(f"weights must be finite, not negative and not all zero, not {list(weights)!r}")
    parts = [component.energy_j * w / total for w in weights]
    largest = max(range(len(parts)), key=parts.__getitem__)
    # Rounding is taken by the largest part, so that the sum is the device's to the last digit.
    parts[largest] = component.energy_j - sum(part for i, part in enumerate(parts) if i != largest)
    return tuple(
        replace(
            component,
            energy_j=part_j,
            low_j=0.0 if weight < total else component.low_j,
            high_j=component.high_j,
            basis="estimated",
            note=f"{weight / total:.0%} of a shared device",
            claim=None,
        )
        for part_j, weight in zip(parts, weights, strict=True)
    )
