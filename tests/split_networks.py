"""One small network, trained whole in one process and split over ranks: what the tests launch."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.distributed import get_rank, get_world_size
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.functional import cross_entropy

STEPS = 100
BATCH = 128
SLOW_S = 0.03

Trained = tuple[list[float], dict[str, Tensor]]
"""The loss of each step, as far as the rank knows it, and the parameters that it holds, under their names in the whole
network."""


def network() -> nn.Sequential:
    """In double precision: sums that are split round differently, and training would enlarge the difference."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)).double()


def optimizer_of(part: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(part.parameters(), lr=0.1, momentum=0.9, foreach=False)


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    """The same on every rank."""
    torch.set_num_threads(1)
    pixels, digits = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 16), torch.tensor(digits)
    shuffled = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        chosen = torch.randperm(len(x), generator=shuffled)[:BATCH]
        yield x[chosen], y[chosen]


def train_whole() -> Trained:
    """On one process, with nothing but torch's plain loop."""
    whole = network()
    optimizer = optimizer_of(whole)
    losses = []
    for x, y in batches():
        optimizer.zero_grad()
        loss = cross_entropy(whole(x), y)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return losses, whole.state_dict()


def train_pipeline() -> Trained:
    """Two stages: rank 0 has the first layer, rank 1, which is slow, the others and the loss."""
    rank = get_rank()
    layers = list(network().named_children())
    part = nn.Sequential()
    for name, layer in layers[:2] if rank == 0 else layers[2:]:
        part.add_module(name, layer)
    stage = PipelineStage(part, rank, get_world_size(), torch.device("cpu"))
    schedule = ScheduleGPipe(stage, n_microbatches=4, loss_fn=cross_entropy)
    optimizer = optimizer_of(part)
    losses = []
    for x, y in batches():
        optimizer.zero_grad()
        if rank == 0:
            schedule.step(x)
        else:
            time.sleep(SLOW_S)
            micro: list[Tensor] = []
            schedule.step(target=y, losses=micro)
            losses.append(torch.stack(micro).mean().item())
        optimizer.step()
    return losses, part.state_dict()


def train_tensor_parallel() -> Trained:
    """Each rank has half of the rows of the first layer and half of the columns of the second; rank 1 is slow."""
    mesh = init_device_mesh("cpu", (get_world_size(),))
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    split = parallelize_module(network(), mesh, plan)
    optimizer = optimizer_of(split)
    losses = []
    for x, y in batches():
        if get_rank() == 1:
            time.sleep(SLOW_S)
        optimizer.zero_grad()
        loss = cross_entropy(split(x), y)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    held = split.state_dict()
    assert held["0.weight"].to_local().shape == (128 // get_world_size(), 64)
    whole = {name: each.full_tensor() if isinstance(each, DTensor) else each for name, each in held.items()}
    return losses, whole
