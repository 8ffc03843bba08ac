"""RAPL through perf events: what the kernel's ``power`` PMU counts, for whom powercap is closed.

An event counts on the one CPU of each package that the PMU names, in 64 bits from when it was opened; the kernel looks
after the wraps of the 32 bits below it. ``energy-pkg`` is the package and ``energy-ram`` its memory. ``energy-cores``
and ``energy-gpu`` are inside the package; ``energy-psys`` holds everything and serves only where there is no package.

The attribute's layout and the flag are those of ``linux/perf_event.h``, the files those of the kernel's
``sysfs-bus-event_source-devices-events`` and ``-format``.
"""

from __future__ import annotations

import ctypes
import errno
import math
import platform
import re
import struct
from dataclasses import dataclass
from typing import Final

from resmon.facts import EnergyKind
from resmon.sensors.base import PLATFORM
from resmon.sensors.linux_files import KernelFiles
from resmon.sensors.rapl_counter import Found, RaplCounter

_SYSCALLS: Final = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
_ATTR: Final = struct.Struct("=IIQ48x")  # type, size, config; PERF_ATTR_SIZE_VER0 is 64 bytes
_CLOSE_ON_EXEC: Final = 8
_ROUND: Final = 1 << 64
_ONE_COUNTER_PER_PACKAGE: Final = ("AuthenticAMD", "HygonGenuine")
_EVENTS: Final[tuple[tuple[str, str, str, EnergyKind, str], ...]] = (
    ("energy-pkg", "package", "CPU package", "cpu", "CPU package"),
    ("energy-ram", "dram", "DRAM package", "dram", "DRAM"),
)


class PerfCalls:
    """``perf_event_open`` and reads of what it opens. One thread at a time.

    Raises OSError, AttributeError or TypeError where there is no C library with ``syscall``.
    """

    def __init__(self) -> None:
        number = _SYSCALLS.get(platform.machine()) if struct.calcsize("P") == 8 else None
        self._number = None if number is None else ctypes.c_long(number)
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        # A read takes a microsecond or two, too short to give the interpreter lock away. `pread` is refused.
        self._read = ctypes.PyDLL(None).read
        self._buffer = ctypes.c_uint64()
        self._into, self._size = ctypes.byref(self._buffer), ctypes.c_size_t(8)

    def open(self, pmu: int, config: int, cpu: int) -> int:
        """A descriptor that counts an event on one CPU, whatever runs there, and is closed on exec; or ``-errno``."""
        if self._number is None:
            return -errno.ENOSYS
        attribute = ctypes.create_string_buffer(_ATTR.pack(pmu, _ATTR.size, config), _ATTR.size)
        anyone, alone = ctypes.c_long(-1), ctypes.c_long(-1)
        fd: int = self._syscall(
            self._number, attribute, anyone, ctypes.c_long(cpu), alone, ctypes.c_ulong(_CLOSE_ON_EXEC)
        )
        return fd if fd >= 0 else -ctypes.get_errno()

    def read(self, fd: int) -> int | None:
        """The count; None where it cannot be read."""
        return self._buffer.value if self._read(fd, self._into, self._size) == 8 else None


@dataclass(slots=True, eq=False, kw_only=True)
class PerfCounter(RaplCounter):
    """The event ``config`` of the PMU numbered ``pmu``, on ``cpu``."""

    files: KernelFiles
    calls: PerfCalls
    pmu: int
    config: int
    cpu: int
    fd: int = -1

    def value(self) -> int | None:
        return None if self.fd < 0 else self.calls.read(self.fd)

    def reopen(self) -> int:
        self.close()
        self.fd = self.calls.open(self.pmu, self.config, self.cpu)
        self.total, self.last = 0, None  # an event counts from when it was opened
        return max(0, -self.fd)

    def is_mirror(self, other: RaplCounter) -> bool:
        """Never: of events that count the same, only the first was found."""
        return False

    def close(self) -> None:
        self.files.close(self.fd)
        self.fd = -1


