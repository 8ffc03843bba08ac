"""A trace that begins in the middle of a session gives every measurement of it again, to the last digit."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

import resmon
from resmon.energy.edges import Calibration, CounterRead
from resmon.monitor import Monitor
from resmon.origins import CounterOrigin, Origin
from resmon.testing import ManualClock, scripted_gpu, scripted_host
from tests.driver import Gpu, Script, Square, gpu_uuid, play

RECORDED = """
import json, os, time
os.environ["XDG_CACHE_HOME"] = os.environ["FOLDER"]
import resmon
from resmon.monitor import Monitor
from resmon.sensors.host import HostSensor
from resmon.sensors.nvml import NvmlSensor
from resmon.sensors.rated import RatedSensor
host = HostSensor()
path = os.environ["FOLDER"] + "/run.ndjson.gz"
live = []
with Monitor(0.25, sensors=[host, RatedSensor(host), NvmlSensor()]) as monitor:
    with monitor.measure():
        time.sleep(0.6)
    spanning = monitor.measure("spanning").open()
    monitor.record_trace(path)
    for number in range(5):
        monitor.note({"cell": "start", "id": number, "number": number})
        window = monitor.measure(f"In [{number}]").open()
        until_s = time.monotonic() + 0.4
        while time.monotonic() < until_s:
            sum(range(1000))
        monitor.note({"cell": "end", "id": number, "error": None})
        window.close()
        live.append(window.measurement.to_dict())
        time.sleep(0.07)
    spanning.close()
    whole = spanning.measurement.energy.components
    monitor.end_trace()
replayed = resmon.replay(path)
replayed.play()
print(json.dumps([live, [cell.to_dict() for cell in replayed.cells], [[c.device, c.energy_j] for c in whole],
                  spanning.opened_s, spanning.closed_s]))
