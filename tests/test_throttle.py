"""The clock-event reasons by name, against the driver's own constants."""

from __future__ import annotations

import pynvml
import pytest

from resmon.sensors.throttle import HELD_BACK, REASONS, held_back, reasons


def test_every_reason_that_nvml_knows_has_a_name() -> None:
    known = pynvml.nvmlClocksEventReasonAll | pynvml.nvmlClocksThrottleReasonAll
    assert sum(REASONS) == known


@pytest.mark.parametrize(
    ("mask", "held", "names"),
    [
        (None, None, ()),
        (float("nan"), None, ()),
        (0.0, False, ()),
        (float(pynvml.nvmlClocksEventReasonGpuIdle), False, ()),
        (float(pynvml.nvmlClocksEventReasonApplicationsClocksSetting), False, ()),
        (float(pynvml.nvmlClocksEventReasonSwPowerCap), True, ("power cap",)),
        (0x40 | 0x8 | 0x1, True, ("hardware slowdown", "thermal (hardware)")),
        (float(1 << 20), False, ("reason 0x100000",)),
    ],
)
def test_idle_and_chosen_clocks_are_no_throttling(
    mask: float | None, held: bool | None, names: tuple[str, ...]
) -> None:
    assert held_back(mask) is held
    assert reasons(mask) == names


def test_a_mask_survives_a_column_of_four_bytes() -> None:
    assert HELD_BACK < 1 << 24
