"""A rank on a GPU that the notebook does not see: one rank reads it, and another takes over."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from resmon.distributed.election import DeviceReader
from resmon.distributed.receiver import Receiver
from tests import driver
from tests.ranks import environment, listening, until

RANK = """
import sys, time, types
torch, cuda = types.ModuleType("torch"), types.ModuleType("torch.cuda")
properties = types.SimpleNamespace(uuid={bare!r}, name="stand-in", total_memory=2**34)
held = {{"all": {{"current": 100, "peak": 300}}}}
stats = {{"allocated_bytes": held, "reserved_bytes": {{"all": {{"current": 200}}}}, "num_alloc_retries": 7}}
cuda.is_initialized = lambda: True
cuda.device_count = lambda: 2
cuda.memory_allocated = lambda i: 100 * i
cuda.get_device_properties = lambda i: properties
cuda.memory_stats_as_nested_dict = lambda i: stats
torch.cuda = cuda
sys.modules.update({{"torch": torch, "torch.cuda": cuda}})
from resmon.distributed.sender import start_reporting
start_reporting()
time.sleep(60)
"""


def _knows_power_since(receiver: Receiver, at_s: float) -> bool:
    newest = receiver.board._ranks[1].history.newest
    return newest is not None and newest.at_s > at_s and newest.power_w == 345.0


def test_a_gpu_that_the_notebook_does_not_see_is_read_by_one_rank_and_then_by_another(tmp_path: Path) -> None:
    gpu = driver.Gpu(uuid=driver.gpu_uuid(7), power_w=345.0, utilization_percent=61, throttle=0x4)
    script = driver.Script(gpus=(gpu,)).write(tmp_path / "gpus")
    program = RANK.format(bare=driver.gpu_uuid(7).removeprefix("GPU-"))
    with listening(2) as receiver:
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", program],
                env={
                    **environment(RESMON_CONNECTION=str(receiver.connection_file), RANK=str(i), WORLD_SIZE="2"),
                    **{k: v for k, v in driver.environment(script).items() if k != "PYTHONPATH"},
                    "RESMON_CONNECTION": str(receiver.connection_file),
                },
            )
            for i in range(2)
        ]
        try:
            until(lambda: all(row.power_w == 345.0 for row in receiver.board.rows()))
            row = receiver.board.rows()[1]
            assert (row.device, row.utilization) == ("GPU 1", 0.61)
            assert (row.allocator_allocated_bytes, row.allocator_reserved_bytes) == (100, 200)
            newest = receiver.board._ranks[1].history.newest
            assert newest is not None
            assert newest.device_id == f"gpu:{driver.gpu_uuid(7)}"
            assert newest.throttle == 0x4
            assert newest.allocator_allocated_bytes == 100
            assert newest.allocator_reserved_bytes == 200
            assert newest.allocator_peak_bytes == 300
            assert newest.allocator_retries == 7
            ranks[0].kill()
            ranks[0].wait()
            receiver._devices._told.clear()
            killed_s = time.monotonic()
            until(lambda: _knows_power_since(receiver, killed_s))
            ranks[1].kill()
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()


def test_only_one_reads_until_it_is_gone() -> None:
    one, other = DeviceReader(), DeviceReader()
    assert one.read("GPU-x", 0.0) is None, "the notebook reads it"
    one.wanted = other.wanted = True
    try:
        found = one.read("GPU-x", 1.0)
        assert found is not None
        assert found.power_w is None, "there is no such GPU here: unknown, not 0"
        assert other.read("GPU-x", 1.0) is None
        one.close()
        assert other.read("GPU-x", 2.0) is not None
        assert other.read("GPU-x", 2.1) is None, "not so often"
    finally:
        one.close()
        other.close()
