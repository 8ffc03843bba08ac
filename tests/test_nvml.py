"""The NVML sensor over the scripted driver: what it reads, what that costs, what it covers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.driver import GIB, NOT_SUPPORTED, Constant, Fault, Gpu, Process, Script, Slice, Square, gpu_uuid, gpus, play
from tests.driver.reading import READING

NO_FIELDS = Fault("nvmlDeviceGetFieldValues", NOT_SUPPORTED)
NO_COUNTER = (
    Fault("field:83", NOT_SUPPORTED),
    Fault("field:191", NOT_SUPPORTED),
    Fault("nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED),
)
NO_POWER = (
    *(Fault(f"field:{field}", NOT_SUPPORTED) for field in (185, 186)),
    Fault("nvmlDeviceGetPowerUsage", NOT_SUPPORTED),
)


def test_two_gpus_in_resmon_units(tmp_path: Path) -> None:
    busy = Gpu(
        uuid=gpu_uuid(1),
        name="NVIDIA B200",
        power_w=512.5,
        utilization_percent=87,
        memory_used_bytes=60 * GIB,
        temperature_c=71,
        clock_mhz=1830,
        throttle=0x24,
        limit_w=1000.0,
    )
    path = Script(gpus=(*gpus(1), busy)).write(tmp_path / "gpus")
    devices, row, statuses = play(
        path,
        READING
        + """
devices = [[d.id, d.label, d.name, d.kind, d.index, d.memory_total_bytes, d.power_max_w] for d in sensor.devices]
show([devices, row(), said()])
""",
    )
    assert devices[1] == [f"gpu:{gpu_uuid(1)}", "GPU 1", "NVIDIA B200", "gpu", 1, 139 * GIB, 1000.0]
    energy_j = row["GPU 1"].pop("energy_j")
    assert energy_j >= 0
    assert row["GPU 1"] == {
        "utilization": 0.87,
        "memory_used_bytes": 60 * GIB,
        "memory_own_bytes": row["GPU 1"]["memory_own_bytes"],
        "other_processes": row["GPU 1"]["other_processes"],
        "power_w": 512.5,
        "power_limit_w": 1000.0,
        "temperature_c": 71.0,
        "sm_clock_hz": 1.83e9,
        "throttle": 0x24,
    }
    assert row["GPU 0"]["utilization"] == 0.0
    assert statuses[0].startswith("nvml: available 2 of 2 GPUs, driver 575.57.08 (the GPUs differ")


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize(
    "rules",
    [
        (),
        (NO_FIELDS,),
        NO_COUNTER,
        NO_POWER,
        NO_POWER[:2],
        (Fault("field:190", NOT_SUPPORTED),),
        (NO_FIELDS, *NO_COUNTER),
    ],
)
def test_at_most_four_calls_a_tick_and_gpu(tmp_path: Path, count: int, rules: tuple[Fault, ...]) -> None:
    processes = [Process(1000 + i, GIB) for i in range(20)]
    path = Script(gpus=gpus(count, rules=rules, processes=processes)).write(tmp_path / "gpus")
    worst, seen = play(
        path,
        READING
        + """
worst, seen = 0, {}
for tick in range(24):
    reset_calls()
    for label, values in row(float(tick)).items():
        seen.setdefault(label, set()).update(q for q, v in values.items() if v is not None)
    worst = max(worst, *(calls("*", i) for i in range(len(sensor.devices))))
show([worst, sorted(seen["GPU 0"])])
""",
    )
    assert worst <= 4
    assert {"utilization", "memory_used_bytes", "temperature_c", "sm_clock_hz", "throttle"} <= set(seen)
    assert ("energy_j" in seen) == (rules not in (NO_COUNTER, (NO_FIELDS, *NO_COUNTER)))
    assert ("power_w" in seen) == (rules != NO_POWER)


def test_what_changes_slowly_is_fresh_within_six_ticks(tmp_path: Path) -> None:
    script = Script(gpus=gpus(1, temperature_c=40, clock_mhz=500, throttle=1))
    path = script.write(tmp_path / "gpus")
    later = Script(gpus=gpus(1, temperature_c=80, clock_mhz=1500, throttle=4), epoch_s=script.epoch_s)
    later.write(tmp_path / "later")
    first, last = play(
        path,
        READING
        + f"""
