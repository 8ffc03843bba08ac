"""One rank for each GPU reads it, where the notebook does not: on another machine, or a GPU that it does not see."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from resmon.clock import MonotonicClock
from resmon.distributed.messages import DeviceReading
from resmon.private_files import prepare_directory, record_directory

if TYPE_CHECKING:
    from resmon.sensors.nvml import NvmlSensor

EVERY_S = 0.5


class DeviceReader:
    """Reads this rank's GPU while ``wanted`` and no other rank on this machine does. One thread.

    Who reads is settled by a lock on a file named after the boot and the GPU: it goes with the process that holds it,
    and another rank takes over. The file stays.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._uuid = ""
        self._lock = -1
        self._sensor: NvmlSensor | None = None
        self._next_s = float("-inf")

    def read(self, uuid: str, at_s: float) -> DeviceReading | None:
        """What the GPU ``uuid`` does now; None where somebody else reads it, or it is too early."""
        if not self.wanted or not uuid or at_s < self._next_s:
            return None
        self._next_s = at_s + EVERY_S
        if uuid != self._uuid:
            self.close()
            self._uuid = uuid
        if self._sensor is None and not self._elected():
            return None
        sensor = self._sensor
        assert sensor is not None
        values = dict(zip((c.id for c in sensor.channels), sensor.read(at_s), strict=True))
        device_id = f"gpu:{uuid}"

        def known(name: str) -> float | None:
            value = values.get(f"{device_id}.{name}")
            return value if value is not None and value == value else None

        return DeviceReading(
            device_id=device_id,
            utilization=known("utilization"),
            power_w=known("power_w"),
            throttle=known("throttle"),
        )

    def _elected(self) -> bool:
        try:
            import fcntl
        except ImportError:  # not a POSIX system: the GPU stays unread
            self.wanted = False
            return False
        from resmon.sensors.nvml import NvmlSensor

        directory = record_directory()
        try:
            prepare_directory(directory)
            if self._lock < 0:
                name = f"reader-{MonotonicClock().boot}-{self._uuid}.lock".replace(os.sep, "_").replace(" ", "_")
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | os.O_CLOEXEC
                self._lock = os.open(directory / name, flags, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        self._sensor = NvmlSensor(visible=self._uuid)
        self._sensor.discover()
        return True

    def close(self) -> None:
        """Give back the driver and the lock. Idempotent."""
        if self._sensor is not None:
            self._sensor.close()
            self._sensor = None
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            with suppress(OSError):
                os.close(lock)
