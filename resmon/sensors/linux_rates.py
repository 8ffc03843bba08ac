"""Bytes per second of the disks and network interfaces on Linux, and the CPU's thermometer."""

from __future__ import annotations

import os
from typing import Final

from resmon.sensors.base import NAN
from resmon.sensors.linux_files import KernelFiles

_NO_DISKS: Final = ("loop", "ram", "zram", "fd", "sr")
_CPU_CHIPS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "x86_pkg_temp", "soc_thermal")
_PACKAGE_LABELS: Final = ("package id", "tdie", "tctl")
_SECTOR: Final = 512  # the unit of /proc/diskstats, whatever the device's own sector is


class Disks:
    """Bytes read from and written to the block devices that stand on no other (not partitions, dm, md, loop)."""

    def __init__(self, files: KernelFiles, root: str) -> None:
        self.path = f"{root}/proc/diskstats"
        self._files = files
        self._block = f"{root}/sys/block"
        self._fd = files.open(self.path)
        self._marks: list[bytes] = []

    def find(self) -> None:
        """Look again which devices there are."""
        names = [
            name
            for name in self._files.names(self._block)
            if not name.startswith(_NO_DISKS) and not self._files.names(f"{self._block}/{name}/slaves")
        ]
        self._marks = [b" %b " % os.fsencode(name) for name in names]

    def counts(self) -> tuple[int, int] | None:
        """Bytes read and written since the start of the machine; None without a disk."""
        text = self._files.read(self._fd)
        read = written = 0
        found = False
        for mark in self._marks:
            at = text.find(mark)
            if at >= 0:
                fields = text[at : at + 160].split(None, 8)
                read += int(fields[3])
                written += int(fields[7])
                found = True
        return (read * _SECTOR, written * _SECTOR) if found else None

    def close(self) -> None:
        self._files.close(self._fd)
        self._fd = -1


class Interfaces:
    """Bytes received and sent by the interfaces with hardware; without any (a container) by all but the loopback."""

    def __init__(self, files: KernelFiles, root: str) -> None:
        self.path = f"{root}/proc/net/dev"
        self._files = files
        self._net = f"{root}/sys/class/net"
        self._fd = files.open(self.path)
        self._marks: list[bytes] = []

    def find(self) -> None:
        """Look again which interfaces there are."""
        present = [line.partition(b":")[0].strip() for line in self._files.read(self._fd).splitlines()[2:]]
        present_but_lo = [name for name in present if name != b"lo"]
        hardware = [name for name in present if self._files.names(f"{self._net}/{os.fsdecode(name)}/device")]
        # The kernel pads names to six characters, so that a short one follows a blank and a long one a line break.
        self._marks = [b"%b%b:" % (b" " if len(name) < 6 else b"\n", name) for name in hardware or present_but_lo]

    def counts(self) -> tuple[int, int] | None:
        """Bytes in and out; None without an interface."""
        text = self._files.read(self._fd)
        received = sent = 0
        found = False
        for mark in self._marks:
            at = text.find(mark)
            if at >= 0:
                fields = text[at + len(mark) : at + len(mark) + 240].split(None, 9)
                received += int(fields[0])
                sent += int(fields[8])
                found = True
        return (received, sent) if found else None

    def close(self) -> None:
        self._files.close(self._fd)
        self._fd = -1


class Thermometer:
    """The CPU's temperature: the hottest package of the hwmon chip, else the CPU's thermal zone."""

    def __init__(self, files: KernelFiles, root: str) -> None:
        self._files = files
        self.paths = self._find(f"{root}/sys/class/hwmon", f"{root}/sys/class/thermal")
        self._fds = [files.open(path) for path in self.paths]

    def _find(self, hwmon: str, thermal: str) -> list[str]:
        slurp, names = self._files.slurp, self._files.names
        found: list[str] = []
        single: list[str] = []
        for chip in sorted(names(hwmon)):
            place = f"{hwmon}/{chip}"
            if os.fsdecode(slurp(f"{place}/name")).strip() in _CPU_CHIPS:
                inputs = sorted(name for name in names(place) if name.startswith("temp") and name.endswith("_input"))
                labels = {name: os.fsdecode(slurp(f"{place}/{name[:-6]}_label")).lower() for name in inputs}
                found += [f"{place}/{name}" for name in inputs if labels[name].startswith(_PACKAGE_LABELS)]
                single += [f"{place}/{name}" for name in inputs[:1]]
        if found or single:
            return found or single
        for zone in sorted(names(thermal)):
            kind = os.fsdecode(slurp(f"{thermal}/{zone}/type")).strip()
            if kind in _CPU_CHIPS:
                found.append(f"{thermal}/{zone}/temp")
        return found

    def read_c(self) -> float:
        """Degrees Celsius; NaN where nothing can be read."""
        values = [self._files.read(fd) for fd in self._fds]
        return max((int(value) / 1000.0 for value in values if value), default=NAN)

    def close(self) -> None:
        for fd in self._fds:
            self._files.close(fd)
        self._fds = []
