"""What moves slowly on Linux and is read in turns: disks, network interfaces, the CPU's thermometer, the load."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappush, heapreplace
from typing import Any, Final

from resmon.sensors.base import NAN
from resmon.sensors.linux_files import KernelFiles
from resmon.sensors.throughput import Throughput

_NO_DISKS: Final = ("loop", "ram", "zram", "fd", "sr")
_CPU_CHIPS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "x86_pkg_temp", "soc_thermal")
_PACKAGE_LABELS: Final = ("package id", "tdie", "tctl")
_SLACK_S: Final = 0.1  # keeps a period of whole ticks at that
_SECTOR: Final = 512  # the unit of /proc/diskstats, whatever the device's own sector is


class Disks:
    """Bytes read from and written to the block devices that stand on no other (not partitions, dm, md, loop)."""

    def __init__(self, files: KernelFiles, root: str) -> None:
        self.path = f"{root}/proc/diskstats"
        self._files = files
        self._block = f"{root}/sys/block"
        self._fd = files.open(self.path)
        self.take: Callable[[], bytes] = partial(files.read, self._fd)
        """What ``counts`` is made of, as it is now."""
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
        self._files.close(self._fd)
        self._fd = -1


class Interfaces:
    """Bytes received and sent by the interfaces with hardware; without any (a container) by all but the loopback."""

    def __init__(self, files: KernelFiles, root: str) -> None:
        self.path = f"{root}/proc/net/dev"
        self._files = files
        self._net = f"{root}/sys/class/net"
        self._fd = files.open(self.path)
        self.take: Callable[[], bytes] = partial(files.read, self._fd)
        """What ``counts`` is made of, as it is now."""
        self.marks: list[bytes] = []

    def find(self) -> list[bytes]:
        """Which interfaces there are now, for ``marks``."""
        present = [line.partition(b":")[0].strip() for line in self._files.read(self._fd).splitlines()[2:]]
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

    def take(self) -> list[bytes]:
        """What ``hottest_c`` is made of, as it is now."""
        return [self._files.read(fd) for fd in self._fds]

    def hottest_c(self, texts: Sequence[bytes]) -> float:
        """Degrees Celsius; NaN where nothing can be read."""
        return max((int(text) / 1000.0 for text in texts if text), default=NAN)

    def close(self) -> None:
        for fd in self._fds:
            self._files.close(fd)
        self._fds = []


TakenSlower = Sequence[tuple[Callable[[float, Any], None], object]]
"""What was read, each with what takes it in."""


class Slower:
    """Reads each of them when its turn comes. ``take`` reads, ``parse`` takes in; rates are means between two reads.

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
        # When, in which order, how often (s), what is read, what takes it in: a heap, the next one due first.
        self._turns: list[tuple[float, int, float, Callable[[], object], Callable[[float, Any], None]]] = []
        self.find()

    def find(self) -> None:
        """Look again which disks and interfaces there are."""
        self._interfaces.marks = self._interfaces.find()
        self._disks.marks = self._disks.find()

    def must_find(self) -> bool:
        """Whether there are others now than at the last ``find``."""
        return self._interfaces.marks != self._interfaces.find() or self._disks.marks != self._disks.find()

    def take(self, at_s: float) -> TakenSlower:
        """What is due now. At first that is all; after that disks and network take turns."""
        turns = self._turns
        if not turns:
            turns += [
                (at_s + 1.0 - _SLACK_S, 0, 2.0, self._disks.take, self._parse_disk),
                (at_s + 2.0 - _SLACK_S, 1, 2.0, self._interfaces.take, self._parse_net),
                (at_s + 5.0 - _SLACK_S, 2, 5.0, partial(self._files.read, self._loadavg), self._parse_load),
            ]
            if self._thermometer.paths:
                heappush(turns, (at_s + 1.0 - _SLACK_S, 3, 2.0, self._thermometer.take, self._parse_temperature))
            taken = [(parse, take()) for *_, take, parse in turns]
        else:
            taken = []
            while at_s >= turns[0][0]:
                _, order, period_s, take, parse = turns[0]
                heapreplace(turns, (at_s + period_s - _SLACK_S, order, period_s, take, parse))
                taken.append((parse, take()))
        self.next_s = turns[0][0]
        return taken

    def parse(self, at_s: float, taken: TakenSlower) -> None:
        """Take in what was read at an instant. Instants grow."""
        for parse, text in taken:
            parse(at_s, text)

    def _parse_disk(self, at_s: float, text: bytes) -> None:
        self.disk.update(at_s, self._disks.counts(text))

    def _parse_net(self, at_s: float, text: bytes) -> None:
        self.net.update(at_s, self._interfaces.counts(text))

    def _parse_temperature(self, at_s: float, texts: Sequence[bytes]) -> None:
        self.temperature_c = self._thermometer.hottest_c(texts)

    def _parse_load(self, at_s: float, text: bytes) -> None:
        words = text.split(None, 1)
        self.load_1min = float(words[0]) if words else NAN

    def close(self) -> None:
        """Close all descriptors. Idempotent."""
        self._files.close(self._loadavg)
        self._loadavg = -1
        for part in (self._disks, self._interfaces, self._thermometer):
            part.close()
