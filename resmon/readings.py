"""What is read, as the facts that a person asks for: the newest sample, the state of the sensors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import fields
from numbers import Real

from resmon.blocks import Row
from resmon.boards import Boards
from resmon.clock import Clock
from resmon.facts import HOST, Device, GpuReading, HostReading, Limits, Sample, SensorStatus
from resmon.history import History, HistoryView
from resmon.plan import CPU_S, MISSED
from resmon.record import FlightRecord
from resmon.sampler import Sampler
from resmon.sensors import Sensor, Sensors, not_covered
from resmon.sensors.wording import why_nothing_is_measured
from resmon.trace import TraceWriter

_NO_CHANNEL = ("core_utilization", "cpu_limit_cores", "memory_limit_bytes")
_HOST_FIELDS = tuple(f.name for f in fields(HostReading) if f.name not in _NO_CHANNEL)
_GPU_FIELDS = tuple(f.name for f in fields(GpuReading) if f.name != "device")

NEVER_COVERED = ("PSU", "fans")
"""Consumers that no sensor inside a machine sees."""


class Readings:
    """What a monitor knows of the machine and has read: asked for at any time, by any thread."""

    clock: Clock
    sampler: Sampler
    _all: Sensors
    _boards: Boards
    _history: History
    _record: FlightRecord | None
    _trace: TraceWriter | None
    _looking: threading.Thread | None
    _started_s: float | None

    @property
    def started_s(self) -> float | None:
        """When sampling first began, on the monitor's clock; None before."""
        return self._started_s

    @property
    def sensors(self) -> tuple[SensorStatus, ...]:
        """The status of every sensor: available or why not, and what would mend it."""
        self.sampler.settle()
        sensors = (*self._all.quick, *self._all.slow)
        found = _statuses(sensors, self.sampler, looking=self._looking is not None)
        if self._record is not None:
            self._record.look()
        if self._record is not None and self._record.notice:
            notice = self._record.notice
            found.append(SensorStatus(name="record", state="degraded", cause=notice, remedy=self._record.remedy))
        if self._trace is not None and self._trace.notice:
            remedy = "%resmon record off, then record to a place with room"
            found.append(SensorStatus(name="trace", state="degraded", cause=self._trace.notice, remedy=remedy))
        return (*found, *self._boards.status)

    @property
    def limits(self) -> Limits | None:
        """What this process may really use of the machine; None before the first look."""
        return self._all.limits()

    def host_device(self) -> Device | None:
        """The machine itself."""
        return next((d for d in self.sampler.devices if d.kind == "host"), None)

    def gpu_devices(self) -> tuple[Device, ...]:
        """GPUs and MIG slices in the order in which this process sees them."""
        return tuple(d for d in self.sampler.devices if d.kind != "host")

    def why_not_measured(self) -> str:
        """Why the CPU's energy is not measured; empty where it is."""
        if any(source.kind in ("cpu", "module") and source.basis == "measured" for source in self.sampler.sources):
            return ""
        return why_nothing_is_measured(self.sensors)

    def core_count(self) -> int:
        """How many cores have a channel of their own: those that this process may run on."""
        return sum(channel.quantity.startswith("core_") for sensor in self._all.quick for channel in sensor.channels)

    def not_covered(self) -> tuple[str, ...]:
        """Consumers of energy that nothing here sees."""
        return (*not_covered(self.sampler.sensors), *NEVER_COVERED)

    def latest(self) -> Sample | None:
        """The newest sample; None before the first."""
        newest_s = self._history.newest_s
        if newest_s is None:
            return None
        row, _ = self._history.around(CPU_S, newest_s)
        return None if row is None else self._sample(row)

    def _sample(self, row: Row) -> Sample:
        sampler, limits = self.sampler, self.limits

        def known(channel_id: str) -> float | None:
            value = row.value(channel_id)
            if value != value:
                value = sampler.newest(channel_id)  # not stored
            return value if value == value else None

        return Sample(
            at_s=row.at_s,
            wall=sampler.clock.wall(row.at_s),
            host=HostReading(
                **{name: known(f"{HOST}.{name}") for name in _HOST_FIELDS},
                core_utilization=tuple(known(f"{HOST}.core_{i}") for i in range(self.core_count())),
                cpu_limit_cores=limits.cpu_cores if limits else None,
                memory_limit_bytes=limits.memory_bytes if limits else None,
            ),
            gpus=tuple(
                GpuReading(device=device, **{name: known(f"{device.id}.{name}") for name in _GPU_FIELDS})
                for device in self.gpu_devices()
            ),
            missed=round(known(MISSED) or 0),
            resmon_cpu_s=known(CPU_S),
        )

    def history(self, seconds: float | None = None) -> HistoryView:
        """What was sampled in the last ``seconds``, or since the start. ValueError for a span that is not positive."""
        if seconds is None:
            return self._history.view()
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float, Real)):
            raise TypeError(f"seconds must be a number, not {seconds!r}")
        if not seconds > 0:
            raise ValueError(f"seconds must be positive, not {seconds!r}; without it the whole history is returned")
        return self._history.view(self.clock.now() - seconds)


def _statuses(sensors: Sequence[Sensor], sampler: Sampler, *, looking: bool) -> list[SensorStatus]:
    """What the sensors say of themselves, and what the sampler met with. ``looking``: some are still looked for."""
    found: list[SensorStatus] = []
    taken_in = sampler.sensors
    stalled = sampler.stalled
    for sensor in sensors:
        failure = sampler.failures.get(sensor.name)
        if stalled is not None and stalled[0] == sensor.name:
            cause = f"has not answered for {stalled[1]:.0f} s" if stalled[1] >= 1 else "does not answer"
            found.append(SensorStatus(name=sensor.name, state="lost", cause=cause))
        elif failure is not None:
            found.append(failure)
        elif sensor in taken_in or not looking:
            found.extend(sensor.status)
        else:
            found.append(SensorStatus(name=sensor.name, state="looking", detail="looking…"))
    return found
