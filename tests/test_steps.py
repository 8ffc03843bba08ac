"""Who says that a step ended, and that each step counts once."""

from __future__ import annotations

import pytest

from resmon.distributed.stepping import Steps


def test_steps_that_the_optimizer_and_the_script_both_tell_count_once() -> None:
    steps = Steps()
    optimizer = object()
    for _ in range(5):
        steps.optimizer_stepped(optimizer)
        steps.ended("step", 10)
    assert (steps.totals.steps, steps.totals.items) == (5, 50)


def test_the_script_counts_from_where_the_optimizer_was() -> None:
    steps = Steps()
    optimizer = object()
    for _ in range(5):
        steps.optimizer_stepped(optimizer)
    for _ in range(5):
        steps.optimizer_stepped(optimizer)
        steps.ended("step")
    assert steps.totals.steps == 10


def test_an_optimizer_after_another_loop_with_a_bar_counts_all_its_steps() -> None:
    steps = Steps()
    for _ in range(3):
        steps.ended("track")
    for _ in range(5):
        steps.optimizer_stepped(steps)
        steps.ended("track")
    assert steps.totals.steps == 8


@pytest.mark.parametrize("inner", [1, 2])
def test_several_optimizers_in_one_step_are_one_step(inner: int) -> None:
    steps = Steps()
    optimizers = [object() for _ in range(inner)]
    for _ in range(5):
        for each in optimizers:
            steps.optimizer_stepped(each)
    assert steps.totals.steps == 5
