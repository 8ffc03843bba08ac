"""What is known of single boards: how their counters move, kept from session to session, and an imported gain."""

from __future__ import annotations

import os

from resmon.calibration import BoardCalibrations, CalibrationStore, apply_gain
from resmon.calibration_reading import read_board_calibration
from resmon.counters import Counters
from resmon.errors import CalibrationError
from resmon.facts import EnergySource, SensorStatus
from resmon.results import EnergyComponent
from resmon.sensors import Sensor

_NVML = "nvml:"
VARIABLE = "RESMON_CALIBRATION"
"""Names the file with the gains of boards, for monitors of this machine's own sensors that are given none."""


class Boards:
    """The calibrations of the boards that a monitor's sensors found, by UUID and driver version.

    ``gains`` are those of a file that somebody wrote, from ``RESMON_CALIBRATION`` where ``look`` allows it.
    """

    def __init__(
        self, store: CalibrationStore | None = None, gains: BoardCalibrations | None = None, *, look: bool = False
    ) -> None:
        self._store = store
        self._drivers: dict[str, str] = {}
        self._gains = gains
        self._look = look and gains is None
        self.status: tuple[SensorStatus, ...] = () if gains is None else (_used(gains),)

    def recall(self, sensor: Sensor, counters: Counters) -> None:
        """Tell the counters what is known of this sensor's boards. In the background: the files may lie far away."""
        if self._look:
            self._look = False
            self._read_gains(os.environ.get(VARIABLE, ""))
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

    def _read_gains(self, path: str) -> None:
        if not path:
            return
        try:
            self._gains = read_board_calibration(path)
        except CalibrationError as error:
            remedy = f"mend the file, or unset {VARIABLE}, and restart the kernel; until then no gain is applied"
            self.status = (SensorStatus(name="calibration", state="unavailable", cause=str(error), remedy=remedy),)
        else:
            self.status = (_used(self._gains),)

    def calibrated(self, source: EnergySource, component: EnergyComponent) -> EnergyComponent:
        """The component with its board's own gain divided out, where one was imported; else as it is."""
        if self._gains is None or not source.id.startswith(_NVML):
            return component
        board = self._gains.board(source.id.removeprefix(_NVML))
        return component if board is None else apply_gain(component, board, gain_error=source.gain_error)

    def keep(self, counters: Counters) -> None:
        """Keep what was learned of them."""
        for source_id, calibration in counters.learned().items():
            driver = self._drivers.get(source_id)
            if driver and self._store is not None and calibration.known:
                self._store.save(source_id.removeprefix(_NVML), driver, calibration)


def _used(gains: BoardCalibrations) -> SensorStatus:
    count = "1 board" if len(gains.boards) == 1 else f"{len(gains.boards)} boards"
    return SensorStatus(
        name="calibration", state="available", detail=f"gain of {count} from {gains.path} ({gains.sha256[:12]})"
    )
