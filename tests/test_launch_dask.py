"""Ranks on the workers of a real Dask cluster: a scheduler and two workers, processes of their own."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import resmon
from resmon.errors import LaunchError, NodeLostError
from tests.rank_jobs import fail_on_one, gpu, hang, large, train
from tests.ranks import environment, until

distributed = pytest.importorskip("distributed", reason="needs resmon[dask]")
pytestmark = pytest.mark.slow


def _process(stack: ExitStack, *words: str, **env: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]],
        env=environment(**env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def end() -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(end)
    return process


class Cluster:
    def __init__(self, stack: ExitStack, folder: Path, envs: Sequence[Mapping[str, str]] = ()) -> None:
        file = folder / "scheduler.json"
        common = ("--no-dashboard", "--scheduler-file", str(file))
        _process(stack, "dask_scheduler", "--port", "0", "--host", "127.0.0.1", *common)
        until(file.exists, 60)
        self.workers = [
            _process(stack, "dask_worker", "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1", *common, **env)
            for env in (envs or ({}, {}))
        ]
        self.client = stack.enter_context(distributed.Client(scheduler_file=str(file), set_as_default=False))
        self.client.wait_for_workers(2, timeout=60)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path)


@pytest.fixture(autouse=True)
def _monitor_stopped() -> Iterator[None]:
    yield
    resmon.get_monitor().stop()


def ranks_of(cluster: Cluster) -> list[psutil.Process]:
    """The processes that the workers have started."""
    found = []
    for worker in cluster.workers:
        with suppress(psutil.NoSuchProcess):
            found += psutil.Process(worker.pid).children(recursive=True)
    return found


def test_a_run_on_dask(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    run = resmon.launch(train, ranks=2, args=(150,), backend="gloo", on=cluster.client)
    assert run.outcomes == ("done", "done")
    assert run.results[0] == pytest.approx(run.results[1])
    assert "trained by 0" in capsys.readouterr().out
    assert run.measurement is not None
    steps = [use.steps for use in run.measurement.ranks]
    assert all(count is not None and count > 20 for count in steps), steps
    assert not ranks_of(cluster)
    # The places are given back: the workers work for others again, and for the next run.
    assert cluster.client.submit(sum, [1, 2]).result(timeout=20) == 3

    for rank, (found, digest) in enumerate(resmon.launch(large, ranks=2, on=cluster.client).results):
        assert (len(found), hashlib.sha256(found).hexdigest()) == (80_000_000 + rank, digest)

    with pytest.raises(LaunchError, match="rank 1 of 2 failed: ValueError: the second half") as caught:
        resmon.launch(fail_on_one, ranks=2, on=cluster.client)
    assert "fail_on_one" in str(caught.value.__cause__)
    assert not ranks_of(cluster)

    with pytest.raises(LaunchError, match=r"3 ranks need 3 Dask workers.*has 2.*ranks=2"):
        resmon.launch(hang, ranks=3, on=cluster.client)


def test_a_client_that_is_closed_is_named(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path / "records"))
    closed = distributed.Client(cluster.client.scheduler_info()["address"], set_as_default=False)
    closed.close()
    with pytest.raises(LaunchError, match=r"on=<Client.*> is closed: make a new distributed.Client"):
        resmon.launch(hang, ranks=2, on=closed)
    assert list((tmp_path / "records" / "runs").iterdir()) == [], "and nothing of a run is kept"


@pytest.mark.parametrize("visible", [("0,1", "1,0"), ("0", "1"), ("0,1", "0,1")])
def test_the_local_number_of_a_rank_leads_to_its_own_gpu(visible: tuple[str, str], tmp_path: Path) -> None:
    """Workers of dask-cuda see all GPUs, their own first; those of others one, or all in the same order."""
    with ExitStack() as stack:
        cluster = Cluster(stack, tmp_path, [{"CUDA_VISIBLE_DEVICES": gpus} for gpus in visible])
        found = resmon.launch(gpu, ranks=2, on=cluster.client).results
    assert [local for local, _ in found] == ["0", "1"]
    assert {mine for _, mine in found} == {"0", "1"}


def test_a_worker_that_holds_other_tasks_has_no_place(cluster: Cluster) -> None:
    busy = cluster.client.map(time.sleep, [20, 20], pure=False)
    until(lambda: all(cluster.client.processing().values()))
    with pytest.raises(LaunchError, match="no free thread within 2 s"):
        resmon.launch(hang, ranks=2, on=cluster.client, timeout_s=2)
    del busy
    assert not ranks_of(cluster)


def test_a_worker_that_dies_ends_the_run(cluster: Cluster) -> None:
    ranks: list[psutil.Process] = []

    def kill_one() -> None:
        until(lambda: len(ranks_of(cluster)) == 2, 30)
        time.sleep(1)
        ranks.extend(ranks_of(cluster))
        cluster.workers[0].kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        with pytest.raises(LaunchError) as caught:
            resmon.launch(hang, ranks=2, on=cluster.client)
    finally:
        killer.join()
    cause: Any = caught.value.__cause__
    assert isinstance(cause.exception, NodeLostError)
    assert "gone from the cluster" in str(caught.value)
    until(lambda: not any(rank.is_running() for rank in ranks), 10)


def test_an_interrupt_ends_the_ranks(cluster: Cluster) -> None:
    def interrupt() -> None:
        until(lambda: len(ranks_of(cluster)) == 2, 30)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            resmon.launch(hang, ranks=2, on=cluster.client)
    finally:
        interrupter.join()
    assert not ranks_of(cluster)
    assert caught.value.run.outcomes == ("interrupted", "interrupted")  # type: ignore[attr-defined]
    assert cluster.client.submit(sum, [1, 2]).result(timeout=20) == 3
