"""The GPUs and MIG slices that the driver lists, and their shape: devices, channels, energy sources."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from resmon.facts import Channel, Device, EnergySource
from resmon.sensors.cuda_visible import MigSlice, PhysicalGpu
from resmon.sensors.nvml_reader import GPU_QUANTITIES, MIG_PARENT_QUANTITIES, SLICE_QUANTITIES, DeviceReader

_MEAN_S = 1.0
_PART_TIME = re.compile(r"\b(A100|A800|H100|H800|H200|GH200)\b")
"""GPUs whose power sensor looks 25 ms in every 100 ms (Yang, Adamek and Armour 2023,
arXiv 2312.02741, for the A100 and H100 class); that their siblings do the same is assumed."""

TIMES = (
    Channel(device_id="nvml", quantity="before_s", unit="s", code="d"),
    Channel(device_id="nvml", quantity="after_s", unit="s", code="d"),
)
"""The instants just before and just after the counters of all GPUs were read in a tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSlice:
    """A MIG slice and its driver handle."""

    mig: MigSlice
    name: str
    handle: Any
    memory_total_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGpu:
    """A GPU and its driver handle; ``handle`` is None while the GPU is lost."""

    uuid: str
    name: str
    handle: Any
    memory_total_bytes: int | None
    index: int
    mig: bool = False
    slices: tuple[FoundSlice, ...] = ()

    @property
    def physical(self) -> PhysicalGpu:
        """What CUDA_VISIBLE_DEVICES is matched against."""
        return PhysicalGpu(uuid=self.uuid, name=self.name, mig=self.mig, slices=tuple(s.mig for s in self.slices))


@dataclass(slots=True)
class Scan:
    """What the driver lists: the GPUs, and the return codes of those that could not be opened, by index."""

    gpus: list[FoundGpu] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)


def scan(nvml: Any) -> Scan:
    """List every GPU. Raises NVMLError only where the list itself cannot be had."""
    found = Scan()
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            mig = _mig_enabled(nvml, handle)
            found.gpus.append(
                FoundGpu(
                    uuid=nvml.nvmlDeviceGetUUID(handle),
                    name=_name(nvml, handle),
                    handle=handle,
                    memory_total_bytes=_memory_total(nvml, handle),
                    index=index,
                    mig=mig,
                    slices=tuple(_slices(nvml, handle)) if mig else (),
                )
            )
        except nvml.NVMLError as error:
            found.refused[index] = error.value
    return found


def merged(known: Sequence[FoundGpu], found: Sequence[FoundGpu]) -> list[FoundGpu]:
    """Join what is listed now with what was known: a GPU that is not listed any more stays, without a handle."""
    listed = {gpu.uuid: gpu for gpu in found}
    kept = [listed.pop(gpu.uuid, replace(gpu, handle=None)) for gpu in known]
    return sorted([*kept, *listed.values()], key=lambda gpu: gpu.index)


def _name(nvml: Any, handle: Any) -> str:
    try:
        return str(nvml.nvmlDeviceGetName(handle))
    except UnicodeDecodeError:
        return "NVIDIA GPU"  # pynvml hands over no name that is not UTF-8


def _mig_enabled(nvml: Any, handle: Any) -> bool:
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:
        return False  # most GPUs have no such mode
    return bool(current == nvml.NVML_DEVICE_MIG_ENABLE)


def _slices(nvml: Any, parent: Any) -> Iterable[FoundSlice]:
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(parent)):
        try:
            handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, index)
            uuid, name = nvml.nvmlDeviceGetUUID(handle), _name(nvml, handle)
        except nvml.NVMLError:
            continue  # the places for slices are numbered, and not every one is taken
        gpu_instance = compute_instance = None
        with suppress(nvml.NVMLError):
            gpu_instance = nvml.nvmlDeviceGetGpuInstanceId(handle)
            compute_instance = nvml.nvmlDeviceGetComputeInstanceId(handle)
        mig = MigSlice(uuid=uuid, gpu_instance=gpu_instance, compute_instance=compute_instance)
        yield FoundSlice(mig=mig, name=name, handle=handle, memory_total_bytes=_memory_total(nvml, handle))


def _memory_total(nvml: Any, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A device in the sensor's shape: what it is, how to ask it (None: lost) and what for."""

    device: Device
    handle: Any
    quantities: tuple[str, ...]


def layout(uuids: Sequence[str], gpus: Sequence[FoundGpu]) -> list[Place]:
    """Put the visible devices in CUDA's order, each MIG parent once before the first of its slices.

    A slice has memory of its own; utilisation has no meaning there and power, energy and clocks are its parent's.
    """
    places: dict[str, Place] = {}
    for index, uuid in enumerate(uuids):
        gpu = next(g for g in gpus if uuid == g.uuid or any(uuid == s.mig.uuid for s in g.slices))
        if uuid == gpu.uuid:
            places[uuid] = _gpu_place(gpu, f"GPU {index}", index)
            continue
        places.setdefault(gpu.uuid, _gpu_place(gpu, f"MIG parent {gpu.index}", None))
        part = next(s for s in gpu.slices if uuid == s.mig.uuid)
        places[uuid] = Place(
            device=Device(
                id=f"gpu:{uuid}",
                kind="mig",
                label=f"GPU {index}",
                name=part.name,
                index=index,
                uuid=uuid,
                memory_total_bytes=part.memory_total_bytes,
                parent_id=f"gpu:{gpu.uuid}",
            ),
            handle=None if gpu.handle is None else part.handle,
            quantities=SLICE_QUANTITIES,
        )
    return list(places.values())


def _gpu_place(gpu: FoundGpu, label: str, index: int | None) -> Place:
    device = Device(
        id=f"gpu:{gpu.uuid}",
        kind="gpu",
        label=label,
        name=gpu.name,
        index=index,
        uuid=gpu.uuid,
        memory_total_bytes=gpu.memory_total_bytes,
    )
    return Place(
        device=device, handle=gpu.handle, quantities=MIG_PARENT_QUANTITIES if index is None else GPU_QUANTITIES
    )


def energy_source(device: Device, reader: DeviceReader, *, shared: bool) -> EnergySource | None:
    """How the joules of a GPU are known: its counter, else its power over time, else not at all (nor a slice's)."""
    counter = "energy_j" in reader.supports
    if device.kind != "gpu" or not (counter or "power_w" in reader.supports):
        return None
    mean = reader.averaged and not counter
    notes = [f"power is the driver's mean over {_MEAN_S:g} s"] if mean else []
    return EnergySource(
        id=f"nvml:{device.uuid}",
        device_id=device.id,
        label=device.label,
        kind="module" if reader.counts_module else "gpu",
        method="counter" if counter else "integrated",
        basis="measured",
        absolute=counter,
        scope=_scope(module=reader.counts_module, shared=shared),
        channel=f"{device.id}.{'energy_j' if counter else 'power_w'}",
        period_s=_MEAN_S if mean else None,
        sampled_fraction=0.25 if _PART_TIME.search(device.name) else 1.0,
        power_limit_w=device.power_max_w,
        times=(TIMES[0].id, TIMES[1].id),
        note="; ".join(notes),
    )


def _scope(*, module: bool, shared: bool) -> str:
    if module:
        return "module: GPU and CPU together"
    return "board, shared by all its MIG slices" if shared else "board"
