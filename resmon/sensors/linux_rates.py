"""What moves slowly on Linux and is read seldom: disks, network interfaces, the CPU's thermometer, the load."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from resmon.sensors.base import NAN
from resmon.sensors.linux_files import KernelFiles
from resmon.sensors.throughput import Throughput

_NO_DISKS: Final = ("loop", "ram", "zram", "fd", "sr")
_CPU_CHIPS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "x86_pkg_temp", "soc_thermal")
_PACKAGE_LABELS: Final = ("package id", "tdie", "tctl")
_TICKS: Final = 4
_LEAST_S: Final = 2.0
_MOST_S: Final = 10.0
_SLACK_S: Final = 0.1  # keeps it at whole ticks
_SECTOR: Final = 512  # the unit of /proc/diskstats, whatever the device's own sector is


class Disks:
    """Bytes read from and written to the block devices that stand on no other (not partitions, dm, md, loop)."""

    def __init__(self, files: KernelFiles, root: str) -> None:
        self.path = f"{root}/proc/diskstats"
        self._files = files
        self._block = f"{root}/sys/block"
        self.fd = files.open(self.path)
        """What ``counts`` is made of."""
        self.marks: list[bytes] = []

    def find(self) -> list[bytes]:
        """Which devices there are now, for ``marks``."""
        names = [
            name
            for name in self._files.names(self._block)
            if not name.startswith(_NO_DISKS) and not self._files.names(f"{self._block}/{name}/slaves")
        ]
        return [b" %b " % os.fsencode(name) for name in names]

    def counts(self, text: bytes) -> tuple[int, int] | None:
        """Bytes read and written since the start of the machine; None without a disk."""
        read = written = 0
        found = False
        for mark in self.marks:
            at = text.find(mark)
            if at >= 0:
                fields = text[at : at + 160].split(None, 8)
                read += int(fields[3])
                written += int(fields[7])
                found = True
        return (read * _SECTOR, written * _SECTOR) if found else None

    def close(self) -> None:
        self._files.close(self.fd)
        self.fd = -1


class Interfaces:
    """Bytes received and sent by the interfaces with hardware; without any (a container) by all but the loopback."""

    def __init__(self, files: KernelFiles, root: str) -> None:
        self.path = f"{root}/proc/net/dev"
        self._files = files
        self._net = f"{root}/sys/class/net"
        self.fd = files.open(self.path)
        """What ``counts`` is made of."""
        self.marks: list[bytes] = []

    def find(self) -> list[bytes]:
        """Which interfaces there are now, for ``marks``."""
        present = [line.partition(b":")[0].strip() for line in self._files.read(self.fd).splitlines()[2:]]
        present_but_lo = [name for name in present if name != b"lo"]
        hardware = [name for name in present if self._files.names(f"{self._net}/{os.fsdecode(name)}/device")]
        # The kernel pads names to six characters, so that a short one follows a blank and a long one a line break.
        return [b"%b%b:" % (b" " if len(name) < 6 else b"\n", name) for name in hardware or present_but_lo]

    def counts(self, text: bytes) -> tuple[int, int] | None:
        """Bytes in and out; None without an interface."""
        received = sent = 0
        found = False
        for mark in self.marks:
            at = text.find(mark)
            if at >= 0:
                fields = text[at + len(mark) : at + len(mark) + 240].split(None, 9)
                received += int(fields[0])
                sent += int(fields[8])
                found = True
        return (received, sent) if found else None

    def close(self) -> None:
        self._files.close(self.fd)
        self.fd = -1


class Thermometer:
    """The CPU's temperature: the hottest package of the hwmon chip, else the CPU's thermal zone."""

    def __init__(self, files: KernelFiles, root: str) -> None:
        self._files = files
        self.paths = self._find(f"{root}/sys/class/hwmon", f"{root}/sys/class/thermal")
        self.fds = [files.open(path) for path in self.paths]
        """In millidegrees."""

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

    def close(self) -> None:
        for fd in self.fds:
            self._files.close(fd)
        self.fds = []


TakenSlower = tuple[()] | tuple[bytes, bytes, bytes, Sequence[bytes]]
"""``diskstats``, ``net/dev``, ``loadavg``, the temperatures; nothing where it was not their turn."""


class Slower:
    """Reads them at every fourth tick, but not more often than every 2 s nor more seldom than every 10 s.

    ``take`` reads, ``parse`` takes in; rates are means between two reads.

    ``next_s`` is when ``take`` has something to read. What cannot be read is NaN.
    """

    def __init__(self, files: KernelFiles, root: str) -> None:
        self.disk, self.net = Throughput(), Throughput()
        self.load_1min = self.temperature_c = NAN
        self.next_s = float("-inf")
        self._files = files
        self._loadavg = files.open(f"{root}/proc/loadavg")
        self._disks = Disks(files, root)
        self._interfaces = Interfaces(files, root)
        self._thermometer = Thermometer(files, root)
        self.paths = [f"{root}/proc/loadavg", self._interfaces.path, self._disks.path, *self._thermometer.paths]
        self.find()

    def find(self) -> None:
        """Look again which disks and interfaces there are."""
        self._interfaces.marks = self._interfaces.find()
        self._disks.marks = self._disks.find()

    def must_find(self) -> bool:
        """Whether there are others now than at the last ``find``."""
        return self._interfaces.marks != self._interfaces.find() or self._disks.marks != self._disks.find()

    def take(self, at_s: float, step_s: float) -> TakenSlower:
        """What they say now. ``step_s`` is how far ticks are apart."""
        first = self.next_s == float("-inf")  # a rate takes a second read: soon
        self.next_s = at_s + (_LEAST_S if first else max(_LEAST_S, min(_TICKS * step_s, _MOST_S))) - _SLACK_S
        read = self._files.read
        return (
            read(self._disks.fd),
            read(self._interfaces.fd),
            read(self._loadavg),
            [read(fd) for fd in self._thermometer.fds],
        )

    def parse(self, at_s: float, taken: TakenSlower) -> None:
        """Take in what was read at an instant, if anything was. Instants grow."""
        if not taken:
            return
        disks, interfaces, loadavg, temperatures = taken
        self.disk.update(at_s, self._disks.counts(disks))
        self.net.update(at_s, self._interfaces.counts(interfaces))
        words = loadavg.split(None, 1)
        self.load_1min = float(words[0]) if words else NAN
        self.temperature_c = max((int(text) / 1000.0 for text in temperatures if text), default=NAN)

    def close(self) -> None:
        """Close all descriptors. Idempotent."""
        self._files.close(self._loadavg)
        self._loadavg = -1
        for part in (self._disks, self._interfaces, self._thermometer):
            part.close()
