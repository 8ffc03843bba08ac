"""NVIDIA GPUs through the driver's management library (NVML). Nothing here initialises CUDA."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from resmon.energy.edges import CounterRead
from resmon.facts import Channel, Device, EnergySource, SensorStatus
from resmon.sensors.base import NAN
from resmon.sensors.nvml_errors import ABSENT, GPU_IS_LOST, LIBRARY_NOT_FOUND, NOT_LOADED, explain
from resmon.sensors.nvml_processes import OwnMemory
from resmon.sensors.nvml_status import complaints, hidden_pids, nothing_visible, summary, unopened, unseen
from resmon.sensors.nvml_view import FROM_ENVIRONMENT, OwnView, View

if TYPE_CHECKING:  # the rest is imported where a driver answers: without one it would be paid for nothing
    from resmon.sensors.nvml_devices import FoundGpu, Place
    from resmon.sensors.nvml_reader import DeviceReader

MANY: Final = 4
"""With more GPUs than this, what changes slowly is read half as often."""


class NvmlSensor:
    """The GPUs that CUDA shows this process, found by UUID and labelled by CUDA's ordinals.

    ``visible`` stands for ``CUDA_VISIBLE_DEVICES`` (None: not set). ``own_pids`` gives the pids whose GPU memory
    is "own" (default: this process). A GPU that is lost is tried again every ``retry_s`` of the clock that ``read``
    is given. A MIG slice has memory of its own; its parent is a device without an index, which holds power,
    energy, temperature and clocks once. ``proc`` is where /proc is. ``view`` stands for ``visible`` and ``own_pids``
    where the GPUs of another process are described.
    """

    name = "nvml"

    def __init__(
        self,
        visible: str | None = FROM_ENVIRONMENT,
        own_pids: Callable[[], Collection[int]] | None = None,
        retry_s: float = 10.0,
        *,
        proc: Path = Path("/proc"),
        view: View | None = None,
    ) -> None:
        if not retry_s > 0:
            raise ValueError(f"retry_s must be more than 0 seconds, not {retry_s!r}")
        self.generation = 0
        self.devices: tuple[Device, ...] = ()
        self.channels: tuple[Channel, ...] = ()
        self.sources: tuple[EnergySource, ...] = ()
        self.retry_s = retry_s
        self._view = view or OwnView(visible, own_pids)
        self._seen_environment: tuple[str | None, str | None] = (None, None)
        self._own = OwnMemory(self._view.pids, self._view.uses_cuda, proc)
        self._nvml: Any = None
        self._pid: int | None = None  # of the process that holds an nvmlInit
        self._gpus: list[FoundGpu] = []
        self._refused: dict[int, int] = {}
        self._readers: dict[str, DeviceReader] = {}
        self._ticks = 0
        self._parts: tuple[tuple[Device, DeviceReader], ...] = ()  # replaced as a whole: any thread may look at it
        self._note = ""  # what of CUDA's order is not certain
        self._cuda_order: tuple[str, ...] | None = None  # once CUDA itself could be asked; empty: it told nothing
        self._driver = ""
        self._failure = SensorStatus(name="nvml", state="looking")  # said while there is no driver or no device
        self._down = False  # the library is here and does not start
        self._unheard = False  # and its kernel driver is loaded, as for a GPU
        self._retry_at_s: float | None = None

    # -- the protocol ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> Sequence[SensorStatus]:
        nvml, parts, again = self._nvml, self._parts, f"it is tried again every {self.retry_s:g} s"
        if nvml is None or self._down:
            return (self._failure,)
        lines = [summary(parts, self._driver, self._note) if parts else self._failure]
        lines += unopened(nvml, self._refused, again) + complaints(nvml, parts, again)
        alive = [device for device, reader in parts if device.index is not None and reader.lost is None]
        if not all(map(self._own_known, alive)):
            lines.append(hidden_pids())
        return lines

    @property
    def not_covered(self) -> Sequence[str]:
        covered = {source.device_id for source in self.sources}
        silent = [f"{d.label} power" for d in self.devices if d.kind == "gpu" and d.id not in covered]
        if self._nvml is None:
            return silent
        shown = sum(d.index is not None for d in self.devices)
        return silent + unseen(self._view.environment()[0], shown, self._refused, unheard=self._down and self._unheard)

    @property
    def driver_version(self) -> str:
        """As the driver tells it; empty while there is none."""
        return self._driver

    @property
    def own_memory_known(self) -> Mapping[str, bool]:
        """By device id, whether ``memory_own_bytes`` can be known: a container may hide the pids."""
        return {device.id: self._own_known(device) for device, _ in self._parts}

    @property
    def unsure_of(self) -> tuple[str, ...]:
        """The UUIDs whose order only CUDA itself can tell; empty where it is certain, or was asked for."""
        if not self._note or self._cuda_order is not None:
            return ()
        return tuple(uuid for gpu in self._gpus for uuid in gpu.physical.shown)

    def _own_known(self, device: Device) -> bool:
        return not math.isnan(self._own.bytes(device.id))

    def discover(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            self._failure = _unavailable(str(error), "pip install nvidia-ml-py")
            return
        self._nvml = pynvml
        self._connect()

    def read(self, at_s: float) -> Sequence[float]:
        width, generation = len(self.channels), self.generation
        if self._nvml is not None:
            self._keep_up(at_s)
        if self.generation != generation:
            return [NAN] * width  # of the old shape; the next tick has the new one
        energy, rest = [], []
        self._ticks += 1
        for i, (_, reader) in enumerate(self._parts):
            # Of many GPUs half take the turn of what changes slowly: every call is a chance to lose the interpreter.
            first, later = reader.due(turn=len(self._parts) <= MANY or (self._ticks + i) % 2 == 0)
            energy += [(reader, step) for step in first]
            rest += [(reader, step) for step in later]
        before_s = time.monotonic()
        codes = [step.ask() for _, step in energy]  # the counters of all GPUs first: their values shall be of one time
        after_s = time.monotonic()
        codes += [step.ask() for _, step in rest]
        for (reader, step), code in zip(energy + rest, codes, strict=True):
            reader.accept(step, code)
        values = [value for _, reader in self._parts for value in reader.values()]
        return [*values, before_s, after_s] if values and self.sources else values

    def poll_counters(self, wanted: Collection[str]) -> list[tuple[str, CounterRead]]:
        """Read the energy counters of these sources alone, each with the power that the same call gives."""
        found = []
        for source in self.sources:
            reader = self._readers.get(source.device_id)
            if source.id not in wanted or source.method != "counter" or reader is None:
                continue
            before_s = time.monotonic()
            answers = [(step, step.ask()) for step in reader.energy_steps]
            after_s = time.monotonic()
            for step, code in answers:
                reader.accept(step, code)
            found.append((source.id, CounterRead(before_s, after_s, reader.energy_j, reader.power_w)))
        return found

    def close(self) -> None:
        self._disconnect()
        self._failure = _unavailable("closed", "")
        self._nvml = None
        self._parts = ()  # devices and sources stay: what was sampled of them can still be asked for

    # -- coming and going -----------------------------------------------------------------------------------------

    def _keep_up(self, at_s: float) -> None:
        """Take in what changed outside: a fork, a lost GPU, another ``CUDA_VISIBLE_DEVICES``, CUDA's own order."""
        if self._pid is not None and self._pid != os.getpid():
            self._connect()
        if self._waiting:
            if self._retry_at_s is None:
                self._retry_at_s = at_s + self.retry_s
            elif at_s >= self._retry_at_s:
                self._retry_at_s = at_s + self.retry_s
                self._disconnect()
                self._connect()
            return
        self._retry_at_s = None
        if not self._view.uses_cuda():
            if self._view.environment() != self._seen_environment:
                self._shape()
        elif unsure_of := self.unsure_of:
            self._cuda_order = self._view.cuda_order(unsure_of)
            if self._cuda_order is not None:
                self._shape()

    @property
    def _waiting(self) -> bool:
        """Whether something is away that may come back; what is merely forbidden or unsupported does not."""
        return (
            self._down
            or any(code not in ABSENT for code in self._refused.values())
            or any(reader.lost is not None for _, reader in self._parts)
        )

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
            from resmon.sensors.nvml_devices import merged, scan

            self._driver = nvml.nvmlSystemGetDriverVersion()
            found = scan(nvml)
        except nvml.NVMLError as error:
            self._down, self._refused = True, {}
            self._unheard = error.value not in (LIBRARY_NOT_FOUND, NOT_LOADED)
            self._fail(error)
            return
        self._down = False
        self._gpus = merged(self._gpus, found.gpus)
        # A known GPU that is lost is listed and refused: it has its line already.
        self._refused = {} if len(self._gpus) == len(found.gpus) + len(found.refused) else found.refused
        self._shape()

    def _fail(self, error: Any) -> None:
        cause, remedy = explain(error.value, str(error))
        for _, reader in self._parts:
            reader.lose(error.value)
        failure = _unavailable(cause, remedy)
        self._failure = replace(failure, state="lost") if self._parts else failure
        if error.value == LIBRARY_NOT_FOUND:
            self._failure = replace(failure, state="absent")
            self._nvml = None  # a driver that is installed later is seen by the next kernel

    # -- the shape ------------------------------------------------------------------------------------------------

    def _shape(self) -> None:
        """Build readers, devices, channels and sources of what is visible; a new shape is a new generation."""
        from resmon.sensors.cuda_visible import visible_devices
        from resmon.sensors.nvml_devices import TIMES, energy_source, layout

        value, order = self._seen_environment = self._view.environment()
        visible = visible_devices(value, [gpu.physical for gpu in self._gpus], order)
        uuids, self._note = (self._cuda_order, "") if self._cuda_order else (visible.uuids, visible.note)
        before = {device.id: reader for device, reader in self._parts}
        parts = []
        for place in layout(uuids, self._gpus):
            reader = self._reader(place, before.get(place.device.id))
            parts.append((replace(place.device, power_max_w=reader.limit_w), reader))
        self._parts = tuple(parts)
        cause, remedy = nothing_visible(value, self._note, len(self._gpus), self._refused)
        self._failure = _unavailable(cause, remedy, detail=f"driver {self._driver}")
        sources = (energy_source(device, reader, shared=device.index is None) for device, reader in parts)
        kept = tuple(source for source in sources if source is not None)
        channels = tuple(channel for _, reader in parts for channel in reader.channels)
        new = (tuple(device for device, _ in parts), channels + TIMES if kept else channels, kept)
        self._readers = {device.id: reader for device, reader in parts}
        if new != (self.devices, self.channels, self.sources):
            self.devices, self.channels, self.sources = new
            self.generation += 1

    def _reader(self, place: Place, before: DeviceReader | None) -> DeviceReader:
        """A fresh reader where the device can be read, else the one it had, marked lost."""
        from resmon.sensors.nvml_reader import DeviceReader

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


def _unavailable(cause: str, remedy: str, detail: str = "") -> SensorStatus:
    return SensorStatus(name="nvml", state="unavailable", detail=detail, cause=cause, remedy=remedy)
