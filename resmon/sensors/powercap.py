"""RAPL through the kernel's powercap tree: files that count microjoules up to a range and start again.

What is counted once: the packages and their ``dram``; never ``core`` and ``uncore``, which are inside the package;
``psys`` only where there is no package; the MSR interface before the MMIO one, which shows the same package; and of the
dies of a package that show one counter, the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from resmon.facts import EnergyKind
from resmon.sensors.base import PLATFORM
from resmon.sensors.linux_files import KernelFiles
from resmon.sensors.rapl_counter import Found, RaplCounter

CONTAINER_REMEDY: Final = "start the container with --security-opt systempaths=unconfined"

_SAME_UJ: Final = 2_000_000  # two readings of one counter, microseconds apart, differ by less
_PACKAGE: Final = re.compile(r"package-(\d+)(?:-die-(\d+))?$")


@dataclass(slots=True, eq=False, kw_only=True)
class PowercapCounter(RaplCounter):
    """The counter in the directory ``path``. One whose range cannot be read loses the interval in which it wraps."""

    files: KernelFiles
    path: str
    fd: int = -1

    def value(self) -> int | None:
        if self.fd < 0:
            return None
        if self.wrap is None:
            self._read_range()
        value = self.files.read(self.fd).strip()
        return int(value) if value.isdigit() else None

    def reopen(self) -> int:
        self.close()
        self.fd = self.files.open(f"{self.path}/energy_uj")
        self._read_range()
        return max(0, -self.fd)

    def _read_range(self) -> None:
        content = self.files.slurp(f"{self.path}/max_energy_range_uj").strip()
        self.wrap = int(content) if content.isdigit() and int(content) > 0 else None

    def is_mirror(self, other: RaplCounter) -> bool:
        """Whether two dies of one package show the same counter."""
        if "-die-" not in self.key or self.key.rpartition("-")[0] != other.key.rpartition("-")[0]:
            return False
        assert isinstance(other, PowercapCounter)
        first, second = self.value(), other.value()
        return first is not None and second is not None and abs(first - second) < _SAME_UJ

    def close(self) -> None:
        self.files.close(self.fd)
        self.fd = -1


def find_powercap(root: str, files: KernelFiles) -> Found:
    """The counters of the powercap tree whose ``sys`` lies under ``root``, each joule once. None is open yet."""
    tree = f"{root.rstrip('/')}/sys/class/powercap"
    names = sorted(files.names(tree))
    if not names:
        return Found(counters=[], cause="there is no /sys/class/powercap: a virtual machine, or a CPU without RAPL")
    zones = {name: files.slurp(f"{tree}/{name}/name").decode(errors="replace").strip() for name in names}
    counters: list[RaplCounter] = [
        PowercapCounter(key, label, kind, scope, way="powercap", unit_j=1e-6, files=files, path=f"{tree}/{name}")
        for name, key, label, kind, scope in _each_joule_once(zones)
    ]
    if counters:
        return Found(counters=counters)
    # A container masks the directory that the names link to: they are there, and lead nowhere.
    if any(name.startswith("intel-rapl:") and not zone for name, zone in zones.items()):
        return Found(counters=[], cause="the container hides the RAPL zones", remedy=CONTAINER_REMEDY)
    return Found(counters=[], cause="powercap shows no RAPL package")


def _each_joule_once(zones: Mapping[str, str]) -> list[tuple[str, str, str, EnergyKind, str]]:
    """Entry, key, label, kind and scope of each zone to count, from the entries of the tree and the zones' names."""
    tops = [name for name in zones if name.startswith("intel-rapl") and name.count(":") == 1]
    tops.sort(key=lambda name: name.startswith("intel-rapl-mmio"))
    plain = {zones[name] for name in tops}
    found: dict[str, tuple[str, str, str, EnergyKind, str]] = {}
    for top in tops:
        match = _PACKAGE.fullmatch(zones[top])
        if match is None or zones[top] in found:
            continue
        package, die = match.groups()
        if die is not None and f"package-{package}" in plain:
            continue  # the die's counter is inside the package's
        suffix = package if die is None else f"{package} die {die}"
        found[zones[top]] = top, zones[top], f"CPU package {suffix}", "cpu", "CPU package"
        for child, zone in zones.items():
            if child.startswith(f"{top}:") and zone == "dram":
                key = f"dram-{package}" + (f"-die-{die}" if die is not None else "")
                found[key] = child, key, f"DRAM package {suffix}", "dram", "DRAM"
    if not found and "psys" in plain:
        top = next(name for name in tops if zones[name] == "psys")
        return [(top, "psys", "Platform", "cpu", PLATFORM)]
    return list(found.values())
