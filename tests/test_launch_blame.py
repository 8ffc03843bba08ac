"""Which rank a failed run is blamed on, and how each rank is said to have ended, read from what a run left behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from resmon.distributed import failures, payload
from resmon.distributed.failures import Ends
from resmon.distributed.local import LocalRanks
from resmon.distributed.rundir import RunDirectory

BEGAN_S = 1_000_000.0


class Left:
    """What a run left in its directory: set by a test, read as after a real run."""

    def __init__(self, path: Path, world_size: int) -> None:
        self.ranks = LocalRanks(RunDirectory(path), world_size)
        self.statuses: dict[str, int] = {}
        for i, rank in enumerate(self.ranks.ranks):
            rank.pid, rank.host = 100 + i, "node"

    def returned(self, i: int) -> None:
        self.ranks.directory.result(i).write_bytes(payload.dump_result(None))

    def raised(self, i: int, error: BaseException, at_s: float = 0.0) -> None:
        self.ranks.directory.failure(i).write_bytes(payload.dump_failure(error, "node", BEGAN_S + at_s)[0])
        self.statuses[str(i)] = 1

    def gone(self, i: int, status: int, at_s: float) -> None:
        """Gone without a word: with an exit status, or (negative) by a signal."""
        self.ranks.ranks[i].gone_s = BEGAN_S + at_s
        self.statuses[str(i)] = status

    def read(self, *, stopped_by: str = "") -> Ends:
        self.ranks.directory.report.write_text(json.dumps({"failures": self.statuses}))
        return failures.read_ends(self.ranks, None, stopped_by=stopped_by)

    def said(self) -> str:
        return str(failures.failed("train", self.ranks, self.read()))


@pytest.fixture
def two(tmp_path: Path) -> Left:
    """A run of two ranks."""
    return Left(tmp_path, 2)


def test_a_rank_that_exits_by_itself_is_blamed_and_not_whom_the_launcher_ended_for_it(two: Left) -> None:
    two.gone(0, -signal.SIGTERM, at_s=0.3)
    two.gone(1, 7, at_s=0.0)
    ends = two.read()
    assert ends.first == 1
    assert ends.outcomes == ["ended because rank 1 failed", "failed: exit status 7"]
    assert "train: rank 1 of 2 failed: exit status 7. The other rank was ended." in two.said()


def test_a_rank_that_left_without_a_word_comes_before_what_others_raised_for_it(two: Left) -> None:
    two.raised(0, RuntimeError("Connection closed by peer"), at_s=0.2)
    two.gone(1, 7, at_s=0.1)
    assert two.read().first == 1
    assert "rank 1 of 2 failed: exit status 7. The other rank failed too." in two.said()


def test_of_several_that_left_without_a_word_the_first_is_blamed(tmp_path: Path) -> None:
    three = Left(tmp_path, 3)
    three.gone(0, -signal.SIGABRT, at_s=0.4)
    three.gone(1, -signal.SIGTERM, at_s=0.3)
    three.gone(2, -signal.SIGKILL, at_s=0.0)
    assert three.read().first == 2


def test_whom_the_launcher_had_to_kill_did_not_fail(two: Left) -> None:
    two.raised(1, ValueError("no such data"))
    two.gone(0, -signal.SIGKILL, at_s=3.2)
    assert two.read().outcomes == ["ended because rank 1 failed", "failed: ValueError: no such data"]


def test_a_kill_that_the_launcher_cannot_have_sent_is_told(two: Left) -> None:
    two.raised(1, ConnectionError("reset by peer"), at_s=0.5)
    two.gone(0, -signal.SIGKILL, at_s=0.0)
    ends = two.read()
    assert ends.first == 0
    assert ends.outcomes == ["killed by SIGKILL", "failed: ConnectionError: reset by peer"]


def test_a_rank_that_the_end_of_time_interrupted_timed_out(two: Left) -> None:
    two.raised(0, KeyboardInterrupt())
    two.gone(1, -signal.SIGKILL, at_s=3.0)
    assert two.read(stopped_by="timed out").outcomes == ["timed out", "timed out"]


def test_how_the_other_ranks_ended_is_told(tmp_path: Path) -> None:
    four = Left(tmp_path, 4)
    four.raised(1, ValueError("no such data"))
    four.raised(2, ValueError("no such data"), at_s=0.1)
    four.gone(3, -signal.SIGTERM, at_s=0.2)
    four.returned(0)
    assert "Of the other 3, 1 had returned, 1 failed too, 1 was ended." in four.said()
    four.ranks.directory.result(0).unlink()
    four.ranks.directory.failure(2).unlink()
    four.gone(0, -signal.SIGTERM, at_s=0.2)
    four.gone(2, -signal.SIGTERM, at_s=0.2)
    assert "The other 3 were ended." in four.said()
