"""A model split over two launched ranks: it learns what the whole one learns, and each rank is watched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import resmon
from resmon.distributed import Run
from tests import split_networks
from tests.split_networks import SLOW_S, STEPS, Trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _monitor_stopped() -> Iterator[None]:
    yield
    resmon.get_monitor().stop()


@pytest.fixture(scope="module")
def whole() -> Trained:
    """What one process learns of the same batches."""
    threads = torch.get_num_threads()
    try:
        return split_networks.train_whole()
    finally:
        torch.set_num_threads(threads)


def assert_learned(losses: list[float], parameters: dict[str, torch.Tensor], whole: Trained) -> None:
    """The loss fell, and all that was learned is what one process learns, but for rounding."""
    assert len(losses) == STEPS
    assert sum(losses[-10:]) < 0.2 * sum(losses[:10])
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(whole[0]), rtol=1e-6, atol=1e-9)
    assert parameters.keys() == whole[1].keys()
    torch.testing.assert_close(parameters, dict(whole[1]), rtol=1e-6, atol=1e-9)


def assert_watched(run: Run) -> None:
    """Both ranks counted their steps, and the one that was not held up waited for the other."""
    assert run.outcomes == ("done", "done")
    assert run.measurement is not None
    assert run.measurement.ranks == run.ranks
    for use in run.ranks:
        assert use.steps == STEPS
        compute, communication, wait = use.compute_fraction, use.communication_fraction, use.wait_fraction
        assert compute is not None
        assert communication is not None
        assert wait is not None
        assert min(compute, communication, wait) >= 0
        assert compute + communication + wait == pytest.approx(1)
        assert 0 < communication < 0.5
    ahead, slow = run.ranks
    assert ahead.wait_fraction is not None
    assert ahead.steps_per_s is not None
    assert ahead.wait_fraction / ahead.steps_per_s > 0.8 * SLOW_S, "it waits as long as the other sleeps"
    assert slow.wait_fraction == pytest.approx(0, abs=0.02)


def test_a_pipeline_learns_what_the_whole_network_learns(whole: Trained) -> None:
    run = resmon.launch(split_networks.train_pipeline, ranks=2, backend="gloo")
    (_, first), (losses, second) = run.results
    assert set(first) == {"0.weight", "0.bias"}
    assert_learned(losses, {**first, **second}, whole)
    assert_watched(run)


def test_a_tensor_parallel_network_learns_what_the_whole_network_learns(whole: Trained) -> None:
    run = resmon.launch(split_networks.train_tensor_parallel, ranks=2, backend="gloo")
    for losses, parameters in run.results:
        assert_learned(losses, parameters, whole)
    assert_watched(run)
