"""The scripted driver itself: it tells the truth it was told, so that what is measured over it means something."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.driver import Constant, Fault, Gpu, Profile, Script, Square, Steps, build, gpu_uuid, gpus, play

NVML = """
import pynvml
pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByIndex(0)
"""
PROFILES: tuple[Profile, ...] = (
    Constant(250.0),
    Steps(((0.0, 100.0), (1.5, 700.0), (1.75, 80.0), (4.0, 300.0))),
    Steps(((2.0, 100.0), (3.0, 400.0))),
    Square(100.0, 700.0, 0.3, 0.25),
    Square(60.0, 400.0, 1.0, 0.75, 2.2),
)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_library_and_python_agree_on_the_truth(tmp_path: Path, profile: Profile) -> None:
    path = Script(gpus=gpus(1, power_w=profile)).write(tmp_path / "gpus")
    times = [-1.0, 0.0, 0.1, 1.5, 1.6, 2.2, 2.95, 3.0, 4.0, 7.77, 1000.0]
    answers = play(
        path,
        NVML
        + f"""
truth = pynvml.nvmlLib.script_true_energy_j
truth.restype, truth.argtypes = ctypes.c_double, (ctypes.c_int, ctypes.c_double)
print(json.dumps([truth(0, t) for t in {times}]))
""",
    )
    assert answers == pytest.approx([profile.integral(t) for t in times])


@pytest.mark.parametrize("profile", PROFILES)
def test_an_integral_is_the_sum_of_its_values(profile: Profile) -> None:
    step = 1e-3
    total = sum(profile.value((i + 0.5) * step) * step for i in range(5000))
    assert profile.integral(5.0) == pytest.approx(total, rel=2e-3)


def test_the_energy_of_a_duty_cycle_never_goes_back_at_whole_cycles(tmp_path: Path) -> None:
    # At 2.7 s as at 9 periods of 0.1 s, the quotient of two floats is whole and their remainder nearly a cycle.
    cycle, times = Square(200.0, 400.0, 0.9, 0.5), [i * 0.1 for i in range(20_000)]
    answers = play(
        Script(gpus=[Gpu(uuid=gpu_uuid(0), power_w=cycle)]).write(tmp_path / "gpus"),
        NVML
        + """
truth = pynvml.nvmlLib.script_true_energy_j
truth.restype, truth.argtypes = ctypes.c_double, (ctypes.c_int, ctypes.c_double)
print(json.dumps([truth(0, i * 0.1) for i in range(20_000)]))
""",
    )
    for joules in (answers, [cycle.integral(at) for at in times]):
        steps = [after - before for before, after in pairwise(joules)]
        assert min(steps) == pytest.approx(20.0, abs=1e-4)
        assert max(steps) == pytest.approx(40.0, abs=1e-4)


def test_the_counter_moves_at_its_edges_alone(tmp_path: Path) -> None:
    path = Script(gpus=gpus(1, power_w=500, tau_s=0.05), epoch_s=time.monotonic() - 5).write(tmp_path / "gpus")
    seen = play(
        path,
        NVML
        + """
seen = []
until = time.monotonic() + 0.4
while time.monotonic() < until:
    joules = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    if not seen or seen[-1] != joules:
        seen.append(joules)
print(json.dumps(seen))
""",
    )
    assert len(seen) >= 3
    # 25 J an edge; several pass at once while another process has the core.
    assert all(round((later - sooner) / 25, 3).is_integer() for sooner, later in pairwise(seen))


def test_the_counter_wraps_and_carries_its_gain(tmp_path: Path) -> None:
    script = Script(
        gpus=(Gpu(uuid=gpu_uuid(0), power_w=100, tau_s=0.0, energy_gain=2.0, offset_j=50, wrap_j=60.0),),
        epoch_s=time.monotonic() - 1000,
    )
    before = script.now_s()
    joules = play(
        script.write(tmp_path / "gpus"),
        NVML + "print(json.dumps(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000))",
    )
    low, high = (50 + 2 * 100 * t for t in (before, script.now_s()))
    assert 0 <= joules < 60
    assert any(low - 0.01 <= joules + 60 * n <= high + 0.01 for n in range(3300, 3600))


def test_a_script_may_be_replaced_while_it_plays(tmp_path: Path) -> None:
    script = Script(gpus=gpus(1, power_w=100))
    path = script.write(tmp_path / "gpus")
    Script(gpus=gpus(1, power_w=300), epoch_s=script.epoch_s).write(tmp_path / "next")
    answers = play(
        path,
        NVML
        + f"""
power = lambda: pynvml.nvmlDeviceGetFieldValues(handle, [186])[0].value.uiVal / 1000
answers = [power()]
os.replace({str(tmp_path / "next")!r}, {str(path)!r})
answers += [power(), calls("nvmlDeviceGetFieldValues", 0), calls("nvmlDevice*", 0)]
print(json.dumps(answers))
""",
    )
    assert answers == [100, 300, 2, 3]


def test_a_fault_holds_for_its_time(tmp_path: Path) -> None:
    script = Script(gpus=gpus(1, rules=[Fault("nvmlDeviceGetTemperature*", 999, 1000.0, 2000.0)]))
    answers = play(
        script.write(tmp_path / "gpus"),
        NVML
        + """
def ask(at):
    set_clock(at)
    try:
        return pynvml.nvmlDeviceGetTemperature(handle, 0)
    except pynvml.NVMLError as error:
        return error.value
print(json.dumps([ask(500.0), ask(1500.0), ask(2500.0)]))
""",
    )
    assert answers == [40, 999, 40]


def test_it_is_built_once() -> None:
    library = build() / "libnvidia-ml.so.1"
    before = library.stat().st_mtime_ns
    assert build() / "libnvidia-ml.so.1" == library
    assert library.stat().st_mtime_ns == before
