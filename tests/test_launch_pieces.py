"""Ranks on a cluster: what they return comes in pieces, however large it is, and nothing of them stays on the nodes."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from resmon.distributed import node, payload
from resmon.distributed.node import Look, RankHost
from resmon.distributed.remote import RemoteRanks
from resmon.distributed.rundir import RunDirectory


class Here:
    """A cluster of one place, in this process; keeps what was told at each look."""

    notebook = "127.0.0.1"

    def __init__(self) -> None:
        self.host = RankHost(0)
        self.looks: list[Look] = []

    def take(self, count: int, timeout_s: float, *, gpus: bool) -> None:
        assert (count, gpus) == (1, False)

    def call(self, calls: Mapping[int, Sequence[Any]], method: str) -> dict[int, Any]:
        found = {i: getattr(self.host, method)(*arguments) for i, arguments in calls.items()}
        self.looks += [answer for answer in found.values() if isinstance(answer, Look)]
        return found

    def give_back(self) -> None:
        """The host's process is gone, as a Ray actor's is: it can clean up no more."""


def test_no_look_carries_more_than_a_piece_and_the_result_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "PIECE_BYTES", 10_000)
    directory, cluster = RunDirectory(tmp_path), Here()
    directory.payload.write_bytes(payload.dump_work(lambda: bytes(range(256)) * 160, (), {}, None))
    ranks = RemoteRanks(directory, 1, cluster)
    try:
        ranks.place(None, None)
        ranks.start({}, None, threads=1)
        until_s = time.monotonic() + 60
        while ranks.running:
            assert time.monotonic() < until_s
            ranks.look()
            time.sleep(0.01)
            assert directory.result(0).exists() == ranks.ranks[0].returned, "under its name it is whole"
    finally:
        ranks.kill()
    assert payload.load_result(directory.result(0)) == bytes(range(256)) * 160
    pieces = [len(data) for look in cluster.looks for name, data in look.files.items() if name == "rank-0.result"]
    assert pieces[:4] == [10_000] * 4
    assert len(pieces) == 5
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".pieces"] == []


def a_run(path: Path) -> tuple[RemoteRanks, Path]:
    """Ranks whose node keeps its files in a directory of its own, which is given too."""
    directory = RunDirectory(path / "notebook")
    nodes = path / "node"
    for each in (directory.path, nodes):
        each.mkdir()
    directory.payload.write_bytes(payload.dump_work(lambda: 1, (), {}, None))
    return RemoteRanks(directory, 1, Here()), nodes


def test_nothing_of_a_run_stays_on_its_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks, nodes = a_run(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(nodes))
    try:
        ranks.place(None, None)
        ranks.start({}, None, threads=1)
        assert len(list(nodes.iterdir())) == 1
        until_s = time.monotonic() + 60
        while ranks.running and time.monotonic() < until_s:
            ranks.look()
            time.sleep(0.01)
    finally:
        ranks.kill()
    assert payload.load_result(ranks.directory.result(0)) == 1
    assert list(nodes.iterdir()) == []


def test_what_the_host_of_a_rank_left_when_it_was_killed_goes_with_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks, nodes = a_run(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(nodes))
    dead, alive, new = (nodes / f"resmon-rank-{name}" for name in ("dead", "alive", "new"))
    for each in (dead, alive, new):
        each.mkdir()
        (each / "payload").touch()
    for each in (dead, alive):
        os.utime(each, (0.0, 0.0))
    held = os.open(alive, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        ranks.place(None, None)
        ranks.start({}, None, threads=1)
        assert not dead.exists()
        assert alive.exists()
        assert new.exists(), "one that was made just now may not be held yet"
    finally:
        ranks.kill()
        os.close(held)
    assert sorted(path.name for path in nodes.iterdir()) == ["resmon-rank-alive", "resmon-rank-new"]
