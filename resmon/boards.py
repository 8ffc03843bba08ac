"""What is learned of a board's energy counter, kept from session to session."""

from __future__ import annotations

from resmon.calibration import CalibrationStore
from resmon.counters import Counters
from resmon.sensors import Sensor

_NVML = "nvml:"


class Boards:
    """The calibrations of the boards that a monitor's sensors found, by UUID and driver version."""

    def __init__(self, store: CalibrationStore | None = None) -> None:
        self._store = store
        self._drivers: dict[str, str] = {}

    def recall(self, sensor: Sensor, counters: Counters) -> None:
        """Tell the counters what is known of this sensor's boards. In the background: the files may lie far away."""
        driver = getattr(sensor, "driver_version", "")
        if not driver:
            return
        store = self._store = self._store or CalibrationStore()
        for source in sensor.sources:
            if source.method == "counter" and source.id.startswith(_NVML):
                self._drivers[source.id] = driver
                known = store.load(source.id.removeprefix(_NVML), driver)
                if known is not None:
                    counters.know(source.id, known)

    def keep(self, counters: Counters) -> None:
        """Keep what was learned of them."""
        for source_id, calibration in counters.learned().items():
            driver = self._drivers.get(source_id)
            if driver and self._store is not None and calibration.known:
                self._store.save(source_id.removeprefix(_NVML), driver, calibration)
