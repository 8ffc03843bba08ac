"""What ranks do in the tests of clusters: a job that trains, one that fails, one that never ends."""

from __future__ import annotations

import hashlib
import os
import time


def train(steps: int) -> float:
    import torch
    import torch.distributed as dist

    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        loss = model(torch.randn(8, 16)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(0.02)
    print("trained by", dist.get_rank())  # noqa: T201 - that it is shown is the point
    return float(next(model.parameters()).sum())


def fail_on_one() -> None:
    if os.environ["RANK"] == "1":
        raise ValueError("the second half of the data is missing")
    time.sleep(60)


def gpu() -> tuple[str, str]:
    """The rank's local number, and the GPU that this number then means to CUDA."""
    visible = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    return os.environ["LOCAL_RANK"], visible[int(os.environ["LOCAL_RANK"])]


def large() -> tuple[bytes, str]:
    """More than travels in one piece, and what it must be when it arrives."""
    found = os.urandom(int(80e6) + int(os.environ["RANK"]))
    return found, hashlib.sha256(found).hexdigest()


def hang() -> None:
    time.sleep(120)
