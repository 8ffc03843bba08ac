"""Several numbers of one GPU in one driver call: ``nvmlDeviceGetFieldValues``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

from resmon.sensors.base import NAN
from resmon.sensors.nvml_errors import FUNCTION_NOT_FOUND, GPU_IS_LOST

POWER_INSTANT, POWER_AVERAGE, POWER_LIMIT, TOTAL_ENERGY, ENERGY = 186, 185, 190, 83, 191
"""Fields in mW and mJ. INSTANT comes before AVERAGE: the latter is a mean over 1 s."""

GPU_SCOPE, MODULE_SCOPE = 0, 1


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
    """``nvmlFieldValue_t``. pynvml's own has Python code in every attribute access, four times as slow."""

    _fields_ = (
        ("field", ctypes.c_uint),
        ("scope", ctypes.c_uint),
        ("timestamp_us", ctypes.c_longlong),
        ("latency_us", ctypes.c_longlong),
        ("type", ctypes.c_int),
        ("code", ctypes.c_int),
        ("value", _Value),
    )


class FieldValues:
    """The fields ``ids`` (of the GPU, or ``(field, scope)``) of one handle, asked for again and again."""

    def __init__(self, nvml: Any, handle: Any, ids: Sequence[int | tuple[int, int]]) -> None:
        self._nvml = nvml
        self._handle = handle
        self._room = (_FieldValue * len(ids))()
        for slot, wanted in zip(self._room, ids, strict=True):
            slot.field, slot.scope = (wanted, GPU_SCOPE) if isinstance(wanted, int) else wanted
        self._items = tuple(self._room)
        self._function = getattr(nvml.nvmlLib, "nvmlDeviceGetFieldValues", None)

    def read(self) -> list[float]:
        """The values in thousandths of the driver's unit: W and J; NaN for a field it refuses. Raises NVMLError."""
        if self._function is None:
            raise self._nvml.NVMLError(FUNCTION_NOT_FOUND)
        code = self._function(self._handle, len(self._room), self._room)
        if code:
            raise self._nvml.NVMLError(code)
        values = []
        for item in self._items:
            if item.code == GPU_IS_LOST:
                raise self._nvml.NVMLError(GPU_IS_LOST)
            known = item.code == 0 and 0 <= item.type < len(_BY_TYPE)
            values.append(getattr(item.value, _BY_TYPE[item.type]) / 1000.0 if known else NAN)
        return values
