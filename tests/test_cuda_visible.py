"""CUDA_VISIBLE_DEVICES in all its forms, as CUDA reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from resmon.sensors.cuda_visible import MigSlice, PhysicalGpu, visible_devices
from tests.driver import Gpu, Script, Slice, gpu_uuid, gpus, play

A, B, C = (gpu_uuid(i) for i in range(3))
THREE = tuple(PhysicalGpu(uuid=uuid, name="NVIDIA H200") for uuid in (A, B, C))
S1, S2, S3 = "MIG-11111111-aaaa", "MIG-22222222-bbbb", "MIG-22223333-cccc"
CUT = (
    PhysicalGpu(
        uuid=A,
        name="NVIDIA H200",
        mig=True,
        slices=(
            MigSlice(uuid=S1, gpu_instance=1, compute_instance=0),
            MigSlice(uuid=S2, gpu_instance=2, compute_instance=0),
            MigSlice(uuid=S3, gpu_instance=2, compute_instance=1),
        ),
    ),
    PhysicalGpu(uuid=B, name="NVIDIA H200"),
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (A, B, C)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("0", (A,)),
        ("2,0", (C, A)),
        (" 1 , 2", (B, C)),
        ("+1", (B,)),
        ("1gpu2,2ampere", (B, C)),
        ("0,2,-1,1", (A, C)),
        ("1,3,0", (B,)),
        ("0,,1", (A,)),
        ("0,x,1", (A,)),
        ("7", ()),
        ("99999999999999999999", ()),
        ("1,1", ()),
        ("0,1,0", ()),
        (A, (A,)),
        (f"{C},{A}", (C, A)),
        (A[:12], (A,)),
        (f"{B[:12]},{A[:12]}", (B, A)),
        ("GPU-1a2b", ()),
        (f"{B},GPU-1a2b,{A}", (B,)),
        ("GPU-", ()),
        (f"{A},GPU-deadbeef,{B}", (A,)),
        (f"{A},{A}", ()),
        (f"{A},{A[:12]}", ()),
        (A.upper(), ()),
    ],
)
def test_whole_gpus(value: str | None, expected: tuple[str, ...]) -> None:
    assert visible_devices(value, THREE).uuids == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (S1, S2, S3, B)),
        (S2, (S2,)),
        (f"{S3},{S1}", (S3, S1)),
        ("MIG-1111", (S1,)),
        ("MIG-2222", ()),
        ("MIG-", ()),
        (f"MIG-{A}/2/1", (S3,)),
        (f"MIG-{A}/9/0", ()),
        (f"MIG-{A}/1/0,{S2}", (S1, S2)),
        ("0", (S1, S2, S3)),
        ("1", (B,)),
        (A, (S1, S2, S3)),
        (f"{S1},{S1}", ()),
    ],
)
def test_mig_slices(value: str | None, expected: tuple[str, ...]) -> None:
    assert visible_devices(value, CUT).uuids == expected


@pytest.mark.parametrize(("value", "expected"), [(f"0,{B}", (A,)), (f"{A},1", (A,)), (f"{A},{S1}", (A,))])
def test_a_mix_of_kinds_ends_the_list_and_says_so(value: str, expected: tuple[str, ...]) -> None:
    visible = visible_devices(value, THREE)
    assert visible.uuids == expected
    assert not visible.certain
    assert "mixes" in visible.note


def test_a_device_named_twice_says_why_there_is_none() -> None:
    assert "twice" in visible_devices("0,0", THREE).note


def test_several_slices_are_not_certain() -> None:
    assert visible_devices(S1, CUT).certain
    assert "first MIG slice" in visible_devices(f"{S1},{S2}", CUT).note


def test_the_order_of_unlike_gpus_is_certain_only_by_pci_or_uuid() -> None:
    unlike = (PhysicalGpu(uuid=A, name="NVIDIA T4"), PhysicalGpu(uuid=B, name="NVIDIA H200"))
    assert "CUDA_DEVICE_ORDER" in visible_devices(None, unlike).note
    assert "CUDA_DEVICE_ORDER" in visible_devices("1", unlike, "FASTEST_FIRST").note
    assert visible_devices("1", unlike, "PCI_BUS_ID").certain
    assert visible_devices(B, unlike).certain
    assert visible_devices(None, THREE).certain
    assert visible_devices("", unlike).certain


def test_a_mig_gpu_without_slices_is_no_device() -> None:
    bare = (PhysicalGpu(uuid=A, name="NVIDIA H200", mig=True), PhysicalGpu(uuid=B, name="NVIDIA H200"))
    assert visible_devices(None, bare).uuids == (B,)
    assert visible_devices("0", bare).uuids == ()


SHOW = """
from resmon.sensors.nvml import NvmlSensor
s = NvmlSensor()
s.discover()
print(json.dumps([[d.label, d.uuid, d.kind] for d in s.devices if d.index is not None]))
"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, [A, B, C]),
        ("2,0", [C, A]),
        (f"{B[:12]},{A}", [B, A]),
        ("-1", []),
        ("", []),
    ],
)
def test_the_sensor_shows_what_cuda_would(tmp_path: Path, value: str | None, expected: list[str]) -> None:
    path = Script(gpus=gpus(3)).write(tmp_path / "gpus")
    code = "" if value is None else f"import os; os.environ['CUDA_VISIBLE_DEVICES'] = {value!r}\n"
    assert play(path, code + SHOW) == [[f"GPU {i}", uuid, "gpu"] for i, uuid in enumerate(expected)]


