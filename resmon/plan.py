"""What a tick does, prepared: which sensors are read, which meters are fed, which channels a row has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from resmon.counters import Counters
from resmon.energy.edges import CounterRead
from resmon.energy.meter import Meter
from resmon.facts import Channel, Device, EnergySource
from resmon.sensors import NAN, Sensor, in_use

MISSED = "resmon.missed"
CPU_S = "resmon.cpu_s"
NO_COUNTER = -2


class Ready(NamedTuple):
    """Values that need no parsing."""

    values: Sequence[float]


class Feed(NamedTuple):
    """How one meter is fed from the values of a tick: positions among them, or -1."""

    meter: Meter
    value: int
    low: int
    high: int
    power: int
    before: int
    after: int


def meter_channels(source: EnergySource) -> tuple[str, ...]:
    """Ids of the history's columns of a source's totals: joules, and seconds of gap (of a model: least, most)."""
    return tuple(channel.id for channel in totals(source))


def totals(source: EnergySource) -> list[Channel]:
    """The columns that :func:`meter_channels` names."""
    suffixes = ("", ".low", ".high") if source.basis == "estimated" else ("",)
    columns = [
        Channel(device_id="energy", quantity=source.id + suffix, unit="J", kind="counter", code="d")
        for suffix in suffixes
    ]
    if source.basis == "measured":
        columns.append(Channel(device_id="energy", quantity=f"{source.id}.gap_s", unit="s", kind="counter"))
    return columns


class Planned(NamedTuple):
    """A sensor, its generation, how many channels it has, and ``take`` and ``parse`` where it can put off parsing."""

    sensor: Sensor
    generation: int
    width: int
    take: Callable[[float], object | None] | None
    parse: Callable[[Any], Sequence[float]] | None
    place: int
    """Which part of a tick is its; -1 where it reads nothing, and makes its values of what others read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a tick does, prepared: rebuilt only when a sensor comes, goes or changes its shape."""

    of: tuple[Sensor, ...]
    sensors: tuple[Planned, ...]
    reading: tuple[Planned, ...]
    """Those of them that are read at a tick, in the order of its parts."""
    plain: tuple[Planned, ...]
    """Those of them that cannot put off parsing, which alone may change their shape when they are read."""
    silent: tuple[Planned, ...]
    """Those without channels, which may have some one day."""
    feeds: tuple[Feed, ...]
    powers: tuple[tuple[Meter, ...], ...]
    derived: tuple[str, ...]
    """Ids of the devices whose power is told by their counters."""
    channels: tuple[Channel, ...]
    place: dict[str, int]
    """Where the value of a channel is among the values of a tick."""

    @property
    def lone(self) -> Planned | None:
        """The sensor that is all a tick reads and can put off parsing; None where there are more, or it cannot."""
        return self.reading[0] if len(self.reading) == 1 and not self.plain else None


def reshaped(sensors: Iterable[Planned]) -> bool:
    """Whether one of these sensors has another shape than it was planned with."""
    # No any(): a tick runs on cold caches, where a generator costs as much as a read of a kernel file.
    for sensor, generation, *_ in sensors:  # noqa: SIM110
        if sensor.generation != generation:
            return True
    return False


def _planned(sensors: Sequence[Sensor]) -> tuple[Planned, ...]:
    found = []
    place = 0
    for sensor in sensors:
        take, parse = getattr(sensor, "take", None), getattr(sensor, "parse", None)
        reads_nothing = take is None and parse is not None
        found.append(
            Planned(sensor, sensor.generation, len(sensor.channels), take, parse, -1 if reads_nothing else place)
        )
        place += not reads_nothing
    return tuple(found)


def devices_of(sensors: Iterable[Sensor]) -> tuple[Device, ...]:
    """All devices of all sensors, the host first."""
    found = {d.id: d for sensor in sensors for d in sensor.devices}
    return tuple(
        sorted(found.values(), key=lambda d: (d.kind != "host", d.index if d.index is not None else -1, d.label))
    )


def sources_of(sensors: Sequence[Sensor]) -> tuple[EnergySource, ...]:
    """The energy sources in use: a model only where nothing measures the same."""
    return tuple(source for sensor in in_use(sensors) for source in sensor.sources)


def make_plan(taken_in: tuple[Sensor, ...], meters: dict[str, Meter]) -> Plan:
    """The plan for these sensors. ``meters`` are those so far; the new ones are added."""
    sensors = in_use(taken_in)
    planned = _planned([sensor for sensor in sensors if sensor.channels])
    channels = [channel for sensor in sensors for channel in sensor.channels]
    place = {channel.id: i for i, channel in enumerate(channels)}
    feeds = []
    powers: dict[str, list[Meter]] = {}
    for source in (source for sensor in sensors for source in sensor.sources):
        meter = meters.get(source.id)
        if meter is None or meter.source != source:
            meter = meters[source.id] = Meter(source)
        bounds = (-1, -1)
        if source.basis == "estimated":
            bounds = place[source.low_channel or source.channel], place[source.high_channel or source.channel]
        times = (NO_COUNTER, NO_COUNTER)
        if source.method == "counter":
            times = (-1, -1) if source.times is None else (place[source.times[0]], place[source.times[1]])
        power = place.get(f"{source.device_id}.power_w", -1) if source.kind != "cpu" else -1
        feeds.append(Feed(meter, place[source.channel], *bounds, power, *times))
        channels += totals(source)
        if source.method == "counter" and source.kind != "dram" and f"{source.device_id}.power_w" not in place:
            powers.setdefault(source.device_id, []).append(meter)
    channels += [Channel(device_id=device_id, quantity="power_w", unit="W") for device_id in powers]
    channels.append(Channel(device_id="resmon", quantity="cpu_s", unit="s", kind="counter"))
    channels.append(Channel(device_id="resmon", quantity="missed", unit="1", kind="counter"))
    return Plan(
        of=taken_in,
        sensors=planned,
        reading=tuple(p for p in planned if p.place >= 0),
        plain=tuple(p for p in planned if p.parse is None),
        silent=_planned([sensor for sensor in sensors if not sensor.channels]),
        feeds=tuple(feeds),
        powers=tuple(map(tuple, powers.values())),
        derived=tuple(f"{device_id}.power_w" for device_id in powers),
        channels=tuple(channels),
        place={channel.id: i for i, channel in enumerate(channels)},
    )


def add_energy(plan: Plan, counters: Counters, at_s: float, values: list[float], max_gap_s: float) -> None:
    """Feed the meters from the values of this tick, and append their totals to them."""
    for meter, value, low, high, power, before, after in plan.feeds:
        reading = values[value]
        if before != NO_COUNTER:
            read = CounterRead(
                at_s if before < 0 else values[before],
                at_s if after < 0 else values[after],
                reading,
                NAN if power < 0 else values[power],
            )
            counters.take(meter.source.id, read)
        if reading != reading and not (low >= 0 and meter.begin(at_s)):
            values += (NAN, NAN) if low < 0 else (NAN, NAN, NAN)
        elif low < 0:
            meter.add(at_s, reading, reading, reading, max_gap_s)
            values += (meter.total_j, meter.gap_s)
        else:
            meter.add(at_s, reading, values[low], values[high], max_gap_s)
            values += (meter.total_j, meter.low_j, meter.high_j)
    for meters in plan.powers:
        values.append(sum([meter.power_w for meter in meters]))
