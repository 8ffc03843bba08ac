"""Which part of a GPU's memory belongs to this process and its children, where the driver lets us know."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from resmon.sensors.base import NAN
from resmon.sensors.nvml_errors import FUNCTION_NOT_FOUND, INSUFFICIENT_SIZE

_HOST_PID_NAMESPACE = "pid:[4026531836]"
_NOT_TOLD = (1 << 64) - 1


class _ProcessInfo(ctypes.Structure):
    """``nvmlProcessInfo_v2_t``, which the ``_v3`` functions fill."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used_bytes", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class ProcessList:
    """One of the driver's process lists, in a single call: the wrapper of pynvml asks for the size first."""

    def __init__(self, nvml: Any, handle: Any, kind: str) -> None:
        self._function = getattr(nvml.nvmlLib, f"nvmlDeviceGet{kind}RunningProcesses_v3", None)
        self._handle = handle
        self._room = (_ProcessInfo * 64)()
        self._count = ctypes.c_uint()

    def ask(self) -> int:
        """Fetch the list; gives the driver's return code."""
        if self._function is None:
            return FUNCTION_NOT_FOUND
        while True:
            self._count.value = len(self._room)
            code = int(self._function(self._handle, ctypes.byref(self._count), self._room))
            if code != INSUFFICIENT_SIZE:
                return code
            self._room = (_ProcessInfo * (self._count.value + 64))()

    def take(self) -> dict[int, int | None]:
        """Bytes by pid of the list last fetched; None where the driver does not tell."""
        listed = self._room[: self._count.value]
        return {p.pid: None if p.used_bytes == _NOT_TOLD else p.used_bytes for p in listed}


class OwnMemory:
    """The bytes of the processes ``own_pids`` on every device, and how many others are there, from the lists last seen.

    A driver reports pids of the host; inside a container they mean nothing, or the list is empty. So a device
    without a match holds 0 bytes of ours only where pids can be compared: in the host's pid namespace, or once a
    pid of ours was seen. ``proc`` is where /proc is.
    """

    def __init__(self, own_pids: Callable[[], Collection[int]], uses_cuda: Callable[[], bool], proc: Path) -> None:
        self._own_pids = own_pids
        self._uses_cuda = uses_cuda
        self._lists: dict[str, dict[str, dict[int, int | None]]] = {}
        self._others: dict[str, dict[str, set[int]]] = {}
        self._matched = False
        self._proc = proc
        self._host_pids: bool | None = None

    def update(self, device_id: str, kind: str, processes: dict[int, int | None]) -> None:
        """Keep what is ours of a list that was just read."""
        mine = set(self._own_pids())
        ours = {pid: used for pid, used in processes.items() if pid in mine}
        self._matched = self._matched or bool(ours)
        if self._host_pids is None:
            self._host_pids = _host_pid_namespace(self._proc)
        # Replaced as a whole: another thread may be adding up the old one.
        self._lists[device_id] = {**self._lists.get(device_id, {}), kind: ours}
        self._others[device_id] = {**self._others.get(device_id, {}), kind: processes.keys() - mine}

    def forget(self, device_id: str) -> None:
        """Drop the lists of a device that cannot be read now."""
        self._lists.pop(device_id, None)
        self._others.pop(device_id, None)

    def bytes(self, device_id: str) -> float:
        """Our bytes on a device; NaN where that cannot be known."""
        lists = self._lists.get(device_id)
        if not lists or not self.comparable:
            return NAN
        by_pid: dict[int, int] = {}
        for ours in lists.values():
            for pid, used in ours.items():
                if used is None:
                    return NAN
                by_pid[pid] = max(used, by_pid.get(pid, 0))
        return float(sum(by_pid.values()))

    def others(self, device_id: str) -> float:
        """How many processes on a device are not ours; NaN where that cannot be known."""
        lists = self._others.get(device_id)
        return float(len(set().union(*lists.values()))) if lists and self.comparable else NAN

    @property
    def comparable(self) -> bool:
        """Whether the driver's pids can be ours: not so where we hold CUDA memory and no list names us."""
        return self._matched or (bool(self._host_pids) and not self._uses_cuda())


def _host_pid_namespace(proc: Path) -> bool:
    try:
        return os.readlink(proc / "self/ns/pid") == _HOST_PID_NAMESPACE
    except OSError:
        return os.name == "nt"  # Windows has no pid namespaces; elsewhere the answer is simply not known
