"""What every sensor promises to the sampler."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from resmon.facts import Channel, Device, EnergySource, SensorStatus

if TYPE_CHECKING:  # a rank reads its process, and never needs the arithmetic of energy
    from resmon.energy.edges import CounterRead

NAN = float("nan")
"""How an unknown value is stored in a column; it leaves the library as ``None``."""
PLATFORM = "whole platform (psys)"
"""The scope of a counter that has the memory too."""


class Sensor(Protocol):
    """A room that touches hardware. It converts units once, here, and says what it cannot see.

    The life of a sensor: constructed (no I/O), ``discover`` (may block; runs in the background), then ``read`` on the
    sampler's thread only, then ``close``. After ``discover`` the shape (``devices``, ``channels``,
    ``sources``) is fixed; when a device comes or goes later, the sensor builds new tuples and raises
    ``generation`` by one, and the sampler starts a new block of history.
    """

    name: str

    @property
    def generation(self) -> int: ...

    @property
    def devices(self) -> tuple[Device, ...]: ...

    @property
    def channels(self) -> tuple[Channel, ...]: ...

    @property
    def sources(self) -> tuple[EnergySource, ...]: ...

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

    # A sensor may have `read` in two halves as well, for which it must keep its shape until the next `discover`:
    # `take(at_s)` does reads that keep the interpreter lock, and gives anything but None; None where more than those is
    # due, so that `read` is called. `parse(taken)` gives the values of what was taken, later and perhaps on another
    # thread, in order of the ticks, all of it before the next `read`, without reading anything. One that has `parse`
    # alone reads nothing: at its turn it is given None, and makes its values of what the sensors before it parsed.

    def close(self) -> None:
        """Give back descriptors and handles. Idempotent; also called in a forked child."""
        ...


@runtime_checkable
class Apart(Protocol):
    """What a sensor promises besides where another process may read for it (``apart``; else all this does nothing).

    Its ``close`` may come while it is discovered, and ends that.
    """

    @property
    def apart(self) -> bool: ...

    @property
    def cpu_s(self) -> float:
        """CPU time that the other process has used so far. Any thread."""
        ...

    def ask(self, at_s: float) -> None:
        """Begin what ``read`` with the same time ends, before the sampler turns to other sensors. Never waits.

        A new shape of the sensor is taken in here, so that it is the shape of this tick.
        """
        ...

    def watch(self, wanted: Collection[str], for_s: float, gap_s: float) -> None:
        """Have these counters polled from now on for so long, with so much rest between two polls; none: no more.

        Any thread, never waits.
        """
        ...

    def close(self) -> None: ...

    def poll_counters(self, wanted: Collection[str]) -> Sequence[tuple[str, CounterRead]]:
        """What was polled since the last call, in order of time. Never waits.

        With none wanted, right after a ``read``: no more than what was polled before it.
        """
        ...


def has_memory(sources: Sequence[EnergySource]) -> bool:
    """Whether the joules of the memory are in one of these."""
    return any(source.kind == "dram" or source.scope == PLATFORM for source in sources)
