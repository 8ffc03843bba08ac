"""Runs launched from a real kernel: what comes back, what is shown, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import Kernel
from tests.launches import launching, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def running(directory: Path) -> Iterator[Kernel]:
    """A kernel for all tests."""
    with launching(directory) as started:
        yield started


DDP = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x):
        return self.layer(x)

class Outcome:
    def __init__(self, rank, losses, weight):
        self.rank, self.losses, self.weight = rank, losses, weight

factor = 2.0
scaled = lambda x: factor * x
def maker(offset):
    def offsetted(x):
        return x + offset
    return offsetted
offsetted = maker(1.0)

def train(steps, lr=0.1):
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    dist.init_process_group()
    rank = dist.get_rank()
    torch.manual_seed(rank)
    model = DistributedDataParallel(Net())
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for step in range(steps):
        x = scaled(torch.randn(16, 4))
        loss = (model(x) - offsetted(x.sum(1, keepdim=True))).square().mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        losses.append(loss.item())
        sys.stderr.write(f"\\rstep {step}")
    print()
    print(f"rank {rank} of {dist.get_world_size()} <b>done</b> \\x1b[31mred\\x1b[0m\\x1b]0;title\\x07")
    return Outcome(rank, losses, model.module.layer.weight.detach())
"""


def test_data_parallel_training_of_a_function_defined_in_a_cell(running: Kernel, directory: Path) -> None:
    running.run(DDP)
    text = run(running, "result = resmon.launch(train, ranks=2, args=[30], kwargs={'lr': 0.02}, output='all')")
    for rank in (0, 1):
        assert f"[rank {rank}] rank {rank} of 2 <b>done</b> red\n" in text
        assert f"[rank {rank}] step 29" in text
    assert text.count("\n") < 60
    assert running.json("[type(r) is Outcome and r.rank for r in result.results]") == [0, 1]
    assert running.json("torch.equal(result.results[0].weight, result.results[1].weight)"), "gradients were averaged"
    assert running.json("all(r.losses[-1] < r.losses[0] for r in result.results)")
    assert running.json("result.outcomes") == ["done", "done"]
    assert running.json("result.measurement.name") == "train"
    assert running.json("result.measurement.error") is None
    assert running.json("0 < result.measurement.energy.total_j < monitor.session_energy().total_j")
    assert running.json("result.ranks == result.measurement.ranks")
    assert "step 29" in Path(running.json("str(result.logs[1])")).read_text()
    assert running.json("torch.cuda.is_initialized()") is False
    shown = running.run("result").text
    assert "done" in shown
    assert "__main__.Outcome object" in shown
    runs = directory / "runs"
    assert [
        path for path in (runs, *runs.rglob("*")) if path.stat().st_mode & 0o077 and "torch" not in path.parts
    ] == []
    assert [path.name for path in runs.rglob("*") if path.suffix in {".result", ".failure"}] == []
    assert list(runs.rglob("payload")) == []


def test_a_failing_rank_reaches_the_cell_with_its_traceback(running: Kernel) -> None:
    code = """def fail():
    import torch.distributed as dist, torch
    dist.init_process_group("gloo")
    if dist.get_rank() == 1:
        raise ValueError("\\x1b[2Jno such <i>data</i>")
    dist.all_reduce(torch.ones(1))
    time.sleep(100)
try:
    resmon.launch(fail, ranks=2)
except resmon.errors.LaunchError as caught:
    failure = caught
    raise
"""
    text = run(running, code, fails=True)
    assert "RankError: rank 1 on " in text
    assert '    raise ValueError("\\x1b[2Jno such <i>data</i>")' in text, "the line of the cell"
    assert "ValueError: no such <i>data</i>" in text
    assert "LaunchError: fail: rank 1 of 2 failed: ValueError: no such <i>data</i>. The other rank " in text
    cause = "failure.__cause__"
    found = running.json(f"[type({cause}).__name__, {cause}.rank, type({cause}.exception).__name__]")
    assert found == ["RankError", 1, "ValueError"]
    assert running.json("failure.run.results") == [None, None]
    assert running.json("failure.run.outcomes[1]").startswith("failed: ValueError")
    assert running.json("failure.run.measurement.error").startswith("LaunchError")


