"""Which devices CUDA shows this process and in which order, found without CUDA.

``CUDA_VISIBLE_DEVICES`` is read as the CUDA runtime reads it (CUDA programming guide, "Environment Variables"; PyTorch
emulates the same rules in ``torch.cuda._parse_visible_devices``). What cannot be known without asking CUDA is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ORDINAL = re.compile(r"\s*\+?(\d+)")
_LEGACY_MIG = re.compile(r"MIG-(GPU-[^/]+)/(\d+)/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigSlice:
    """A MIG compute instance as the driver lists it."""

    uuid: str
    gpu_instance: int | None = None
    compute_instance: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalGpu:
    """A GPU as the driver lists it, in PCI order. ``mig`` is True where it is cut into slices (perhaps none yet)."""

    uuid: str
    name: str
    mig: bool = False
    slices: tuple[MigSlice, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The UUIDs a process can compute on: the GPU, or its slices."""
        return tuple(part.uuid for part in self.slices) if self.mig else (self.uuid,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """``uuids`` in the order of CUDA's ordinals. ``note`` says why that order or choice is not ``certain``."""

    uuids: tuple[str, ...]
    certain: bool = True
    note: str = ""


def visible_devices(value: str | None, gpus: Sequence[PhysicalGpu], order: str | None = None) -> Visible:
    """Map ``CUDA_VISIBLE_DEVICES`` (``value``; None: not set) and ``CUDA_DEVICE_ORDER`` (``order``) to UUIDs.

    Ordinals, ``GPU-`` UUIDs and their unique beginnings, ``MIG-`` UUIDs and ``MIG-GPU-…/gi/ci`` are understood. The
    first entry that names nothing (``-1``, an unknown or ambiguous UUID, an ordinal too large, an entry of another
    kind than the first) ends the list; an entry given twice leaves no device at all. A MIG GPU stands for its
    slices. CUDA's default order is "fastest first", which equals PCI order only between GPUs of one model.
    """
    if value is None:
        every = [uuid for gpu in gpus for uuid in gpu.shown]
        return _judged(every, gpus, order, by_ordinal=True, mixed=False)
    by_ordinal = not value.startswith(("GPU-", "MIG-"))
    keys: list[int | str] = []
    mixed = False
    for entry in value.split(","):
        if by_ordinal and entry.strip().startswith(("GPU-", "MIG-")):
            mixed = True
            break
        key = _ordinal(entry) if by_ordinal else entry
        if key is None:
            break
        if isinstance(key, str) and not key.startswith(value[:4]):
            mixed = True
            break
        if key in keys:
            return _twice(value)
        keys.append(key)
    chosen: list[str] = []
    for key in keys:
        named = _named(key, gpus)
        if not named:
            break
        if named[0] in chosen:
            return _twice(value)
        chosen.extend(named)
    return _judged(chosen, gpus, order, by_ordinal=by_ordinal, mixed=mixed)


def _twice(value: str) -> Visible:
    return Visible(uuids=(), note=f"CUDA_VISIBLE_DEVICES={value!r} names a device twice: CUDA then shows none")


def _ordinal(entry: str) -> int | None:
    """Read the number an entry begins with, as C's strtoul does: CUDA takes ``1gpu2`` for 1."""
    number = _ORDINAL.match(entry)
    return int(number[1]) if number else None


def _named(key: int | str, gpus: Sequence[PhysicalGpu]) -> tuple[str, ...]:
    if isinstance(key, int):
        return gpus[key].shown if key < len(gpus) else ()
    if key in ("GPU-", "MIG-"):
        return ()
    if key.startswith("GPU-"):
        named = [gpu.shown for gpu in gpus if gpu.uuid.startswith(key)]
    elif legacy := _LEGACY_MIG.fullmatch(key):
        named = [
            (part.uuid,)
            for gpu in gpus
            for part in gpu.slices
            if (gpu.uuid, str(part.gpu_instance), str(part.compute_instance)) == legacy.groups()
        ]
    else:
        named = [(part.uuid,) for gpu in gpus for part in gpu.slices if part.uuid.startswith(key)]
    return named[0] if len(named) == 1 else ()


def _judged(
    chosen: list[str], gpus: Sequence[PhysicalGpu], order: str | None, *, by_ordinal: bool, mixed: bool
) -> Visible:
    notes = []
    if by_ordinal and chosen and order != "PCI_BUS_ID" and len({gpu.name for gpu in gpus}) > 1:
        notes.append(
            "the GPUs differ and CUDA orders them by speed: set CUDA_DEVICE_ORDER=PCI_BUS_ID to be sure of the numbers"
        )
    if len(chosen) > 1 and any(part.uuid in chosen for gpu in gpus for part in gpu.slices):
        notes.append("a process may compute on the first MIG slice only")
    if mixed:
        notes.append("CUDA_VISIBLE_DEVICES mixes numbers, GPU- and MIG- ids: those after the first kind are ignored")
    return Visible(uuids=tuple(chosen), certain=not notes, note="; ".join(notes))
