"""The driver calls of a tick, prepared: asking is one C call into kept memory, taking the numbers out comes after.

Between the two nothing happens, because every driver call gives up the GIL: beside busy Python code the time from the
first call of a tick to its last decides how often the sampler has to queue for it again.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from resmon.sensors.base import NAN
from resmon.sensors.nvml_errors import FUNCTION_NOT_FOUND, GPU_IS_LOST
from resmon.sensors.nvml_processes import OwnMemory, ProcessList

POWER_INSTANT, POWER_AVERAGE, POWER_LIMIT, TOTAL_ENERGY, ENERGY = 186, 185, 190, 83, 191
"""Field values, in mW and mJ. INSTANT comes before AVERAGE: the latter is a mean over 1 s."""

GPU_SCOPE, MODULE_SCOPE = 0, 1
_SM_CLOCK, _GPU_TEMPERATURE = 1, 0


@dataclass(frozen=True, slots=True)
class Step:
    """One driver call: ``ask`` gives its return code, then ``take`` one float per quantity, in their order."""

    name: str
    quantities: tuple[str, ...]
    ask: Callable[[], int]
    take: Callable[[], Sequence[float]]


class _Value(ctypes.Union):
    _fields_ = (
        ("dVal", ctypes.c_double),
        ("uiVal", ctypes.c_uint),
        ("ulVal", ctypes.c_ulong),
        ("ullVal", ctypes.c_ulonglong),
        ("sllVal", ctypes.c_longlong),
        ("siVal", ctypes.c_int),
        ("usVal", ctypes.c_ushort),
    )


_BY_TYPE: Final = tuple(name for name, _ in _Value._fields_)
"""The member of the union for each ``nvmlValueType_t``."""


class _FieldValue(ctypes.Structure):
    """``nvmlFieldValue_t``."""

    _fields_ = (
        ("field", ctypes.c_uint),
        ("scope", ctypes.c_uint),
        ("timestamp_us", ctypes.c_longlong),
        ("latency_us", ctypes.c_longlong),
        ("type", ctypes.c_int),
        ("code", ctypes.c_int),
        ("value", _Value),
    )


class _Memory(ctypes.Structure):
    """``nvmlMemory_t``: ``used`` has the driver's own share in it."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Memory2(ctypes.Structure):
    """``nvmlMemory_v2_t``."""

    _fields_ = (
        ("version", ctypes.c_uint),
        ("total", ctypes.c_ulonglong),
        ("reserved", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class _Utilization(ctypes.Structure):
    """``nvmlUtilization_t``, in per cent."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Temperature(ctypes.Structure):
    """``nvmlTemperature_v1_t``."""

    _fields_ = (("version", ctypes.c_uint), ("sensor", ctypes.c_uint), ("celsius", ctypes.c_int))


def _versioned(structure: ctypes.Structure, version: int) -> int:
    """NVML's version word: the structure's size and, in the top byte, its version."""
    return ctypes.sizeof(structure) | version << 24


class FieldValues:
    """The fields ``ids`` (of the GPU, or ``(field, scope)``) of one handle in one call."""

    def __init__(self, nvml: Any, handle: Any, ids: Sequence[int | tuple[int, int]]) -> None:
        self._nvml = nvml
        room = (_FieldValue * len(ids))()
        for slot, wanted in zip(room, ids, strict=True):
            slot.field, slot.scope = (wanted, GPU_SCOPE) if isinstance(wanted, int) else wanted
        self._items = tuple(room)
        self.ask = _asking(nvml, "nvmlDeviceGetFieldValues", handle, len(ids), room)

    def take(self) -> list[float]:
        """In W and J, NaN for a field that was refused. Raises NVMLError where one says that the GPU is lost."""
        values = []
        for item in self._items:
            if item.code == GPU_IS_LOST:
                raise self._nvml.NVMLError(GPU_IS_LOST)
            known = item.code == 0 and 0 <= item.type < len(_BY_TYPE)
            values.append(getattr(item.value, _BY_TYPE[item.type]) / 1000.0 if known else NAN)
        return values

    def read(self) -> list[float]:
        """Ask and take at once. Raises NVMLError."""
        code = self.ask()
        if code:
            raise self._nvml.NVMLError(code)
        return self.take()


def _asking(nvml: Any, function: str, handle: Any, *arguments: Any) -> Callable[[], int]:
    found = getattr(nvml.nvmlLib, function, None)
    return partial(found, handle, *arguments) if found is not None else lambda: FUNCTION_NOT_FOUND


def single_calls(nvml: Any, handle: Any, device_id: str, own: OwnMemory) -> list[list[Step]]:
    """Every call that gives one number, in the order of the turns; the second of a pair is for older drivers."""

    def number(name: str, quantity: str, function: str, kind: Any, scale: float, *arguments: int) -> Step:
        value = kind()
        ask = _asking(nvml, function, handle, *arguments, ctypes.byref(value))
        return Step(name, (quantity,), ask, lambda: (value.value * scale,))

    def member(name: str, quantity: str, function: str, structure: Any, attribute: str, scale: float = 1.0) -> Step:
        ask = _asking(nvml, function, handle, ctypes.byref(structure))
        return Step(name, (quantity,), ask, lambda: (getattr(structure, attribute) * scale,))

    def processes(name: str, kind: str) -> Step:
        listed = ProcessList(nvml, handle, kind)

        def take() -> Sequence[float]:
            own.update(device_id, kind, listed.take())
            return ()

        return Step(name, (), listed.ask, take)

    memory = _Memory2()
    memory.version = _versioned(memory, 2)
    temperature = _Temperature(sensor=_GPU_TEMPERATURE)
    temperature.version = _versioned(temperature, 1)
    uint, ulonglong = ctypes.c_uint, ctypes.c_ulonglong
    return [
        [number("power", "power_w", "nvmlDeviceGetPowerUsage", uint, 1e-3)],
        [number("energy", "energy_j", "nvmlDeviceGetTotalEnergyConsumption", ulonglong, 1e-3)],
        [member("utilization", "utilization", "nvmlDeviceGetUtilizationRates", _Utilization(), "gpu", 0.01)],
        [
            # The first form leaves out what the driver keeps for itself, as nvidia-smi does.
            member("memory", "memory_used_bytes", "nvmlDeviceGetMemoryInfo_v2", memory, "used"),
            member("memory", "memory_used_bytes", "nvmlDeviceGetMemoryInfo", _Memory(), "used"),
        ],
        [processes("processes", "Compute")],
        [
            member("temperature", "temperature_c", "nvmlDeviceGetTemperatureV", temperature, "celsius"),
            number("temperature", "temperature_c", "nvmlDeviceGetTemperature", uint, 1.0, _GPU_TEMPERATURE),
        ],
        [number("clock", "sm_clock_hz", "nvmlDeviceGetClockInfo", uint, 1e6, _SM_CLOCK)],
        [
            number("throttle", "throttle", "nvmlDeviceGetCurrentClocksEventReasons", ulonglong, 1.0),
            number("throttle", "throttle", "nvmlDeviceGetCurrentClocksThrottleReasons", ulonglong, 1.0),
        ],
        [processes("graphics processes", "Graphics")],
        [number("power limit", "power_limit_w", "nvmlDeviceGetEnforcedPowerLimit", uint, 1e-3)],
    ]