"""


def without_meter(measurement: dict[str, Any]) -> dict[str, Any]:
    """A replay is a meter of its own, and says so in its claims."""
    for component in measurement["energy"]["components"]:
        assert component["claim"].pop("meter")
    return measurement


def test_what_a_real_driver_loop_measured_is_replayed_to_the_letter(tmp_path: Path) -> None:
    gpus = (
        Gpu(uuid=gpu_uuid(0), power_w=Square(100, 700, 0.4, 0.25), tau_s=0.1, jitter_s=0.005),
        Gpu(uuid=gpu_uuid(1), name="NVIDIA A100", power_w=Square(60, 300, 0.31, 0.5), tau_s=0.023, jitter_s=0.002),
    )
    script = Script(gpus=gpus)
    live, replayed, whole, opened_s, closed_s = play(
        script.write(tmp_path / "gpus"), RECORDED, FOLDER=str(tmp_path / "")
    )
    assert len(live) == 5
    assert list(map(without_meter, replayed)) == list(map(without_meter, live))
    assert {c["device"] for c in live[0]["energy"]["components"]} == {"CPU", "GPU 0", "GPU 1"}
    # A window that was open when the trace began lost nothing by it.
    said = dict(whole)
    for i, gpu in enumerate(gpus):
        true_j = gpu.energy_j(opened_s - script.epoch_s, closed_s - script.epoch_s)
        assert said[f"GPU {i}"] == pytest.approx(true_j, rel=0.06)


def test_a_trace_of_a_session_that_has_run_for_long_begins_with_its_totals(tmp_path: Path) -> None:
    clock = ManualClock(start_s=3.1)
    draw = random.Random(4)
    host = scripted_host(power_w=lambda t: 10 + (t * 7.3) % 4)
    counted = scripted_gpu(0, energy_j=lambda t: 250.0 * t + (t % 1) / 3, power_w=lambda t: 200 + 10 * (t % 3) / 7)
    polled = scripted_gpu(1, power_w=lambda t: 90 + (t * 31.7) % 11)
    with Monitor(0.3, sensors=[host, counted, polled], clock=clock) as monitor:
        clock.advance(100 / 3)
        monitor.record_trace(tmp_path / "run.ndjson")
        live = []
        for number in range(6):
            clock.advance(draw.random())
            monitor.note({"cell": "start", "id": number, "number": number})
            clock.advance(draw.random())  # a window may wait for the GPU before it begins, and before it ends
            with monitor.measure(f"In [{number}]") as window:
                clock.advance(2 * draw.random())
                monitor.note({"cell": "end", "id": number, "error": None})
                clock.advance(draw.random())
            clock.advance(1.0)
            assert window.measurement is not None
            live.append(without_meter(window.measurement.to_dict()))
    replayed = resmon.replay(tmp_path / "run.ndjson")
    replayed.play()
    assert [without_meter(cell.to_dict()) for cell in replayed.cells] == live


def test_an_origin_survives_json() -> None:
    origin = Origin(
        meter=(1.1, 1.0, 1.2, 0.0, 300.0, 7.0, math.nan, math.nan, math.nan),
        counter=CounterOrigin(calibration=Calibration(period_s=0.02, period_p99_s=0.023, steps=70), total_j=1 / 3),
    )
    again = Origin.from_json(origin.to_json())
    assert again.counter == origin.counter
    assert again.to_json() == origin.to_json()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"meter": [1, 2]}, "9 numbers are wanted"),
        ({"meter": [-1, *[0] * 8]}, "at least 0 is wanted, not -1"),
        ({"meter": [True, *[0] * 8]}, "not True"),
        ({"counter": {}}, "calibration"),
        ({"counter": {"total_j": None}}, "at least 0 is wanted, not None"),
        ({"counter": {"resets": 0.5}}, "whole number"),
        ({"counter": {"resets": 10**400}}, "whole number"),
        ({"meter": [10**400, *[0] * 8]}, "9 numbers|finite number"),
        ({"counter": {"read": [2, 1, 0, 0]}}, "ends after it begins"),
        ({"counter": {"colour": 1}}, "colour"),
    ],
)
def test_an_origin_that_was_edited_by_hand_is_refused(change: dict[str, Any], reason: str) -> None:
    good = Origin(meter=(0.0,) * 9, counter=CounterOrigin()).to_json()
    bad = {**good, **change}
    if change.get("counter"):
        bad["counter"] = {**good["counter"], **change["counter"]}
    with pytest.raises((KeyError, TypeError, ValueError), match=reason):
        Origin.from_json(bad)


def test_polls_are_replayed_where_they_were_taken(tmp_path: Path) -> None:
    """A read that reached the sampler after a younger one was left out, and is left out again."""
    clock = ManualClock(start_s=5.0)
    gpu = scripted_gpu(0, energy_j=lambda t: 250.0 * t, power_w=lambda t: 250.0)
    source_id = gpu.sources[0].id
    with Monitor(0.5, sensors=[gpu], clock=clock) as monitor:
        clock.advance(1.0)
        monitor.record_trace(tmp_path / "run.ndjson")
        clock.advance(0.1)
        late, early = CounterRead(6.7, 6.7, 1800.0, 250.0), CounterRead(7.9, 7.9, 1975.0, 250.0)
        monitor.note({"cell": "start", "id": 1, "number": 1})
        with monitor.measure("In [1]") as window:
            clock.advance(1.0)
            for read in (late, early):
                assert monitor._trace is not None
                monitor._trace.poll(source_id, read)
                monitor.sampler.counters.take_poll(source_id, read)
            clock.advance(1.0)
        monitor.note({"cell": "end", "id": 1, "error": None})
        clock.advance(1.0)
        assert window.measurement is not None
        live = without_meter(window.measurement.to_dict())
    replayed = resmon.replay(tmp_path / "run.ndjson")
    replayed.play()
    (cell,) = replayed.cells
    assert without_meter(cell.to_dict()) == live
    assert live["energy"]["components"][0]["energy_j"] == pytest.approx(500.0, rel=0.01)
    assert live["energy"]["components"][0]["note"] == ""
