"""Whose joules those of a shared device were: an estimate beside the headline, whose parts sum to the device."""

from __future__ import annotations

from dataclasses import replace

from resmon.energy.ledger import attribute
from resmon.results import EnergyComponent, Measurement

OURS, OTHERS = "this process tree", "others"


def attribution(measurement: Measurement) -> tuple[EnergyComponent, ...]:
    """For each GPU that others used too, two estimates: this process tree's part of its energy, and the others'.

    In proportion to memory, which is all that a driver tells of who is who: of a GPU, our share of the memory in use;
    of a GPU that is cut into MIG slices, the share of its memory that our slices are (of a slice that others use too,
    in proportion again). Whoever holds much memory and computes little is charged too much, so the bounds of a part
    are nothing and the whole device. The parts of a device sum to it; ``claim`` is None, for a ledger has the device.

    A device that nobody else used has no entry, nor one whose processes a container hides. It never replaces the energy
    of the measurement, which is that of the devices.
    """
    found: list[EnergyComponent] = []
    for part in measurement.energy.components:
        own = _own_share(part, measurement)
        if own is not None:
            pieces = attribute(part, [own, 1.0 - own])
            for piece, who in zip(pieces, (OURS, OTHERS), strict=True):
                found.append(replace(piece, device=f"{part.device}, {who}", note=f"{piece.note}, by memory"))
    return tuple(found)


def _own_share(part: EnergyComponent, measurement: Measurement) -> float | None:
    """Our share of a shared device; None where it is ours alone, or nobody can tell."""
    if part.kind not in ("gpu", "module") or "shared" not in part.scope:
        return None
    source = "" if part.claim is None else part.claim.source
    shares = [
        gpu.own_share
        for gpu in measurement.gpus
        if gpu.device.label == part.device
        or (gpu.device.parent_id and gpu.device.parent_id.removeprefix("gpu:") == source.removeprefix("nvml:"))
    ]
    known = [share for share in shares if share is not None]
    return min(1.0, sum(known)) if known and len(known) == len(shares) else None
