"""The CPU's power from its rated power and its utilisation: the model for where no counter can be read.

With rated power ``R`` and utilisation ``u`` (0-1)::

    P      = R · max(u, 0.1)              P = p·u of the articles, and no less than an idle CPU draws
    P_low  = R_low · max(u / 2, 0.1)
    P_high = R_high · min(0.5 + 1.4·u, 1.2)

so that ``P_low <= P <= P_high``, within ``[0.1, 1.2]`` of the rated power. Utilisation is not power: at full load a
CPU that waits for memory draws half of what it is rated, one at its turbo limit more than all of it; a few busy cores
clock higher than all of them do, and an idle server draws up to half. The bounds are a judgement, not a measurement.

``R`` is the share of what the process may use: of the power of all sockets, the part of its cores (a quota of a cgroup
counts as cores), and the utilisation is relative to the same limit. So a container with 4 of 64 cores is shown 1/16 of
the machine at its own load, not the machine. In a virtual machine a CPU is taken as a hardware thread, and in the upper
bound as a whole core, unless it shows its threads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from resmon.facts import HOST, Channel, Device, EnergySource, Limits, SensorStatus
from resmon.sensors.base import NAN
from resmon.sensors.cpu_info import CpuInfo
from resmon.sensors.host import HostSensor

_TABLE: Final = (
    # Name, rated power of a socket (W), cores, threads: Intel's "TDP" or "Processor Base Power", AMD's "Default TDP".
    # The EPYC 7000 entries were compared with CodeCarbon's list of CPUs; the others not with any list yet.
    (r"Xeon.* E5-2620 v4", 85, 8, 16),
    (r"Xeon.* E5-2680 v4", 120, 14, 28),
    (r"Xeon.* E5-2690 v4", 135, 14, 28),
    (r"Xeon.* E5-2698 v4", 135, 20, 40),
    (r"Xeon.* Silver 4210", 85, 10, 20),
    (r"Xeon.* Silver 4314", 135, 16, 32),
    (r"Xeon.* Gold 6130", 125, 16, 32),
    (r"Xeon.* Gold 6148", 150, 20, 40),
    (r"Xeon.* Gold 6230", 125, 20, 40),
    (r"Xeon.* Gold 6248", 150, 20, 40),
    (r"Xeon.* Gold 6330", 205, 28, 56),
    (r"Xeon.* Gold 6338", 205, 32, 64),
    (r"Xeon.* Platinum 8180", 205, 28, 56),
    (r"Xeon.* Platinum 8280", 205, 28, 56),
    (r"Xeon.* Platinum 8380", 270, 40, 80),
    (r"Xeon.* Platinum 8468", 350, 48, 96),
    (r"Xeon.* Platinum 8480\+", 350, 56, 112),
    (r"Xeon.* Platinum 8592\+", 350, 64, 128),
    (r"Core.* i7-8700K", 95, 6, 12),
    (r"Core.* i9-9900K", 95, 8, 16),
    (r"Core.* i9-10900K", 125, 10, 20),
    (r"Core.* i9-12900K", 125, 16, 24),
    (r"Core.* i9-13900K", 125, 24, 32),
    (r"EPYC 7302", 155, 16, 32),
    (r"EPYC 7313", 155, 16, 32),
    (r"EPYC 7402", 180, 24, 48),
    (r"EPYC 7502", 180, 32, 64),
    (r"EPYC 7513", 200, 32, 64),
    (r"EPYC 7543", 225, 32, 64),
    (r"EPYC 7713", 225, 64, 128),
    (r"EPYC 7742", 225, 64, 128),
    (r"EPYC 7763", 280, 64, 128),
    (r"EPYC 7H12", 280, 64, 128),
    (r"EPYC 9354", 280, 32, 64),
    (r"EPYC 9454", 290, 48, 96),
    (r"EPYC 9554", 360, 64, 128),
    (r"EPYC 9654", 360, 96, 192),
    (r"Ryzen Threadripper 3970X", 280, 32, 64),
    (r"Ryzen Threadripper 3990X", 280, 64, 128),
    (r"Ryzen Threadripper PRO 5995WX", 280, 64, 128),
    (r"Ryzen 5 5600X", 65, 6, 12),
    (r"Ryzen 7 5800X", 105, 8, 16),
    (r"Ryzen 9 5900X", 105, 12, 24),
    (r"Ryzen 9 5950X", 105, 16, 32),
    (r"Ryzen 9 7950X", 170, 16, 32),
)
_LETTER: Final = r"(?![A-Za-z0-9+])"  # "7950X3D" is another processor than "7950X"

_THREAD_W: Final = (1.4, 4.7, 16.0)
"""Rated watts of one hardware thread of an unknown CPU: the least (a dense server, 360 W for 256), the geometric
middle, and the most (a desktop without hyper-threads, 95 W for 6)."""

_IDLE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedPower:
    """The rated power of all that a machine shows of its CPUs, and between which bounds it is known."""

    low_w: float
    power_w: float
    high_w: float
    known: bool


def rated_power(cpu: CpuInfo) -> RatedPower:
    """Rated power of ``cpu`` by its model string; a range by its number of threads where the model is unknown.

    A model string may be unknown, or masked by a hypervisor ("Intel(R) Xeon(R) Processor"): then no exact value is
    claimed.
    """
    for pattern, watts, cores, threads in _TABLE:
        # Compiling all patterns would take longer than all the rest of the monitor's start.
        if pattern.rpartition("*")[2].rstrip("\\+") not in cpu.model or not re.search(pattern + _LETTER, cpu.model):
            continue
        if not cpu.virtual:
            power_w = float(watts * cpu.sockets)
            return RatedPower(low_w=power_w, power_w=power_w, high_w=power_w, known=True)
        power_w = watts * cpu.threads / threads
        whole_cores = 1.0 if (cpu.threads_per_core or 1) > 1 else threads / cores
        return RatedPower(low_w=power_w, power_w=power_w, high_w=power_w * whole_cores, known=True)
    low_w, power_w, high_w = (watts * cpu.threads for watts in _THREAD_W)
    return RatedPower(low_w=low_w, power_w=power_w, high_w=high_w, known=False)


def modelled_power_w(rated: RatedPower, utilization: float) -> tuple[float, float, float]:
    """Power, its lower and its upper bound at ``utilization`` (0-1), in watts: the formula of this module."""
    return (
        rated.power_w * max(utilization, _IDLE),
        rated.low_w * max(utilization / 2.0, _IDLE),
        rated.high_w * min(0.5 + 1.4 * utilization, 1.2),
    )


class RatedSensor:
    """The sensor named ``"rated"``: the host's power by the model. It is read after ``host``, on the same thread."""

    name = "rated"
    devices: tuple[Device, ...] = ()
    channels: tuple[Channel, ...] = tuple(
        Channel(device_id=HOST, quantity=quantity, unit="W", stored=quantity == "power_w")
        for quantity in ("power_w", "power_low_w", "power_high_w")
    )

    def __init__(self, host: HostSensor) -> None:
        self.generation = 0
        self.sources: tuple[EnergySource, ...] = ()
        self._host = host
        self._rated: RatedPower | None = None
        self._threads = 1
        self._limits: Limits | None = None  # those that the share below is of
        self._share = 1.0
        self._utilization = NAN  # what the watts are of
        self._watts = (NAN, NAN, NAN)
        self._detail = ""

    def discover(self) -> None:
        """Look up the CPU that ``host`` found; ``host`` is discovered before."""
        cpu, limits = self._host.cpu, self._host.limits
        rated = self._rated = rated_power(cpu)
        self._threads = max(cpu.threads, 1)
        self._limits = None
        share = min(1.0, limits.cpu_cores / self._threads)
        watts = f"{rated.low_w:.0f}-{rated.high_w:.0f}" if rated.low_w < rated.high_w else f"{rated.power_w:.0f}"
        known = "rated" if rated.known else "unknown CPU model, rated"
        self._detail = f"{known} {watts} W for {self._threads} CPUs, of which {limits.cpu_cores:g} in use here"
        self.sources = (
            EnergySource(
                id="rated:cpu",
                device_id=HOST,
                label="CPU",
                kind="cpu",
                method="model",
                basis="estimated",
                scope=f"{limits.cpu_cores:g} of {self._threads} CPUs",
                channel=self.channels[0].id,
                low_channel=self.channels[1].id,
                high_channel=self.channels[2].id,
                power_limit_w=1.2 * rated.high_w * share,
                note=f"rated power x utilisation; {self._detail}",
            ),
        )

    def read(self, at_s: float) -> Sequence[float]:
        """Power and its bounds from the utilisation that ``host`` read in this tick; NaN before there is one."""
        return self.parse(None)

    def parse(self, taken: None) -> Sequence[float]:
        """What ``read`` gives: nothing is read for it, and all is known once ``host`` has parsed the same tick."""
        utilization, limits = self._host.of_the_limit()
        if self._rated is None or limits is None or utilization != utilization:
            return (NAN, NAN, NAN)
        if limits is self._limits and utilization == self._utilization:
            return self._watts
        if limits is not self._limits:
            self._limits, self._share = limits, min(1.0, limits.cpu_cores / self._threads)
        power_w, low_w, high_w = modelled_power_w(self._rated, utilization)
        share = self._share
        self._utilization, self._watts = utilization, (power_w * share, low_w * share, high_w * share)
        return self._watts

    @property
    def status(self) -> Sequence[SensorStatus]:
        """Always available once the CPU is looked up: it is a model."""
        if self._rated is None:
            return (SensorStatus(name=self.name, state="looking"),)
        return (SensorStatus(name=self.name, state="available", detail=self._detail),)

    @property
    def not_covered(self) -> Sequence[str]:
        """The model knows nothing of the memory."""
        return ("DRAM",)

    def close(self) -> None:
        """Nothing is open."""