def test_a_hundred_megabytes_of_hostile_output_are_bounded_and_kept(running: Kernel) -> None:
    code = """def flood():
    line = "\\x1b[2J\\x1b]0;x" + "<script>" * 10 + "\\r" + "x" * 900 + "\\n"
    for _ in range(100):
        sys.stdout.write(line * 1024)
        sys.stdout.flush()
    sys.stdout.write("y" * 5_000_000)
    sys.stdout.write("\\nlast line")
flooded = resmon.launch(flood, ranks=1)
"""
    before = running.json("__import__('psutil').Process().memory_info().rss")
    text = run(running, code)
    assert len(text) < 2_500_000
    assert "bytes left out here; all of it is in" in text
    assert "\x1b" not in text
    assert "<script>" not in text, "a carriage return wrote over it"
    assert text.rstrip().endswith("[rank 0] last line")
    assert max(map(len, text.splitlines())) < 1_200
    assert Path(running.json("str(flooded.logs[0])")).stat().st_size > 100_000_000
    assert running.json("__import__('psutil').Process().memory_info().rss") - before < 64 * 2**20


def test_a_process_group_made_for_the_function_and_a_result_that_does_not_pickle(running: Kernel) -> None:
    code = """def grouped():
    import torch, torch.distributed as dist
    x = torch.ones(1) * dist.get_rank()
    dist.all_reduce(x)
    return x.item(), dist.get_backend()
grouped_run = resmon.launch(grouped, ranks=2, backend="gloo")
"""
    run(running, code)
    assert running.json("grouped_run.results") == [[1.0, "gloo"]] * 2
    text = run(running, "resmon.launch(lambda: (n for n in range(3)), ranks=1)", fails=True)
    assert "what the function returned, of type generator, cannot be sent back" in text


def test_more_ranks_than_gpus_with_nccl(running: Kernel) -> None:
    text = run(running, "resmon.launch(lambda: 1, ranks=64, backend='nccl')", fails=True)
    assert "64 ranks with NCCL need 64 GPUs, and PyTorch sees " in text
    assert "backend='gloo'" in text


def test_one_launch_at_a_time_and_none_in_a_rank(running: Kernel) -> None:
    code = """import tempfile, threading
folder = tempfile.TemporaryDirectory()
begun, enough = (os.path.join(folder.name, name) for name in ("begun", "enough"))
def appears(path):
    until = time.monotonic() + 60
    while not os.path.exists(path):
        assert time.monotonic() < until
        time.sleep(0.05)
def slow():
    open(begun, "w").close()
    appears(enough)
    return "slow"
box = []
thread = threading.Thread(target=lambda: box.append(resmon.launch(slow, ranks=1)))
thread.start()
appears(begun)
try:
    resmon.launch(lambda: 1, ranks=1)
except resmon.ResmonError as error:
    second = str(error)
open(enough, "w").close()
thread.join()
def nested():
    return resmon.launch(slow, ranks=1)
try:
    resmon.launch(nested, ranks=1)
except resmon.errors.LaunchError as error:
    inner = error.__cause__.exception
folder.cleanup()
"""
    run(running, code)
    assert "slow still runs in this process" in running.json("second")
    assert running.json("box[0].results") == ["slow"]
    assert running.json("type(inner).__name__") == "LaunchError"
    assert "this is rank 0 of a run already" in running.json("str(inner)")


def test_fully_sharded_training_on_the_cpu(running: Kernel) -> None:
    code = """def shard():
    import torch, torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 1))
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        loss = model(torch.ones(4, 8)).square().mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        losses.append(loss.item())
    return losses, model[0].weight.to_local().shape[0]
sharded = resmon.launch(shard, ranks=2)
"""
    run(running, code)
    (losses, rows), (_, others) = running.json("sharded.results")
    assert losses[-1] < losses[0]
    assert (rows, others) == (4, 4)


def test_only_the_newest_runs_are_kept(running: Kernel, directory: Path) -> None:
    for _ in range(2):
        run(running, "resmon.launch(print, ranks=1, output=[])")
    assert len(list((directory / "runs").iterdir())) <= 5


def test_ranks_report_though_the_process_that_launches_them_is_a_rank_itself(running: Kernel) -> None:
    code = """def reports():
    from resmon.distributed import sender
    return sender._own.reporter is not None
os.environ["RESMON_RANK_PID"] = str(os.getpid())
try:
    print(resmon.launch(reports, ranks=2).results)
finally:
    del os.environ["RESMON_RANK_PID"]
"""
    assert "[True, True]" in run(running, code)
