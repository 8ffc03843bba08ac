"""The counters polled by the helper at the ends of windows: in time whoever holds the interpreter, and in order."""

from __future__ import annotations

import json
import statistics
from itertools import pairwise
from pathlib import Path

import pytest

import resmon
from resmon.counters import Counters
from resmon.energy.edges import CounterRead
from resmon.facts import EnergySource
from tests.driver import Gpu, Script, Square, gpu_uuid, gpus, play

HELD_S = 0.25
HELD = """
import logging, random
from resmon.monitor import Monitor
from resmon.sensors.nvml import NvmlSensor
from resmon.sensors.nvml_remote import RemoteNvmlSensor
hold = ctypes.PyDLL(None).usleep  # a C call that keeps the interpreter
random.seed(1)
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("resmon").addHandler(handler)
with Monitor(0.5, sensors=[SENSOR()]) as monitor:
    time.sleep(1.5)
    monitor.record_trace(PATH)
    for _ in range(4):  # from then on the board is known
        with monitor.measure():
            time.sleep(0.25)
    found = []
    for number in range(8):
        monitor.note({"cell": "start", "id": number, "number": number})
        with monitor.measure() as window:
            time.sleep(0.3 + random.random() * 0.2)
            hold(int(HELD_S * 1e6))
            monitor.note({"cell": "end", "id": number, "error": None})
        hold(int(HELD_S * 1e6))
        (part,) = window.measurement.energy.components
        found.append([window.opened_s, window.closed_s, part.energy_j, part.low_j, part.high_j])
    monitor.end_trace()
print(json.dumps([found, lines]))
"""


def _held(tmp_path: Path, sensor: str) -> tuple[Script, list[list[float]], list[CounterRead], Path]:
    # Nearly even: what widens an interval besides the sensor's gain is how well the counter's edges are known.
    gpu = Gpu(uuid=gpu_uuid(0), power_w=Square(300, 340, 0.037, 0.5), tau_s=0.1, jitter_s=0.005)
    script = Script(gpus=(gpu,))
    path = tmp_path / f"{sensor}.ndjson"
    code = HELD.replace("SENSOR()", f"{sensor}()").replace("PATH", repr(str(path))).replace("HELD_S", str(HELD_S))
    found, lines = play(script.write(tmp_path / "gpus"), code)
    assert lines == [], "no read came out of order"
    trace = map(json.loads, path.read_text("utf-8").splitlines())
    polls = [CounterRead(*line["read"]) for line in trace if "poll" in line]
    return script, found, polls, path


def _first_polls_s(found: list[list[float]], polls: list[CounterRead]) -> list[float]:
    """How long after the end of each window its counter was read."""
    return [min(p.before_s for p in polls if p.before_s > closed_s) - closed_s for _, closed_s, *_ in found]


def test_a_c_call_that_keeps_the_interpreter_makes_no_gap_at_the_end_of_a_window(tmp_path: Path) -> None:
    script, here, polls_here, _ = _held(tmp_path, "NvmlSensor")
    script_apart, apart, polls_apart, _ = _held(tmp_path, "RemoteNvmlSensor")
    assert max(_first_polls_s(here, polls_here)) > 0.8 * HELD_S, "read in this process, they have to wait"
    # The median: on a busy machine the other process, too, may have to wait for a core now and then.
    assert statistics.median(_first_polls_s(apart, polls_apart)) < HELD_S / 3
    gpu = script.gpus[0]

    def off_and_width(script: Script, found: list[list[float]]) -> tuple[float, float]:
        true_j = [gpu.energy_j(a - script.epoch_s, b - script.epoch_s) for a, b, *_ in found]
        off_j = [abs(energy_j - true) for (_, _, energy_j, *_), true in zip(found, true_j, strict=True)]
        widths = [(high_j - low_j) / true for (*_, low_j, high_j), true in zip(found, true_j, strict=True)]
        return statistics.median(off_j), statistics.median(widths)

    off_here_j, width_here = off_and_width(script, here)
    off_apart_j, width_apart = off_and_width(script_apart, apart)
    assert off_apart_j < off_here_j / 3
    assert width_apart < 0.85 * width_here
    assert width_apart < 1.5 * 2 * 1.96 * 0.05, "little more than the uncertain gain alone"


def test_a_trace_of_polled_windows_gives_their_numbers_again(tmp_path: Path) -> None:
    _, found, polls, path = _held(tmp_path, "RemoteNvmlSensor")
    assert len(polls) > 100
    assert all(a.after_s <= b.before_s for a, b in pairwise(polls))
    replayed = resmon.replay(path)
    replayed.play()
    parts = [(cell.duration_s, part) for cell in replayed.cells for part in cell.energy.components]
    again = [[duration_s, part.energy_j, part.low_j, part.high_j] for duration_s, part in parts]
    measured = [[closed_s - opened_s, *joules] for opened_s, closed_s, *joules in found]
    assert again == [pytest.approx(numbers, rel=1e-12) for numbers in measured]  # its totals begin later


def test_a_read_older_than_the_last_is_left_out_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    source = EnergySource(
        id="nvml:GPU-1", device_id="gpu", label="GPU 0", kind="gpu", method="counter", basis="measured", scope="board",
        channel="gpu.energy_j",
    )  # fmt: skip
    reads = [CounterRead(0.01 * n, 0.01 * n + 0.001, 10.0 * (n // 10), 100.0) for n in range(60)]
    straight, disturbed = Counters(), Counters()
    for counters in (straight, disturbed):
        counters.shape([source])
        for n, read in enumerate(reads):
            counters.take(source.id, read)
            if counters is disturbed and n in (25, 41):
                counters.take_poll(source.id, reads[n - 7]._replace(energy_j=0.0))
    marks = [counters.look(0.455)[source.id] for counters in (straight, disturbed)]
    assert marks[0] == marks[1]
    assert marks[0].resets == 0
    assert sum("is left out" in message for message in caplog.messages) == 2


def test_windows_beside_many_ticks_take_every_read_in_order(tmp_path: Path) -> None:
    """Ticks, polls and a busy interpreter at once, over eight GPUs: no read is left out, and the polling ends."""
    code = """
import logging, threading
from resmon.counters import LESSON_S
from resmon.monitor import Monitor
from resmon.sensors.nvml_remote import RemoteNvmlSensor
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("resmon").addHandler(handler)
def calls():
    with open(os.environ["RESMON_NVML_CALLS"], "rb") as file:
        return int.from_bytes(file.read(), sys.byteorder)
sensor = RemoteNvmlSensor()
with Monitor(0.02, sensors=[sensor]) as monitor:
    while len(monitor.gpu_devices()) < 8:
        time.sleep(0.05)
    until = time.monotonic() + 4
    count = 0
    while time.monotonic() < until:
        with monitor.measure():
            sum(range(300_000))
        count += 1
    monitor.set_idle(idle=True, idle_interval_s=20.0)
    time.sleep(LESSON_S + 1.0)
    before, ticks = calls(), monitor.sampler.ticks
    time.sleep(1.0)
    print(json.dumps([lines, count, calls() - before, monitor.sampler.ticks - ticks]))
"""
    path = Script(gpus=gpus(8, power_w=Square(100, 700, 0.1, 0.5))).write(tmp_path / "gpus")
    lines, count, calls, ticks = play(path, code, RESMON_NVML_CALLS=str(tmp_path / "calls"))
    assert lines == []
    assert count > 20
    # One tick may be under way at the end; polling would be some 800 calls.
    assert calls <= 32 * (ticks + 1), "nothing is polled while nobody waits"
