"""What a tick does, prepared: which sensors are read, which meters are fed, which channels a row has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from resmon.counters import Counters
from resmon.energy.edges import CounterRead
from resmon.energy.meter import Meter
from resmon.facts import Channel, EnergySource
from resmon.sensors import NAN, Sensor, in_use

MISSED = "resmon.missed"
CPU_S = "resmon.cpu_s"
NO_COUNTER = -2


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


class Plan(NamedTuple):
    """What a tick does, prepared: rebuilt only when a sensor comes, goes or changes its shape."""

    of: tuple[Sensor, ...]
    sensors: tuple[tuple[Sensor, int, int], ...]
    """Each with its generation and how many channels it has."""
    silent: tuple[tuple[Sensor, int, int], ...]
    """Those without channels, which may have some one day."""
    feeds: tuple[Feed, ...]
    powers: tuple[tuple[Meter, ...], ...]
    derived: tuple[str, ...]
    """Ids of the devices whose power is told by their counters."""
    channels: tuple[Channel, ...]
    place: dict[str, int]
    """Where the value of a channel is among the values of a tick."""


def reshaped(sensors: Iterable[tuple[Sensor, int, int]]) -> bool:
    """Whether one of these sensors has another shape than it was planned with."""
    # No any(): a tick runs on cold caches, where a generator costs as much as a read of a kernel file.
    for sensor, generation, _ in sensors:  # noqa: SIM110
        if sensor.generation != generation:
            return True
    return False


def make_plan(taken_in: tuple[Sensor, ...], meters: dict[str, Meter]) -> Plan:
    """The plan for these sensors. ``meters`` are those so far; the new ones are added."""
    sensors = in_use(taken_in)
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
        sensors=tuple((s, s.generation, len(s.channels)) for s in sensors if s.channels),
        silent=tuple((s, s.generation, 0) for s in sensors if not s.channels),
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