def test_the_sensor_shows_the_slice_that_was_chosen(tmp_path: Path) -> None:
    cut = Gpu(uuid=A, slices=(Slice(uuid=S1), Slice(uuid=S2, gpu_instance=2)))
    path = Script(gpus=(cut, *gpus(3)[1:])).write(tmp_path / "gpus")
    assert play(path, SHOW, CUDA_VISIBLE_DEVICES=S2) == [["GPU 0", S2, "mig"]]
    assert play(path, SHOW, CUDA_VISIBLE_DEVICES=f"MIG-{A}/2/0") == [["GPU 0", S2, "mig"]]


def test_the_sensor_follows_the_variable_until_cuda_is_initialised(tmp_path: Path) -> None:
    path = Script(gpus=gpus(3)).write(tmp_path / "gpus")
    answers = play(
        path,
        """
from resmon.sensors.nvml import NvmlSensor
s = NvmlSensor()
s.discover()
answers = [[s.generation, [d.uuid for d in s.devices]]]
os.environ["CUDA_VISIBLE_DEVICES"] = "1"
width = len(s.read(0.0))
answers.append([s.generation, [d.uuid for d in s.devices]])
assert len(s.read(1.0)) == len(s.channels)
print(json.dumps([width, *answers]))
""",
    )
    assert answers == [32, [1, [A, B, C]], [2, [B]]]


def test_cuda_itself_settles_what_is_not_certain(tmp_path: Path) -> None:
    unlike = (Gpu(uuid=A, name="NVIDIA T4"), Gpu(uuid=B, name="NVIDIA H200"))
    answers = play(
        Script(gpus=unlike).write(tmp_path / "gpus"),
        f"""
import types
from resmon.sensors.nvml import NvmlSensor
s = NvmlSensor()
s.discover()
look = lambda: [[d.label + " " + d.name for d in s.devices], "CUDA_DEVICE_ORDER" in str(s.status[0])]
answers = [look()]
order = {[B, A]!r}
sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(
    is_initialized=lambda: True,
    device_count=lambda: 2,
    get_device_properties=lambda i: types.SimpleNamespace(uuid=order[i][4:]),
))
assert len(s.read(0.0)) == 22
answers.append(look())
print(json.dumps(answers))
""",
    )
    assert answers == [
        [["GPU 0 NVIDIA T4", "GPU 1 NVIDIA H200"], True],
        [["GPU 0 NVIDIA H200", "GPU 1 NVIDIA T4"], False],
    ]
