"""The only rooms that touch hardware, and what of them this machine has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from resmon.facts import Limits
from resmon.sensors.base import NAN, Apart, Sensor, has_memory

__all__ = ["NAN", "Apart", "Sensor", "Sensors", "default_sensors", "in_use", "limits_of", "not_covered"]


@dataclass
class Sensors:
    """What a monitor reads: ``quick`` is discovered when it starts, ``slow`` in the background."""

    quick: Sequence[Sensor] = ()
    slow: Sequence[Sensor] = field(default_factory=tuple)

    def limits(self) -> Limits | None:
        """The limits in force, from the sensor that knows them."""
        return next((found for sensor in self.quick if (found := limits_of(sensor)) is not None), None)


def limits_of(sensor: Sensor) -> Limits | None:
    """The limits in force, where the sensor is one that knows them."""
    found = getattr(sensor, "limits", None)
    return found if isinstance(found, Limits) else None


def default_sensors(root: str = "/") -> Sensors:
    """The sensors of this machine. ``root`` stands for the file system's root in tests."""
    from resmon.sensors.host import HostSensor
    from resmon.sensors.nvml_remote import RemoteNvmlSensor
    from resmon.sensors.rapl import RaplSensor
    from resmon.sensors.rated import RatedSensor
    from resmon.sensors.torch_memory import TorchMemorySensor

    host = HostSensor(root=root)
    nvml = RemoteNvmlSensor(own_pids=host.pids)
    return Sensors(quick=(host, RaplSensor(root=root), RatedSensor(host)), slow=(nvml, TorchMemorySensor(nvml)))


def in_use(sensors: Sequence[Sensor]) -> list[Sensor]:
    """The sensors whose values are wanted: a model gives way where something measures the same kind of device."""
    measured = {source.kind for sensor in sensors for source in sensor.sources if source.basis == "measured"}
    if "module" in measured:
        measured.add("cpu")  # of a module the counter has the CPU too

    def superseded(sensor: Sensor) -> bool:
        return bool(sensor.sources) and all(s.basis == "estimated" and s.kind in measured for s in sensor.sources)

    return [sensor for sensor in sensors if not superseded(sensor)]


def not_covered(sensors: Sequence[Sensor]) -> tuple[str, ...]:
    """What these sensors know to be missing; not the memory where one of them counts it, whatever a model says."""
    seen = dict.fromkeys(name for sensor in sensors for name in sensor.not_covered)
    counted = any(has_memory(sensor.sources) for sensor in sensors)
    return tuple(name for name in seen if not (counted and name == "DRAM"))
