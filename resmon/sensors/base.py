"""What every sensor promises to the sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from resmon.facts import Channel, Device, EnergySource, SensorStatus

NAN = float("nan")
"""How an unknown value is stored in a column; it leaves the library as ``None``."""


class Sensor(Protocol):
    """A room that touches hardware. It converts units once, here, and says what it cannot see.

    The life of a sensor: constructed (no I/O), ``discover`` (may block; runs in the background), then ``read`` on the
    sampler's thread only, then ``close``. After ``discover`` the shape (``devices``, ``channels``,
    ``sources``) is fixed; when a device comes or goes later, the sensor builds new tuples and raises
    ``generation`` by one, and the sampler starts a new block of history.
    """

    name: str
    generation: int
    devices: tuple[Device, ...]
    channels: tuple[Channel, ...]
    sources: tuple[EnergySource, ...]

    @property
    def status(self) -> Sequence[SensorStatus]:
        """One line per thing a person could mend. Cheap; any thread."""
        ...

    @property
    def not_covered(self) -> Sequence[str]:
        """Names of energy consumers that this sensor knows to exist and cannot see, for example ``"DRAM"``."""
        ...

    def discover(self) -> None:
        """Find what is there and open it. Never raises for what is merely absent: that is a status."""
        ...

    def read(self, at_s: float) -> Sequence[float]:
        """One float per channel, in their order and units; NaN for what cannot be read now.

        Called on one thread. Must not raise for a failing device (NaN and a status instead), must not
        block longer than the driver does, and must recover by itself when the device does.
        """
        ...

    def close(self) -> None:
        """Give back descriptors and handles. Idempotent; also called in a forked child."""
        ...
