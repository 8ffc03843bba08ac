"""What a rank on a cluster returns comes in pieces: no look at it takes long, however large it is."""

from __future__ import annotations

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
        self.host.kill()


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
