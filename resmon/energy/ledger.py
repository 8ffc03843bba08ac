"""Which joules are already counted: nested windows, cells, ranks and kernels tag the same joules and never add them.

A claim is a stretch of one energy source's running total. The ledger keeps, for each source of one boot of one
machine, the union of what was claimed: adding a claim again, or one inside another, adds nothing.
"""

from __future__ import annotations

import math
import re
from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import replace

from resmon.energy.span import combine
from resmon.results import Claim, Energy, EnergyComponent, Measurement

MAX_NOTES = 20
"""A sum says so many different things of its parts at most, so that memory is bounded; every calibration it names."""
_APART = re.compile(r"; (?!calibration )")


class Ledger:
    """Sums energies so that no joule is counted twice. Not thread-safe; pure.

    Claims on one meter (a device's own counter, or one monitor's running total) are cut at exact totals. Where two
    monitors integrated or modelled the power of the same device, each on a meter of its own, the first claim on a
    stretch of time counts and the later one gives only what lies outside it, in proportion to time. Components without
    a claim (made by hand, or read from an old file) cannot be compared with others: they are refused.

    :class:`resmon.SharedLedger` is the same between the kernels of one user.
    """

    def __init__(self, items: Iterable[Measurement | Energy | EnergyComponent] = ()) -> None:
        self._counted: dict[tuple[str, str], list[EnergyComponent]] = {}
        self._not_covered: dict[str, None] = {}
        for item in items:
            self.add(item)

    def add(self, item: Measurement | Energy | EnergyComponent) -> float:
        """Count what is new in it; returns those joules (0.0 when all was counted before).

        Raises ValueError for a component without a claim, TypeError for anything else; then nothing is counted.
        """
        return sum(entry.energy_j for entry in self.enter(item))

    def enter(self, item: Measurement | Energy | EnergyComponent) -> tuple[EnergyComponent, ...]:
        """The same; returns the entries that were made: the parts of its components that are new, each with its claim.

        Their bounds are in proportion to what counts. An entry is what :meth:`restore` takes.
        """
        if isinstance(item, Measurement):
            item = item.energy
        if not isinstance(item, (Energy, EnergyComponent)):
            raise TypeError(f"a ledger takes measurements, energies and their components, not {type(item).__name__}")
        components = item.components if isinstance(item, Energy) else (item,)
        claimed = [(component, _claim(component)) for component in components]
        if isinstance(item, Energy):
            self._not_covered.update(dict.fromkeys(item.not_covered))
        entries: list[EnergyComponent] = []
        for component, claim in claimed:
            new = _outside(component, claim, self._counted.get((claim.boot, claim.source), []))
            self.restore(new)
            entries += new
        return tuple(entries)

    def restore(self, entries: Iterable[EnergyComponent], not_covered: Iterable[str] = ()) -> None:
        """Take entries that a ledger made, and what it knew to be missing, as they are."""
        for entry in entries:
            claim = _claim(entry)
            insort(self._counted.setdefault((claim.boot, claim.source), []), entry, key=_start_s)
        self._not_covered.update(dict.fromkeys(not_covered))

    @property
    def entries(self) -> tuple[EnergyComponent, ...]:
        """What was counted, by source and in order of time: stretches that do not overlap."""
        return tuple(entry for entries in self._counted.values() for entry in entries)

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What the energies that were added knew to be missing."""
        return tuple(self._not_covered)

    @property
    def energy(self) -> Energy:
        """All that was counted, each joule once, with bounds in proportion to what counted.

        One component per source; two where it was measured for a part of the time and estimated for another.
        """
        parts: dict[tuple[str, str, str], list[EnergyComponent]] = {}
        for source, entries in self._counted.items():
            for entry in entries:
                parts.setdefault((*source, entry.basis), []).append(entry)
        return combine(map(_sum, parts.values()), self.not_covered)

    def counted(self, component: EnergyComponent) -> bool:
        """Whether every joule of the component was counted before."""
        if component.claim is None:
            return False
        known = self._counted.get((component.claim.boot, component.claim.source), [])
        return not any(entry.energy_j > 0 for entry in _outside(component, component.claim, known))

    def join(self, most: int) -> None:
        """Join neighbouring entries until at most ``most`` are left (or one per source), so that memory is bounded.

        Entries that meet on one meter are joined without loss. Then the oldest neighbours are joined with what lies
        between them, which counts as counted from then on: a joule may be left out, and none is added twice.
        """
        for key, entries in self._counted.items():
            self._counted[key] = _joined(entries)
        spare = len(self.entries) - most
        for key, entries in sorted(self._counted.items(), key=lambda item: _start_s(item[1][-1])):
            cut = min(max(0, spare), len(entries) - 1)
            if cut:
                self._counted[key] = [_bridged(entries[: cut + 1]), *entries[cut + 1 :]]
                spare -= cut


def _claim(component: EnergyComponent) -> Claim:
    if component.claim is None:
        raise ValueError(
            f"the energy of {component.device} does not say which joules it is made of (it has no claim), "
            "so it cannot be told whether they were counted before"
        )
    return component.claim


def _start_s(entry: EnergyComponent) -> float:
    return _claim(entry).start_s


def _outside(component: EnergyComponent, claim: Claim, counted: Sequence[EnergyComponent]) -> list[EnergyComponent]:
    """The parts of a component that no counted entry covers, oldest first."""
    found: list[EnergyComponent] = []
    at_s, at_j = claim.start_s, claim.start_j

    def total_at(instant_s: float) -> float:
        if claim.end_s <= claim.start_s:
            return claim.start_j
        share = (instant_s - claim.start_s) / (claim.end_s - claim.start_s)
        return claim.start_j + (claim.end_j - claim.start_j) * share

    def cut(end_s: float, end_j: float) -> None:
        if end_s > at_s or end_j > at_j:
            found.append(_part(component, replace(claim, start_s=at_s, end_s=end_s, start_j=at_j, end_j=end_j)))

    for known in map(_claim, counted):
        if known.end_s <= at_s or known.start_s >= claim.end_s:
            continue
        exact = known.meter == claim.meter
        if known.start_s > at_s:
            until_j = known.start_j if exact else total_at(known.start_s)
            cut(known.start_s, min(max(at_j, until_j), claim.end_j))
        at_s = known.end_s
        at_j = min(max(at_j, known.end_j if exact else total_at(known.end_s)), claim.end_j)
        if at_s >= claim.end_s:
            return found
    cut(claim.end_s, max(at_j, claim.end_j))
    return found


def _part(component: EnergyComponent, claim: Claim) -> EnergyComponent:
    """The part of a component that a part of its claim stands for, with the same relative error.

    Of a claim on no joules, in proportion to time.
    """
    whole = _claim(component)
    if claim == whole:
        return component
    if whole.end_j > whole.start_j:
        share = (claim.end_j - claim.start_j) / (whole.end_j - whole.start_j)
    else:
        share = (claim.end_s - claim.start_s) / (whole.end_s - whole.start_s)
    return replace(
        component,
        energy_j=component.energy_j * share,
        low_j=component.low_j * share,
        high_j=component.high_j * share,
        claim=claim,
    )


def _sum(entries: Sequence[EnergyComponent], claim: Claim | None = None) -> EnergyComponent:
    """The entries of one source together: no better known than the worst of them, with all that was said of them."""
    energy_j = math.fsum(entry.energy_j for entry in entries)
    seconds = [_claim(entry).end_s - _claim(entry).start_s for entry in entries]
    seen_s = math.fsum(entry.coverage * length_s for entry, length_s in zip(entries, seconds, strict=True))
    return replace(
        entries[-1],
        energy_j=energy_j,
        low_j=min(math.fsum(entry.low_j for entry in entries), energy_j),
        high_j=max(math.fsum(entry.high_j for entry in entries), energy_j),
        basis="estimated" if any(entry.basis == "estimated" for entry in entries) else entries[-1].basis,
        scope=next((entry.scope for entry in entries if "shared" in entry.scope), entries[-1].scope),
        coverage=seen_s / math.fsum(seconds) if any(seconds) else entries[-1].coverage,
        note=_said(entries),
        claim=claim,
        gain_error=max(entry.gain_error for entry in entries),
    )


def _said(entries: Iterable[EnergyComponent]) -> str:
    """The notes of entries, each once."""
    said = list(dict.fromkeys(note for entry in entries for note in _APART.split(entry.note) if note))
    return "; ".join([*said[:MAX_NOTES], *(note for note in said[MAX_NOTES:] if "calibration " in note)])


def _bridged(entries: Sequence[EnergyComponent]) -> EnergyComponent:
    first, last = _claim(entries[0]), _claim(entries[-1])
    meter = first.meter if first.meter == last.meter else f"{first.meter} and others"
    return _sum(entries, replace(last, meter=meter, start_s=first.start_s, start_j=first.start_j))


def _joined(entries: Sequence[EnergyComponent]) -> list[EnergyComponent]:
    """Entries without those that begin where the one before them ends, on one meter and known in the same way."""
    found: list[EnergyComponent] = []
    for entry in entries:
        if found and _meet(found[-1], entry):
            found[-1] = _bridged([found[-1], entry])
        else:
            found.append(entry)
    return found


def _meet(before: EnergyComponent, after: EnergyComponent) -> bool:
    first, second = _claim(before), _claim(after)
    same = (first.meter, before.basis, before.method) == (second.meter, after.basis, after.method)
    return same and (first.end_s, first.end_j) == (second.start_s, second.start_j)


def attribute(component: EnergyComponent, weights: Sequence[float]) -> tuple[EnergyComponent, ...]:
    """Split a shared device's energy among its users in proportion to ``weights``; the parts sum to the device.

    An estimate, whatever the device's own basis: nobody's joules can be measured apart on one board. ``weights`` are
    for example shares of busy time or of memory. Raises ValueError for weights that are negative or all zero.
    """
    total = sum(weights)
    if not weights or not 0 < total < float("inf") or any(not w >= 0 for w in weights):
        raise ValueError(f"weights must be finite, not negative and not all zero, not {list(weights)!r}")
    # In whole steps of the last digit of the sum, which add up exactly; the largest part takes what rounding left.
    step_j = math.ulp(component.energy_j)
    parts = [round(component.energy_j * (w / total) / step_j) * step_j for w in weights]
    largest = max(range(len(parts)), key=parts.__getitem__)
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
