"""GPU memory of our processes, known or said to be unknown; and the sensor in a process that forks or closes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.driver import GIB, Process, Script, gpus, play
from tests.driver.reading import READING


def _proc(folder: Path, namespace: str) -> Path:
    (folder / "self/ns").mkdir(parents=True)
    (folder / "self/ns/pid").symlink_to(namespace)
    return folder


OWN = """
import math, types
from pathlib import Path
from typing import Any
from resmon.sensors.nvml import NvmlSensor
sensor = NvmlSensor(own_pids=lambda: {os.getpid(), 4711}, proc=Path(PROC))
sensor.discover()
if TORCH:
    torch = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace(is_initialized=lambda: True)
    sys.modules["torch"] = torch
values = sensor.read(0.0)
own = [v for c, v in zip(sensor.channels, values) if c.quantity == "memory_own_bytes"]
lines = [str(s) for s in sensor.status if s.name == "nvml processes"]
print(json.dumps([[None if math.isnan(v) else v for v in own], list(sensor.own_memory_known.values()), lines]))
"""
HOST, CONTAINER = "pid:[4026531836]", "pid:[4026533333]"


@pytest.mark.parametrize(
    ("namespace", "torch", "processes", "own"),
    [
        pytest.param(HOST, False, [Process("self", 5), Process(4711, 7), Process(1, 99)], 12, id="ours-and-our-childs"),
        pytest.param(HOST, False, [Process("self", 5), Process("self", 5, "graphics")], 5, id="in-both-lists"),
        pytest.param(HOST, False, [Process(1, 99)], 0, id="others-only"),
        pytest.param(HOST, False, [], 0, id="nobody"),
        pytest.param(HOST, False, [Process("self", None)], None, id="not-told"),
        pytest.param(HOST, True, [Process(1, 99)], None, id="torch-holds-memory-but-no-pid-is-ours"),
        pytest.param(HOST, True, [Process("self", 5)], 5, id="torch-and-our-pid"),
        pytest.param(CONTAINER, False, [Process(1, 99)], None, id="container"),
        pytest.param(CONTAINER, True, [], None, id="container-with-empty-list"),
        pytest.param(CONTAINER, True, [Process("self", 5)], 5, id="container-that-shows-our-pid"),
    ],
)
def test_own_memory_is_known_or_said_to_be_unknown(
    tmp_path: Path, namespace: str, torch: bool, processes: list[Process], own: int | None
) -> None:
    path = Script(gpus=gpus(1, processes=processes)).write(tmp_path / "gpus")
    code = OWN.replace("PROC", repr(str(_proc(tmp_path / "proc", namespace)))).replace("TORCH", str(torch))
    values, known, lines = play(path, code)
    assert values == [own]
    assert known == [own is not None]
    assert bool(lines) == (own is None)


def test_more_processes_than_there_was_room_for(tmp_path: Path) -> None:
    crowd = [Process(100_000 + i, GIB) for i in range(63)]
    path = Script(gpus=gpus(1, processes=[*crowd, Process("self", 5)])).write(tmp_path / "gpus")
    code = OWN.replace("PROC", repr(str(_proc(tmp_path / "proc", HOST)))).replace("TORCH", "False")
    assert play(path, code)[0] == [5]


def test_a_forked_child_reads_for_itself_and_harms_nobody(tmp_path: Path) -> None:
    path = Script(gpus=gpus(1, power_w=123)).write(tmp_path / "gpus")
    parent, child, code = play(
        path,
        READING
        + """
row()
reader, writer = os.pipe()
pid = os.fork()
if pid == 0:
    power = row(1.0)["GPU 0"]["power_w"]
    sensor.close()
    sensor.close()
    os.write(writer, json.dumps(power).encode())
    os._exit(0)
os.close(writer)
child = json.loads(os.read(reader, 100))
os.close(reader)
code = os.waitpid(pid, 0)[1]
show([row(2.0)["GPU 0"]["power_w"], child, code])
""",
    )
    assert (parent, child, code) == (123, 123, 0)


def test_close_shuts_down_once_what_it_started(tmp_path: Path) -> None:
    path = Script(gpus=gpus(1)).write(tmp_path / "gpus")
    answer: Any = play(
        path,
        READING
        + """
import pynvml
pynvml.nvmlInit()  # somebody else's
sensor.close()
sensor.close()
count = pynvml.nvmlDeviceGetCount()
pynvml.nvmlShutdown()
try:
    pynvml.nvmlDeviceGetCount()
except pynvml.NVMLError_Uninitialized:
    count += 100
show([count, sensor.read(0.0), [d.label for d in sensor.devices]])
""",
    )
    assert answer == [101, [], ["GPU 0"]]
