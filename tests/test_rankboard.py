"""What ranks tell, gathered: rates, the split of a step, stragglers, silence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from resmon.rankboard import MAX_RANKS, RankBoard
from resmon.rankhistory import ROWS
from resmon.ranks import RankSample, Straggler
from resmon.testing import ManualClock


def board_of(compute_s: list[float], seconds: int = 30) -> tuple[RankBoard, ManualClock]:
    """Ranks in step: each step takes the slowest's compute and 10 ms of communication."""
    clock = ManualClock()
    board = RankBoard(len(compute_s), clock)
    step_s = max(compute_s) + 0.01
    for tick in range(seconds * 4):
        clock.advance(0.25)
        steps = int((tick + 1) * 0.25 / step_s)
        for rank, own_s in enumerate(compute_s):
            board.take(
                RankSample(
                    rank=rank,
                    at_s=clock.now(),
                    host="node",
                    device="CPU",
                    steps=steps,
                    items=32.0 * steps,
                    stepping_s=steps * step_s,
                    collective_s=steps * (step_s - own_s),
                    cpu_time_s=(tick + 1) * 0.125,
                    memory_bytes=1e9 + tick,
                )
            )
        board.straggler()
    return board, clock


def test_a_step_is_compute_communication_and_waiting_for_the_slowest() -> None:
    board, _ = board_of([0.04, 0.04, 0.09])
    fast, _, slow = board.rows()
    assert fast.compute_s == pytest.approx(0.04)
    assert fast.communication_s == pytest.approx(0.01)
    assert fast.wait_s == pytest.approx(0.05)
    assert slow.wait_s == pytest.approx(0.0, abs=1e-9)
    assert fast.steps_per_s == pytest.approx(10, rel=0.1)
    assert fast.items_per_s == pytest.approx(320, rel=0.1)
    assert fast.utilization == pytest.approx(0.5)


def test_the_straggler_is_who_computes_longer_than_the_others() -> None:
    board, _ = board_of([0.04, 0.04, 0.09])
    straggler = board.straggler()
    assert straggler is not None
    assert straggler.rank == 2
    assert straggler.factor == pytest.approx(2.25)


def test_ranks_that_are_alike_have_no_straggler() -> None:
    board, _ = board_of([0.04, 0.041, 0.044])
    assert board.straggler() is None


def test_a_silent_rank_is_lost_and_its_numbers_are_unknown() -> None:
    board, clock = board_of([0.04, 0.04])
    clock.advance(7)
    board.take(RankSample(rank=0, at_s=clock.now(), host="node", device="CPU", steps=9999))
    heard, silent = board.rows()
    assert heard.state == "running"
    assert silent.state == "lost"
    assert silent.age_s == pytest.approx(7)
    assert silent.steps_per_s is None


def test_a_rank_that_ended_keeps_how() -> None:
    board, _ = board_of([0.04, 0.04])
    board.ended(1, "killed by SIGKILL")
    board.ended(1, "done")
    assert board.rows()[1].outcome == "killed by SIGKILL"
    assert board.rows()[1].state == "failed"


def test_a_span_has_the_shares_and_peaks_of_every_rank() -> None:
    board, clock = board_of([0.04, 0.09])
    fast, slow = board.uses(0.0, clock.now())
    assert fast.compute_fraction == pytest.approx(0.4)
    assert fast.wait_fraction == pytest.approx(0.5)
    assert slow.compute_fraction == pytest.approx(0.9)
    assert slow.memory_peak_bytes == 1e9 + 119
    assert board.uses(1e6, 2e6) == ()


def test_what_is_kept_is_bounded_and_loses_no_total_and_no_peak() -> None:
    clock = ManualClock()
    board = RankBoard(1, clock)
    for tick in range(10 * ROWS):
        clock.advance(0.25)
        peak = 9e9 if tick == 77 else 1e9
        power_w = 100.0 + tick % 2 * 100
        board.take(
            RankSample(rank=0, at_s=clock.now(), steps=tick, stepping_s=0.2 * tick, memory_bytes=peak, power_w=power_w)
        )
    history = board._ranks[0].history
    assert len(history) <= ROWS
    use = board.uses(0.0, clock.now())[0]
    assert use.steps == 10 * ROWS - 1
    assert use.samples == 10 * ROWS
    assert use.memory_peak_bytes == 9e9
    assert use.power_mean_w == pytest.approx(150, rel=1e-3)
    assert board.rows()[0].steps_per_s == pytest.approx(4)
    late = board.uses(clock.now() - 60, clock.now())[0]
    assert late.steps == 240


def test_a_rank_that_was_started_again_goes_on_counting() -> None:
    clock = ManualClock()
    board = RankBoard(1, clock)
    for pid in (10, 11):
        for steps in (None, 5, 10):
            clock.advance(1)
            board.take(RankSample(rank=0, at_s=clock.now(), pid=pid, steps=steps, cpu_time_s=clock.now()))
        if pid == 10:
            board.ended(0, "killed by SIGKILL")
    assert board.uses(0.0, clock.now())[0].steps == 20
    assert board.rows()[0].state == "running"
    assert board.rows()[0].outcome == ""


