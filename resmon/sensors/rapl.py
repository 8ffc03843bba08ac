"""The CPU's energy counters (RAPL) through the kernel's powercap tree.

A counter counts microjoules up to its range and starts again. The sensor adds the differences in whole microjoules, so
that its channels only grow; where the energy of an interval cannot be known (a wrap with an unreadable range, a gap in
which it may have wrapped more than once, a reset by suspend), the interval is discarded and the channel starts
again from 0, which says so to whoever reads it.

What is counted once: the packages and their ``dram``; never ``core`` and ``uncore``, which are inside the package;
``psys`` only where there is no package; the MSR interface before the MMIO one, which shows the same package; and of the
dies of a package that show one counter, the first. A zone is a sensor once its counter has advanced.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resmon.facts import HOST, Channel, Device, EnergyKind, EnergySource, SensorState, SensorStatus
from resmon.sensors.base import NAN

if TYPE_CHECKING:
    from resmon.sensors.linux_files import KernelFiles

REMEDY: Final = "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj"
CONTAINER_REMEDY: Final = "start the container with --security-opt systempaths=unconfined"

_MAX_W: Final = 1000.0
"""More than any package draws: a wrap that needs more is a reset, and a gap that allows a whole round is lost."""
_RETRY_S: Final = 2.0
_ADVANCE_S: Final = 0.1  # counters advance about every millisecond
_SAME_UJ: Final = 2_000_000  # two readings of one counter, microseconds apart, differ by less
_PACKAGE: Final = re.compile(r"package-(\d+)(?:-die-(\d+))?$")


@dataclass(slots=True)
class _Zone:
    """One counter: where it lies, how far it has come (``total_uj``), and what it read last (``last_uj``)."""

    key: str
    label: str
    kind: EnergyKind
    scope: str
    path: str
    fd: int = -1
    range_uj: int | None = None
    total_uj: int = 0
    last_uj: int | None = None
    last_at_s: float = 0.0
    next_open_s: float = float("-inf")
    error: int = 0

    @property
    def quantity(self) -> str:
        return f"{self.key.replace('-', '_')}_energy_j"

    def start_again(self) -> None:
        """Forget the readings so far: the next one is where the energy counts from."""
        self.total_uj, self.last_uj, self.next_open_s = 0, None, float("-inf")


class RaplSensor:
    """The sensor named ``"rapl"``: one counter in joules per CPU package and per package's DRAM.

    ``root`` is where ``sys`` lies. Zones that cannot be read at ``discover``, or do not advance, are tried again every
    2 s; when one can be, the shape changes and ``generation`` grows.
    """

    name = "rapl"
    devices: tuple[Device, ...] = ()

    def __init__(self, root: str = "/") -> None:
        self.generation = 0
        self.channels: tuple[Channel, ...] = ()
        self.sources: tuple[EnergySource, ...] = ()
        self._powercap = f"{root.rstrip('/')}/sys/class/powercap"
        self._files: KernelFiles | None = None
        self._zones: list[_Zone] = []
        self._waiting: list[_Zone] = []
        self._next_retry_s = float("-inf")
        self._found = False
        self._cause = ""
        self._remedy = ""

    # ------------------------------------------------------------- discovery

    def discover(self) -> None:
        """Find the zones and wait up to 0.1 s for their counters to advance."""
        self.close()
        self._found = True
        try:
            from resmon.sensors.linux_files import KernelFiles

            self._files = KernelFiles()
        except (OSError, AttributeError, TypeError):  # Windows has no C library to ask, macOS no powercap
            self._cause = "RAPL is read on Linux only"
            return
        self._waiting = self._find_zones(self._files)
        if not self._waiting:
            return
        deadline = time.monotonic() + _ADVANCE_S
        while self._waiting and time.monotonic() < deadline:
            self._promote(time.monotonic())
            if all(zone.error for zone in self._waiting):
                break
            time.sleep(0.002)
        for zone in self._waiting:
            zone.start_again()  # what follows is on the sampler's clock

    def _find_zones(self, files: KernelFiles) -> list[_Zone]:
        names = sorted(files.names(self._powercap))
        if not names:
            self._cause = "there is no /sys/class/powercap: a virtual machine, or a CPU without RAPL"
            return []
        entries = {name: files.slurp(f"{self._powercap}/{name}/name").decode().strip() for name in names}
        tops = [name for name in names if name.startswith("intel-rapl") and name.count(":") == 1]
        tops.sort(key=lambda name: name.startswith("intel-rapl-mmio"))
        found: dict[str, _Zone] = {}
        plain = {entries[name] for name in tops}
        for top in tops:
            match = _PACKAGE.fullmatch(entries[top])
            if match is None or entries[top] in found:
                continue
            package, die = match.groups()
            if die is not None and f"package-{package}" in plain:
                continue  # the die's counter is inside the package's
            suffix = package if die is None else f"{package} die {die}"
            found[entries[top]] = self._zone(entries[top], f"CPU package {suffix}", "cpu", "CPU package", top)
            for child in names:
                if child.startswith(f"{top}:") and entries[child] == "dram":
                    key = f"dram-{package}" + (f"-die-{die}" if die is not None else "")
                    found[key] = self._zone(key, f"DRAM package {suffix}", "dram", "DRAM", child)
        if not found and "psys" in plain:
            top = next(name for name in tops if entries[name] == "psys")
            found["psys"] = self._zone("psys", "Platform", "cpu", "whole platform (psys)", top)
        if not found:
            # A container masks the directory that the names link to: they are there, and lead nowhere.
            hidden = any(name.startswith("intel-rapl:") and not entries[name] for name in names)
            self._cause = "the container hides the RAPL zones" if hidden else "powercap shows no RAPL package"
            self._remedy = CONTAINER_REMEDY if hidden else ""
        return _with_short_labels(list(found.values()))

    def _zone(self, key: str, label: str, kind: EnergyKind, scope: str, entry: str) -> _Zone:
        return _Zone(key=key, label=label, kind=kind, scope=scope, path=f"{self._powercap}/{entry}")

    def _promote(self, at_s: float) -> None:
        """Make sensors of the waiting zones whose counter has advanced."""
        for zone in self._waiting:
            self._advance(zone, at_s)
        ready = [zone for zone in self._waiting if zone.total_uj > 0]
        if not ready:
            return
        self._waiting = [zone for zone in self._waiting if zone not in ready]
        for zone in sorted(ready, key=lambda zone: zone.key):
            if any(self._is_mirror(zone, other) for other in self._zones):
                self._close(zone)
            else:
                zone.start_again()
                self._zones.append(zone)
        self._zones.sort(key=lambda zone: (zone.kind, zone.key))
        self._describe()

    def _is_mirror(self, zone: _Zone, other: _Zone) -> bool:
        """Whether two dies of one package show the same counter."""
        assert self._files is not None
        if "-die-" not in zone.key or zone.key.rpartition("-")[0] != other.key.rpartition("-")[0]:
            return False
        first, second = (self._files.read(each.fd).strip() for each in (zone, other))
        return first.isdigit() and second.isdigit() and abs(int(first) - int(second)) < _SAME_UJ

    def _describe(self) -> None:
        self.channels = tuple(
            Channel(device_id=HOST, quantity=zone.quantity, unit="J", kind="counter", code="d") for zone in self._zones
        )
        self.sources = tuple(
            EnergySource(
                id=f"rapl:{zone.key}",
                device_id=HOST,
                label=zone.label,
                kind=zone.kind,
                method="counter",
                basis="measured",
                scope=zone.scope,
                channel=f"{HOST}.{zone.quantity}",
                gain_error=0.05,
                note="RAPL counter; its gain error is a placeholder of 5 %, not a calibration",
            )
            for zone in self._zones
        )
        self.generation += 1

    # ------------------------------------------------------------- reading

    def read(self, at_s: float) -> Sequence[float]:
        """Joules since ``discover`` per zone, NaN where the counter cannot be read now."""
        if self._waiting and at_s >= self._next_retry_s:
            self._next_retry_s = at_s + _RETRY_S
            self._promote(at_s)
        return [self._advance(zone, at_s) for zone in self._zones]

    def _advance(self, zone: _Zone, at_s: float) -> float:
        assert self._files is not None
        content = self._files.read(zone.fd) if zone.fd >= 0 else b""
        if not content and at_s >= zone.next_open_s:
            content = self._open(zone, at_s)
        value = content.strip()
        if not value.isdigit():
            zone.error = zone.error or errno.EIO
            return NAN
        zone.error = 0
        now_uj = int(value)
        last_uj, zone.last_uj = zone.last_uj, now_uj
        gap_s, zone.last_at_s = at_s - zone.last_at_s, at_s
        if last_uj is None:
            return zone.total_uj * 1e-6
        if zone.range_uj is None:
            self._read_range(zone)
        step_uj = now_uj - last_uj
        bound_uj = _MAX_W * 1e6 * max(gap_s, 0.01)
        lost = zone.range_uj is not None and bound_uj > zone.range_uj  # it may have wrapped more than once
        if step_uj < 0:
            step_uj = step_uj % zone.range_uj if zone.range_uj else -1
            lost = lost or not 0 <= step_uj <= bound_uj
        if lost:
            zone.total_uj = 0
            return NAN
        zone.total_uj += step_uj
        return zone.total_uj * 1e-6

    def _open(self, zone: _Zone, at_s: float) -> bytes:
        """Open a counter, or open it again: the permission or the device may have come back."""
        assert self._files is not None
        zone.next_open_s = at_s + _RETRY_S
        self._files.close(zone.fd)
        zone.fd = self._files.open(f"{zone.path}/energy_uj")
        zone.error = max(0, -zone.fd)
        self._read_range(zone)
        return self._files.read(zone.fd) if zone.fd >= 0 else b""

    def _read_range(self, zone: _Zone) -> None:
        assert self._files is not None
        content = self._files.slurp(f"{zone.path}/max_energy_range_uj").strip()
        zone.range_uj = int(content) if content.isdigit() and int(content) > 0 else None

    @property
    def status(self) -> Sequence[SensorStatus]:
        """Why the zones cannot be read, or what of them can."""
        if not self._found:
            return (SensorStatus(name=self.name, state="looking"),)
        zones, waiting = self._zones, self._waiting
        detail = (
            f"{', '.join(zone.label for zone in zones)}; by powercap" if zones else "powercap only, not perf events"
        )
        failing = [zone for zone in (*zones, *waiting) if zone.error]
        cause, remedy = self._cause, self._remedy
        if waiting:
            cause = "the counter does not advance"
        if any(zone.error == errno.EACCES for zone in failing):
            cause, remedy = "energy_uj is readable by root only", REMEDY
        elif failing:
            cause = f"energy_uj cannot be read: {os.strerror(failing[0].error)}"
        state: SensorState = "degraded" if failing or waiting else "available"
        if not any(zone.error == 0 for zone in zones):
            state = "lost" if zones else "unavailable" if waiting or remedy else "absent"
        return (SensorStatus(name=self.name, state=state, detail=detail, cause=cause, remedy=remedy),)

    @property
    def not_covered(self) -> Sequence[str]:
        """``"DRAM"`` where packages are counted and their memory is not."""
        kinds = {source.kind for source in self.sources}
        return ("DRAM",) if "cpu" in kinds and "dram" not in kinds else ()

    def _close(self, zone: _Zone) -> None:
        if self._files is not None:
            self._files.close(zone.fd)
        zone.fd = -1

    def close(self) -> None:
        """Give back the descriptors. Idempotent."""
        for zone in (*self._zones, *self._waiting):
            self._close(zone)
        self._zones, self._waiting, self._files = [], [], None
        self._cause = self._remedy = ""


def _with_short_labels(zones: list[_Zone]) -> list[_Zone]:
    """``"CPU"`` and ``"DRAM"`` where there is one of them."""
    for kind, alone in (("cpu", "CPU"), ("dram", "DRAM")):
        same = [zone for zone in zones if zone.kind == kind and zone.key != "psys"]
        if len(same) == 1:
            same[0].label = alone
    return zones
