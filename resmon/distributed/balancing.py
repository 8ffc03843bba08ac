"""Splits work in proportion to what each rank can do, and moves it between epochs."""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Iterator, Sequence, Sized

from resmon.distributed.collectives import instruments
from resmon.distributed.stepping import Totals, steps


def partition(n_items: int, weights: Sequence[float], least: int = 0) -> tuple[range, ...]:
    """Split ``range(n_items)`` into one range for each weight, in proportion to the weights.

    The ranges follow each other and cover everything once. Each holds ``least`` items or more, beyond that its
    exact share of the rest, rounded down or up (largest remainders first: Hamilton's method).
    ValueError for weights that are not positive and finite, numbers of items that are none, or fewer items than
    ``least`` for each.
    """
    if not weights:
        raise ValueError("weights must name at least one part")
    for weight in weights:
        if not _is_weight(weight):
            raise ValueError(f"weights must be finite numbers > 0, not {weight!r}")
    n_items, least = _whole("n_items", n_items, 0), _whole("least", least, 0)
    if n_items < least * len(weights):
        raise ValueError(f"{n_items!r} items are not enough for {least!r} in each of {len(weights)} parts")
    free = n_items - least * len(weights)
    scaled = [weight / max(weights) for weight in weights]  # their sum stays finite
    total = math.fsum(scaled)
    exact = [free * weight / total for weight in scaled]
    counts = [min(free, int(share)) for share in exact]
    left = free - sum(counts)
    order = sorted(range(len(counts)), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: max(0, left)]:
        counts[i] += 1
    for i in reversed(order[left:] if left < 0 else []):  # rounding errors of huge numbers
        counts[i] -= 1
    ranges, start = [], 0
    for count in counts:
        ranges.append(range(start, start + least + count))
        start += least + count
    return tuple(ranges)


def _whole(name: str, value: object, least: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # that is what is found out
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name} must be a whole number from {least} on, not {value!r}")
    return number


def _is_weight(weight: object) -> bool:
    return isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < math.inf


class BalancedBatchSampler:
    """A ``batch_sampler`` for torch's DataLoader that gives each rank as much of every batch as it can work off.

    ::

        sampler = BalancedBatchSampler(dataset, batch_size=256)
        loader = DataLoader(dataset, batch_sampler=sampler)
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            for x, y in loader:
                loss = sampler.loss_scale(len(x)) * criterion(model(x), y)
                ...
            sampler.rebalance()

    batch_size: items of *all* ranks in one step. num_replicas, rank, shuffle, seed and ``set_epoch`` are those of
    ``torch.utils.data.DistributedSampler``; by default they come from the process group.

    All ranks take the same number of steps, so that their collective operations match: what differs is the size of
    their share of each step, never less than one item. Every item is used exactly once in an epoch. At first the shares
    are equal. ValueError for sizes that leave a rank without an item in some step.
    """

    def __init__(
        self,
        dataset: Sized | int,
        batch_size: int,
        *,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        if num_replicas is None or rank is None:
            import torch.distributed as dist

            num_replicas = dist.get_world_size() if num_replicas is None else num_replicas
            rank = dist.get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(f"rank must be from 0 to {num_replicas - 1}, not {rank!r}")
        self.n_items = dataset if isinstance(dataset, int) else len(dataset)
        self.rank = rank
        self.num_replicas = num_replicas
        self.weights: tuple[float, ...] = (1.0 / num_replicas,) * num_replicas
        batch_size = _whole("batch_size", batch_size, 1)
        self._n_steps = _steps(self.n_items, batch_size)
        self._shuffle = shuffle
        self._seed = seed
        self._epoch = 0
        if self.n_items < num_replicas:
            raise ValueError(f"{self.n_items} items are too few for {num_replicas} ranks: each needs one in every step")
        if self.n_items // self._n_steps < num_replicas:
            enough = batch_size
            while self.n_items // _steps(self.n_items, enough) < num_replicas:
                enough += 1
            raise ValueError(
                f"batch_size={batch_size!r} of {self.n_items} items leaves some of {num_replicas} ranks without an "
                f"item in some step; it counts the items of all ranks, so at least {enough} would do"
            )
        instruments.acquire()
        weakref.finalize(self, instruments.release)
        self._since = steps.totals

    def __len__(self) -> int:
        """Steps in an epoch: the same on every rank."""
        return self._n_steps

    def __iter__(self) -> Iterator[list[int]]:
        order: Sequence[int] = range(self.n_items)
        if self._shuffle:
            import torch

            generator = torch.Generator()
            generator.manual_seed(self._seed + self._epoch)
            order = torch.randperm(self.n_items, generator=generator).tolist()
        for step in partition(self.n_items, (1.0,) * self._n_steps):
            share = partition(len(step), self.weights, least=1)[self.rank]
            yield [order[step.start + i] for i in share]

    def set_epoch(self, epoch: int) -> None:
        """Shuffle anew, and alike on all ranks. Before each epoch."""
        self._epoch = epoch

    def loss_scale(self, items: int) -> float:
        """What to multiply the mean loss of a batch of ``items`` with, since DDP averages over ranks, not over items.

        With it every item of an epoch weighs the same, whichever rank it came to.
        """
        return items * self.num_replicas * self._n_steps / self.n_items

    def rebalance(self, items_per_s: float | None = None) -> tuple[float, ...]:
        """After an epoch, on every rank: give each a share in proportion to its throughput. Returns all shares.

        items_per_s: this rank's throughput; by default its items of the epoch over the time that it computed (steps
        less communication and waiting). Collective: the ranks tell each other, and come to the same shares. While one
        of them does not know its throughput the shares stay.
        """
        own = self._measured() if items_per_s is None else float(items_per_s)
        everyone = _gathered(math.nan if own is None else own) if self.num_replicas > 1 else [own or math.nan]
        if all(0 < value < math.inf for value in everyone):
            total = math.fsum(everyone)
            self.weights = tuple(value / total for value in everyone)
        self._since = steps.totals
        return self.weights

    def _measured(self) -> float | None:
        before, now = self._since, steps.totals
        compute_s = _computed_s(now) - _computed_s(before)
        taken = (now.steps or 0) - (before.steps or 0)
        if not (taken > 0 and compute_s > 0 and now.collective_s is not None):
            return None
        share = sum(len(part) for part in self._shares())
        # Time is counted from the end of the first step on; items by the steps that the time covers.
        timed = taken if before.steps else taken - 1
        return share / self._n_steps * timed / compute_s if timed > 0 else None

    def _shares(self) -> Iterator[range]:
        for step in partition(self.n_items, (1.0,) * self._n_steps):
            yield partition(len(step), self.weights, least=1)[self.rank]


def _steps(n_items: int, batch_size: int) -> int:
    return max(1, math.ceil(n_items / batch_size))


def _computed_s(totals: Totals) -> float:
    return (totals.stepping_s or 0.0) - (totals.collective_s or 0.0)


def _gathered(value: float) -> list[float]:
    """One number from each rank, over the default process group."""
    import torch
    import torch.distributed as dist

    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    own = torch.tensor([value], dtype=torch.float64, device=device)
    all_of_them = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(all_of_them, own)
    return [float(one) for one in all_of_them]