first = row()["GPU 0"]
os.replace({str(tmp_path / "later")!r}, {str(path)!r})
for tick in range(6):
    last = row(float(tick))["GPU 0"]
show([first, last])
""",
    )
    assert [first[q] for q in ("temperature_c", "sm_clock_hz", "throttle")] == [40, 500e6, 1]
    assert [last[q] for q in ("temperature_c", "sm_clock_hz", "throttle")] == [80, 1500e6, 4]


@pytest.mark.parametrize("rules", [(), (NO_FIELDS,), (Fault("field:83", NOT_SUPPORTED),)])
def test_the_counter_is_the_true_energy_up_to_its_last_step(tmp_path: Path, rules: tuple[Fault, ...]) -> None:
    gpu = Gpu(
        uuid=gpu_uuid(0), power_w=Square(100, 700, 0.3, 0.25), tau_s=0.02, jitter_s=0.01, offset_j=5000, rules=rules
    )
    script = Script(gpus=(gpu,))
    rows, source = play(
        script.write(tmp_path / "gpus"),
        READING
        + """
rows = []
for _ in range(40):
    before = time.monotonic()
    joules = row()["GPU 0"]["energy_j"]
    rows.append([before, time.monotonic(), joules])
    time.sleep(0.01)
source = sensor.sources[0]
show([rows, [source.id, source.method, source.kind, source.scope, source.basis, source.channel, source.power_limit_w]])
""",
    )
    for before, after, joules in rows:
        earliest = gpu.energy_j(0, before - script.epoch_s - gpu.tau_s - gpu.jitter_s)
        latest = gpu.energy_j(0, after - script.epoch_s)
        assert earliest - 0.002 <= joules - 5000 <= latest + 0.002
    assert rows[-1][2] - rows[0][2] > 0.3 * 100
    channel = f"gpu:{gpu.uuid}.energy_j"
    assert source == [f"nvml:{gpu.uuid}", "counter", "gpu", "board", "measured", channel, 700.0]


def test_a_counter_that_begins_again_is_passed_on_as_it_is(tmp_path: Path) -> None:
    path = Script(gpus=gpus(1, offset_j=9000, reload_s=0.0)).write(tmp_path / "gpus")
    joules = play(path, READING + 'show(row()["GPU 0"]["energy_j"])')
    assert joules < 9000


@pytest.mark.parametrize(
    ("rules", "power_w", "note"),
    [
        (NO_COUNTER, 700.0, ""),
        ((*NO_COUNTER, Fault("field:186", NOT_SUPPORTED)), 250.0, "power is the driver's mean over 1 s"),
        ((*NO_COUNTER, NO_FIELDS), 250.0, "power is the driver's mean over 1 s"),
    ],
)
def test_without_a_counter_power_is_integrated(tmp_path: Path, rules: list[Fault], power_w: float, note: str) -> None:
    # In any second the square takes 250 W on average; the instant is always inside its first, high quarter.
    gpu = Gpu(uuid=gpu_uuid(0), power_w=Square(100, 700, 1.0, 0.25), power_update_s=1.0, rules=rules)
    row, source = play(
        Script(gpus=(gpu,), epoch_s=time.monotonic() - 10).write(tmp_path / "gpus"),
        READING + 's = sensor.sources[0]\nshow([row()["GPU 0"], [s.method, s.channel, s.note, s.period_s]])',
    )
    assert "energy_j" not in row
    assert row["power_w"] == pytest.approx(power_w, abs=0.01)
    assert source == ["integrated", f"gpu:{gpu.uuid}.power_w", note, 1.0 if note else None]


def test_a_sensor_that_looks_part_of_the_time_is_known_by_the_board_s_name(tmp_path: Path) -> None:
    names = ("NVIDIA A100-SXM4-80GB", "NVIDIA H200", "NVIDIA GH200 480GB", "NVIDIA GeForce RTX 4090", "NVIDIA A10")
    boards = tuple(Gpu(uuid=gpu_uuid(i), name=name) for i, name in enumerate(names))
    found = play(
        Script(gpus=boards).write(tmp_path / "gpus"),
        READING + "show([[s.sampled_fraction, s.gain_error] for s in sensor.sources])",
    )
    assert found == [[0.25, 0.05]] * 3 + [[1.0, 0.05]] * 2


def test_a_gpu_without_power_is_named_as_not_covered(tmp_path: Path) -> None:
    silent = Gpu(uuid=gpu_uuid(1), rules=(*NO_POWER, *NO_COUNTER))
    not_covered, sources, row, statuses = play(
        Script(gpus=(*gpus(1), silent)).write(tmp_path / "gpus"),
        READING + 'show([list(sensor.not_covered), [s.label for s in sensor.sources], row()["GPU 1"], said()])',
    )
    assert not_covered == ["GPU 1 power"]
    assert sources == ["GPU 0"]
    assert row["power_w"] is None
    assert row["utilization"] == 0.0
    assert any(line.startswith("nvml GPU 1: degraded no power and no energy") for line in statuses)


def test_mig_slices_have_memory_and_their_parent_the_energy(tmp_path: Path) -> None:
    slices = (
        Slice(uuid="MIG-11111111-0000", memory_used_bytes=3 * GIB, processes=[Process("self", 2 * GIB)]),
        Slice(uuid="MIG-22222222-0000", gpu_instance=2),
    )
    cut = Gpu(uuid=gpu_uuid(0), power_w=Constant(400), slices=slices)
    devices, row, sources, worst = play(
        Script(gpus=(cut, *gpus(2)[1:])).write(tmp_path / "gpus"),
        READING
        + """