def test_steps_before_the_first_sample_of_a_span_are_not_its_own() -> None:
    clock = ManualClock()
    board = RankBoard(1, clock)
    for tick in range(10):
        clock.advance(1)
        board.take(RankSample(rank=0, at_s=clock.now(), steps=100 + tick))
    assert board.uses(5.0, 10.0)[0].steps == 5


def test_a_board_without_a_size_grows_and_has_an_end() -> None:
    board = RankBoard(None, ManualClock())
    assert board.rows() == ()
    board.take(RankSample(rank=3, at_s=0.0))
    assert [row.state for row in board.rows()] == ["expected", "expected", "expected", "running"]
    board.take(RankSample(rank=MAX_RANKS, at_s=0.0))
    assert len(board.rows()) == 4


def held_up(told: Callable[[int, int, float], dict[str, Any]]) -> Straggler:
    """Rank 1 holds rank 0 up; ``told`` is what else a rank's sample has, of its number, the tick and the time."""
    clock = ManualClock()
    board = RankBoard(2, clock)
    for tick in range(80):
        clock.advance(0.25)
        for rank in range(2):
            steps: dict[str, Any] = {
                "steps": tick,
                "stepping_s": 0.25 * tick,
                "collective_s": tick * (0.15, 0.01)[rank],
            }
            board.take(RankSample(rank=rank, at_s=clock.now(), **steps | told(rank, tick, clock.now())))
        straggler = board.straggler()
    assert straggler is not None
    assert straggler.rank == 1
    return straggler


def test_a_sensor_tells_why_a_rank_is_slow() -> None:
    straggler = held_up(
        lambda rank, _, at_s: {
            "cpu_wait_s": at_s * (0.01, 0.4)[rank],
            "throttle": (0, 0x24)[rank],
            "device_id": "gpu:x",
        }
    )
    assert straggler.cause == (
        "its GPU is held back: power cap, thermal (software); it waits for a free core 40 % of the time"
    )


def test_a_wait_that_is_read_once_a_second_explains_a_rank_of_many_steps_a_second() -> None:
    straggler = held_up(lambda rank, tick, at_s: {"steps": 100 * tick, "cpu_wait_s": rank * 0.4 * (at_s // 1)})
    assert re.fullmatch(r"it waits for a free core \d\d % of the time", straggler.cause)


@pytest.mark.parametrize(
    ("waits", "retries", "cause"),
    [
        (0.29, 0, "memory is short where it runs: processes wait for it 29 % of the time"),
        (1.5, 0, "memory is short where it runs: processes wait for it 100 % of the time"),
        (0.1, 1, "the memory of its GPU is full: torch gives back what it kept, and asks the driver again"),
        (0.1, 0, ""),
        (None, None, ""),
    ],
)
def test_memory_that_is_short_tells_why_a_rank_is_slow(waits: float | None, retries: int | None, cause: str) -> None:
    straggler = held_up(
        lambda _, tick, at_s: {
            "memory_wait_s": None if waits is None else at_s * waits,
            "allocator_retries": None if retries is None else tick // 2 * retries,
        }
    )
    assert straggler.cause == cause


def test_a_run_whose_steps_all_fell_between_two_samples_has_its_shares_and_rates() -> None:
    clock = ManualClock()
    board = RankBoard(2, clock)
    for rank, own_s in ((0, 0.04), (1, 0.08)):
        board.take(RankSample(rank=rank, at_s=1.0))
        board.take(RankSample(rank=rank, at_s=1.25, steps=2, items=8, stepping_s=0.2, collective_s=0.2 - 2 * own_s))
    fast, slow = board.uses(0.0, 2.0)
    assert (fast.compute_fraction, fast.communication_fraction, fast.wait_fraction) == pytest.approx((0.4, 0.2, 0.4))
    assert (slow.compute_fraction, slow.communication_fraction, slow.wait_fraction) == pytest.approx((0.8, 0.2, 0.0))
    assert (fast.steps_per_s, fast.items_per_s) == pytest.approx((5.0, 20.0)), "one of the two steps is timed"


def test_ranks_that_ended_before_a_sample_of_them_arrived_are_ranks_of_that_span() -> None:
    clock = ManualClock()
    board = RankBoard(2, clock)
    clock.advance(1.0)
    board.ended(0, "done", host="node")
    board.ended(1, "failed: ValueError: gone", host="node")
    clock.advance(1.0)
    assert [(use.rank, use.host, use.outcome, use.samples) for use in board.uses(0.0, clock.now())] == [
        (0, "node", "done", 0),
        (1, "node", "failed: ValueError: gone", 0),
    ]
    assert board.uses(1.5, clock.now()) == (), "a later span has none"
