"""Real torchrun jobs over gloo, one rank slowed on purpose: what they tell is what was done to them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resmon.distributed import listen
from resmon.monitor import Monitor
from resmon.rankboard import RankBoard
from tests.ranks import environment, listening, until

HEAD = """
import os, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
"""

DDP = (
    HEAD
    + """
net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 8))
net = DistributedDataParallel(net)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
inputs = torch.randn(32, 64)
held_s = 0.0
for _ in range(20):
    if rank == SLOW:
        began_s = time.monotonic()
        time.sleep(0.3)
        held_s += time.monotonic() - began_s
    optimizer.zero_grad()
    net(inputs).square().mean().backward()
    optimizer.step()
os.write(1, f"rank {rank} was held up {held_s}\\n".encode())  # in one piece, as print does not
dist.destroy_process_group()
"""
)

BY_HAND = (
    HEAD
    + """
from torch.distributed import all_reduce
import resmon
resmon.distributed.join()
held_s = 0.0
for _ in range(20):
    began_s = time.monotonic()
    time.sleep(0.2 + 0.3 * (rank == 1))
    held_s += time.monotonic() - began_s
    all_reduce(torch.ones(100))
    work = dist.all_reduce(torch.ones(100), async_op=True)
    work.wait()
    resmon.distributed.step(items=10)
os.write(1, f"rank {rank} was held up {held_s}\\n".encode())  # in one piece, as print does not
time.sleep(1.5)  # the launcher will end the others at once: by then they have told all, though nobody looks
if rank == 2:
    raise ValueError("no more")
time.sleep(3)
sys.exit(3 if rank == 1 else 0)
"""
)


def torchrun(ranks: int, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """What a person types into a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}", *arguments],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def shares(board: RankBoard, rank: int) -> tuple[float, float, float]:
    """Milliseconds of a mean step over the whole run: compute, communication, wait."""
    use = board.uses(0.0, time.monotonic())[rank]
    assert use.compute_fraction is not None
    assert use.communication_fraction is not None
    assert use.wait_fraction is not None
    history = board._ranks[rank].history
    step_s = history.per_step(history.between(0.0, time.monotonic()), "stepping_s")
    assert step_s is not None
    parts = (use.compute_fraction, use.communication_fraction, use.wait_fraction)
    return tuple(1e3 * step_s * part for part in parts)  # type: ignore[return-value]


def held_ms(said: str, rank: int) -> float:
    """How long a rank was held up in each of its 20 steps, as it says: on a busy machine a sleep takes longer."""
    return 1e3 * float(said.split(f"rank {rank} was held up ")[1].split(maxsplit=1)[0]) / 20


@pytest.mark.slow
@pytest.mark.parametrize("slow", [0, 1])
def test_an_unchanged_ddp_script_shows_who_waits_for_whom(slow: int, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(DDP.replace("SLOW", str(slow)))
    with listening(2) as receiver:
        done = torchrun(2, str(script), RESMON_CONNECTION=str(receiver.connection_file))
        assert "resmon" not in done.stderr, done.stderr
        until(lambda: receiver.board.all_ended)
        uses = receiver.board.uses(0.0, time.monotonic())
        assert [use.steps for use in uses] == [20, 20]
        assert [use.outcome for use in uses] == ["done", "done"]
        fast_ms, slow_ms = shares(receiver.board, 1 - slow), shares(receiver.board, slow)
        held = held_ms(done.stdout, slow)
        assert held >= 300
        assert fast_ms[2] == pytest.approx(held, rel=0.1), "it waits as long as the other was held up"
        assert slow_ms[0] - fast_ms[0] == pytest.approx(held, rel=0.1)
        assert slow_ms[2] == pytest.approx(0, abs=1)


@pytest.mark.slow
def test_collectives_that_a_script_calls_itself_and_how_each_rank_ended(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(BY_HAND)
    with listening(3) as receiver:
        done = torchrun(3, str(script), RESMON_CONNECTION=str(receiver.connection_file))
        until(lambda: receiver.board.rows()[2].outcome)
        held = [held_ms(done.stdout, rank) for rank in range(3)]
        uses = receiver.board.uses(0.0, time.monotonic())
        assert [use.items for use in uses] == [200, 200, 200]
        assert uses[2].outcome == "failed: ValueError: no more"
        for rank in (0, 2):
            compute_ms, _, wait_ms = shares(receiver.board, rank)
            assert compute_ms == pytest.approx(held[rank], rel=0.1)
            assert wait_ms == pytest.approx(held[1] - held[rank], rel=0.1)
        assert shares(receiver.board, 1)[0] == pytest.approx(held[1], rel=0.1)


BALANCED = (
    HEAD
    + """
import json
import resmon.distributed
sampler = resmon.distributed.BalancedBatchSampler(400, 40, shuffle=False)
net = DistributedDataParallel(torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
for epoch in range(3):
    sampler.set_epoch(epoch)
    for batch in sampler:
        time.sleep(len(batch) * (0.009 if rank == 1 else 0.003))
        loss = sampler.loss_scale(len(batch)) * net(torch.ones(len(batch), 4)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sampler.rebalance()
seen = [None, None]
dist.all_gather_object(seen, [i for batch in sampler for i in batch])
if rank == 0:
    print(json.dumps([sampler.weights, sorted(seen[0] + seen[1]) == list(range(400))]))
dist.destroy_process_group()
"""
)


@pytest.mark.slow
def test_work_goes_to_who_does_it_faster(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(BALANCED)
    done = torchrun(2, str(script))
    weights, complete = json.loads(done.stdout.splitlines()[-1])
    assert complete
    assert weights == pytest.approx([0.75, 0.25], abs=0.04)


@pytest.mark.slow
def test_one_listener_serves_one_job_after_the_other(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import time, resmon.distributed as d; d.join(); [(time.sleep(0.02), d.step()) for _ in range(40)]"
    )
    boards: list[RankBoard] = []
    with Monitor(sensors=[]) as monitor:
        monitor.on_ranks.append(boards.append)
        with listen(monitor=monitor) as listener:
            assert str(listener.connection_file) in repr(listener)
            for _ in range(2):
                torchrun(2, str(script), RESMON_CONNECTION=str(listener.connection_file))
                until(lambda: listener.board.all_ended)
        assert len(boards) == 2
        assert [[use.steps for use in board.uses(0.0, 1e12)] for board in boards] == [[40, 40], [40, 40]]
        assert [board.ended_s is not None for board in boards] == [True, True]
        assert [use.steps for use in monitor.rank_uses(0.0, 1e12)] == [40] * 4
