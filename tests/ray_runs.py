"""What the tests of Ray run, each in a process of its own: Ray leaves files open that only its process's end closes.

``python -m tests.ray_runs NAME``: with a real cluster of two nodes (two raylets on this machine).
"""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray import cluster_utils

import resmon
from resmon.distributed import payload
from resmon.distributed.ray import RayTransport
from resmon.distributed.remote import RemoteRanks
from resmon.distributed.rundir import RunDirectory, write_whole
from resmon.errors import LaunchError, NodeLostError
from tests.rank_jobs import gpu, hang, train
from tests.ranks import NO_CLUSTER, until


class Cluster:
    """A head without a CPU and two nodes with one each; ``address`` is where it is reached."""

    def __init__(self) -> None:
        self._cluster = cluster_utils.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self.nodes = [self._cluster.add_node(num_cpus=1) for _ in range(2)]
        self._cluster.wait_for_nodes(timeout=120)
        self.address = self._cluster.address

    def ranks(self) -> list[psutil.Process]:
        """The rank processes that this cluster's actors have started."""
        found = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            with suppress(psutil.Error):
                if "resmon.distributed.worker" in (process.info["cmdline"] or []):
                    parent = process.parent()
                    if parent is not None and parent.name().startswith("ray::"):
                        found.append(process)
        return found

    def add_gpus(self, count: int) -> None:
        """A node with GPUs, as far as Ray knows."""
        self._cluster.add_node(num_cpus=count, num_gpus=count)
        self._cluster.wait_for_nodes(timeout=120)

    def remove(self, node: Any) -> None:
        """A node goes down, without a word."""
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        if ray.is_initialized():
            ray.shutdown()
        self._cluster.shutdown()  # type: ignore[no-untyped-call]


def left_on_nodes() -> list[Path]:
    """The directories of ranks that lie on the nodes of this machine; the test gives them a TMPDIR of their own."""
    return list(Path(tempfile.gettempdir()).glob("resmon-rank-*"))


def a_run(cluster: Cluster) -> None:
    shown = io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with redirect_stdout(shown):
        run = resmon.launch(train, ranks=2, args=(150,), backend="gloo", on=cluster.address)
    assert run.outcomes == ("done", "done")
    assert run.results[0] == pytest.approx(run.results[1])
    assert "trained by 0" in shown.getvalue()
    assert run.measurement is not None
    steps = [use.steps for use in run.measurement.ranks]
    assert all(count is not None and count > 20 for count in steps), steps
    assert not cluster.ranks()
    assert not left_on_nodes()
    assert not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) is handler  # ray.init() puts its own there

    with pytest.raises(LaunchError, match=r"3 ranks need 3 x .*no place for all within 3 s"):
        resmon.launch(hang, ranks=3, on=cluster.address, timeout_s=3)
    assert not cluster.ranks()


def an_interrupt(cluster: Cluster) -> None:
    def interrupt() -> None:
        until(lambda: len(cluster.ranks()) == 2, 60)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        resmon.launch(hang, ranks=2, on=cluster.address)
    interrupter.join()
    assert caught.value.run.outcomes == ("interrupted", "interrupted")  # type: ignore[attr-defined]
    until(lambda: not cluster.ranks(), 10)
    assert not left_on_nodes()


def a_lost_node(cluster: Cluster) -> None:
    def lose() -> None:
        until(lambda: len(cluster.ranks()) == 2, 60)
        time.sleep(1)
        cluster.remove(cluster.nodes[1])

    loser = threading.Thread(target=lose)
    loser.start()
    with pytest.raises(LaunchError) as caught:
        resmon.launch(hang, ranks=2, on=cluster.address)
    loser.join()
    cause: Any = caught.value.__cause__
    assert isinstance(cause.exception, NodeLostError), cause
    assert "gone from the cluster" in str(caught.value)
    until(lambda: not cluster.ranks(), 10)


def a_gpu_for_each(cluster: Cluster) -> None:
    """Two ranks on a node of two GPUs, which Ray hands out by CUDA_VISIBLE_DEVICES; nothing here asks a GPU."""
    cluster.add_gpus(2)
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(folder)
        write_whole(directory.payload, payload.dump_work(gpu, (), {}, None))
        ranks = RemoteRanks(directory, 2, RayTransport(cluster.address))
        try:
            ranks.place("nccl", 60)
            ranks.start({}, None, 1)
            while ranks.running:
                ranks.look()
                time.sleep(0.1)
            assert [rank.returned for rank in ranks.ranks] == [True, True]
            found = [payload.load_result(directory.result(i)) for i in range(2)]
        finally:
            ranks.kill()
    assert [local for local, _ in found] == ["0", "1"]
    assert {mine for _, mine in found} == {"0", "1"}


RUNS = {run.__name__: run for run in (a_run, an_interrupt, a_lost_node, a_gpu_for_each)}


def main() -> None:
    try:
        cluster = Cluster()
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        sys.exit(NO_CLUSTER)
    try:
        RUNS[sys.argv[1]](cluster)
    finally:
        resmon.get_monitor().stop()
        cluster.close()


if __name__ == "__main__":
    main()
