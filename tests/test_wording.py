"""What is said of sensors in few words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from resmon.facts import SensorState, SensorStatus
from resmon.sensors.nvml_errors import LIBRARY_NOT_FOUND, explain
from resmon.sensors.wording import why_nothing_is_measured
from resmon.views.reports import front_end_statuses

NO_POWERCAP = SensorStatus(name="rapl", state="absent", cause="there is no /sys/class/powercap: a virtual machine")


def _nvml(code: int) -> SensorStatus:
    cause, remedy = explain(code, "")
    state: SensorState = "absent" if code == LIBRARY_NOT_FOUND else "unavailable"
    return SensorStatus(name="nvml", state=state, cause=cause, remedy=remedy)


def test_a_machine_without_a_gpu_is_not_told_of_its_driver() -> None:
    assert why_nothing_is_measured([NO_POWERCAP, _nvml(LIBRARY_NOT_FOUND)]) == "no energy counter on this machine"


def test_what_can_be_mended_is_named_and_the_cpu_first() -> None:
    refused = SensorStatus(
        name="rapl", state="unavailable", cause="energy_uj is readable by root only", remedy="sudo chmod …"
    )
    assert why_nothing_is_measured([_nvml(18), refused]) == "RAPL: needs root"
    assert why_nothing_is_measured([NO_POWERCAP, _nvml(9)]).startswith("GPU: ")


def test_where_all_is_well_no_folder_is_named() -> None:
    said = " ".join(map(str, front_end_statuses(in_kernel=True, subshells=True, panel_answered=True)))
    said += " ".join(
        str(status) for status in front_end_statuses(in_kernel=True, subshells=True, panel_answered=False) if status.ok
    )
    assert sys.prefix not in said
    assert str(Path.home()) not in said


@pytest.mark.parametrize("word", ["auto", "always", "NEVER"])
def test_a_word_of_resmon_live_that_is_known_has_no_line(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESMON_LIVE", word)
    names = [s.name for s in front_end_statuses(in_kernel=True, subshells=True, panel_answered=True)]
    assert "live" not in names


def test_a_word_of_resmon_live_that_is_not_known_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESMON_LIVE", "on")
    (status,) = [s for s in front_end_statuses(in_kernel=True, subshells=True, panel_answered=True) if s.name == "live"]
    assert "'on'" in status.cause
    assert status.remedy == "set it to auto, always, never"
