"""Ranks made by hand and boards that are played, for what shows them."""

from __future__ import annotations

from collections.abc import Sequence

from resmon.clock import Clock
from resmon.rankboard import RankBoard
from resmon.ranks import RankSample, RankUse
from resmon.testing import ManualClock
from resmon.units import GIB

COMMUNICATION_S = 0.01

PLAY = """
import os, resmon, threading, time
from resmon.rankboard import RankBoard
from resmon.ranks import RankSample

def play(compute_s, seconds, host="node-a", device="CPU", enough=""):
    monitor = resmon.get_monitor()
    board = RankBoard(len(compute_s), monitor.clock, title="train")
    step_s = max(compute_s) + 0.01
    def work():
        start_s = time.monotonic()
        while (spent_s := time.monotonic() - start_s) < seconds and not (enough and os.path.exists(enough)):
            steps = int(spent_s / step_s)
            for rank, own_s in enumerate(compute_s):
                board.take(RankSample(
                    rank=rank, at_s=monitor.clock.now(), host=host, device=device, steps=steps, items=32.0 * steps,
                    stepping_s=steps * step_s, collective_s=steps * (step_s - own_s), cpu_time_s=spent_s / 2,
                    memory_bytes=1e9))
            time.sleep(0.1)
        for rank in range(len(compute_s)):
            board.ended(rank, "done")
        board.close()
    thread = threading.Thread(target=work)
    thread.start()
    monitor.watch_ranks(board)
    while thread.is_alive():
        sum(range(1_000))
"""
"""Code for a kernel: ``play`` shows ranks in step as a launch would, and keeps the cell busy until they are done:
after so many seconds, or once there is a file ``enough``."""


def told(
    board: RankBoard, at_s: float, spent_s: float, compute_s: Sequence[float], host: str = "node", device: str = "CPU"
) -> None:
    """Give a board a sample of each rank: in step, each step takes the slowest's compute and 10 ms."""
    step_s = max(compute_s) + COMMUNICATION_S
    steps = int(spent_s / step_s)
    for rank, own_s in enumerate(compute_s):
        board.take(
            RankSample(
                rank=rank,
                at_s=at_s,
                host=host,
                device=device,
                steps=steps,
                items=32.0 * steps,
                stepping_s=steps * step_s,
                collective_s=steps * (step_s - own_s),
                cpu_time_s=spent_s / 2,
                memory_bytes=1e9,
            )
        )


def played(
    compute_s: Sequence[float], seconds: float = 30.0, clock: Clock | None = None, *, host: str = "node"
) -> RankBoard:
    """A board after so many seconds of samples at 4 Hz; ``clock`` is a manual one."""
    clock = clock or ManualClock()
    assert isinstance(clock, ManualClock)
    board = RankBoard(len(compute_s), clock, title="train")
    for tick in range(1, int(seconds * 4) + 1):
        clock.advance(0.25)
        told(board, clock.now(), tick * 0.25, compute_s, host=host)
        board.straggler()
    return board


def use(rank: int, **facts: object) -> RankUse:
    """What one of eight GPUs did; ``facts`` replace some of it."""
    known = {
        "host": f"node-{'ab'[rank // 4 % 2]}", "device": f"GPU {rank % 4}", "outcome": "done", "steps": 1200,
        "items": 307_200.0,
        "steps_per_s": 2.41, "items_per_s": 617.0, "utilization_mean": 0.99, "memory_peak_bytes": 68.1 * GIB,
        "power_mean_w": 468.0, "compute_fraction": 0.58, "communication_fraction": 0.09, "wait_fraction": 0.33,
        "samples": 120,
    }  # fmt: skip
    return RankUse(rank=rank, **(known | facts))  # type: ignore[arg-type]


def uses(count: int = 8, slow: int | None = None) -> tuple[RankUse, ...]:
    """So many ranks, of which one may compute for most of each step."""
    held_up = {"compute_fraction": 0.89, "communication_fraction": 0.1, "wait_fraction": 0.01}
    return tuple(use(i, **(held_up if i == slow else {})) for i in range(count))