devices = [[d.label, d.kind, d.index, d.parent_id] for d in sensor.devices]
worst = 0
for tick in range(8):
    reset_calls()
    last = row(float(tick))
    worst = max(worst, *(calls("*", i) for i in range(4)))
show([devices, last, [[s.label, s.scope] for s in sensor.sources], worst])
""",
    )
    parent = f"gpu:{gpu_uuid(0)}"
    assert devices == [
        ["MIG parent 0", "gpu", None, None],
        ["GPU 0", "mig", 0, parent],
        ["GPU 1", "mig", 1, parent],
        ["GPU 2", "gpu", 2, None],
    ]
    used = {"utilization": None, "memory_used_bytes": 3 * GIB, "memory_own_bytes": 2 * GIB, "other_processes": 0}
    assert row["GPU 0"] == used
    assert row["GPU 1"] == {**used, "memory_used_bytes": 0, "memory_own_bytes": 0}
    assert row["MIG parent 0"]["power_w"] == 400
    assert "utilization" not in row["MIG parent 0"]
    assert sources == [["MIG parent 0", "board, shared by all its MIG slices"], ["GPU 2", "board"]]
    assert worst <= 4


@pytest.mark.parametrize(("scope", "kind"), [("module", "module"), ("gpu", "gpu")])
def test_a_counter_of_a_whole_module_is_found_out(tmp_path: Path, scope: str, kind: str) -> None:
    chip = Gpu(uuid=gpu_uuid(0), power_w=300, module_power_w=450, energy_scope=scope, tau_s=0.05)  # type: ignore[arg-type]
    source = play(
        Script(gpus=(chip,)).write(tmp_path / "gpus"),
        READING + "show([sensor.sources[0].kind, sensor.sources[0].scope])",
    )
    assert source == [kind, "module: GPU and CPU together" if kind == "module" else "board"]


def test_a_hostile_name_passes_through_as_data(tmp_path: Path) -> None:
    name = '<img src=x onerror="alert(1)"> \x1b[31mred\x1b[0m 显卡 &amp; {0} %s'
    path = Script(gpus=gpus(1, name=name)).write(tmp_path / "gpus")
    assert play(path, READING + "show(sensor.devices[0].name)") == name


def test_pynvml_is_imported_by_discover_alone(tmp_path: Path) -> None:
    path = Script(gpus=gpus(1)).write(tmp_path / "gpus")
    assert play(
        path,
        """
from resmon.sensors.nvml import NvmlSensor
s = NvmlSensor()
before = "pynvml" in sys.modules
s.discover()
print(json.dumps([before, "pynvml" in sys.modules]))
""",
    ) == [False, True]
