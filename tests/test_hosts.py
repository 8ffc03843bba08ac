"""Ranks on several hosts: gloo between network namespaces, one host cut off in mid-run."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.namespaces import Hosts, hosts
from tests.ranks import environment

pytestmark = pytest.mark.slow

NOTEBOOK = """
import json, sys, time
from dataclasses import asdict
from resmon import Monitor
from resmon.distributed import listen
from resmon.testing import scripted_host

with Monitor(0.25, sensors=[scripted_host()]) as monitor:
    with listen(2, host=sys.argv[1], path=sys.argv[2], monitor=monitor) as listener:
        while True:
            rows = [asdict(row) for row in listener.board.rows()]
            print(json.dumps({"rows": rows, "notices": listener.notices}), flush=True)
            time.sleep(0.2)
"""

TRAIN = """
import datetime, os, sys, time
import torch
import torch.distributed as dist
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=12))
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(64, 64))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
print("steps begin", flush=True)
for _ in range(100_000):
    model(torch.randn(32, 64)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    time.sleep(0.02)
"""


class Said:
    """The newest line that the notebook's process printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def until(self, true: Callable[[list[Mapping[str, Any]]], bool], timeout_s: float) -> list[Mapping[str, Any]]:
        """The rows once they are as wanted."""
        end_s = time.monotonic() + timeout_s
        rows: list[Mapping[str, Any]] = []
        while time.monotonic() < end_s:
            try:
                rows = json.loads(self.lines.get(timeout=1.0))["rows"]
            except queue.Empty:
                assert self.process.poll() is None, "the notebook's process ended"
                continue
            if true(rows):
                return rows
        raise AssertionError(f"not in time: {rows}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def notebook(network: Hosts, file: Path) -> Iterator[Said]:
    command = network.command("notebook", sys.executable, "-c", NOTEBOOK, network.address("notebook"), str(file))
    said = Said(subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True))
    try:
        said.until(lambda rows: file.exists(), 30)
        yield said
    finally:
        said.close()


@contextmanager
def torchrun(network: Hosts, host: str, node: int, folder: Path, file: Path) -> Iterator[subprocess.Popen[str]]:
    """``torchrun`` of one node with one rank, its script unchanged."""
    words = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", f"--node-rank={node}"]
    words += [f"--master-addr={network.address('a')}", "--master-port=29400"]
    words += [str(folder / "train.py")]
    more = {"RESMON_CONNECTION": str(file), "GLOO_SOCKET_IFNAME": "eth0", "TP_SOCKET_IFNAME": "eth0"}
    with (folder / f"{host}.log").open("w") as log:
        process = subprocess.Popen(
            network.command(host, *words), env=environment(**more), stdout=log, stderr=log, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_ranks_of_two_hosts_are_seen_and_one_that_is_cut_off_is_lost(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    file = tmp_path / "connection.json"
    with (
        hosts("notebook", "a", "b") as network,
        notebook(network, file) as said,
        torchrun(network, "a", 0, tmp_path, file) as first,
        torchrun(network, "b", 1, tmp_path, file),
    ):
        rows = said.until(lambda rows: all(row["steps_per_s"] for row in rows), 90)
        assert [row["host"] for row in rows] == ["a", "b"]
        assert [row["state"] for row in rows] == ["running", "running"]
        assert all(row["communication_s"] is not None for row in rows)

        network.cut_off("b")
        rows = said.until(lambda rows: rows[1]["state"] == "lost", 30)
        assert rows[1]["steps_per_s"] is None
        assert rows[1]["age_s"] > 1

        # Rank 0 waits for a host that is gone until gloo's own timeout; then it fails, and that is told.
        rows = said.until(lambda rows: rows[0]["state"] == "failed", 60)
        assert "failed" in rows[0]["outcome"]
        assert first.wait(60) != 0
