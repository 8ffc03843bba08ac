"""NVIDIA GPUs through the driver's management library (NVML). Nothing here initialises CUDA."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from resmon.facts import Channel, Device, EnergySource, SensorStatus
from resmon.sensors.base import NAN
from resmon.sensors.cuda_visible import Visible, visible_devices
from resmon.sensors.nvml_devices import FoundGpu, Place, energy_source, layout, merged, scan
from resmon.sensors.nvml_errors import GPU_IS_LOST, LIBRARY_NOT_FOUND, NO_PERMISSION, explain
from resmon.sensors.nvml_processes import OwnMemory
from resmon.sensors.nvml_reader import DeviceReader
from resmon.sensors.torch_memory import initialized_torch

FROM_ENVIRONMENT: Final = "<CUDA_VISIBLE_DEVICES>"
"""The default of ``visible``: what the environment says, followed while it changes and CUDA is not initialised."""


class NvmlSensor:
    """The GPUs that CUDA shows this process, found by UUID and labelled by CUDA's ordinals.

    ``visible`` stands for ``CUDA_VISIBLE_DEVICES`` (None: not set). ``own_pids`` gives the pids whose GPU memory
    is "own" (default: this process). A GPU that is lost is tried again every ``retry_s`` of the clock that ``read``
    is given. A MIG slice has memory of its own; its parent is a device without an index, which holds power,
    energy, temperature and clocks once. ``proc`` is where /proc is.
    """

    name = "nvml"

    def __init__(
        self,
        visible: str | None = FROM_ENVIRONMENT,
        own_pids: Callable[[], Collection[int]] | None = None,
        retry_s: float = 10.0,
        *,
        proc: Path = Path("/proc"),
    ) -> None:
        if not retry_s > 0:
            raise ValueError(f"retry_s must be more than 0 seconds, not {retry_s!r}")
        self.generation = 0
        self.devices: tuple[Device, ...] = ()
        self.channels: tuple[Channel, ...] = ()
        self.sources: tuple[EnergySource, ...] = ()
        self.retry_s = retry_s
        self._visible = visible
        self._seen_environment: tuple[str | None, str | None] = (None, None)
        self._own = OwnMemory(own_pids or _this_process, _uses_cuda, proc)
        self._nvml: Any = None
        self._pid: int | None = None  # of the process that holds an nvmlInit
        self._gpus: list[FoundGpu] = []
        self._refused: dict[int, int] = {}
        self._readers: dict[str, DeviceReader] = {}
        self._mapping = Visible(uuids=())
        self._driver = ""
        self._failure: SensorStatus | None = SensorStatus(name="nvml", state="looking")
        self._retry_at_s: float | None = None

    # -- the protocol ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> Sequence[SensorStatus]:
        if self._failure is not None:
            return (self._failure,)
        return (self._summary(), *self._complaints())

    @property
    def not_covered(self) -> Sequence[str]:
        covered = {source.device_id for source in self.sources}
        return [f"{d.label} power" for d in self.devices if d.kind == "gpu" and d.id not in covered]

    @property
    def own_memory_known(self) -> Mapping[str, bool]:
        """By device id, whether ``memory_own_bytes`` can be known: a container may hide the pids."""
        return {d.id: self._own.bytes(d.id) == self._own.bytes(d.id) for d in self.devices}

    def discover(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            self._failure = SensorStatus(
                name="nvml", state="unavailable", cause=str(error), remedy="pip install nvidia-ml-py"
            )
            return
        self._nvml = pynvml
        self._connect()

    def read(self, at_s: float) -> Sequence[float]:
        width, generation = len(self.channels), self.generation
        if self._nvml is not None:
            self._keep_up(at_s)
        if self.generation != generation:
            return [NAN] * width  # of the old shape; the next tick has the new one
        values: list[float] = []
        for reader in self._readers.values():
            values += reader.read()
        return values

    def close(self) -> None:
        self._disconnect()
        self._readers = {}
        self.devices, self.channels, self.sources = (), (), ()
        self._failure = SensorStatus(name="nvml", state="unavailable", cause="closed")
        self._nvml = None

    # -- coming and going -----------------------------------------------------------------------------------------

    def _keep_up(self, at_s: float) -> None:
        """Take in what changed outside: a fork, a lost GPU, another ``CUDA_VISIBLE_DEVICES``."""
        if self._pid is not None and self._pid != os.getpid():
            self._connect()
        lost = self._failure is not None or bool(self._refused) or any(r.lost for r in self._readers.values())
        if not lost:
            self._retry_at_s = None
            if self._environment() != self._seen_environment and not _uses_cuda():
                self._shape()
        elif self._retry_at_s is None:
            self._retry_at_s = at_s + self.retry_s
        elif at_s >= self._retry_at_s:
            self._retry_at_s = at_s + self.retry_s
            self._disconnect()
            self._connect()

    def _disconnect(self) -> None:
        if self._pid == os.getpid():
            with suppress(self._nvml.NVMLError):  # a driver that is gone has nothing left to shut down
                self._nvml.nvmlShutdown()
        self._pid = None

    def _connect(self) -> None:
        """Initialise the library, list what is there, and shape the sensor after it."""
        nvml = self._nvml
        try:
            nvml.nvmlInit()
            self._pid = os.getpid()
            self._driver = nvml.nvmlSystemGetDriverVersion()
            found = scan(nvml)
        except nvml.NVMLError as error:
            self._fail(error)
            return
        self._gpus = merged(self._gpus, found.gpus)
        self._refused = {} if len(self._gpus) == len(found.gpus) + len(found.refused) else found.refused
        self._shape()

    def _fail(self, error: Any) -> None:
        cause, remedy = explain(error.value, str(error))
        for reader in self._readers.values():
            reader.lose(error.value)
        self._failure = SensorStatus(
            name="nvml", state="lost" if self._readers else "unavailable", cause=cause, remedy=remedy
        )
        if error.value == LIBRARY_NOT_FOUND:
            self._nvml = None  # a driver that is installed later is seen by the next kernel

    def _environment(self) -> tuple[str | None, str | None]:
        order = os.environ.get("CUDA_DEVICE_ORDER")
        if self._visible != FROM_ENVIRONMENT:
            return self._visible, order
        return os.environ.get("CUDA_VISIBLE_DEVICES"), order

    # -- the shape ------------------------------------------------------------------------------------------------

    def _shape(self) -> None:
        """Build readers, devices, channels and sources of what is visible; a new shape is a new generation."""
        value, order = self._seen_environment = self._environment()
        self._mapping = visible_devices(value, [gpu.physical for gpu in self._gpus], order)
        places = layout(self._mapping.uuids, self._gpus)
        self._readers = {place.device.id: self._reader(place) for place in places}
        devices = tuple(self._with_limit(place.device) for place in places)
        sources = tuple(
            energy_source(d, self._readers[d.id], shared=d.index is None) for d in devices if d.kind == "gpu"
        )
        new = (
            devices,
            tuple(channel for reader in self._readers.values() for channel in reader.channels),
            tuple(source for source in sources if source is not None),
        )
        if new != (self.devices, self.channels, self.sources):
            self.devices, self.channels, self.sources = new
            self.generation += 1
        self._failure = None if self.devices else self._nothing(value)

    def _reader(self, place: Place) -> DeviceReader:
        """A fresh reader where the device can be read, else the one it had, marked lost."""
        before = self._readers.get(place.device.id)
        if place.handle is not None:
            try:
                return DeviceReader(self._nvml, place.handle, place.device.id, place.quantities, self._own, before)
            except self._nvml.NVMLError as error:
                code = error.value
        else:
            code = GPU_IS_LOST
        reader = before or DeviceReader(self._nvml, None, place.device.id, place.quantities, self._own)
        reader.lose(code)
        return reader

    def _with_limit(self, device: Device) -> Device:
        return replace(device, power_max_w=self._readers[device.id].limit_w)

    # -- what to say ----------------------------------------------------------------------------------------------

    def _nothing(self, value: str | None) -> SensorStatus:
        """Say why there is no device at all."""
        if self._refused:
            cause, remedy = self._explain(next(iter(self._refused.values())))
        elif self._gpus:
            cause = self._mapping.note or f"CUDA_VISIBLE_DEVICES={value!r} hides every GPU of {len(self._gpus)}"
            remedy = "set CUDA_VISIBLE_DEVICES to what nvidia-smi -L lists, or unset it"
        else:
            cause = "the NVIDIA driver lists no GPU"
            remedy = "check that nvidia-smi -L lists one; in a container, start it with --gpus all"
        return SensorStatus(
            name="nvml", state="unavailable", detail=f"driver {self._driver}", cause=cause, remedy=remedy
        )

    def _summary(self) -> SensorStatus:
        alive = sum(d.index is not None and self._readers[d.id].lost is None for d in self.devices)
        shown = sum(d.index is not None for d in self.devices)
        return SensorStatus(
            name="nvml",
            state="available" if alive == shown else "degraded" if alive else "lost",
            detail=f"{alive} of {shown} GPUs, driver {self._driver}",
            cause=self._mapping.note,
        )

    def _complaints(self) -> list[SensorStatus]:
        """One line for each thing that is not as it should be."""
        said = []
        again = f"it is tried again every {self.retry_s:g} s"
        for index, code in self._refused.items():
            cause, remedy = self._explain(code)
            said.append(
                SensorStatus(name=f"nvml index {index}", state="lost", cause=cause, remedy=f"{remedy}; {again}")
            )
        sources = {source.device_id for source in self.sources}
        for device in self.devices:
            reader, name = self._readers[device.id], f"nvml {device.label}"
            if reader.lost is not None:
                cause, remedy = self._explain(reader.lost)
                said.append(SensorStatus(name=name, state="lost", cause=cause, remedy=f"{remedy}; {again}"))
                continue
            if device.kind == "gpu" and device.id not in sources:
                cause = f"this GPU tells its driver no power ({device.name})"
                if NO_PERMISSION in reader.refused.values():
                    cause = "the driver lets this user read no power"
                said.append(SensorStatus(name=name, state="degraded", detail="no power and no energy", cause=cause))
            if reader.errors:
                causes = ", ".join(f"{step}: {self._explain(code)[0]}" for step, code in sorted(reader.errors.items()))
                said.append(
                    SensorStatus(name=name, state="degraded", cause=causes, remedy="it is tried again at every turn")
                )
        if self.devices and not all(self.own_memory_known[d.id] for d in self.devices if d.index is not None):
            said.append(
                SensorStatus(
                    name="nvml processes",
                    state="degraded",
                    detail="which GPU memory is this process's own is not known",
                    cause="the driver's process list cannot be matched with the pids seen here, as in most containers",
                    remedy="start the container with --pid=host",
                )
            )
        return said

    def _explain(self, code: int) -> tuple[str, str]:
        return explain(code, str(self._nvml.NVMLError(code)))


def _this_process() -> Collection[int]:
    return (os.getpid(),)


def _uses_cuda() -> bool:
    return initialized_torch() is not None
