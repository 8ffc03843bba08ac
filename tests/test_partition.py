"""Work in proportion to weights: everything once, nobody without work, nothing that is no weight."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resmon.distributed import BalancedBatchSampler, partition
from tests.ranks import run

WEIGHTS = st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=12)


@given(st.integers(0, 10**6), WEIGHTS)
def test_everything_is_covered_once_and_each_part_is_its_share(n_items: int, weights: list[float]) -> None:
    parts = partition(n_items, weights)
    assert len(parts) == len(weights)
    assert parts[0].start == 0
    assert parts[-1].stop == n_items
    assert all(a.stop == b.start for a, b in pairwise(parts))
    total = math.fsum(weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(len(part) - n_items * weight / total) <= 1 + 1e-9 * n_items


@given(st.integers(0, 5), WEIGHTS, st.integers(0, 1000))
def test_nobody_gets_less_than_the_least(least: int, weights: list[float], more: int) -> None:
    parts = partition(least * len(weights) + more, weights, least)
    assert all(len(part) >= least for part in parts)
    assert sum(map(len, parts)) == least * len(weights) + more


def test_shares_are_what_one_expects() -> None:
    assert [len(part) for part in partition(10, [1, 1, 1])] == [4, 3, 3]
    assert [len(part) for part in partition(300, [2, 1])] == [200, 100]


@pytest.mark.parametrize("weights", [[1.0, 0.0], [1.0, -1.0], [math.nan], [math.inf, 1.0], [], [True], ["1"]])
def test_what_is_no_weight_is_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must"):
        partition(10, weights)


@pytest.mark.parametrize(("n_items", "least"), [(-1, 0), (2.5, 0), ("10", 0), (10, -1), (10, 0.5), (True, 0)])
def test_a_number_of_items_that_is_none_is_refused(n_items: Any, least: Any) -> None:
    wrong = least if n_items == 10 else n_items
    with pytest.raises(ValueError, match=f"must be a whole number from 0 on, not {wrong!r}"):
        partition(n_items, [1, 1], least)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8", True])
def test_a_batch_size_that_is_none_is_refused(batch_size: Any) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be a whole number from 1 on, not {batch_size!r}"):
        BalancedBatchSampler(100, batch_size, num_replicas=1, rank=0)


@pytest.mark.parametrize(("n_items", "ranks", "enough"), [(100, 2, 2), (101, 2, 3), (7, 4, 7), (1000, 3, 4)])
def test_the_batch_size_that_would_do_is_named_and_does(n_items: int, ranks: int, enough: int) -> None:
    with pytest.raises(ValueError, match=f"at least {enough} would do"):
        BalancedBatchSampler(n_items, 1, num_replicas=ranks, rank=0)
    BalancedBatchSampler(n_items, enough, num_replicas=ranks, rank=0)


def test_fewer_items_than_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match="3 items are too few for 4 ranks"):
        BalancedBatchSampler(3, 8, num_replicas=4, rank=0)


def test_too_few_items_are_refused() -> None:
    with pytest.raises(ValueError, match="3 items are not enough for 2 in each of 2"):
        partition(3, [1, 1], least=2)


@settings(deadline=None)  # the first needs torch
@given(
    st.integers(1, 4).flatmap(
        lambda ranks: st.tuples(
            st.integers(2 * ranks, 500),
            st.integers(2 * ranks, 64),
            st.lists(st.floats(1e-3, 1e3), min_size=ranks, max_size=ranks),
            st.booleans(),
        )
    )
)
def test_an_epoch_uses_every_item_once_in_as_many_steps_on_every_rank(
    case: tuple[int, int, list[float], bool],
) -> None:
    n_items, batch_size, weights, shuffle = case
    ranks = len(weights)
    samplers = [
        BalancedBatchSampler(n_items, batch_size, num_replicas=ranks, rank=i, shuffle=shuffle) for i in range(ranks)
    ]
    for sampler in samplers:
        sampler.weights = tuple(weights)
        sampler.set_epoch(3)
    epochs = [list(sampler) for sampler in samplers]
    assert {len(epoch) for epoch in epochs} == {len(samplers[0])}
    assert all(batch for epoch in epochs for batch in epoch)
    assert sorted(i for epoch in epochs for batch in epoch for i in batch) == list(range(n_items))
    for step in zip(*epochs, strict=True):
        assert sum(map(len, step)) <= batch_size
    # An item weighs 1/(items of a mean step) in the gradient that DDP averages, on whichever rank.
    scales = [
        sampler.loss_scale(len(batch)) / len(batch)
        for sampler, epoch in zip(samplers, epochs, strict=True)
        for batch in epoch
    ]
    assert scales == pytest.approx([ranks * len(samplers[0]) / n_items] * len(scales))


def test_another_epoch_is_another_order_and_the_same_on_all_ranks() -> None:
    one, other = (BalancedBatchSampler(100, 10, num_replicas=2, rank=0) for _ in range(2))
    assert list(one) == list(other)
    other.set_epoch(1)
    assert list(one) != list(other)


def test_shares_follow_the_throughput_that_is_told() -> None:
    sampler = BalancedBatchSampler(100, 10, num_replicas=1, rank=0)
    assert sampler.rebalance(5.0) == (1.0,)
    assert sampler.rebalance(math.nan) == (1.0,), "what is not known changes nothing"


@pytest.mark.parametrize(("n_items", "batch_size", "ranks"), [(10, 1, 2), (9, 2, 3)])
def test_a_step_that_leaves_a_rank_without_work_is_refused(n_items: int, batch_size: int, ranks: int) -> None:
    with pytest.raises(ValueError, match="ranks without an item"):
        BalancedBatchSampler(n_items, batch_size, num_replicas=ranks, rank=0)


def test_a_sampler_that_is_gone_watches_nothing() -> None:
    """In a process of its own: whatever else watches here is not asked."""
    done = run(
        """
import torch.distributed as dist
from resmon.distributed import BalancedBatchSampler
before = dist.Work.wait
sampler = BalancedBatchSampler(100, 10, num_replicas=1, rank=0)
watched = dist.Work.wait is not before
del sampler
print(watched, dist.Work.wait is before)
"""
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_a_rank_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="rank must be from 0 to 1, not 2"):
        BalancedBatchSampler(100, 10, num_replicas=2, rank=2)
