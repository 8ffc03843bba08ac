"""What is known of the ranks' GPUs: read by this notebook's monitor, or told by a rank that was elected to read one."""

from __future__ import annotations

from resmon.distributed.messages import DeviceReading
from resmon.monitor import Monitor

STALE_S = 5.0
_LOOK_S = 0.2


class DeviceTable:
    """The newest reading of each GPU, by boot and device id. One thread."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._boot = monitor.clock.boot
        self._told: dict[tuple[str, str], tuple[DeviceReading, float]] = {}
        self._own: dict[str, DeviceReading] = {}
        self._next_look_s = float("-inf")

    def has(self, boot: str, device_id: str) -> bool:
        """Whether the notebook's own monitor reads this GPU."""
        return boot == self._boot and any(device.id == device_id for device in self._monitor.gpu_devices())

    def take(self, boot: str, reading: DeviceReading, now_s: float) -> None:
        """A rank told what it read."""
        self._told[boot, reading.device_id] = (reading, now_s)
        if len(self._told) > 4_096:
            self._told = {key: value for key, value in self._told.items() if now_s - value[1] <= STALE_S}

    def newest(self, boot: str, device_id: str, now_s: float) -> DeviceReading | None:
        """The newest reading of a GPU; None where there is none from the last seconds."""
        if boot == self._boot:
            if now_s >= self._next_look_s:
                self._look(now_s)
            found = self._own.get(device_id)
            if found is not None:
                return found
        told = self._told.get((boot, device_id))
        return told[0] if told is not None and now_s - told[1] <= STALE_S else None

    def _look(self, now_s: float) -> None:
        self._next_look_s = now_s + _LOOK_S
        sample = self._monitor.latest()
        if sample is None or now_s - sample.at_s > STALE_S:
            self._own = {}
            return
        self._own = {
            gpu.device.id: DeviceReading(
                device_id=gpu.device.id, utilization=gpu.utilization, power_w=gpu.power_w, throttle=gpu.throttle
            )
            for gpu in sample.gpus
        }