def event_config(terms: str, formats: dict[str, str]) -> int | None:
    """The ``config`` of an event such as ``"event=0x02"``, by formats such as ``{"event": "config:0-7"}``.

    None where a term is not one of these, or does not fit into its bits.
    """
    config = 0
    for term in terms.strip().split(","):
        name, _, value = term.partition("=")
        place = re.fullmatch(r"config:(\d+)(?:-(\d+))?", formats.get(name, "").strip())
        if place is None or not re.fullmatch(r"0x[0-9a-fA-F]+|\d+|", value):
            return None
        first, last = int(place[1]), int(place[2] or place[1])
        number = int(value or "1", 16 if value.startswith("0x") else 10)
        if last > 63 or number >> (last - first + 1):
            return None
        config |= number << first
    return config


def cpu_list(text: str) -> list[int] | None:
    """The numbers in ``"0,24-25"``; None for anything else."""
    found: list[int] = []
    for part in text.strip().split(","):
        ends = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        if ends is None:
            return None
        found.extend(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return found


def find_perf(root: str, files: KernelFiles) -> Found:
    """The events of the ``power`` PMU whose ``sys`` lies under ``root``, each joule once. None is open yet."""
    root = root.rstrip("/")
    pmu = f"{root}/sys/bus/event_source/devices/power"

    def text(name: str) -> str:
        return files.slurp(name).decode(errors="replace").strip()

    number = text(f"{pmu}/type")
    if not number.isdigit():
        return Found(counters=[])
    cpus = cpu_list(text(f"{pmu}/cpumask"))
    formats = {name: text(f"{pmu}/format/{name}") for name in files.names(f"{pmu}/format")}
    try:
        calls = PerfCalls()
    except (OSError, AttributeError, TypeError):
        return Found(counters=[], cause="the C library cannot open perf events")

    def event(name: str, key: str, label: str, kind: EnergyKind, scope: str, cpu: int) -> RaplCounter | None:
        config = event_config(text(f"{pmu}/events/{name}"), formats)
        unit_j = _scale_j(text(f"{pmu}/events/{name}.scale"), text(f"{pmu}/events/{name}.unit"))
        if config is None or unit_j is None:
            return None
        return PerfCounter(
            key, label, kind, scope, way="perf", unit_j=unit_j, wrap=_ROUND,
            files=files, calls=calls, pmu=int(number), config=config, cpu=cpu,
        )  # fmt: skip

    places = _places(root, files, cpus or [])
    found = [
        counter
        for event_name, key, label, kind, scope in _EVENTS
        for place, cpu in places.items()
        if (counter := event(event_name, f"{key}-{place}", f"{label} {place.replace('-', ' ')}", kind, scope, cpu))
    ]
    if not any(counter.kind == "cpu" for counter in found):
        whole = event("energy-psys", "psys", "Platform", "cpu", PLATFORM, cpus[0] if cpus else 0)
        found = found if whole is None else [whole]
    return Found(counters=found, cause="" if found else "they cannot be understood")


def _scale_j(scale: str, unit: str) -> float | None:
    """The joules of one count, from the files ``.scale`` and ``.unit``."""
    try:
        value = float(scale)
    except ValueError:
        return None
    return value if unit == "Joules" and 0 < value < math.inf else None


def _places(root: str, files: KernelFiles, cpus: list[int]) -> dict[str, int]:
    """The CPU to count on for each package (``"0"``), or for each die of a package with several (``"0-die-1"``).

    On processors of AMD all dies show the package's counter, and some kernels name a CPU of each die.
    """
    dies: dict[str, dict[str, int]] = {}
    for order, cpu in enumerate(cpus):
        topology = f"{root}/sys/devices/system/cpu/cpu{cpu}/topology"
        package = files.slurp(f"{topology}/physical_package_id").decode(errors="replace").strip() or str(order)
        die = files.slurp(f"{topology}/die_id").decode(errors="replace").strip() or "0"
        dies.setdefault(package, {}).setdefault(die, cpu)
    if any(len(cpu_of) > 1 for cpu_of in dies.values()):
        content = files.slurp(f"{root}/proc/cpuinfo").decode(errors="replace")
        vendor = content.partition("vendor_id")[2].partition("\n")[0].strip("\t :")
        if vendor in _ONE_COUNTER_PER_PACKAGE:
            dies = {package: dict([next(iter(cpu_of.items()))]) for package, cpu_of in dies.items()}
    return {
        package if len(cpu_of) == 1 else f"{package}-die-{die}": cpu
        for package, cpu_of in dies.items()
        for die, cpu in cpu_of.items()
    }
