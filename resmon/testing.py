"""For tests of what is built on resmon: a clock driven by hand and sensors that play a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from resmon.clock import Ticking
from resmon.facts import HOST, Channel, Device, EnergySource, Limits, SensorStatus
from resmon.sensors import NAN

__all__ = ["ManualClock", "ScriptedSensor", "scripted_gpu", "scripted_host"]

Script = Callable[[float], float | None]


class ManualClock:
    """A clock that stands still until ``advance``; a monitor that is given it ticks as it moves, without a thread."""

    threaded = False
    boot = "manual"

    def __init__(self, start_s: float = 0.0, wall: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now_s = start_s
        self._wall_at_0 = wall.timestamp() - start_s
        self._due: dict[Ticking, float] = {}

    def now(self) -> float:
        return self._now_s

    def wall(self, at_s: float) -> datetime:
        return datetime.fromtimestamp(self._wall_at_0 + at_s, UTC)

    def attach(self, ticking: Ticking) -> None:
        ticking.tick()
        self._due[ticking] = self._now_s + ticking.interval_s

    def detach(self, ticking: Ticking) -> None:
        self._due.pop(ticking, None)

    def read_edge(self, ticking: Ticking) -> None:
        ticking.tick()

    def look_ahead(self, ticking: Ticking) -> bool:
        """What comes next is not known before it is told to."""
        return False

    def advance(self, seconds: float) -> None:
        """Move on, with every tick that falls due on the way. ValueError for a step back."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: seconds must be >= 0, not {seconds!r}")
        until_s = self._now_s + seconds
        while self._due:
            ticking, due_s = min(self._due.items(), key=lambda item: item[1])
            if due_s > until_s + 1e-12:
                break
            self._now_s = due_s
            ticking.tick()
            self._due[ticking] = due_s + ticking.interval_s
        self._now_s = until_s


class ScriptedSensor:
    """A sensor whose values are functions of time; ``None`` is a failed read.

    values: per channel id a function of the clock's seconds, or a constant. A function that raises makes the
    whole sensor fail, as a broken driver would.
    """

    def __init__(
        self,
        name: str,
        devices: Sequence[Device],
        values: Mapping[str, Script | float | None],
        channels: Sequence[Channel],
        sources: Sequence[EnergySource] = (),
        limits: Limits | None = None,
        not_covered: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.generation = 0
        self.devices = tuple(devices)
        self.channels = tuple(channels)
        self.sources = tuple(sources)
        self.limits = limits
        self.not_covered = tuple(not_covered)
        self.values = dict(values)
        self.reads = 0
        self.closed = False

    @property
    def status(self) -> tuple[SensorStatus, ...]:
        return (SensorStatus(name=self.name, state="available", detail="scripted"),)

    def discover(self) -> None:
        self.closed = False

    def read(self, at_s: float) -> list[float]:
        self.reads += 1
        found = (self.values.get(channel.id) for channel in self.channels)
        read = (value(at_s) if callable(value) else value for value in found)
        return [NAN if value is None else value for value in read]

    def close(self) -> None:
        self.closed = True


def scripted_host(
    utilization: Script | float = 0.5,
    power_w: Script | float | None = 20.0,
    cores: int = 2,
    memory_bytes: int = 8 * 2**30,
) -> ScriptedSensor:
    """A host with a CPU model: ``utilization`` 0–1, ``power_w`` estimated within ±50 %."""
    device = Device(
        id=HOST, kind="host", label="CPU", name="scripted CPU", cores=cores, memory_total_bytes=memory_bytes
    )
    values: dict[str, Script | float | None] = {
        f"{HOST}.cpu_utilization": utilization,
        f"{HOST}.memory_used_bytes": memory_bytes / 2,
        f"{HOST}.memory_tree_bytes": memory_bytes / 4,
        f"{HOST}.tree_cpu_time_s": lambda t: t,
    }
    units = {"cpu_utilization": "1", "memory_used_bytes": "B", "memory_tree_bytes": "B"}
    channels = [Channel(device_id=HOST, quantity=quantity, unit=unit) for quantity, unit in units.items()]
    channels.append(Channel(device_id=HOST, quantity="tree_cpu_time_s", unit="s", kind="counter", code="d"))
    sources = []
    if power_w is not None:
        for quantity, factor in (("power_w", 1.0), ("power_low_w", 0.5), ("power_high_w", 1.5)):
            channels.append(Channel(device_id=HOST, quantity=quantity, unit="W"))
            values[f"{HOST}.{quantity}"] = _scaled(power_w, factor)
        sources.append(
            EnergySource(
                id="rated:cpu",
                device_id=HOST,
                label="CPU",
                kind="cpu",
                method="model",
                basis="estimated",
                scope="machine",
                channel=f"{HOST}.power_w",
                low_channel=f"{HOST}.power_low_w",
                high_channel=f"{HOST}.power_high_w",
            )
        )
    return ScriptedSensor(
        "host", [device], values, channels, sources, Limits(cpu_cores=cores, memory_bytes=memory_bytes), ["DRAM"]
    )


def _scaled(value: Script | float, factor: float) -> Script:
    def scaled(at_s: float) -> float | None:
        found = value(at_s) if callable(value) else value
        return None if found is None else found * factor

    return scaled


def scripted_gpu(
    index: int = 0,
    power_w: Script | float | None = 300.0,
    energy_j: Script | None = None,
    utilization: Script | float | None = 0.9,
    memory_bytes: int = 80 * 2**30,
    name: str = "scripted GPU",
) -> ScriptedSensor:
    """A GPU with a power sensor, and with an energy counter where ``energy_j`` is given."""
    uuid = f"GPU-{index:08d}-0000-0000-0000-000000000000"
    device = Device(
        id=f"gpu:{uuid}",
        kind="gpu",
        label=f"GPU {index}",
        name=name,
        index=index,
        uuid=uuid,
        memory_total_bytes=memory_bytes,
        power_max_w=700.0,
    )
    values: dict[str, Script | float | None] = {
        f"{device.id}.utilization": utilization,
        f"{device.id}.memory_used_bytes": memory_bytes / 2,
        f"{device.id}.memory_own_bytes": memory_bytes / 4,
        f"{device.id}.power_w": power_w,
        f"{device.id}.power_limit_w": 700.0,
        f"{device.id}.temperature_c": 60.0,
        f"{device.id}.sm_clock_hz": 1.8e9,
        f"{device.id}.throttle": 0.0,
    }
    channels = [
        Channel(device_id=device.id, quantity=channel_id.removeprefix(device.id + "."), unit="")
        for channel_id in values
    ]
    if energy_j is not None:
        values[f"{device.id}.energy_j"] = energy_j
        channels.append(Channel(device_id=device.id, quantity="energy_j", unit="J", kind="counter", code="d"))
    source = EnergySource(
        id=f"nvml:{uuid}",
        device_id=device.id,
        label=device.label,
        kind="gpu",
        method="counter" if energy_j is not None else "integrated",
        absolute=energy_j is not None,
        basis="measured",
        scope="board",
        channel=f"{device.id}.{'energy_j' if energy_j is not None else 'power_w'}",
        period_s=0.001 if energy_j is not None else None,
        power_limit_w=700.0,
    )
    return ScriptedSensor(f"gpu{index}", [device], values, channels, [source])
