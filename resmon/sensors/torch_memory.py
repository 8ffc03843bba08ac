"""The CUDA caching allocator of the user's PyTorch, once they initialised CUDA. This never does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resmon.facts import Channel, Device, EnergySource, SensorStatus
from resmon.sensors.base import NAN

if TYPE_CHECKING:
    from resmon.sensors.base import Sensor

_QUANTITIES = {
    "allocator_allocated_bytes": ("allocated_bytes", "current"),
    "allocator_reserved_bytes": ("reserved_bytes", "current"),
    "allocator_peak_bytes": ("allocated_bytes", "peak"),
}


def initialized_torch() -> Any | None:
    """The ``torch`` module if it is imported here and its CUDA is initialised, else None. Imports nothing."""
    # During "import torch" in another thread the module is there before its parts are.
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    is_initialized = getattr(cuda, "is_initialized", None)
    return sys.modules["torch"] if is_initialized is not None and is_initialized() else None


def cuda_uuids(torch: Any, known: Sequence[str]) -> tuple[str, ...]:
    """Tell which of the ``known`` NVML UUIDs CUDA's ordinals stand for; empty where one of them is not known.

    Only for a ``torch`` whose CUDA is initialised. PyTorch before 2.4 tells no UUID, CUDA leaves out NVML's ``GPU-``
    or ``MIG-`` in front of it.
    """
    by_bare = {uuid.partition("-")[2]: uuid for uuid in known}
    every = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found = [by_bare.get(str(getattr(properties, "uuid", ""))) for properties in every]
    return tuple(uuid for uuid in found if uuid is not None) if None not in found else ()


class TorchMemorySensor:
    """What PyTorch's allocator holds on each GPU: allocated to tensors, reserved from the driver, peak of allocated.

    Silent until the user has imported torch and initialised CUDA; then the channels appear with a new ``generation``.
    The peak is the user's own statistic: it is read, never reset. ``nvml`` is the sensor that describes the GPUs; one
    that it does not have is described here.
    """

    name = "torch"

    def __init__(self, nvml: Sensor | None = None) -> None:
        self.generation = 0
        self.devices: tuple[Device, ...] = ()
        self.channels: tuple[Channel, ...] = ()
        self.sources: tuple[EnergySource, ...] = ()
        self._nvml = nvml
        self._ordinals: tuple[int, ...] = ()

    @property
    def status(self) -> Sequence[SensorStatus]:
        if initialized_torch() is not None:
            return (SensorStatus(name="torch", state="available", detail=f"allocator of {len(self._ordinals)} GPUs"),)
        torch = sys.modules.get("torch")
        if torch is None:
            cause, remedy = "PyTorch is not imported", "it appears with the first tensor on a GPU"
        elif getattr(getattr(torch, "version", None), "cuda", None) is None:
            cause, remedy = "this PyTorch is built without CUDA", "with a GPU, install a CUDA build of PyTorch"
        else:
            cause, remedy = "PyTorch has not used CUDA", "it appears with the first tensor on a GPU"
        return (SensorStatus(name="torch", state="absent", cause=cause, remedy=remedy),)

    @property
    def not_covered(self) -> Sequence[str]:
        return ()

    def discover(self) -> None:
        """Nothing to do: the allocator exists only once the user has made one."""

    def read(self, at_s: float) -> Sequence[float]:
        torch = initialized_torch()
        if torch is None:
            return [NAN] * len(self.channels)
        if not self._ordinals:
            self._take_in(torch)
            return []
        values: list[float] = []
        for ordinal in self._ordinals:
            # The cheapest there is: memory_stats() flattens and sorts this very dict at every call.
            stats = torch.cuda.memory_stats_as_nested_dict(ordinal)
            values += [float(stats[group]["all"][which]) for group, which in _QUANTITIES.values()]
        return values

    def close(self) -> None:
        self.devices, self.channels, self._ordinals = (), (), ()

    def _take_in(self, torch: Any) -> None:
        """Match CUDA's ordinals with the GPUs by UUID. CUDA is initialised, so asking it creates nothing."""
        described = {d.id: d for d in self._nvml.devices} if self._nvml is not None else {}
        own: list[Device] = []
        channels: list[Channel] = []
        count = torch.cuda.device_count()
        for ordinal in range(count):
            properties = torch.cuda.get_device_properties(ordinal)
            device = _described(ordinal, str(getattr(properties, "uuid", "")), described)
            if device is None:
                device = _describe(ordinal, properties)
                own.append(device)
            channels += [Channel(device_id=device.id, quantity=quantity, unit="B") for quantity in _QUANTITIES]
        self._ordinals = tuple(range(count))
        self.devices, self.channels = tuple(own), tuple(channels)
        self.generation += 1


def _described(ordinal: int, uuid: str, described: dict[str, Device]) -> Device | None:
    """Find the device of an ordinal. CUDA's UUIDs lack NVML's ``GPU-`` or ``MIG-``; PyTorch before 2.4 has none."""
    if uuid:
        found = next((d for d in described.values() if (d.uuid or "").partition("-")[2] == uuid), None)
        if found is None or found.index is not None:
            return found
    # No UUID, or that of a MIG parent: the order that CUDA_VISIBLE_DEVICES implies.
    return next((d for d in described.values() if d.index == ordinal), None)


def _describe(ordinal: int, properties: Any) -> Device:
    uuid = f"GPU-{properties.uuid}" if hasattr(properties, "uuid") else None
    return Device(
        id=f"gpu:{uuid or ordinal}",
        kind="gpu",
        label=f"GPU {ordinal}",
        name=properties.name,
        index=ordinal,
        uuid=uuid,
        memory_total_bytes=properties.total_memory,
    )
