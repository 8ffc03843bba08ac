"""What was learned of a board's counter is there in the next session."""

from __future__ import annotations

from pathlib import Path

from tests.driver import Gpu, Script, gpu_uuid, play

SESSION = """
import json, os, time
from resmon.monitor import Monitor
from resmon.sensors import Sensors
from resmon.sensors.nvml import NvmlSensor
monitor = Monitor(0.5, sensors=[])
monitor._all = Sensors(slow=(NvmlSensor(),))
with monitor:
    until = time.monotonic() + 20
    while not monitor.sampler.counters.learned() and time.monotonic() < until:
        time.sleep(0.01)
    (before,) = monitor.sampler.counters.learned().values()
    for _ in range(WINDOWS):
        with monitor.measure():
            time.sleep(0.05)
        time.sleep(0.05)
    (after,) = monitor.sampler.counters.learned().values()
print(json.dumps([before.steps, after.steps, after.period_s]))
"""


def test_a_board_is_known_in_the_next_session(tmp_path: Path) -> None:
    script = Script(gpus=(Gpu(uuid=gpu_uuid(0), power_w=300, tau_s=0.02),)).write(tmp_path / "gpus")
    cache = str(tmp_path / "cache")
    before, after, period_s = play(script, SESSION.replace("WINDOWS", "20"), XDG_CACHE_HOME=cache)
    assert before == 0
    assert after >= 4
    assert 0.018 < period_s < 0.022
    known, _, _ = play(script, SESSION.replace("WINDOWS", "1"), XDG_CACHE_HOME=cache)
    assert known == after
